//! The registry as a map, changed as it is decided.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::memory::{Change, Decision, Memory, There};
use super::*;
use crate::names::ServiceName;

fn key(text: &str) -> KeyPath {
    text.to_owned().try_into().unwrap()
}

fn name(text: &str) -> ValueName {
    text.to_owned().try_into().unwrap()
}

fn service(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn sz(text: &str) -> Value {
    Value::Sz(text.into())
}

/// A registry of these values.
fn registry(values: &[(&str, &str, Value)]) -> Registry {
    let mut all = Registry::default();
    for (path, value_name, value) in values {
        all.0.entry(key(path)).or_default().insert(name(value_name), value.clone());
    }
    all
}

/// A host's registry: each key, however it is spelled, with its values.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Model(BTreeMap<String, BTreeMap<String, Raw>>);

impl Model {
    fn of(values: &[(&str, &str, Value)]) -> Self {
        let mut model = Self::default();
        for (path, value_name, value) in values {
            model.carry_out(&Change::Set(key(path), name(value_name), value.into()));
        }
        model
    }

    fn there(&self, memory: &Memory) -> There {
        let mut there = There::default();
        for (path, names) in memory.places() {
            let Some(values) = self.0.get(&path.folded()) else { continue };
            there.add_key(&path);
            for name in names {
                if let Some(value) = values.get(&name.folded()) {
                    there.add_value(&path, &name, value.clone());
                }
            }
        }
        there
    }

    fn carry_out(&mut self, change: &Change) {
        match change {
            Change::MakeKey(path) => {
                for outer in path.with_outer() {
                    self.0.entry(outer.folded()).or_default();
                }
            }
            Change::Set(path, name, value) => {
                self.carry_out(&Change::MakeKey(path.clone()));
                let values = self.0.get_mut(&path.folded()).unwrap();
                values.insert(name.folded(), value.clone());
            }
            Change::Delete(path, name) => {
                if let Some(values) = self.0.get_mut(&path.folded()) {
                    values.remove(&name.folded());
                }
            }
            Change::DeleteEmptyKey(path) => {
                let path = path.folded();
                let has_inner = self.0.keys().any(|other| other.starts_with(&format!("{path}\\")));
                if !has_inner && self.0.get(&path).is_some_and(BTreeMap::is_empty) {
                    self.0.remove(&path);
                }
            }
        }
    }

    /// Changes what a service has. Whoever does it is killed after so many steps: to remember is
    /// one, and each change.
    fn want(&mut self, memory: &mut Memory, who: &str, what: Option<&Registry>, steps_n: usize) {
        let mut next = memory.clone();
        match what {
            Some(what) => drop(next.services.insert(service(who), what.clone())),
            None => drop(next.services.remove(&service(who))),
        }
        let there = self.there(&next);
        let Decision { first, changes, last } = next.decide(&there);
        let mut left = steps_n;
        let mut step = || {
            left = left.saturating_sub(1);
            left > 0
        };
        if !step() {
            return;
        }
        *memory = first;
        for change in changes {
            if !step() {
                return;
            }
            self.carry_out(&change);
        }
        if step() {
            *memory = last;
        }
    }
}

/// More steps than there are.
const TO_THE_END: usize = usize::MAX;

#[test]
fn values_are_as_the_system_holds_them() {
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let cases = [
        (sz("aé"), 1, wide("aé\0")),
        (sz(""), 1, wide("\0")),
        (Value::ExpandSz("%A%".into()), 2, wide("%A%\0")),
        (Value::Dword(0x0102_0304), 4, vec![4, 3, 2, 1]),
        (Value::MultiSz(vec!["C:\\a".into(), "b".into()]), 7, wide("C:\\a\0b\0\0")),
        (Value::MultiSz(Vec::new()), 7, wide("\0")),
        (Value::Qword(1 << 32), 11, vec![0, 0, 0, 0, 1, 0, 0, 0]),
    ];
    for (value, kind, bytes) in cases {
        let raw = Raw::from(&value);
        assert_eq!(raw, Raw { kind, bytes }, "{value:?}");
        let told = serde_json::to_string(&raw).unwrap();
        assert_eq!(serde_json::from_str::<Raw>(&told).unwrap(), raw, "{told}");
    }
    for bad in ["0", "0g", "+1"] {
        let told = format!("{{\"kind\":1,\"bytes\":\"{bad}\"}}");
        assert!(serde_json::from_str::<Raw>(&told).is_err(), "{told}");
    }
}

#[test]
fn a_path_has_one_hive_and_names_that_the_system_takes() {
    let deep = |n: usize| format!("HKLM{}", "\\a".repeat(n));
    let long = |n: usize| format!("HKLM\\{}", "ä".repeat(n));
    let cases = [
        ("HKLM\\SOFTWARE\\Shop".into(), Ok("HKLM\\SOFTWARE\\Shop")),
        ("hkey_local_machine\\Software".into(), Ok("HKLM\\Software")),
        ("HKEY_CURRENT_USER\\a b/c".into(), Ok("HKCU\\a b/c")),
        ("HKU\\a".into(), Err(KeyPathError::Hive)),
        ("SOFTWARE\\Shop".into(), Err(KeyPathError::Hive)),
        ("HKLM".into(), Err(KeyPathError::HiveAlone)),
        ("HKLM\\".into(), Err(KeyPathError::HiveAlone)),
        ("HKLM\\a\\\\b".into(), Err(KeyPathError::NameEmpty)),
        ("HKLM\\a\\".into(), Err(KeyPathError::NameEmpty)),
        ("HKLM\\a\0b".into(), Err(KeyPathError::NameOdd)),
        (long(KEY_NAME_LEN_MAX + 1), Err(KeyPathError::NameTooLong)),
        (deep(KEY_NAMES_MAX + 1), Err(KeyPathError::TooDeep)),
    ];
    for (text, expected) in cases {
        let path = KeyPath::try_from(text.clone()).map(|path| path.to_string());
        assert_eq!(path, expected.map(Into::into), "{text}");
    }
    assert!(KeyPath::try_from(long(KEY_NAME_LEN_MAX)).is_ok());
    assert!(KeyPath::try_from(deep(KEY_NAMES_MAX)).is_ok());
    assert_eq!(key("HKLM\\straße\\Ä").folded(), key("hklm\\STRAßE\\ä").folded());
    let outer: Vec<String> = key("HKLM\\a\\b\\c").with_outer().map(Into::into).collect();
    assert_eq!(outer, ["HKLM\\a", "HKLM\\a\\b", "HKLM\\a\\b\\c"]);
}

#[test]
fn an_event_source_is_values_of_a_key_that_nobody_else_may_name() {
    let source = |text: &str| EventSource::try_from(text.to_owned());
    let cases = [
        ("", EventSourceError::Empty),
        ("a\\b", EventSourceError::Odd),
        ("system", EventSourceError::Log),
        (&"a".repeat(KEY_NAME_LEN_MAX + 1), EventSourceError::TooLong),
    ];
    for (text, error) in cases {
        assert_eq!(source(text), Err(error), "{text}");
    }
    let all = Registry::default().with_event_source(source("Shop Orders").ok().as_ref());
    let (path, values) = all.0.first_key_value().unwrap();
    assert!(path.to_string().ends_with("\\Application\\Shop Orders"));
    assert!(values.contains_key(&name("EventMessageFile")));
    let cases = [
        (path.to_string(), true),
        ("hklm\\system\\ControlSet001\\services\\eventlog".into(), true),
        ("HKCU\\SYSTEM\\CurrentControlSet\\Services\\EventLog".into(), false),
        ("HKLM\\SYSTEM\\CurrentControlSet\\Services\\orders".into(), false),
    ];
    for (text, expected) in cases {
        assert_eq!(key(&text).is_event_log(), expected, "{text}");
    }
}

#[test]
fn two_that_would_have_a_value_be_different_contradict_each_other() {
    let a = registry(&[("HKLM\\SOFTWARE\\Shop", "Listen", sz("1"))]);
    let other_spelling = registry(&[("HKLM\\Software\\SHOP", "LISTEN", sz("1"))]);
    let other_value = registry(&[("HKLM\\Software\\SHOP", "LISTEN", sz("2"))]);
    assert_eq!(contradiction([&a, &other_spelling].into_iter()), None);
    let found = contradiction([&a, &other_value].into_iter()).unwrap();
    assert_eq!((found.0.to_string(), found.1.as_str()), ("HKLM\\Software\\SHOP".into(), "LISTEN"));
}

#[test]
fn values_are_set_changed_and_put_back_with_the_keys_that_were_made() {
    let path = "HKLM\\SOFTWARE\\Shop\\orders";
    let before = [("HKLM\\SOFTWARE\\Shop", "Old", Value::Dword(1))];
    let mut model = Model::of(&before);
    let untouched = model.clone();
    let mut memory = Memory::default();
    let first = registry(&[(path, "Listen", sz("a")), ("HKLM\\software\\SHOP", "old", sz("b"))]);
    model.want(&mut memory, "orders", Some(&first), TO_THE_END);
    let expected =
        Model::of(&[(path, "Listen", sz("a")), ("HKLM\\SOFTWARE\\Shop", "Old", sz("b"))]);
    assert_eq!(model, expected);
    // The same once more is nothing to do.
    let decision = memory.clone().decide(&model.there(&memory));
    assert_eq!((&decision.changes[..], &decision.last), (&[][..], &memory));
    // One value changes, one is no more.
    let second = registry(&[(path, "Listen", sz("c"))]);
    model.want(&mut memory, "orders", Some(&second), TO_THE_END);
    let expected = Model::of(&[(path, "Listen", sz("c")), before[0].clone()]);
    assert_eq!(model, expected);
    // Another service has it as well: it stays until neither has it.
    model.want(&mut memory, "carts", Some(&second), TO_THE_END);
    model.want(&mut memory, "orders", None, TO_THE_END);
    assert_eq!(model, expected);
    model.want(&mut memory, "carts", None, TO_THE_END);
    assert_eq!(model, untouched);
    assert!(memory.is_empty());
}

#[test]
fn what_others_changed_or_put_beside_is_put_back_and_left() {
    let path = "HKLM\\SOFTWARE\\Shop";
    let mut model = Model::of(&[(path, "Old", Value::Dword(1))]);
    let mut memory = Memory::default();
    let inner = "HKLM\\SOFTWARE\\Shop\\orders";
    let ours = registry(&[(path, "Old", sz("a")), (inner, "Listen", sz("a"))]);
    model.want(&mut memory, "orders", Some(&ours), TO_THE_END);
    model.carry_out(&Change::Set(key(path), name("Old"), Raw::from(&sz("drifted"))));
    model.carry_out(&Change::Set(key(inner), name("Theirs"), Raw::from(&sz("theirs"))));
    let mut healed = model.clone();
    healed.want(&mut memory.clone(), "orders", Some(&ours), TO_THE_END);
    assert_eq!(healed.0[&key(path).folded()]["OLD"], Raw::from(&sz("a")));
    model.want(&mut memory, "orders", None, TO_THE_END);
    let expected = Model::of(&[(path, "Old", Value::Dword(1)), (inner, "Theirs", sz("theirs"))]);
    assert_eq!(model, expected);
    assert!(memory.is_empty());
}

fn values() -> impl Strategy<Value = Vec<(String, String, Value)>> {
    let path = prop::collection::vec(prop::sample::select(vec!["a", "A", "b"]), 1..4);
    let path = path.prop_map(|names| format!("HKLM\\{}", names.join("\\")));
    let name = prop::sample::select(vec!["x", "X", "y", ""]).prop_map(ToOwned::to_owned);
    let value = prop_oneof![Just(sz("1")), Just(sz("2")), Just(Value::Dword(1))];
    prop::collection::vec((path, name, value), 0..5)
}

fn wanted() -> impl Strategy<Value = Registry> {
    // Each value once, however it is spelled, as a fleet file has it.
    values().prop_map(|values| {
        let mut all = Registry::default();
        for (path, value_name, value) in values {
            let (path, value_name) = (key(&path), name(&value_name));
            let is_there = all.values().any(|(key, name, _)| {
                (key.folded(), name.folded()) == (path.folded(), value_name.folded())
            });
            if !is_there {
                all.0.entry(path).or_default().insert(value_name, value);
            }
        }
        all
    })
}

proptest! {
    #[test]
    fn whatever_services_had_and_whenever_one_was_killed_all_is_as_before_in_the_end(
        before in values(),
        asked in prop::collection::vec((0..3_usize, prop::option::of(wanted()), 0..12_usize), 0..8),
    ) {
        let before: Vec<_> =
            before.iter().map(|(path, name, it)| (&**path, &**name, it.clone())).collect();
        let mut model = Model::of(&before);
        let untouched = model.clone();
        let mut memory = Memory::default();
        let names = ["a", "b", "c"];
        for (who, what, steps_n) in asked {
            model.want(&mut memory, names[who], what.as_ref(), steps_n);
            // Whoever comes next completes it.
            model.want(&mut memory, names[who], what.as_ref(), TO_THE_END);
            for (path, name, value) in what.iter().flat_map(Registry::values) {
                let is = model.0.get(&path.folded()).and_then(|key| key.get(&name.folded()));
                let others = memory.services.values().flat_map(Registry::values);
                let all: Vec<_> = others
                    .filter(|it| (it.0.folded(), it.1.folded()) == (path.folded(), name.folded()))
                    .map(|(_, _, value)| Raw::from(value))
                    .collect();
                prop_assert!(is.is_some_and(|is| all.contains(is)), "{path} {value:?}");
            }
        }
        for who in names {
            model.want(&mut memory, who, None, TO_THE_END);
        }
        prop_assert_eq!(model, untouched);
        prop_assert!(memory.is_empty());
    }

    /// Control: who touches before it remembers leaves behind what nobody puts back.
    #[test]
    fn control_without_a_memory_what_was_there_is_lost(ours in wanted()) {
        let mut model = Model::default();
        let untouched = model.clone();
        let mut memory = Memory::default();
        model.want(&mut memory, "a", Some(&ours), TO_THE_END);
        let mut forgetful = Memory::default();
        model.want(&mut forgetful, "a", None, TO_THE_END);
        prop_assert_eq!(model == untouched, ours.is_empty());
    }
}
