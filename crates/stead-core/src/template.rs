//! Texts with `{data}`-like places that only the host can fill in.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// A place that the host fills in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// The folder with its configuration.
    Config,
    /// The instance's own folder, which outlives releases.
    Data,
    /// The folder of stead's own programs.
    Kit,
    /// The folder of the release that runs.
    Release,
    /// The instance's own folder for what may be lost.
    Tmp,
}

impl Place {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Config, "config"),
        (Self::Data, "data"),
        (Self::Kit, "kit"),
        (Self::Release, "release"),
        (Self::Tmp, "tmp"),
    ];
}

/// What the places are on one host, for one instance.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    pub config: &'a str,
    pub data: &'a str,
    pub kit: &'a str,
    /// By name. A port that is not there is left as it is written.
    pub ports: &'a BTreeMap<String, u16>,
    pub release: &'a str,
    pub tmp: &'a str,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Place(Place),
    /// The port of that name.
    Port(String),
    Text(String),
}

const PORT: &str = "port.";

/// A parsed text: every `{…}` in it is a known place; `{{` and `}}` stand for the braces.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(Vec<Part>);

/// Why a text is not a template.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TemplateError {
    #[error("a text may not hold a NUL byte")]
    Nul,
    #[error("a `{{` that is never closed; write `{{{{` for the brace itself")]
    Unclosed,
    #[error(
        "`{{{0}}}` is not a place; use {{data}}, {{tmp}}, {{release}}, {{config}} or {{port.NAME}}"
    )]
    Unknown(String),
    #[error("a `}}` that closes nothing; write `}}}}` for the brace itself")]
    Unopened,
}

impl Template {
    /// A template that is the text itself, braces and all.
    pub fn literal(text: &str) -> Self {
        Self(Vec::from([Part::Text(text.into())]))
    }

    /// The text with every place filled in.
    pub fn fill(&self, places: &Places<'_>) -> String {
        let fill = |part: &Part| match part {
            Part::Place(Place::Config) => places.config.into(),
            Part::Place(Place::Data) => places.data.into(),
            Part::Place(Place::Kit) => places.kit.into(),
            Part::Place(Place::Release) => places.release.into(),
            Part::Place(Place::Tmp) => places.tmp.into(),
            Part::Port(name) => match places.ports.get(name) {
                Some(port) => port.to_string(),
                None => ["{", PORT, name, "}"].concat(),
            },
            Part::Text(text) => text.clone(),
        };
        self.0.iter().map(fill).collect()
    }

    /// The text, with places as they are written: for one that has none.
    pub fn plain(&self) -> String {
        let show = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            part @ (Part::Place(_) | Part::Port(_)) => Self(Vec::from([part.clone()])).into(),
        };
        self.0.iter().map(show).collect()
    }

    /// Whether the text differs from one port number to another.
    pub fn has_port(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Port(_)))
    }
}

impl FromStr for Template {
    type Err = TemplateError;
    fn from_str(text: &str) -> Result<Self, TemplateError> {
        if text.contains('\0') {
            return Err(TemplateError::Nul);
        }
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = brace.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = brace.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else {
                let inside = brace.strip_prefix('{').ok_or(TemplateError::Unopened)?;
                let (name, after) = inside.split_once('}').ok_or(TemplateError::Unclosed)?;
                let part = part_of(name).ok_or_else(|| TemplateError::Unknown(name.into()))?;
                if !plain.is_empty() {
                    parts.push(Part::Text(core::mem::take(&mut plain)));
                }
                parts.push(part);
                rest = after;
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }
}

/// What stands between two braces; `None` if that is no place.
fn part_of(name: &str) -> Option<Part> {
    if let Some(port) = name.strip_prefix(PORT) {
        return (!port.is_empty()).then(|| Part::Port(port.into()));
    }
    let place = Place::ALL.iter().find(|(_, known)| *known == name);
    place.map(|(place, _)| Part::Place(*place))
}

impl TryFrom<String> for Template {
    type Error = TemplateError;
    fn try_from(text: String) -> Result<Self, TemplateError> {
        text.parse()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        let show = |part: &Part| match part {
            Part::Place(place) => {
                let name =
                    Place::ALL.iter().find(|(known, _)| known == place).map_or("", |(_, n)| n);
                ["{", name, "}"].concat()
            }
            Part::Port(name) => ["{", PORT, name, "}"].concat(),
            Part::Text(text) => text.replace('{', "{{").replace('}', "}}"),
        };
        template.0.iter().map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> String {
        let ports = BTreeMap::from([("http".into(), 8100)]);
        let places =
            Places { config: "/c", data: "/d", kit: "/k", ports: &ports, release: "/r", tmp: "/t" };
        text.parse::<Template>().unwrap().fill(&places)
    }

    #[test]
    fn places_are_filled_in_and_braces_can_be_written() {
        let cases = [
            ("--data={data}/x", "--data=/d/x"),
            ("{release}{tmp}", "/r/t"),
            ("{{data}}", "{data}"),
            ("a}}{{b", "a}{b"),
            ("", ""),
            ("plain", "plain"),
            ("{config}{kit}", "/c/k"),
            ("0.0.0.0:{port.http}", "0.0.0.0:8100"),
            ("{port.admin}", "{port.admin}"),
        ];
        for (text, whole) in cases {
            let template: Template = text.parse().unwrap();
            assert_eq!(filled(text), whole);
            assert_eq!(String::from(template), text, "a template is written as it was read");
        }
    }

    #[test]
    fn what_is_not_a_place_is_named() {
        let cases = [
            ("{dta}", TemplateError::Unknown("dta".into())),
            ("{}", TemplateError::Unknown(String::new())),
            ("{port.}", TemplateError::Unknown("port.".into())),
            ("{data", TemplateError::Unclosed),
            ("data}", TemplateError::Unopened),
            ("a\0", TemplateError::Nul),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Template>(), Err(error));
        }
    }

    #[test]
    fn a_literal_keeps_its_braces() {
        let literal = String::from(Template::literal("{data}"));
        assert_eq!(literal, "{{data}}");
        assert_eq!(filled(&literal), "{data}");
    }
}
