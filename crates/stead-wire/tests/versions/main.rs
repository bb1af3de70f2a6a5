//! Versions that meet: everything that crosses between operator, agent, keeper and disk has samples
//! in `samples/`, of today and of before.
//!
//! A sample is never taken back: it is what an older stead says, or has left on a disk. Where a
//! type has changed, `STEAD_SAMPLES=add cargo test -p stead-wire --test versions` adds what it is
//! now behind the others. An older form says in `means` what it is in today's.

mod events;
mod fresh;
mod plans;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use stead_core::launch::Launch;
use stead_core::plan::Plan;
use stead_core::rollout::{HostMemory, HostRefusal};
use stead_wire::journal::Record;
use stead_wire::{api, frame, front, keeper, rollout, ship};

#[derive(Deserialize, Serialize)]
struct Sample {
    /// Which form it is of.
    form: String,
    sample: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    means: Option<Value>,
}

/// Reads a value as today's type, and says what it has understood.
type Read = fn(&Value) -> Result<Value, String>;

fn read<T: DeserializeOwned + Serialize>(value: &Value) -> Result<Value, String> {
    let text = value.to_string();
    let read: T = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Ok(serde_json::to_value(read).expect("what was read can be written"))
}

const TYPES: [(&str, Read); 26] = [
    ("act", read::<api::Act>),
    ("acted", read::<api::Acted>),
    ("agent-made", read::<ship::AgentMade>),
    ("event-line", read::<api::EventLine>),
    ("front-reply", read::<front::Reply>),
    ("front-request", read::<front::Request>),
    ("history", read::<rollout::History>),
    ("host", read::<api::Host>),
    ("host-refusal", read::<HostRefusal>),
    ("journal", read::<Record>),
    ("keeper-reply", read::<keeper::Reply>),
    ("keeper-request", read::<keeper::Request>),
    ("launch", read::<Launch>),
    ("log-line", read::<api::LogLine>),
    ("offer", read::<ship::Offer>),
    ("plan", read::<Plan>),
    ("plan-put", read::<api::PlanPut>),
    ("plan-state", read::<api::PlanState>),
    ("refusal", read::<api::Refusal>),
    ("rollout-ask", read::<rollout::RolloutAsk>),
    ("rollout-memory", read::<HostMemory<Plan>>),
    ("rollout-state", read::<rollout::RolloutState>),
    ("secret-offer", read::<ship::SecretOffer>),
    ("status", read::<api::Status>),
    ("wanted", read::<ship::Wanted>),
    ("why", read::<api::Why>),
];

/// Objects that are no struct, by the key that they stand under: in a map another key is another
/// entry, and a choice has one key.
const NO_STRUCTS: [&str; 16] = [
    "bases",
    "check",
    "env",
    "host-refusal",
    "how",
    "instances",
    "listen",
    "ports",
    "refused",
    "releases",
    "reload",
    "sandbox",
    "secrets",
    "stage",
    "times",
    "what",
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples").join(format!("{name}.json"))
}

fn samples(name: &str) -> Vec<Sample> {
    let Ok(text) = fs::read_to_string(path(name)) else { return Vec::new() };
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("samples of `{name}`: {error}"))
}

/// Every path in a value, with what is there.
fn shape(value: &Value, path: &str, paths: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(all) => {
            all.iter().for_each(|one| shape(one, &format!("{path}[]"), paths));
            "array"
        }
        Value::Object(all) => {
            all.iter().for_each(|(key, one)| shape(one, &format!("{path}.{key}"), paths));
            "object"
        }
    };
    paths.insert(format!("{path}: {kind}"));
}

fn shape_of(value: &Value) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    shape(value, "", &mut paths);
    // What a choice is: a text, or the key of an internally tagged one.
    for tag in ["do", "say", "event", "act"] {
        paths.extend(value[tag].as_str().map(|text| format!(".{tag}={text}")));
    }
    for choice in [&value["what"], &value["held"]["stage"], &value["installed"], value] {
        paths.extend(choice.as_str().map(|text| format!("={text}")));
    }
    paths
}

/// The same, with a field more in every struct of it.
fn with_more(value: &Value, key: &str) -> Value {
    match value {
        // Maps and choices all the way down, by names that are made up.
        Value::Object(_) if key == "registry" => value.clone(),
        Value::Array(all) => all.iter().map(|one| with_more(one, key)).collect(),
        Value::Object(all) => {
            let mut more: Map<String, Value> =
                all.iter().map(|(key, one)| (key.clone(), with_more(one, key))).collect();
            if !NO_STRUCTS.contains(&key) {
                more.insert("of_a_later_version".into(), json!({ "any": [1] }));
            }
            Value::Object(more)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

#[test]
fn everything_of_today_has_a_sample_of_its_shape() {
    let adds = std::env::var_os("STEAD_SAMPLES").is_some_and(|value| value == "add");
    let all = fresh::all();
    assert_eq!(all.len(), TYPES.len());
    let mut lacking = String::new();
    for (name, values) in all {
        let mut samples = samples(name);
        let known: BTreeSet<_> = samples.iter().map(|one| shape_of(&one.sample)).collect();
        let is_new = |value: &Value| !known.contains(&shape_of(value));
        for value in values.into_iter().filter(is_new) {
            lacking += &format!("{name}: {value}\n");
            let form = format!("of {}", env!("CARGO_PKG_VERSION"));
            samples.push(Sample { form, sample: value, means: None });
        }
        if adds {
            let text = serde_json::to_string_pretty(&samples).unwrap();
            fs::write(path(name), text + "\n").unwrap();
        }
    }
    assert!(
        adds || lacking.is_empty(),
        "these are of a shape without a sample:\n{lacking}`STEAD_SAMPLES=add` adds them; \
         leave those that are there, since older versions speak so"
    );
}

#[test]
fn what_an_older_version_says_is_read_and_means_the_same() {
    for (name, read) in TYPES {
        let samples = samples(name);
        assert!(!samples.is_empty(), "`{name}` has no sample");
        for Sample { form, sample, means } in samples {
            let understood =
                read(&sample).unwrap_or_else(|error| panic!("{name}, {form}: {error}"));
            assert_eq!(understood, means.unwrap_or(sample), "{name}, {form}");
        }
    }
}

#[test]
fn what_a_newer_version_says_besides_is_passed_over() {
    for (name, read) in TYPES {
        for Sample { form, sample, .. } in samples(name) {
            let more = with_more(&sample, name);
            let is_choice = more == sample;
            assert!(!is_choice || sample.is_string() || name == "host-refusal", "{name}, {form}");
            assert_eq!(read(&more), read(&sample), "{name}, {form}");
        }
    }
}

/// What must not be half understood, with something in it that no version knows.
fn unknown_choices() -> [(&'static str, Value); 9] {
    let plan = |spec: Value| json!({ "fleet": "f", "host": "h", "instances": { "a.0": spec } });
    [
        ("act", json!({ "names": ["a"], "act": "?" })),
        ("agent-made", json!({ "installed": "?" })),
        ("front-request", json!({ "do": "?" })),
        ("host-refusal", json!({ "?": {} })),
        ("journal", json!({ "at": 1, "event": "?" })),
        ("keeper-reply", json!({ "say": "?" })),
        ("keeper-request", json!({ "do": "?" })),
        ("plan", plan(json!({ "run": ["a"], "sandbox": { "?": {} } }))),
        ("rollout-ask", json!({ "epoch": 1, "id": "r1", "what": { "?": {} } })),
    ]
}

#[test]
fn what_is_asked_and_not_known_is_refused_with_what_is_known() {
    for (name, value) in unknown_choices() {
        let read = TYPES.iter().find(|(it, _)| *it == name).expect("it is among them").1;
        let error = read(&value).expect_err(name);
        let (what, known) = error.split_once(", expected ").expect(&error);
        assert_eq!(what, "unknown variant `?`", "{name}");
        if name == "plan" {
            continue;
        }
        let texts = samples(name).iter().map(|one| one.sample.to_string()).collect::<String>();
        for variant in known.split('`').skip(1).step_by(2) {
            assert!(texts.contains(&format!("\"{variant}\"")), "{name}: no sample of `{variant}`");
        }
    }
}

#[test]
fn a_record_of_a_later_kind_costs_no_other_record() {
    let records: Vec<Value> = samples("journal").into_iter().map(|one| one.sample).collect();
    let later = json!({ "at": 5, "event": "of-a-later-version" });
    let bytes: Vec<u8> =
        [&records[0], &later, &records[1]].into_iter().flat_map(frame::encode).collect();
    let whole = |one: &frame::Framed<Record>| matches!(one, frame::Framed::Whole(_));
    let read: Vec<bool> = frame::decode_all::<Record>(&bytes).iter().map(whole).collect();
    assert_eq!(read, [true, false, true]);
}
