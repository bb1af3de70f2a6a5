//! The order of services by what they need.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::names::ServiceName;

/// Which services each one needs.
pub type Needs = BTreeMap<ServiceName, Vec<ServiceName>>;

/// Services that need each other in a ring, in that order; the first follows the last.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cycle(pub Vec<ServiceName>);

/// Every service after all that it needs; otherwise by name. A need that is not a key is ignored.
pub fn start_order(needs: &Needs) -> Result<Vec<ServiceName>, Cycle> {
    let mut ordered = Vec::new();
    let mut placed = BTreeSet::new();
    while ordered.len() < needs.len() {
        let ready = |service: &ServiceName| {
            !placed.contains(service)
                && needs[service]
                    .iter()
                    .all(|need| placed.contains(need) || !needs.contains_key(need))
        };
        match needs.keys().find(|service| ready(service)) {
            Some(service) => {
                placed.insert(service.clone());
                ordered.push(service.clone());
            }
            None => return Err(find_cycle(needs, &placed)),
        }
    }
    Ok(ordered)
}

/// How many needs lie below each service, one upon the other; 0 for one that needs none of these.
pub fn depths(needs: &Needs) -> BTreeMap<ServiceName, usize> {
    let mut depths = BTreeMap::new();
    // A ring has no order: none of it counts as below another.
    for service in start_order(needs).unwrap_or_else(|_| needs.keys().cloned().collect()) {
        let below = needs[&service].iter().filter_map(|need| depths.get(need));
        let depth = below.max().map_or(0, |depth: &usize| depth + 1);
        depths.insert(service, depth);
    }
    depths
}

/// Those of the services that are left which may end now: no other one that is left needs them.
/// Where some need each other in a ring, all may: nothing else would ever end them.
pub fn may_end(needs: &Needs, left: &BTreeSet<ServiceName>) -> BTreeSet<ServiceName> {
    let is_needed = |service: &ServiceName| {
        left.iter().any(|other| {
            other != service && needs.get(other).is_some_and(|needs| needs.contains(service))
        })
    };
    let free: BTreeSet<ServiceName> =
        left.iter().filter(|service| !is_needed(service)).cloned().collect();
    if free.is_empty() { left.clone() } else { free }
}

/// Follows unplaced needs from the first unplaced service until one comes up again.
fn find_cycle(needs: &Needs, placed: &BTreeSet<ServiceName>) -> Cycle {
    let open = |service: &&ServiceName| needs.contains_key(*service) && !placed.contains(*service);
    let mut path: Vec<ServiceName> = Vec::new();
    let mut next = needs.keys().find(open);
    while let Some(service) = next {
        if let Some(start) = path.iter().position(|seen| seen == service) {
            return Cycle(path.split_off(start));
        }
        path.push(service.clone());
        next = needs[service].iter().find(open);
    }
    Cycle(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec;

    #[test]
    fn what_is_needed_ends_after_all_that_need_it() {
        let graph = needs(&[("web", &["api", "db"]), ("api", &["db"]), ("db", &[]), ("cron", &[])]);
        let mut left: BTreeSet<ServiceName> = graph.keys().cloned().collect();
        let mut waves = Vec::new();
        while !left.is_empty() {
            let wave = may_end(&graph, &left);
            left.retain(|service| !wave.contains(service));
            waves.push(wave.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(" "));
        }
        assert_eq!(waves, ["cron web", "api", "db"]);
        let ring = needs(&[("a", &["b"]), ("b", &["a"])]);
        assert_eq!(may_end(&ring, &ring.keys().cloned().collect()).len(), 2);
    }

    #[test]
    fn what_is_needed_lies_deeper_than_all_that_need_it() {
        let graph = needs(&[("web", &["api", "db"]), ("api", &["db"]), ("db", &["elsewhere"])]);
        let depths = |graph| depths(graph).into_iter().map(|(name, n)| format!("{name} {n}"));
        assert_eq!(depths(&graph).collect::<Vec<_>>(), ["api 1", "db 0", "web 2"]);
        let ring = needs(&[("a", &["b"]), ("b", &["a"])]);
        assert_eq!(depths(&ring).count(), 2);
    }

    fn needs(pairs: &[(&str, &[&str])]) -> Needs {
        let name = |text: &str| text.parse::<ServiceName>().unwrap();
        pairs.iter().map(|(s, needs)| (name(s), needs.iter().map(|n| name(n)).collect())).collect()
    }

    fn names(services: &[ServiceName]) -> Vec<&str> {
        services.iter().map(ServiceName::as_str).collect()
    }

    #[test]
    fn what_is_needed_comes_first() {
        let shop = needs(&[
            ("gateway", &["orders"]),
            ("orders", &["db"]),
            ("db", &[]),
            ("a", &["gateway"]),
        ]);
        assert_eq!(names(&start_order(&shop).unwrap()), ["db", "orders", "gateway", "a"]);
    }

    #[test]
    fn a_need_on_another_host_does_not_hold_anything_up() {
        assert_eq!(names(&start_order(&needs(&[("a", &["elsewhere"])])).unwrap()), ["a"]);
    }

    #[test]
    fn a_ring_is_named_without_its_tail() {
        let ring = needs(&[("a", &["b"]), ("b", &["c"]), ("c", &["d"]), ("d", &["b"]), ("e", &[])]);
        assert_eq!(names(&start_order(&ring).unwrap_err().0), ["b", "c", "d"]);
        let settled = needs(&[("a", &["elsewhere", "db", "b"]), ("b", &["a"]), ("db", &[])]);
        assert_eq!(names(&start_order(&settled).unwrap_err().0), ["a", "b"]);
        let selfish = needs(&[("a", &["a"])]);
        assert_eq!(start_order(&selfish).unwrap_err(), Cycle(vec!["a".parse().unwrap()]));
    }
}
