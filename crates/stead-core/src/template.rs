//! Texts with `{data}`-like places that only the host can fill in.

use alloc::string::String;
use alloc::vec::Vec;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// A place that the host fills in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// The instance's own folder, which outlives releases.
    Data,
    /// The folder of the release that runs.
    Release,
    /// The instance's own folder for what may be lost.
    Tmp,
}

impl Place {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Data, "data"), (Self::Release, "release"), (Self::Tmp, "tmp")];
}

/// What the places are on one host, for one instance.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    pub data: &'a str,
    pub release: &'a str,
    pub tmp: &'a str,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Place(Place),
    Text(String),
}

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
    #[error("`{{{0}}}` is not a place; use {{data}}, {{tmp}}, {{release}} or {{port.NAME}}")]
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
            Part::Place(Place::Data) => places.data.into(),
            Part::Place(Place::Release) => places.release.into(),
            Part::Place(Place::Tmp) => places.tmp.into(),
            Part::Text(text) => text.clone(),
        };
        self.0.iter().map(fill).collect()
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
                let place = Place::ALL.iter().find(|(_, known)| *known == name);
                let (place, _) = place.ok_or_else(|| TemplateError::Unknown(name.into()))?;
                if !plain.is_empty() {
                    parts.push(Part::Text(core::mem::take(&mut plain)));
                }
                parts.push(Part::Place(*place));
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
            Part::Text(text) => text.replace('{', "{{").replace('}', "}}"),
        };
        template.0.iter().map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: Places<'_> = Places { data: "/d", release: "/r", tmp: "/t" };

    #[test]
    fn places_are_filled_in_and_braces_can_be_written() {
        let cases = [
            ("--data={data}/x", "--data=/d/x"),
            ("{release}{tmp}", "/r/t"),
            ("{{data}}", "{data}"),
            ("a}}{{b", "a}{b"),
            ("", ""),
            ("plain", "plain"),
        ];
        for (text, filled) in cases {
            let template: Template = text.parse().unwrap();
            assert_eq!(template.fill(&PLACES), filled);
            assert_eq!(String::from(template), text, "a template is written as it was read");
        }
    }

    #[test]
    fn what_is_not_a_place_is_named() {
        let cases = [
            ("{dta}", TemplateError::Unknown("dta".into())),
            ("{}", TemplateError::Unknown(String::new())),
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
        assert_eq!(Template::literal("{data}").fill(&PLACES), "{data}");
        assert_eq!(String::from(Template::literal("{data}")), "{{data}}");
    }
}
