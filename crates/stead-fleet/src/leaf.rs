//! The single values of a fleet file that are names, words and texts.

use serde_json::{Value, json};
use stead_core::names::{FleetName, HostName, NAME_LEN_MAX, NameError, SecretName, ServiceName};
use stead_core::plan::{Enforce, When};
use stead_core::signal::{SIGNALS, Signal};
use toml::de::DeValue;

use crate::fleet::{Address, Os};
use crate::read::{Bad, FromText, Node, Read, Reader};
use crate::suggest::nearest;

fn name<T: std::str::FromStr<Err = NameError>>(text: &str) -> Result<T, Bad> {
    text.parse().map_err(|error: NameError| {
        let lower = text.to_lowercase();
        let mended: String =
            lower.chars().map(|c| if "_. ".contains(c) { '-' } else { c }).collect();
        let mended = mended.trim_matches('-').to_owned();
        Bad::new(error.to_string(), mended.parse::<T>().is_ok().then_some(mended))
    })
}

fn name_schema(example: &str) -> Value {
    let rest = NAME_LEN_MAX - 1;
    json!({
        "type": "string",
        "pattern": format!("^[a-z][a-z0-9-]{{0,{rest}}}$"),
        "examples": [example],
    })
}

macro_rules! names {
    ($($kind:ty, $wanted:literal, $example:literal;)+) => {
        $(impl FromText for $kind {
            const WANTED: &'static str = $wanted;
            const EXAMPLE: &'static str = $example;

            fn from_text(text: &str) -> Result<Self, Bad> {
                name(text)
            }

            fn text_schema() -> Value {
                name_schema($example)
            }
        })+
    };
}

names! {
    FleetName, "the name of a fleet", "shop";
    HostName, "the name of a host", "vm1";
    SecretName, "the name of a secret", "db-password";
    ServiceName, "the name of a service", "orders";
}

/// The name of a port of a service, by the rule of other names.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct PortName(pub String);

impl FromText for PortName {
    const WANTED: &'static str = "the name of a port";
    const EXAMPLE: &'static str = "http";

    fn from_text(text: &str) -> Result<Self, Bad> {
        // The rule is the same for every name; which one is parsed does not matter.
        name::<ServiceName>(text).map(|name| Self(name.as_str().to_owned()))
    }

    fn from_number(_: &str) -> Option<String> {
        Some("http".into())
    }

    fn text_schema() -> Value {
        name_schema(Self::EXAMPLE)
    }
}

const NUL: &str = "it holds a NUL byte, which ends a text for the system";

/// A text that may hold places like `{data}`; they are checked once the ports are known.
#[derive(Clone, Debug)]
pub(crate) struct Text(pub String);

impl FromText for Text {
    const WANTED: &'static str = "a text";
    const EXAMPLE: &'static str = "{data}";

    fn from_text(text: &str) -> Result<Self, Bad> {
        if text.contains('\0') {
            return Err(Bad::new(NUL, Some(text.replace('\0', ""))));
        }
        Ok(Self(text.into()))
    }

    fn from_number(number: &str) -> Option<String> {
        Some(number.into())
    }
}

/// A command for the operator's shell.
#[derive(Clone, Debug)]
pub(crate) struct Build(pub String);

impl FromText for Build {
    const WANTED: &'static str = "a command";
    const EXAMPLE: &'static str = "cargo build --release";

    fn from_text(text: &str) -> Result<Self, Bad> {
        shell_command(text, "an empty command builds nothing; leave `build` out").map(Self)
    }
}

/// A command for the operator's shell; `empty` says what is wrong with none.
pub(crate) fn shell_command(text: &str, empty: &str) -> Result<String, Bad> {
    if text.trim().is_empty() {
        return Err(Bad::new(empty, None));
    }
    Text::from_text(text).map(|text| text.0)
}

/// A file or folder of a release, with `/` between its parts.
#[derive(Clone, Debug)]
pub(crate) struct FilePath(pub String);

impl FilePath {
    /// What it is called in the release: the last part of its path.
    pub(crate) fn base_name(&self) -> Option<&str> {
        let last = self.0.trim_end_matches('/').rsplit('/').next();
        last.filter(|last| !matches!(*last, "" | "." | ".."))
    }
}

impl FromText for FilePath {
    const WANTED: &'static str = "the path of a file or folder";
    const EXAMPLE: &'static str = "target/release/orders";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let path = Self(text.into());
        if text.contains('\0') {
            return Err(Bad::new(NUL, Some(text.replace('\0', ""))));
        }
        if text.contains('\\') {
            let because = "paths are written with `/` on every system";
            return Err(Bad::new(because, Some(text.replace('\\', "/"))));
        }
        if text.contains(['*', '?']) {
            let because = "a path is taken as it is, without patterns";
            let folder = text.split(['*', '?']).next().unwrap_or("").rfind('/');
            return Err(Bad::new(because, folder.map(|end| text[..=end].into())));
        }
        if path.base_name().is_none() {
            let because = "it names no file or folder that could have a name in the release";
            return Err(Bad::new(because, None));
        }
        Ok(path)
    }
}

/// Program and arguments.
#[derive(Clone, Debug)]
pub(crate) struct Argv(pub Vec<crate::read::At<Text>>);

impl Read for Argv {
    fn wanted() -> String {
        "a list of a program and its arguments".into()
    }

    fn example() -> String {
        r#"["./orders", "--data", "{data}"]"#.into()
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        if let DeValue::String(text) = node.value {
            let words: Vec<_> = text.split_whitespace().map(crate::problem::toml_text).collect();
            let because = format!("no shell splits it: {} belongs there", Self::wanted());
            let meant = format!("[{}]", words.join(", "));
            let meant = if words.is_empty() { Self::example() } else { meant };
            reader.refuse(node, because, node.with(&meant));
            return None;
        }
        let items = reader.list::<Self>(node)?;
        let empty = matches!(node.value.as_array(), Some(list)
            if list.iter().next().is_none_or(|first| first.get_ref().as_str() == Some("")));
        if empty {
            let because = "its first text is the program, and there is none";
            reader.refuse(node, because.into(), node.with(&Self::example()));
            return None;
        }
        let texts = items.iter().filter_map(|item| {
            let value = Text::read(item, reader)?;
            Some(crate::read::At { span: item.span.clone(), value })
        });
        let texts: Vec<_> = texts.collect();
        (texts.len() == items.len()).then_some(Self(texts))
    }

    fn schema() -> Value {
        json!({ "type": "array", "items": Text::text_schema(), "minItems": 1 })
    }
}

/// The start of names that only stead may set.
pub(crate) const RESERVED: &str = "STEAD_";

/// The name of an environment variable.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct EnvName(pub String);

impl EnvName {
    pub(crate) const LEN_MAX: usize = 256;
}

impl FromText for EnvName {
    const WANTED: &'static str = "the name of an environment variable";
    const EXAMPLE: &'static str = "RUST_LOG";

    fn from_text(text: &str) -> Result<Self, Bad> {
        if text.to_ascii_uppercase().starts_with(RESERVED) {
            let because = format!("names that begin with {RESERVED} are stead's own");
            let rest = text[RESERVED.len()..].to_owned();
            return Err(Bad::new(because, (!rest.is_empty()).then_some(rest)));
        }
        let odd = |c: char| c == '=' || c.is_whitespace() || c.is_control();
        let mended = || {
            let mended: String = text.chars().filter(|c| !odd(*c)).collect();
            (!mended.is_empty()).then_some(mended)
        };
        if text.is_empty() {
            return Err(Bad::new("a name may not be empty", None));
        }
        if text.len() > Self::LEN_MAX {
            let because = format!("a name may not be longer than {} bytes", Self::LEN_MAX);
            return Err(Bad::new(because, None));
        }
        if text.contains(odd) {
            let because = "a name may not contain `=`, spaces or control characters";
            return Err(Bad::new(because, mended()));
        }
        Ok(Self(text.into()))
    }

    fn text_schema() -> Value {
        json!({
            "type": "string",
            "pattern": format!("^(?!{RESERVED})[^=\\s]{{1,{}}}$", Self::LEN_MAX),
        })
    }
}

/// The name of a user or a group.
#[derive(Clone, Debug)]
pub(crate) struct Account(pub String);

impl FromText for Account {
    const WANTED: &'static str = "the name of an account";
    const EXAMPLE: &'static str = "orders";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let odd = |c: char| c.is_control() || matches!(c, ':' | '/' | ',');
        if text.trim().is_empty() {
            return Err(Bad::new("a name may not be empty", None));
        }
        if text.contains(odd) || text.starts_with(['-', '+', ' ']) {
            return Err(Bad::new("no account can have such a name", None));
        }
        Ok(Self(text.into()))
    }

    fn from_number(number: &str) -> Option<String> {
        Some(number.into())
    }
}

/// How a host is reached.
/// A folder on a host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HostRoot(pub String);

/// Whether a path begins with a drive of Windows.
fn on_drive(text: &str) -> bool {
    let bytes = text.as_bytes();
    matches!(bytes, [letter, b':', b'/' | b'\\', ..] if letter.is_ascii_alphabetic())
}

impl HostRoot {
    /// Why a host with this system cannot have it, if so: a line for cmd has no way to quote that
    /// PowerShell would leave alone.
    pub(crate) fn unfit(&self, os: Os) -> Option<&'static str> {
        let is_plain = |c: char| c.is_alphanumeric() || "\\/:._-".contains(c);
        match (os, on_drive(&self.0)) {
            (Os::Linux, true) => Some("there are no drives on Linux"),
            (Os::Windows, false) => Some("a folder of Windows begins with a drive"),
            (Os::Windows, true) if self.0.len() <= "C:\\".len() => {
                Some("a drive is no folder of stead's own")
            }
            (Os::Windows, true) if self.0.matches(':').count() > 1 => {
                Some("on Windows `:` comes after the letter of the drive alone")
            }
            (Os::Windows, true) if !self.0.chars().all(is_plain) => {
                Some("on Windows it has letters, digits, `.`, `_` and `-` only")
            }
            (Os::Linux, false) | (Os::Windows, true) => None,
        }
    }
}

impl FromText for HostRoot {
    const WANTED: &'static str = "a folder, from `/` or a drive on";
    const EXAMPLE: &'static str = "/srv/stead";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let is_plain = |part: &str| !matches!(part, "." | "..");
        if !text.starts_with('/') && !on_drive(text) {
            let meant = (!text.is_empty()).then(|| format!("/{}", text.trim_start_matches("./")));
            return Err(Bad::new(
                "where a relative folder is on another host, nobody knows",
                meant,
            ));
        }
        if !text.split(['/', '\\']).all(is_plain) || text.contains(char::is_control) {
            return Err(Bad::new("it must name the folder itself, without `..`", None));
        }
        Ok(Self(text.into()))
    }
}

impl FromText for Address {
    const WANTED: &'static str = "an address for ssh, or `local`";
    const EXAMPLE: &'static str = "deploy@10.0.0.11";

    fn from_text(text: &str) -> Result<Self, Bad> {
        if text == "local" {
            return Ok(Self::Local);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "@.-_:[]%+\\".contains(c);
        let (user, host) = text.rsplit_once('@').unwrap_or(("-", text));
        let because = if text.contains("://") {
            "an address is USER@HOST without a scheme"
        } else if host.is_empty() || user.is_empty() {
            "an address names a host, and before an `@` a user"
        } else if host.starts_with('-') || text.starts_with('-') {
            "ssh would take what begins with `-` as an option"
        } else if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
            let meant = text.chars().filter(|c| allowed(*c)).collect();
            return Err(Bad::new(format!("an address may not contain {bad:?}"), Some(meant)));
        } else {
            return Ok(Self::Ssh(text.into()));
        };
        let meant = text.split_once("://").map(|(_, rest)| rest.trim_end_matches('/').to_owned());
        Err(Bad::new(because, meant))
    }
}

/// One of a few words.
pub(crate) fn choice<T: Copy>(
    text: &str,
    all: &[(&str, T)],
    elsewhere: &[(&str, &str)],
) -> Result<T, Bad> {
    if let Some((_, value)) = all.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<_> = all.iter().map(|(word, _)| format!("`{word}`")).collect();
    let lower = text.to_lowercase();
    let known = elsewhere.iter().find(|(other, _)| *other == lower).map(|(_, ours)| *ours);
    let meant = known.or_else(|| nearest(&lower, all.iter().map(|(word, _)| *word)));
    Err(Bad::new(format!("it must be one of {}", words.join(", ")), meant.map(Into::into)))
}

const OSES: [(&str, Os); 2] = [("linux", Os::Linux), ("windows", Os::Windows)];

impl FromText for Os {
    const WANTED: &'static str = "the name of a system";
    const EXAMPLE: &'static str = "linux";

    fn from_text(text: &str) -> Result<Self, Bad> {
        choice(text, &OSES, &[("win", "windows"), ("win32", "windows"), ("ubuntu", "linux")])
    }

    fn text_schema() -> Value {
        json!({ "enum": OSES.map(|(word, _)| word) })
    }
}

const WHENS: [(&str, When); 3] =
    [("always", When::Always), ("failure", When::Failure), ("never", When::Never)];

impl FromText for When {
    const WANTED: &'static str = "a word that says when to restart";
    const EXAMPLE: &'static str = "always";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let elsewhere = [("no", "never"), ("on-failure", "failure"), ("unless-stopped", "always")];
        choice(text, &WHENS, &elsewhere)
    }

    fn text_schema() -> Value {
        json!({ "enum": WHENS.map(|(word, _)| word) })
    }
}

const ENFORCES: [(&str, Enforce); 2] = [("must", Enforce::Must), ("best", Enforce::Best)];

impl FromText for Enforce {
    const WANTED: &'static str = "a word that says whether limits must be kept";
    const EXAMPLE: &'static str = "best";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let elsewhere = [("best-effort", "best"), ("try", "best"), ("strict", "must")];
        choice(text, &ENFORCES, &elsewhere)
    }

    fn text_schema() -> Value {
        json!({ "enum": ENFORCES.map(|(word, _)| word) })
    }
}

/// How a service is asked to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StopSignal {
    CtrlBreak,
    CtrlC,
    Signal(Signal),
}

const EVENTS: [(&str, StopSignal); 2] =
    [("ctrl-break", StopSignal::CtrlBreak), ("ctrl-c", StopSignal::CtrlC)];

/// Signals that freeze a process or wake it, and so never end one.
const NEVER_END: [Signal; 3] = [Signal::Cont, Signal::Stop, Signal::Tstp];

impl FromText for StopSignal {
    const WANTED: &'static str = "the name of a signal";
    const EXAMPLE: &'static str = "TERM";

    fn from_text(text: &str) -> Result<Self, Bad> {
        if let Some((_, event)) = EVENTS.iter().find(|(word, _)| *word == text) {
            return Ok(*event);
        }
        match text.parse::<Signal>() {
            Ok(signal) if NEVER_END.contains(&signal) => {
                Err(Bad::new("it stops no service: it freezes or wakes it", None))
            }
            Ok(signal) => Ok(Self::Signal(signal)),
            Err(_) => {
                let upper = text.to_uppercase();
                let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
                let events = EVENTS.iter().map(|(word, _)| *word);
                let meant = nearest(bare, SIGNALS.iter().map(|(_, name)| *name))
                    .or_else(|| nearest(&text.to_lowercase(), events));
                let because = "it is no signal like TERM, INT, QUIT, HUP, USR1 or KILL, \
                     and not ctrl-break or ctrl-c";
                Err(Bad::new(because, meant.map(Into::into)))
            }
        }
    }

    fn from_number(number: &str) -> Option<String> {
        let numbers = [("1", "HUP"), ("2", "INT"), ("3", "QUIT"), ("9", "KILL"), ("15", "TERM")];
        numbers.iter().find(|(n, _)| *n == number).map(|(_, name)| (*name).into())
    }

    fn text_schema() -> Value {
        let ending = SIGNALS.iter().filter(|(signal, _)| !NEVER_END.contains(signal));
        let events = EVENTS.iter().map(|(word, _)| *word);
        let names: Vec<_> = ending.map(|(_, name)| *name).chain(events).collect();
        // `term` and `SIGTERM` are read too; an editor offers the one spelling.
        json!({ "type": "string", "examples": names })
    }
}

/// A signal that a running service is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReloadSignal(pub Signal);

impl FromText for ReloadSignal {
    const WANTED: &'static str = "the name of a signal";
    const EXAMPLE: &'static str = "HUP";

    fn from_text(text: &str) -> Result<Self, Bad> {
        match text.parse::<Signal>() {
            Ok(signal) if signal == Signal::Kill || NEVER_END.contains(&signal) => {
                Err(Bad::new("no service can answer to it", Some(Self::EXAMPLE.into())))
            }
            Ok(signal) => Ok(Self(signal)),
            Err(_) => {
                let upper = text.to_uppercase();
                let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
                let meant = nearest(bare, SIGNALS.iter().map(|(_, name)| *name));
                Err(Bad::new("it is no signal like HUP, USR1 or USR2", meant.map(Into::into)))
            }
        }
    }

    fn from_number(number: &str) -> Option<String> {
        let numbers = [("1", "HUP"), ("10", "USR1"), ("12", "USR2")];
        numbers.iter().find(|(n, _)| *n == number).map(|(_, name)| (*name).into())
    }
}

/// A text that a line of output is to hold.
#[derive(Clone, Debug)]
pub(crate) struct LineText(pub String);

impl LineText {
    const LEN_MAX: usize = 256;
}

impl FromText for LineText {
    const WANTED: &'static str = "a text of one line";
    const EXAMPLE: &'static str = "listening on";

    fn from_text(text: &str) -> Result<Self, Bad> {
        if text.is_empty() {
            return Err(Bad::new("every line holds an empty text", None));
        }
        if text.len() > Self::LEN_MAX {
            let because = format!("it may not be longer than {} bytes", Self::LEN_MAX);
            return Err(Bad::new(because, None));
        }
        if text.contains(['\n', '\r', '\0']) {
            let first = text.split(['\n', '\r', '\0']).find(|part| !part.is_empty());
            return Err(Bad::new("no line holds a line end", first.map(Into::into)));
        }
        Ok(Self(text.into()))
    }

    fn from_number(number: &str) -> Option<String> {
        Some(number.into())
    }
}

/// An IP address.
#[derive(Clone, Debug)]
pub(crate) struct IpText(pub String);

impl FromText for IpText {
    const WANTED: &'static str = "an IP address";
    const EXAMPLE: &'static str = "127.0.0.1";

    fn from_text(text: &str) -> Result<Self, Bad> {
        if let Ok(ip) = text.parse::<std::net::IpAddr>() {
            return Ok(Self(ip.to_string()));
        }
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        let without_port = text.rsplit_once(':').map_or(text, |(host, _)| host);
        let meant =
            [bare, without_port].into_iter().find(|it| it.parse::<std::net::IpAddr>().is_ok());
        let meant = match text {
            "*" | "" | "any" | "all" => Some("0.0.0.0"),
            "localhost" => Some("127.0.0.1"),
            _ => meant,
        };
        let because = "a socket is opened at an address of this machine, and its port is in `port`";
        Err(Bad::new(because, meant.map(Into::into)))
    }
}

/// The path of an HTTP request.
#[derive(Clone, Debug)]
pub(crate) struct HttpPath(pub String);

impl FromText for HttpPath {
    const WANTED: &'static str = "the path of a request";
    const EXAMPLE: &'static str = "/healthz";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let path = text
            .split_once("://")
            .map_or(text, |(_, rest)| rest.find('/').map_or("/", |at| &rest[at..]));
        if path != text {
            let because = "it is a path: host and port come from the instance";
            return Err(Bad::new(because, Some(path.into())));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            let because = "a path is printable ASCII without spaces; others are written `%20`";
            return Err(Bad::new(because, None));
        }
        if !text.starts_with('/') {
            return Err(Bad::new("a path begins with `/`", Some(format!("/{text}"))));
        }
        Ok(Self(text.into()))
    }

    fn text_schema() -> Value {
        json!({ "type": "string", "pattern": "^/[!-~]*$", "examples": ["/healthz"] })
    }
}
