//! Which instances are meant by the names that people give.

use stead_core::names::{InstanceName, ServiceName};

/// What names stand for.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Selected {
    /// Each once, in order.
    pub(crate) instances: Vec<InstanceName>,
    pub(crate) unknown: Vec<Unknown>,
}

/// A name that stands for nothing here.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Unknown {
    pub(crate) text: String,
    pub(crate) why: String,
}

/// The instances among `known` that services (`orders`) or instances (`orders.0`) stand for.
pub(crate) fn select(names: &[String], known: &[InstanceName]) -> Selected {
    let mut selected = Selected::default();
    for text in names {
        let found: Vec<&InstanceName> = match text.parse::<InstanceName>() {
            Ok(instance) => known.iter().filter(|it| **it == instance).collect(),
            Err(_) => match text.parse::<ServiceName>() {
                Ok(service) => known.iter().filter(|it| *it.service() == service).collect(),
                Err(_) => Vec::new(),
            },
        };
        if found.is_empty() {
            let why = "there is no service or instance of this name here".to_owned();
            selected.unknown.push(Unknown { text: text.clone(), why });
        }
        selected.instances.extend(found.into_iter().cloned());
    }
    selected.instances.sort();
    selected.instances.dedup();
    selected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_stands_for_its_instances_and_nothing_is_meant_twice() {
        let known = ["a.0", "a.1", "b.0"].map(|text| text.parse::<InstanceName>().unwrap());
        let cases: [(&[&str], &[&str], &[&str]); 5] = [
            (&["a"], &["a.0", "a.1"], &[]),
            (&["a.1", "a", "a.1"], &["a.0", "a.1"], &[]),
            (&["b.0", "c", "a.7"], &["b.0"], &["c", "a.7"]),
            (&["../a", ""], &[], &["../a", ""]),
            (&[], &[], &[]),
        ];
        for (names, instances, unknown) in cases {
            let names: Vec<String> = names.iter().map(|text| (*text).to_owned()).collect();
            let selected = select(&names, &known);
            let found: Vec<String> = selected.instances.iter().map(ToString::to_string).collect();
            assert_eq!(found, instances, "{names:?}");
            let missing: Vec<&str> = selected.unknown.iter().map(|it| it.text.as_str()).collect();
            assert_eq!(missing, unknown, "{names:?}");
        }
    }
}
