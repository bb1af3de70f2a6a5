//! The probes of a service: what each one asks, and whether that makes sense.

use std::time::Duration;

use crate::across::some_of;
use crate::fleet::{FleetCheck, FleetProbe};
use crate::raw::{RawProbe, RawStartup};
use crate::read::{At, Field, Named, Span};
use crate::service::{Part, texts};

/// How often a probe asks, and how long it waits, if nothing is said.
const EVERY: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(1);
const FAILURES: u32 = 3;
const SUCCESSES: u32 = 1;

/// The longest silence of a service that says that it is well, if nothing is said.
const SILENCE: Duration = Duration::from_secs(30);

/// The time that a run has to come up, if nothing is said.
const WITHIN: Duration = Duration::from_secs(60);

/// What the three probes are.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    Live,
    Ready,
    Startup,
}

/// The fields of a probe, of whichever kind.
struct Said<'a> {
    kind: Kind,
    field: &'a str,
    span: &'a Span,
    raw: &'a RawProbe,
}

impl<'a> Part<'a, '_, '_> {
    /// The probe of a field, `Some(None)` if there is none.
    pub(crate) fn probe(
        &mut self,
        field: &str,
        raw: &Field<RawProbe>,
    ) -> Option<Option<FleetProbe>> {
        let kind = if field == "live" { Kind::Live } else { Kind::Ready };
        match raw {
            Field::Absent => Some(None),
            Field::Bad => None,
            Field::Given(At { span, value: raw }) => {
                self.read_probe(&Said { kind, field, span, raw }).map(Some)
            }
        }
    }

    /// The start-up probe with the time it has, `Some(None)` if there is none.
    pub(crate) fn startup(
        &mut self,
        raw: &'a Field<RawStartup>,
    ) -> Option<Option<(FleetProbe, Duration)>> {
        let At { span, value: raw } = match raw {
            Field::Absent => return Some(None),
            Field::Bad => return None,
            Field::Given(at) => at,
        };
        let within = raw.within.value().map_or(WITHIN, |within| within.0);
        let said = Said { kind: Kind::Startup, field: "startup", span, raw: &raw.probe };
        self.read_probe(&said).map(|probe| Some((probe, within)))
    }

    fn read_probe(&mut self, said: &Said<'_>) -> Option<FleetProbe> {
        let raw = said.raw;
        let check = self.check_of(said)?;
        let speaks = matches!(check, FleetCheck::Log { .. } | FleetCheck::Notify);
        if speaks {
            self.check_not_asked(said, &check);
        }
        let silence = check == FleetCheck::Notify && said.kind == Kind::Live;
        let timeout = if silence { SILENCE } else { TIMEOUT };
        Some(FleetProbe {
            check,
            every: raw.every.value().map_or(EVERY, |every| every.0),
            timeout: raw.timeout.value().map_or(timeout, |timeout| timeout.0),
            failures: raw.failures.value().map_or(FAILURES, |failures| failures.0),
            successes: raw.successes.value().map_or(SUCCESSES, |successes| successes.0),
        })
    }

    fn check_of(&mut self, said: &Said<'_>) -> Option<FleetCheck> {
        let Said { kind, field, span, raw } = said;
        let bad = [
            raw.http.is_bad(),
            raw.tcp.is_bad(),
            raw.exec.is_bad(),
            raw.notify.is_bad(),
            raw.log.is_bad(),
            raw.port.is_bad(),
        ];
        if bad.contains(&true) {
            return None;
        }
        let is_set = |flag: &Field<bool>| flag.value().is_some_and(|flag| *flag);
        let because = "a probe is exactly one of `http`, `tcp`, `exec`, `notify` and `log`";
        let found = [
            raw.http.value().is_some(),
            is_set(&raw.tcp),
            raw.exec.value().is_some(),
            is_set(&raw.notify),
            raw.log.value().is_some(),
        ];
        match found.iter().filter(|is_there| **is_there).count() {
            0 => {
                let example = format!("`{field} = {{ http = \"/healthz\", port = \"http\" }}`");
                self.say(span, format!("`{}` checks nothing", self.path(field)), because, &example);
                return None;
            }
            1 => (),
            _ => {
                let what = format!("`{}` checks more than one thing", self.path(field));
                self.say(span, what, because, "keep one of them");
                return None;
            }
        }
        if let Some(path) = raw.http.value() {
            let port = self.probe_port(field, span, raw)?;
            return Some(FleetCheck::Http { path: path.0.clone(), port });
        }
        if found[1] {
            let port = self.probe_port(field, span, raw)?;
            self.check_takes_connections(field, &port, raw);
            return Some(FleetCheck::Tcp { port });
        }
        self.check_portless(field, raw);
        if let Some(argv) = raw.exec.value() {
            return Some(FleetCheck::Exec(texts(argv)));
        }
        let Some(text) = raw.log.at() else { return Some(FleetCheck::Notify) };
        if *kind == Kind::Live {
            let what = format!("`{}.log` says nothing of a run that is up", self.path(field));
            let because = "a line that was written once stays written";
            let try_this = "`ready = { log = .. }`, and another check for `live`";
            self.say(&text.span, what, because, try_this);
        }
        Some(FleetCheck::Log { text: text.value.0.clone() })
    }

    /// A port that stead holds takes connections whatever the service does.
    fn check_takes_connections(&mut self, field: &str, port: &str, raw: &RawProbe) {
        let listens = self.raw.listen.value().map_or(&[][..], |Named(entries)| entries);
        let Some(tcp) = raw.tcp.at() else { return };
        if listens.iter().any(|entry| entry.key.value.0 == port) {
            let what = format!("`{}.tcp` would always pass", self.path(field));
            let because = format!("stead holds port `{port}`, which `listen` names");
            let try_this = "`http = \"/healthz\"`, `notify = true` or another check";
            self.say(&tcp.span, what, &because, try_this);
        }
    }

    /// A port is for those that ask one.
    fn check_portless(&mut self, field: &str, raw: &RawProbe) {
        let Some(port) = raw.port.at() else { return };
        let what = format!("`{}` has a port and no use for it", self.path(field));
        let (because, try_this) = if raw.exec.value().is_some() {
            let try_this = format!("`\"{{port.{}}}\"` among its arguments", port.value.0);
            ("`exec` runs a program, which finds ports by itself", try_this)
        } else {
            ("nothing is asked: the service says it by itself", "leave `port` out".to_owned())
        };
        self.say(&port.span, what, because, &try_this);
    }

    /// What a service says by itself is not asked for, so often or at all.
    fn check_not_asked(&mut self, said: &Said<'_>, check: &FleetCheck) {
        let Said { kind, field, raw, .. } = said;
        let is_silence = *kind == Kind::Live && *check == FleetCheck::Notify;
        let timeout = raw.timeout.at().filter(|_| !is_silence).map(|at| ("timeout", &at.span));
        let others = [
            raw.every.at().filter(|_| *check == FleetCheck::Notify).map(|at| ("every", &at.span)),
            raw.failures.at().map(|at| ("failures", &at.span)),
            raw.successes.at().map(|at| ("successes", &at.span)),
            timeout,
        ];
        for (name, span) in others.into_iter().flatten() {
            let what = format!("`{}.{name}` has no use", self.path(field));
            let because = "the service says it by itself, once";
            self.say(span, what, because, &format!("leave `{name}` out"));
        }
    }

    /// The port a probe asks: the one it names, or the only one there is.
    fn probe_port(&mut self, field: &str, span: &Span, raw: &RawProbe) -> Option<String> {
        let names = self.port_names()?;
        let only = match names.as_slice() {
            [only] => Some(*only),
            [] | [_, _, ..] => None,
        };
        let declared = match names.as_slice() {
            [] => "the service declares no port".to_owned(),
            _ => format!("the service declares {}", some_of(&names)),
        };
        match (raw.port.at(), only) {
            (Some(port), _) if names.contains(&port.value.0.as_str()) => Some(port.value.0.clone()),
            (Some(port), _) => {
                let name = &port.value.0;
                let what = format!("`{}.port` names no port: `{name}`", self.path(field));
                let near = crate::suggest::nearest(name, names.iter().copied()).or(only);
                let try_this = match near {
                    Some(near) => format!("`port = \"{near}\"`"),
                    None => format!("`port.{name} = 8100` in `[service.{}]`", self.name.value),
                };
                self.say(&port.span, what, &declared, &try_this);
                None
            }
            (None, Some(only)) => Some(only.to_owned()),
            (None, None) => {
                let what = format!("`{}` does not say which port", self.path(field));
                let try_this = match names.first() {
                    Some(first) => format!("`port = \"{first}\"`"),
                    None => format!("`port.http = 8100` in `[service.{}]`", self.name.value),
                };
                self.say(span, what, &declared, &try_this);
                None
            }
        }
    }
}
