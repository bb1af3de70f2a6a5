//! Names as they are typed, found among what there is.

use std::collections::BTreeSet;

use stead_wire::api::{InstanceStatus, Status};

use crate::failure::{Failure, FleetFailure};

/// The most letters a typed name may be off by to be taken for another.
const TYPOS_MAX: usize = 2;

/// The instances that a service's or an instance's name means, in the order of the status.
pub(crate) fn instances(status: &Status, names: &[String]) -> Result<Vec<String>, Failure> {
    for name in names {
        if !status.instances.iter().any(|instance| is_meant(instance, name)) {
            return Err(unknown_here(status, name));
        }
    }
    let is_any = |instance: &&InstanceStatus| names.iter().any(|name| is_meant(instance, name));
    Ok(status.instances.iter().filter(is_any).map(|instance| instance.name.clone()).collect())
}

fn is_meant(instance: &InstanceStatus, name: &str) -> bool {
    instance.name == name || instance.service == name
}

fn unknown_here(status: &Status, name: &str) -> Failure {
    let services: BTreeSet<&str> = status.instances.iter().map(|i| i.service.as_str()).collect();
    let instances = status.instances.iter().map(|instance| instance.name.as_str());
    unknown(name, &services, instances)
}

/// How a name is refused that is neither one of these services nor anything else.
pub(crate) fn unknown<'a>(
    name: &str,
    services: &BTreeSet<&'a str>,
    others: impl Iterator<Item = &'a str>,
) -> Failure {
    let all = services.iter().copied().chain(others);
    Failure::UnknownName {
        name: name.into(),
        near: near(name, all),
        known: services.iter().map(ToString::to_string).collect(),
    }
}

/// How the name of a host is refused that none of these has.
pub(crate) fn unknown_host(name: &str, hosts: &BTreeSet<&str>) -> Failure {
    let near = near(name, hosts.iter().copied());
    let known = hosts.iter().map(ToString::to_string).collect();
    FleetFailure::UnknownHost { host: name.into(), near, known }.into()
}

/// What a name may have been meant to be.
fn near<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> Option<String> {
    let distance = |known: &str| strsim::damerau_levenshtein(known, name);
    let near = all.filter(|known| distance(known) <= TYPOS_MAX).min_by_key(|known| distance(known));
    near.map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn find(names: &[&str]) -> Result<Vec<String>, Failure> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        instances(&samples::status(), &names)
    }

    #[test]
    fn a_name_is_a_service_or_an_instance_and_means_each_instance_once() {
        assert_eq!(find(&["db"]).unwrap(), ["db.0"]);
        assert_eq!(find(&["orders"]).unwrap(), ["orders.0", "orders.1"]);
        assert_eq!(find(&["orders.1", "orders", "db"]).unwrap(), ["db.0", "orders.0", "orders.1"]);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest_one() {
        let cases =
            [("oders", Some("orders")), ("orders.2", Some("orders.0")), ("warehouse", None)];
        for (name, expected) in cases {
            match find(&["db", name]) {
                Err(Failure::UnknownName { name: told, near, .. }) => {
                    assert_eq!((told.as_str(), near.as_deref()), (name, expected));
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
