//! Keys of the registry of Windows, and the source of a service's events.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use stead_core::names::HostName;
use stead_core::registry::{
    EventSource, Hive, KEY_NAME_LEN_MAX, KeyPath, Registry, TEXT_LEN_MAX, VALUE_NAME_LEN_MAX,
    VALUES_MAX, Value, ValueName, units,
};
use toml::de::DeValue;

use crate::assemble::Written;
use crate::fleet::{Host, Os};
use crate::problem::{Problem, quoted};
use crate::raw::RawVariant;
use crate::read::{At, Bad, Entry, Field, FromText, Named, Node, Read, Reader, Span};
use crate::service::Part;

/// The path of a key that a service may have.
#[derive(Clone, Debug)]
pub(crate) struct RegistryKey(pub KeyPath);

impl FromText for RegistryKey {
    const WANTED: &'static str = "a key of the registry";
    const EXAMPLE: &'static str = "'HKLM\\SOFTWARE\\Shop\\orders'";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let path = KeyPath::try_from(text.to_owned()).map_err(|error| {
            let mended = text.replace('/', "\\").trim_end_matches('\\').to_owned();
            let is_mended = mended != text && KeyPath::try_from(mended.clone()).is_ok();
            Bad::new(error.to_string(), is_mended.then(|| format!("'{mended}'")))
        })?;
        if path.is_event_log() {
            let because = "the sources of the event log are there, which `event_source` makes";
            return Err(Bad::new(because, Some("event_source = \"Shop Orders\"".into())));
        }
        if path.is_shared() {
            let because = "the keys of everything on the host are in it: no service has it alone";
            return Err(Bad::new(because, Some(format!("'{path}\\Shop\\orders'"))));
        }
        Ok(Self(path))
    }

    fn text_schema() -> Json {
        let hive = "(HKLM|HKCU|HKEY_LOCAL_MACHINE|HKEY_CURRENT_USER)";
        json!({
            "type": "string",
            "pattern": format!("^{hive}(\\\\[^\\\\]{{1,{KEY_NAME_LEN_MAX}}}){{2,}}$"),
            "examples": ["HKLM\\SOFTWARE\\Shop\\orders"],
        })
    }
}

/// The name of a value of a key.
#[derive(Clone, Debug)]
pub(crate) struct RegistryName(pub ValueName);

impl FromText for RegistryName {
    const WANTED: &'static str = "the name of a value of the registry";
    const EXAMPLE: &'static str = "Listen";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let name = ValueName::try_from(text.to_owned());
        name.map(Self).map_err(|error| Bad::new(error.to_string(), None))
    }

    fn text_schema() -> Json {
        json!({ "type": "string", "maxLength": VALUE_NAME_LEN_MAX })
    }
}

/// A value of a key.
#[derive(Clone, Debug)]
pub(crate) struct RegistryValue(pub Value);

impl Read for RegistryValue {
    fn wanted() -> String {
        "a text, a whole number from 0 on, true or false, or a list of texts".into()
    }

    fn example() -> String {
        "\"127.0.0.1\"".into()
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let value = match node.value {
            DeValue::String(text) => text_of(node, text, reader).map(Value::Sz),
            DeValue::Boolean(value) => Some(Value::Dword(u32::from(*value))),
            DeValue::Integer(number) => {
                let number = i64::from_str_radix(number.as_str(), number.radix());
                let Some(number) = number.ok().and_then(|number| u64::try_from(number).ok()) else {
                    let because = format!("it must be a whole number from 0 to {}", i64::MAX);
                    reader.refuse(node, because, node.with("0"));
                    return None;
                };
                Some(u32::try_from(number).map_or(Value::Qword(number), Value::Dword))
            }
            DeValue::Array(_) => texts_of(node, reader).map(Value::MultiSz),
            DeValue::Datetime(_) | DeValue::Float(_) | DeValue::Table(_) => {
                reader.wrong_type::<Self>(node);
                None
            }
        };
        value.map(Self)
    }

    fn schema() -> Json {
        let text = json!({ "type": "string", "maxLength": TEXT_LEN_MAX });
        let mut item = text.clone();
        item["minLength"] = 1.into();
        json!({ "oneOf": [
            text,
            { "type": "integer", "minimum": 0 },
            { "type": "boolean" },
            { "type": "array", "items": item },
        ] })
    }
}

/// A text that the registry can hold.
fn text_of(node: &Node<'_>, text: &str, reader: &mut Reader<'_>) -> Option<String> {
    let because = if text.contains('\0') {
        "it holds a NUL, which ends a text for the system".to_owned()
    } else if units(text) > TEXT_LEN_MAX {
        format!("it has more than {TEXT_LEN_MAX} characters; what is as long belongs into a file")
    } else {
        return Some(text.to_owned());
    };
    reader.refuse(node, because, node.with(&RegistryValue::example()));
    None
}

/// Texts that the registry can hold as a list.
fn texts_of(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Vec<String>> {
    let items = reader.list::<RegistryValue>(node)?;
    let mut texts = Vec::new();
    for item in &items {
        let DeValue::String(text) = item.value else {
            let because = "the registry has lists of texts alone";
            reader.refuse(item, because.into(), "a text".into());
            continue;
        };
        if text.is_empty() {
            let because = "an empty text ends such a list for the system";
            reader.refuse(item, because.into(), "leave it out".into());
            continue;
        }
        texts.extend(text_of(item, text, reader));
    }
    let len: usize = texts.iter().map(|text| units(text) + 1).sum();
    if len > TEXT_LEN_MAX {
        let because = format!("its texts have more than {TEXT_LEN_MAX} characters together");
        reader.refuse(node, because, "a file".into());
        return None;
    }
    (texts.len() == items.len()).then_some(texts)
}

impl FromText for EventSource {
    const WANTED: &'static str = "the name of an event source";
    const EXAMPLE: &'static str = "Shop Orders";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let source = Self::try_from(text.to_owned());
        source.map_err(|error| Bad::new(error.to_string(), None))
    }

    fn text_schema() -> Json {
        json!({
            "type": "string",
            "pattern": format!("^[^\\\\]{{1,{KEY_NAME_LEN_MAX}}}$"),
            "examples": [Self::EXAMPLE],
        })
    }
}

/// What differs on Windows: what may differ on each system, and what no other system has.
#[derive(Debug)]
pub(crate) struct RawWindows {
    pub variant: RawVariant,
    pub registry: Field<RawRegistry>,
    pub event_source: Field<EventSource>,
}

/// Keys with their values, as written.
pub(crate) type RawRegistry = Named<RegistryKey, Named<RegistryName, RegistryValue>>;

/// A value that is written, with its key.
struct WrittenValue<'a> {
    key: &'a KeyPath,
    name: &'a At<RegistryName>,
    value: &'a Value,
}

fn keys(raw: &RawWindows) -> &[Entry<RegistryKey, Named<RegistryName, RegistryValue>>] {
    raw.registry.value().map_or(&[], |Named(keys)| keys)
}

/// All values whose key, name and value are right.
fn values(raw: &RawWindows) -> impl Iterator<Item = WrittenValue<'_>> {
    keys(raw).iter().flat_map(|entry| {
        let values = entry.value.as_ref().map_or(&[][..], |at| &at.value.0);
        values.iter().filter_map(|value| {
            let written = &value.value.as_ref()?.value.0;
            Some(WrittenValue { key: &entry.key.value.0, name: &value.key, value: written })
        })
    })
}

impl Part<'_, '_, '_> {
    /// What the file says of the registry. What is wrong in it is said.
    pub(crate) fn registry(&mut self, raw: &RawWindows, user: Option<&str>) -> Registry {
        let mut registry = Registry::default();
        let mut first: BTreeMap<String, &Span> = BTreeMap::new();
        for entry in keys(raw) {
            let At { span, value: RegistryKey(path) } = &entry.key;
            if let Some(first) = first.insert(path.folded(), span) {
                let what = format!("`{}` is there twice", quoted(&path.to_string()));
                let because =
                    "Windows takes upper and lower case in the name of a key for the same";
                let problem = Problem::new(span.clone(), what, because, "one table for both");
                self.reader.push(problem.seen_at(first.clone(), "the first"));
            }
            if let Some(user) = user.filter(|_| path.hive() == Hive::CurrentUser) {
                let what = format!("`{}` is not of `{}`", quoted(&path.to_string()), quoted(user));
                let because = "`HKCU` is of the account that the agent runs as";
                self.say(span, what, because, "a key of `HKLM`");
            }
            registry.0.entry(path.clone()).or_default();
        }
        let mut first: BTreeMap<(String, String), &Span> = BTreeMap::new();
        for WrittenValue { key, name: At { span, value: RegistryName(name) }, value } in values(raw)
        {
            if let Some(first) = first.insert((key.folded(), name.folded()), span) {
                let what = format!("`{}` is there twice in a key", quoted(name.as_str()));
                let because = "Windows takes upper and lower case in its name for the same";
                let problem = Problem::new(span.clone(), what, because, "remove one of them");
                self.reader.push(problem.seen_at(first.clone(), "the first"));
            }
            if first.len() == VALUES_MAX + 1 {
                let what = format!("service `{}` has too many values", self.name.value);
                let because = format!("a service may have {VALUES_MAX} in the registry");
                self.say(span, what, &because, "a file of its configuration");
            }
            registry.0.entry(key.clone()).or_default().insert(name.clone(), value.clone());
        }
        registry
    }
}

/// Checks that no two services of a host would have a value be different.
pub(crate) fn contradictions(
    services: &[Written<'_>],
    hosts: &BTreeMap<HostName, Host>,
    reader: &mut Reader<'_>,
) {
    let mut known: BTreeMap<(&HostName, String, String), (&Written<'_>, WrittenValue<'_>)> =
        BTreeMap::new();
    for written in services {
        let Some(raw) = written.raw.windows.value() else { continue };
        let runs_windows =
            |name: &&HostName| hosts.get(*name).is_some_and(|it| it.os == Os::Windows);
        let mut told: Vec<(String, String)> = Vec::new();
        for host in written.on.iter().filter(runs_windows) {
            for value in values(raw) {
                let (key, name) = (value.key.folded(), value.name.value.0.folded());
                match known.get(&(host, key.clone(), name.clone())) {
                    None => drop(known.insert((host, key, name), (written, value))),
                    Some((other, first))
                        if first.value != value.value && other.name.value != written.name.value =>
                    {
                        let is_told = told.contains(&(key.clone(), name.clone()));
                        if !is_told {
                            reader.push(contradiction((other, first), (written, &value)));
                            told.push((key, name));
                        }
                    }
                    Some(_) => (),
                }
            }
        }
    }
}

fn contradiction(
    (other, first): (&Written<'_>, &WrittenValue<'_>),
    (written, value): (&Written<'_>, &WrittenValue<'_>),
) -> Problem {
    let name = quoted(value.name.value.0.as_str());
    let what = format!(
        "`{}` and `{}` would have `{name}` be different",
        other.name.value, written.name.value
    );
    let because = "a value of the registry is one for the whole host";
    let try_this = "a key of its own for each service";
    let problem = Problem::new(value.name.span.clone(), what, because, try_this);
    problem.seen_at(first.name.span.clone(), format!("of `{}`", other.name.value))
}

impl Read for RawWindows {
    fn wanted() -> String {
        "a table".into()
    }

    fn example() -> String {
        RawVariant::example()
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let table = reader.table::<Self>(node)?;
        let names: Vec<&str> =
            RawVariant::FIELDS.iter().copied().chain(["registry", "event_source"]).collect();
        reader.unknown(node, table, "the part for Windows", &names);
        Some(Self {
            variant: RawVariant::read_fields(node, table, reader),
            registry: reader.field(node, table, "registry"),
            event_source: reader.field(node, table, "event_source"),
        })
    }

    fn schema() -> Json {
        let mut schema = RawVariant::schema();
        let mut registry = RawRegistry::schema();
        registry["description"] =
            "Keys of the registry with their values, set before a run begins and put back once no \
             service has them."
                .into();
        schema["properties"]["registry"] = registry;
        let mut source = EventSource::text_schema();
        source["description"] =
            "The name by which the application event log knows the messages of the service.".into();
        schema["properties"]["event_source"] = source;
        schema
    }
}
