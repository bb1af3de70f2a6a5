//! Secrets: where the operator's machine gets them from, and variables that are one.

use serde_json::{Value, json};
use stead_core::names::SecretName;
use toml::de::DeValue;

use crate::leaf::{EnvName, FilePath, Text, shell_command};
use crate::problem::Problem;
use crate::raw::RawSecret;
use crate::read::{At, Bad, Entry, Field, FromText, Named, Node, Read, Reader, Span, table};

/// Where a value comes from, on the machine of the operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SecretSource {
    /// What a command prints, run by the shell in the folder of the fleet file.
    Command(String),
    /// A variable of the operator's environment.
    Env(String),
    /// A file, from the folder of the fleet file on.
    File(String),
}

/// A command for the operator's shell that prints a value.
#[derive(Clone, Debug)]
pub(crate) struct SecretCommand(pub String);

impl FromText for SecretCommand {
    const WANTED: &'static str = "a command";
    const EXAMPLE: &'static str = "pass show shop/db";

    fn from_text(text: &str) -> Result<Self, Bad> {
        shell_command(text, "an empty command prints nothing").map(Self)
    }
}

/// The source of a secret: exactly one.
pub(crate) fn source(
    entry: &Entry<SecretName, RawSecret>,
    reader: &mut Reader<'_>,
) -> Option<SecretSource> {
    let (name, at) = (&entry.key.value, entry.value.as_ref()?);
    let raw = &at.value;
    let file = |file: &FilePath| SecretSource::File(file.0.clone());
    let command = |command: &SecretCommand| SecretSource::Command(command.0.clone());
    let env = |env: &EnvName| SecretSource::Env(env.0.clone());
    let [by_file, by_command, by_env] =
        [raw.file.value().map(file), raw.command.value().map(command), raw.env.value().map(env)];
    let mut sources = [by_file, by_command, by_env].into_iter().flatten();
    let first = sources.next();
    let is_bad = raw.file.is_bad() || raw.command.is_bad() || raw.env.is_bad();
    if is_bad {
        return None;
    }
    let because = "its value comes from one place";
    let (what, try_this) = match (&first, sources.next()) {
        (Some(_), None) => return first,
        (Some(_), Some(_)) => {
            (format!("secret `{name}` has several sources"), "leave all but one out".to_owned())
        }
        (None, _) => {
            let example = "`file = \"secrets/db\"`, `command = \"pass show db\"` or `env = \"DB\"`";
            (format!("secret `{name}` has no source"), example.to_owned())
        }
    };
    reader.push(Problem::new(entry.key.span.clone(), what, because, try_this));
    None
}

/// The value of an environment variable.
#[derive(Clone, Debug)]
pub(crate) enum EnvValue {
    /// As written; it holds no places.
    Number(String),
    /// The name of a secret, and where the file says it.
    Secret(At<SecretName>),
    Text(String),
}

table! {
    /// A variable that is a secret.
    RawEnvSecret, "the value of a variable", r#"{ secret = "db" }"# {
        /// The name of the secret.
        secret: SecretName,
    }
}

impl Read for EnvValue {
    fn wanted() -> String {
        "a text or a number".into()
    }

    fn example() -> String {
        "\"info\"".into()
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let as_written = || reader.text.get(node.span.clone()).unwrap_or("").to_owned();
        match node.value {
            DeValue::String(_) => Text::read(node, reader).map(|text| Self::Text(text.0)),
            DeValue::Integer(_) | DeValue::Float(_) => Some(Self::Number(as_written())),
            DeValue::Boolean(_) | DeValue::Datetime(_) => {
                let meant = crate::problem::toml_text(&as_written());
                let because = "a variable is a text, and programs spell this in many ways";
                reader.refuse(node, because.into(), node.with(&meant));
                None
            }
            DeValue::Table(_) => {
                let secret = RawEnvSecret::read(node, reader)?.secret;
                if secret.is_absent() {
                    let because = "a variable that is a table names a secret";
                    let example = node.with(&RawEnvSecret::example());
                    reader.refuse(node, because.into(), example);
                }
                match secret {
                    Field::Given(at) => Some(Self::Secret(at)),
                    Field::Absent | Field::Bad => None,
                }
            }
            DeValue::Array(_) => {
                reader.wrong_type::<Self>(node);
                None
            }
        }
    }

    fn schema() -> Value {
        json!({ "oneOf": [{ "type": ["string", "number"] }, RawEnvSecret::schema()] })
    }
}

/// Says which variables name a secret that the file has not.
pub(crate) fn check_known<'a>(
    variables: impl Iterator<Item = (&'a EnvName, &'a EnvValue)>,
    known: &Field<Named<SecretName, RawSecret>>,
    reader: &mut Reader<'_>,
) {
    let known = known.value().map_or(&[][..], |Named(entries)| entries);
    for (variable, value) in variables {
        let EnvValue::Secret(At { span, value: name }) = value else { continue };
        check_one(&variable.0, span, name, known, reader);
    }
}

/// Says that a secret is not in the file, if so; `what` is what it is of.
pub(crate) fn check_one(
    what: &str,
    span: &Span,
    name: &SecretName,
    known: &[Entry<SecretName, RawSecret>],
    reader: &mut Reader<'_>,
) {
    if known.iter().any(|entry| entry.key.value == *name) {
        return;
    }
    let names = known.iter().map(|entry| entry.key.value.as_str());
    let try_this = match reader.nearest(name.as_str(), names) {
        Some(near) => format!("`{{ secret = \"{near}\" }}`"),
        None => format!("`[secret.{name}]` with its `file`, `command` or `env`"),
    };
    let what = format!("`{what}` is a secret that the file does not have: `{name}`");
    let because = "a secret says where its value comes from";
    reader.push(Problem::new(span.clone(), what, because, try_this));
}
