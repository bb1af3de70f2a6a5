//! Keys of the registry of Windows that belong to a service: what they are to be. What is to be
//! done for that is decided in [`memory`].

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

mod raw;

pub mod memory;

pub use raw::Raw;

/// The longest name of one key, in UTF-16 units: the system takes no longer one.
pub const KEY_NAME_LEN_MAX: usize = 255;
/// The most names of a path below its hive: so many keys the system makes in one call.
pub const KEY_NAMES_MAX: usize = 32;
/// The longest name of a value, in UTF-16 units: the system takes no longer one.
pub const VALUE_NAME_LEN_MAX: usize = 16_383;
/// The longest text of a value, in UTF-16 units, each with its end: as for a variable. What is
/// longer belongs into a file.
pub const TEXT_LEN_MAX: usize = 32_767;
/// The most values of one service: all of them are in the plan, and read at each switch.
pub const VALUES_MAX: usize = 1_000;

/// Where a tree of keys begins.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Hive {
    /// Of the account that the agent runs as.
    CurrentUser,
    LocalMachine,
}

/// Each hive with its short name, which is written, and its long one, which is read as well.
pub const HIVES: [(Hive, &str, &str); 2] = [
    (Hive::CurrentUser, "HKCU", "HKEY_CURRENT_USER"),
    (Hive::LocalMachine, "HKLM", "HKEY_LOCAL_MACHINE"),
];

impl Hive {
    fn short(self) -> &'static str {
        match self {
            Self::CurrentUser => "HKCU",
            Self::LocalMachine => "HKLM",
        }
    }
}

/// The path of a key: a hive, and below it one name at least, like `HKLM\SOFTWARE\Shop\orders`.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyPath {
    hive: Hive,
    /// With `\` between two names.
    names: String,
}

/// Why a text is no path of a key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyPathError {
    #[error("it must begin with `HKLM\\` or `HKCU\\`, by their long names as well")]
    Hive,
    #[error("it names a hive, which is no key of a service")]
    HiveAlone,
    #[error("a key has a name, and between two `\\` there is none")]
    NameEmpty,
    #[error("the name of a key has no control characters")]
    NameOdd,
    #[error("the name of a key has {KEY_NAME_LEN_MAX} characters at most")]
    NameTooLong,
    #[error("a key is {KEY_NAMES_MAX} names deep at most")]
    TooDeep,
}

impl KeyPath {
    pub fn hive(&self) -> Hive {
        self.hive
    }

    /// The path below its hive.
    pub fn names(&self) -> &str {
        &self.names
    }

    /// The same for any spelling of the same key.
    pub fn folded(&self) -> String {
        format!("{}\\{}", self.hive.short(), folded(&self.names))
    }

    /// The keys that it is in, from the outermost on, and the key itself.
    pub fn with_outer(&self) -> impl Iterator<Item = Self> {
        let ends = self.names.match_indices('\\').map(|(end, _)| end);
        let ends: Vec<usize> = ends.chain([self.names.len()]).collect();
        let outer = |end| Self { hive: self.hive, names: self.names[..end].into() };
        ends.into_iter().map(outer)
    }

    /// Whether it is directly below its hive, where the keys of all are.
    pub fn is_shared(&self) -> bool {
        !self.names.contains('\\')
    }

    /// Whether it is among the sources of the event log.
    pub fn is_event_log(&self) -> bool {
        let names = folded(&self.names);
        let names: Vec<&str> = names.split('\\').collect();
        // The second one is a set of controls: the current one, or one by its number.
        self.hive == Hive::LocalMachine
            && matches!(names.as_slice(), ["SYSTEM", _, "SERVICES", "EVENTLOG", ..])
    }
}

impl TryFrom<String> for KeyPath {
    type Error = KeyPathError;
    fn try_from(text: String) -> Result<Self, KeyPathError> {
        let (hive, names) = text.split_once('\\').unwrap_or((&text, ""));
        let is_meant = |name: &str| name.eq_ignore_ascii_case(hive);
        let known = HIVES.iter().find(|(_, short, long)| is_meant(short) || is_meant(long));
        let (hive, ..) = known.ok_or(KeyPathError::Hive)?;
        if names.is_empty() {
            return Err(KeyPathError::HiveAlone);
        }
        for name in names.split('\\') {
            if name.is_empty() {
                return Err(KeyPathError::NameEmpty);
            }
            if name.contains(char::is_control) {
                return Err(KeyPathError::NameOdd);
            }
            if units(name) > KEY_NAME_LEN_MAX {
                return Err(KeyPathError::NameTooLong);
            }
        }
        if names.split('\\').count() > KEY_NAMES_MAX {
            return Err(KeyPathError::TooDeep);
        }
        Ok(Self { hive: *hive, names: names.into() })
    }
}

impl From<KeyPath> for String {
    fn from(path: KeyPath) -> Self {
        format!("{path}")
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\\{}", self.hive.short(), self.names)
    }
}

/// The name of a value; empty for the one that a key has without a name.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ValueName(String);

/// Why a text is not the name of a value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ValueNameError {
    #[error("the name of a value has no NUL")]
    Nul,
    #[error("the name of a value has {VALUE_NAME_LEN_MAX} characters at most")]
    TooLong,
}

impl ValueName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same for any spelling of the same name.
    pub fn folded(&self) -> String {
        folded(&self.0)
    }
}

impl TryFrom<String> for ValueName {
    type Error = ValueNameError;
    fn try_from(text: String) -> Result<Self, ValueNameError> {
        match text {
            text if text.contains('\0') => Err(ValueNameError::Nul),
            text if units(&text) > VALUE_NAME_LEN_MAX => Err(ValueNameError::TooLong),
            text => Ok(Self(text)),
        }
    }
}

impl From<ValueName> for String {
    fn from(name: ValueName) -> Self {
        name.0
    }
}

/// How long a text is for the system.
pub fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// A name as the system compares it: character by character in upper case.
fn folded(text: &str) -> String {
    let upper = |c: char| {
        let mut upper = c.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(upper), None) => upper,
            (_, _) => c,
        }
    };
    text.chars().map(upper).collect()
}

/// What a value is to be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    Dword(u32),
    /// A text with variables that who reads it fills in.
    ExpandSz(String),
    /// No text of them is empty: the system ends such a list there.
    MultiSz(Vec<String>),
    Qword(u64),
    Sz(String),
}

/// The keys of a service with their values.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Registry(pub BTreeMap<KeyPath, BTreeMap<ValueName, Value>>);

impl Registry {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every value with its key.
    pub fn values(&self) -> impl Iterator<Item = (&KeyPath, &ValueName, &Value)> {
        self.0
            .iter()
            .flat_map(|(key, values)| values.iter().map(move |(name, value)| (key, name, value)))
    }

    /// The same with what makes a source of the application event log known.
    #[must_use]
    pub fn with_event_source(mut self, source: Option<&EventSource>) -> Self {
        if let Some(source) = source {
            let (key, values) = source.values();
            self.0.entry(key).or_default().extend(values);
        }
        self
    }
}

/// A value that several services would have be something else each.
pub fn contradiction<'a>(
    all: impl Iterator<Item = &'a Registry>,
) -> Option<(&'a KeyPath, &'a ValueName)> {
    let mut known: BTreeMap<(String, String), &Value> = BTreeMap::new();
    let mut values = all.flat_map(Registry::values);
    values.find_map(|(key, name, value)| {
        let first = known.entry((key.folded(), name.folded())).or_insert(value);
        (*first != value).then_some((key, name))
    })
}

/// The name by which the application event log knows messages.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventSource(String);

/// Why a text is not the name of an event source.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EventSourceError {
    #[error("a source has a name")]
    Empty,
    #[error("a log of the system is called so")]
    Log,
    #[error("its name has no `\\` and no control characters")]
    Odd,
    #[error("its name has {KEY_NAME_LEN_MAX} characters at most")]
    TooLong,
}

/// Logs that each system has, which no source may be called like.
const LOGS: [&str; 3] = ["APPLICATION", "SECURITY", "SYSTEM"];
/// Where the sources of the application event log are.
const SOURCES: &str = "SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application";
/// A program of every Windows that has, for the numbers from 1 to 1000, a message which is the
/// text that comes with the event.
const MESSAGES: &str = "%SystemRoot%\\System32\\EventCreate.exe";
/// Errors, warnings and information.
const TYPES_SUPPORTED: u32 = 7;

impl EventSource {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its key and what is in that.
    fn values(&self) -> (KeyPath, BTreeMap<ValueName, Value>) {
        let key =
            KeyPath { hive: Hive::LocalMachine, names: format!("{SOURCES}\\{}", self.as_str()) };
        let values = [
            ("EventMessageFile", Value::ExpandSz(MESSAGES.into())),
            ("TypesSupported", Value::Dword(TYPES_SUPPORTED)),
        ];
        (key, values.map(|(name, value)| (ValueName(name.into()), value)).into())
    }
}

impl TryFrom<String> for EventSource {
    type Error = EventSourceError;
    fn try_from(text: String) -> Result<Self, EventSourceError> {
        if text.trim().is_empty() {
            return Err(EventSourceError::Empty);
        }
        if text.contains('\\') || text.contains(char::is_control) {
            return Err(EventSourceError::Odd);
        }
        if units(&text) > KEY_NAME_LEN_MAX {
            return Err(EventSourceError::TooLong);
        }
        if LOGS.contains(&folded(&text).as_str()) {
            return Err(EventSourceError::Log);
        }
        Ok(Self(text))
    }
}

impl From<EventSource> for String {
    fn from(source: EventSource) -> Self {
        source.0
    }
}

#[cfg(test)]
mod tests;
