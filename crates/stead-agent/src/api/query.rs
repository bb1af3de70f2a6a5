//! The parameters of a request: each once but names, none unknown.

use std::str::FromStr;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use stead_wire::WallMs;

use super::refused::Refused;
use crate::clock::{parse_moment, wall_ms};

/// What the query part of a request may look like.
pub(super) type RawQuery = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Parameters {
    pairs: Vec<(String, String)>,
    now: WallMs,
}

impl Parameters {
    /// Takes the parameters of these names and refuses all others.
    pub(super) fn parse(raw: RawQuery, known: &[&str]) -> Result<Self, Refused> {
        let Query(pairs) = raw.map_err(|error| Refused::bad(error.to_string(), "check the URL"))?;
        for (at, (name, _)) in pairs.iter().enumerate() {
            let use_one_of = || format!("use of these: {}", known.join(", "));
            if !known.contains(&name.as_str()) {
                return Err(Refused::bad(format!("there is no parameter `{name}`"), use_one_of()));
            }
            let is_repeated = pairs[..at].iter().any(|(before, _)| before == name);
            if is_repeated && !NAMES.contains(&name.as_str()) {
                return Err(Refused::bad(format!("`{name}` is given twice"), "give it once"));
            }
        }
        Ok(Self { pairs, now: wall_ms() })
    }

    /// Services and instances, repeated or with commas between.
    pub(super) fn names(&self) -> Vec<String> {
        let named = self.pairs.iter().filter(|(name, _)| NAMES.contains(&name.as_str()));
        let each = named.flat_map(|(_, value)| value.split(','));
        each.filter(|text| !text.is_empty()).map(ToOwned::to_owned).collect()
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `true` or `1` for yes; a bare `follow` is a yes, too.
    pub(super) fn flag(&self, name: &str, default: bool) -> Result<bool, Refused> {
        match self.text(name) {
            None => Ok(default),
            Some("" | "1" | "true") => Ok(true),
            Some("0" | "false") => Ok(false),
            Some(other) => Err(bad(name, other, "write `true` or `false`")),
        }
    }

    /// A moment in microseconds since 1970-01-01 UTC.
    pub(super) fn moment_us(&self, name: &str) -> Result<Option<u64>, Refused> {
        let parse = |text| {
            parse_moment(text, self.now).map_err(|error| bad(name, text, &error.to_string()))
        };
        self.text(name).map(parse).transpose()
    }

    pub(super) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Refused> {
        let parse = |text: &str| text.parse().map_err(|_| bad(name, text, "write a number"));
        self.text(name).map(parse).transpose()
    }
}

/// Both spellings of the parameter that may be repeated.
pub(super) const NAMES: [&str; 2] = ["name", "names"];

pub(super) fn bad(name: &str, value: &str, try_this: &str) -> Refused {
    Refused::bad(format!("`{name}` is {value:?}"), try_this)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Parameters, Refused> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Parameters::parse(Ok(Query(pairs)), &["name", "names", "since", "follow", "last"])
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for pairs in [[("x", "1"), ("last", "1")], [("last", "1"), ("last", "2")]] {
            assert!(parse(&pairs).is_err(), "{pairs:?}");
        }
        let bad = parse(&[("since", "noon"), ("follow", "maybe"), ("last", "-1")]).unwrap();
        assert!(bad.moment_us("since").is_err());
        assert!(bad.flag("follow", false).is_err());
        assert!(bad.number::<usize>("last").is_err());
    }

    #[test]
    fn names_may_be_repeated_or_joined_by_commas() {
        let query = parse(&[("name", "a"), ("names", "b.0,b.1"), ("name", ""), ("follow", "")]);
        let query = query.unwrap();
        assert_eq!(query.names(), ["a", "b.0", "b.1"]);
        assert!(query.flag("follow", false).unwrap());
        assert_eq!(query.number::<usize>("last").unwrap(), None);
    }
}
