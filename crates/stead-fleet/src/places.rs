//! Texts with `{port.NAME}` and the places that only a host can fill in.

use stead_core::names::ServiceName;
use stead_core::template::Template;

use crate::across::some_of;
use crate::suggest::nearest;

#[derive(Debug)]
enum Piece<'a> {
    /// The inside of `{…}`.
    Place(&'a str),
    /// Taken over as it is, doubled braces included.
    Plain(&'a str),
    Unclosed(&'a str),
    Unopened(&'a str),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at(at);
        out.push(Piece::Plain(before));
        let (piece, used) = if brace.starts_with("{{") || brace.starts_with("}}") {
            (Piece::Plain(&brace[..2]), 2)
        } else if brace.starts_with('}') {
            (Piece::Unopened(&brace[..1]), 1)
        } else {
            match brace.find('}') {
                Some(end) => (Piece::Place(&brace[1..end]), end + 1),
                None => (Piece::Unclosed(brace), brace.len()),
            }
        };
        out.push(piece);
        rest = &brace[used..];
    }
    out.push(Piece::Plain(rest));
    out
}

/// The template of a checked text, with the ports of one instance filled in.
pub(crate) fn template(text: &str, port: impl Fn(&str) -> Option<u16>) -> Template {
    let mut out = String::with_capacity(text.len());
    for piece in pieces(text) {
        match piece {
            Piece::Place(place) => match place.strip_prefix("port.").and_then(&port) {
                Some(number) => out.push_str(&number.to_string()),
                None => out.extend(["{", place, "}"]),
            },
            Piece::Plain(plain) | Piece::Unclosed(plain) | Piece::Unopened(plain) => {
                out.push_str(plain);
            }
        }
    }
    out.parse().expect("every place of a fleet's texts was checked when it was parsed")
}

/// What the places of a text are checked against.
pub(crate) struct Known<'a> {
    pub service: &'a ServiceName,
    /// The ports of the service, unless that is unknown because they are wrong.
    pub ports: Option<Vec<&'a str>>,
    /// Whether each of its systems has a release.
    pub release: bool,
    /// Whether each of its systems has a configuration.
    pub config: bool,
}

/// A place that is none.
pub(crate) struct BadPlace {
    /// The piece of the text that is wrong.
    pub piece: String,
    pub what: &'static str,
    pub because: String,
    pub try_this: String,
}

impl Known<'_> {
    /// Everything that is wrong with the places of a text.
    pub(crate) fn check(&self, text: &str) -> Vec<BadPlace> {
        let bad = |piece| match piece {
            Piece::Plain(_) => None,
            Piece::Place(place) => self.check_place(place),
            Piece::Unclosed(piece) => {
                let meant = ["{data", "{tmp", "{release", "{config"]
                    .into_iter()
                    .find(|p| piece.starts_with(p));
                Some(BadPlace {
                    piece: piece.chars().take(24).collect(),
                    what: "is a brace that is never closed",
                    because: "`{` opens a place like {data}".into(),
                    try_this: match meant {
                        Some(place) => format!("`{place}}}`"),
                        None => "`{{` for the brace itself".into(),
                    },
                })
            }
            Piece::Unopened(piece) => Some(BadPlace {
                piece: piece.into(),
                what: "is a brace that closes nothing",
                because: "`}` ends a place like {data}".into(),
                try_this: "`}}` for the brace itself".into(),
            }),
        };
        pieces(text).into_iter().filter_map(bad).collect()
    }

    fn check_place(&self, place: &str) -> Option<BadPlace> {
        let piece = format!("{{{place}}}");
        let ports = self.ports.as_deref().unwrap_or(&[]);
        if let Some(port) = place.strip_prefix("port.") {
            let ports_known = self.ports.is_some();
            if !ports_known || ports.contains(&port) {
                return None;
            }
            let meant = match nearest(port, ports.iter().copied()) {
                Some(near) => format!("{{port.{near}}}"),
                None => return Some(self.undeclared(piece, port, ports)),
            };
            let try_this = format!("`{meant}`");
            return Some(BadPlace { try_this, ..self.undeclared(piece, port, ports) });
        }
        match place {
            "data" | "tmp" => return None,
            "release" if self.release => return None,
            "config" if self.config => return None,
            "config" => {
                let because = "without `config` the service has no such files".into();
                let try_this = "`config = [\"app.toml\"]`, or `{release}`".into();
                let what = "is a folder there is none of";
                return Some(BadPlace { piece, what, because, try_this });
            }
            "release" => {
                let because = "without `files` the service has no release".into();
                let try_this = "`{data}`".into();
                let what = "is a folder there is none of";
                return Some(BadPlace { piece, what, because, try_this });
            }
            _ => (),
        }
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let (because, meant) = if place.is_empty() || !place.chars().all(named) {
            let because = "a single brace opens a place; the brace itself is written twice";
            (because, format!("{{{{{place}}}}}"))
        } else if ports.contains(&place) {
            ("a port is written with `port.` before its name", format!("{{port.{place}}}"))
        } else {
            let places = ["data", "tmp", "release", "config"];
            let near = nearest(place, places.into_iter()).unwrap_or("data");
            let because = "a place is {data}, {tmp}, {release}, {config} or {port.NAME}";
            (because, format!("{{{near}}}"))
        };
        let try_this = format!("`{meant}`");
        Some(BadPlace { piece, what: "is not a place", because: because.into(), try_this })
    }

    fn undeclared(&self, piece: String, port: &str, ports: &[&str]) -> BadPlace {
        let because = match ports {
            [] => "the service declares no port".to_owned(),
            _ => format!("the service declares only {}", some_of(ports)),
        };
        let try_this = format!("`port.{port} = 8100` in `[service.{}]`", self.service);
        BadPlace { piece, what: "is a port that is not declared", because, try_this }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known<'a>(service: &'a ServiceName, ports: &[&'a str], release: bool) -> Known<'a> {
        Known { service, ports: Some(ports.to_vec()), release, config: release }
    }

    #[test]
    fn what_passes_the_check_is_a_template() {
        let service = "a".parse().unwrap();
        let known = known(&service, &["http"], true);
        let cases = [
            ("--listen=127.0.0.1:{port.http}", "--listen=127.0.0.1:8102"),
            ("{{port.http}}", "{{port.http}}"),
            ("{data}/{release}{tmp}", "{data}/{release}{tmp}"),
            ("{{\"a\": 1}}", "{{\"a\": 1}}"),
            ("", ""),
        ];
        for (text, filled) in cases {
            assert!(known.check(text).is_empty(), "{text}");
            let template = template(text, |port| (port == "http").then_some(8102));
            assert_eq!(String::from(template), filled, "{text}");
        }
    }

    #[test]
    fn every_bad_place_of_a_text_is_found() {
        let service = "a".parse().unwrap();
        let known = known(&service, &["http"], false);
        let bad = known.check("{dta} {port.htp} {release} {http} } {\"a\": 1} {x");
        let tries: Vec<_> = bad.iter().map(|bad| bad.try_this.as_str()).collect();
        let all = [
            "`{data}`",
            "`{port.http}`",
            "`{data}`",
            "`{port.http}`",
            "`}}` for the brace itself",
            "`{{\"a\": 1}}`",
            "`{{` for the brace itself",
        ];
        assert_eq!(tries, all);
    }
}
