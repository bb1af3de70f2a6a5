//! What must be done so that the registry is as services have it, and is as it was once none of
//! them has a value any more.
//!
//! What was there before stead is remembered before anything is touched, and forgotten after it was
//! put back. So whoever is killed in between leaves a memory from which the same is decided again.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::{KeyPath, Raw, Registry, ValueName};
use crate::names::ServiceName;

/// What a host must not forget of its registry.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Memory {
    /// What the services of the host have.
    pub services: BTreeMap<ServiceName, Registry>,
    /// What each value was before a service had it; nothing where it was not there.
    before: BTreeMap<KeyPath, BTreeMap<ValueName, Option<Raw>>>,
    /// Keys that were not there before.
    made: BTreeSet<KeyPath>,
}

/// What there is in the registry at the places that a memory asks for.
#[derive(Clone, Debug, Default)]
pub struct There {
    keys: BTreeSet<String>,
    values: BTreeMap<Place, Raw>,
}

/// A value by its key and name, however they are spelled.
type Place = (String, String);

fn place(key: &KeyPath, name: &ValueName) -> Place {
    (key.folded(), name.folded())
}

impl There {
    /// Takes note of a key that is there.
    pub fn add_key(&mut self, key: &KeyPath) {
        self.keys.insert(key.folded());
    }

    /// Takes note of a value that is there.
    pub fn add_value(&mut self, key: &KeyPath, name: &ValueName, value: Raw) {
        self.values.insert(place(key, name), value);
    }

    fn has_key(&self, key: &KeyPath) -> bool {
        self.keys.contains(&key.folded())
    }

    fn value(&self, key: &KeyPath, name: &ValueName) -> Option<&Raw> {
        self.values.get(&place(key, name))
    }
}

/// One thing to do to the registry. To do it twice does no harm.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Make a key with those that it is in, as far as they are not there.
    MakeKey(KeyPath),
    /// Set a value, and make its key if that is not there.
    Set(KeyPath, ValueName, Raw),
    /// Delete a value, if it is there.
    Delete(KeyPath, ValueName),
    /// Delete a key, if it is there with no value and no key in it.
    DeleteEmptyKey(KeyPath),
}

impl Change {
    /// The key that it is about.
    pub fn key(&self) -> &KeyPath {
        match self {
            Self::MakeKey(key)
            | Self::Set(key, _, _)
            | Self::Delete(key, _)
            | Self::DeleteEmptyKey(key) => key,
        }
    }
}

/// What to do, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Decision {
    /// To be remembered before anything is changed.
    pub first: Memory,
    pub changes: Vec<Change>,
    /// To be remembered once all is changed.
    pub last: Memory,
}

impl Memory {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What a service has.
    pub fn of(&self, service: &ServiceName) -> &Registry {
        static NONE: Registry = Registry(BTreeMap::new());
        self.services.get(service).unwrap_or(&NONE)
    }

    /// Takes note of what a service is to have.
    pub fn have(&mut self, service: &ServiceName, registry: &Registry) {
        if registry.is_empty() {
            self.services.remove(service);
        } else {
            self.services.insert(service.clone(), registry.clone());
        }
    }

    /// Each key to look at, with the values to look at in it.
    pub fn places(&self) -> BTreeMap<KeyPath, BTreeSet<ValueName>> {
        let mut places: BTreeMap<KeyPath, BTreeSet<ValueName>> = BTreeMap::new();
        for (key, values) in self.services.values().flat_map(|registry| &registry.0) {
            for outer in key.with_outer() {
                places.entry(outer).or_default();
            }
            places.entry(key.clone()).or_default().extend(values.keys().cloned());
        }
        for (key, values) in &self.before {
            places.entry(key.clone()).or_default().extend(values.keys().cloned());
        }
        places
    }

    /// Decides what makes the registry be as the services have it.
    pub fn decide(self, there: &There) -> Decision {
        let mut first = self;
        let mut changes = Vec::new();
        let values = first.services.values().flat_map(Registry::values);
        let wanted: BTreeMap<Place, (KeyPath, ValueName, Raw)> = values
            .map(|(key, name, value)| {
                (place(key, name), (key.clone(), name.clone(), Raw::from(value)))
            })
            .collect();
        let keys = first.services.values().flat_map(|registry| registry.0.keys());
        let keys: Vec<KeyPath> = keys.cloned().collect();
        for key in keys.iter().filter(|key| !there.has_key(key)) {
            let missing = key.with_outer().filter(|outer| !there.has_key(outer));
            let missing: Vec<KeyPath> = missing.collect();
            first.note_made(missing);
            changes.push(Change::MakeKey(key.clone()));
        }
        let known: BTreeSet<Place> =
            first.all_before().map(|(key, name, _)| place(key, name)).collect();
        for (place, (key, name, value)) in &wanted {
            let is = there.value(key, name);
            if !known.contains(place) {
                let of_key = first.before.entry(key.clone()).or_default();
                of_key.insert(name.clone(), is.cloned());
            }
            if is != Some(value) {
                changes.push(Change::Set(key.clone(), name.clone(), value.clone()));
            }
        }
        let mut last = first.clone();
        last.before.clear();
        for (key, name, was) in first.all_before() {
            if wanted.contains_key(&place(key, name)) {
                last.before.entry(key.clone()).or_default().insert(name.clone(), was.clone());
            } else {
                changes.extend(undo(key, name, was.as_ref(), there.value(key, name)));
            }
        }
        let used: BTreeSet<String> =
            keys.iter().flat_map(KeyPath::with_outer).map(|key| key.folded()).collect();
        last.made.retain(|key| used.contains(&key.folded()));
        let left = first.made.iter().filter(|key| !last.made.contains(key));
        let mut left: Vec<KeyPath> = left.cloned().collect();
        // Those within others first.
        left.sort_by_key(|key| Reverse(key.with_outer().count()));
        changes.extend(left.into_iter().map(Change::DeleteEmptyKey));
        Decision { first, changes, last }
    }

    fn all_before(&self) -> impl Iterator<Item = (&KeyPath, &ValueName, &Option<Raw>)> {
        self.before
            .iter()
            .flat_map(|(key, values)| values.iter().map(move |(name, was)| (key, name, was)))
    }

    fn note_made(&mut self, keys: Vec<KeyPath>) {
        for key in keys {
            let is_known = self.made.iter().any(|made| made.folded() == key.folded());
            if !is_known {
                self.made.insert(key);
            }
        }
    }
}

/// What puts a value back, if it is not so already.
fn undo(key: &KeyPath, name: &ValueName, was: Option<&Raw>, is: Option<&Raw>) -> Option<Change> {
    if was == is {
        return None;
    }
    Some(match was {
        Some(was) => Change::Set(key.clone(), name.clone(), was.clone()),
        None => Change::Delete(key.clone(), name.clone()),
    })
}
