//! How a service hands its work from one run to the next: sockets that outlive runs, and reloads.

use std::collections::{BTreeMap, BTreeSet};

use crate::across::some_of;
use crate::fleet::{FleetFront, FleetReload, Os};
use crate::raw::{RawFront, RawReload};
use crate::read::{At, Field, Named, Span};
use crate::service::{Part, texts};

impl Part<'_, '_, '_> {
    /// The addresses of the ports that stead opens itself.
    pub(crate) fn listen(&mut self) -> BTreeMap<String, String> {
        let raw = self.raw;
        let entries = raw.listen.value().map_or(&[][..], |Named(entries)| entries);
        let names = self.port_names();
        let mut listen = BTreeMap::new();
        for entry in entries {
            let (name, span) = (&entry.key.value.0, &entry.key.span);
            if let Some(names) = &names
                && !names.contains(&name.as_str())
            {
                let what = format!("`{}.{name}` names no port", self.path("listen"));
                let because = match names.as_slice() {
                    [] => "the service declares no port".to_owned(),
                    _ => format!("the service declares {}", some_of(names)),
                };
                let near = crate::suggest::nearest(name, names.iter().copied());
                let try_this = match near {
                    Some(near) => format!("`listen.{near}`"),
                    None => format!("`port.{name} = 8100` in `[service.{}]`", self.name.value),
                };
                self.say(span, what, &because, &try_this);
            }
            if let Some(address) = &entry.value {
                listen.insert(name.clone(), address.value.0.clone());
            }
        }
        listen
    }

    /// Its front, `Some(None)` if it has none.
    pub(crate) fn front(&mut self, systems: &BTreeSet<Os>) -> Option<Option<FleetFront>> {
        let At { span, value: raw } = match &self.raw.front {
            Field::Absent => return Some(None),
            Field::Bad => return None,
            Field::Given(at) => at,
        };
        if raw.port.is_bad() || raw.address.is_bad() || raw.to.is_bad() {
            return None;
        }
        let Some(port) = raw.port.value() else {
            let what = format!("`{}` has no port", self.path("front"));
            let because = "a front takes connections somewhere";
            self.say(span, what, because, "`front = { port = 8080 }`");
            return None;
        };
        if systems.contains(&Os::Windows) {
            let what = format!("service `{}` runs on Windows", self.name.value);
            self.say(span, what, "fronts are for Linux", "leave `front` out");
        }
        let to = self.front_to(span, raw)?;
        if self.raw.listen.value().is_some() {
            let what = format!("service `{}` has a front and takes sockets", self.name.value);
            let because = "a service that takes its socket is replaced without a gap by itself";
            self.say(span, what, because, "leave `front` or `listen` out");
        }
        let Ok(name) = format!("{}-front", self.name.value).parse() else {
            let what = format!("`{}` is too long a name", self.name.value);
            let because = "its front would be called the same with `-front` at the end";
            self.say(&self.name.span, what, because, "a shorter name");
            return None;
        };
        let address = raw.address.value().map_or("127.0.0.1", |address| &address.0).to_owned();
        // The reader has seen that it is one.
        let port = u16::try_from(port.0).ok()?;
        Some(Some(FleetFront { name, port, address, to }))
    }

    /// The port that connections are passed on to: the one it names, or the only one there is.
    fn front_to(&mut self, span: &Span, raw: &RawFront) -> Option<String> {
        let names = self.port_names()?;
        let declared = match names.as_slice() {
            [] => "the service declares no port".to_owned(),
            _ => format!("the service declares {}", some_of(&names)),
        };
        let (span, what, near) = match (raw.to.at(), names.as_slice()) {
            (Some(to), _) if names.contains(&to.value.0.as_str()) => {
                return Some(to.value.0.clone());
            }
            (None, [only]) => return Some((*only).to_owned()),
            (Some(to), _) => {
                let what = format!("`{}.to` names no port: `{}`", self.path("front"), to.value.0);
                let near = crate::suggest::nearest(&to.value.0, names.iter().copied());
                (&to.span, what, near)
            }
            (None, _) => {
                let what = format!("`{}` does not say to which port", self.path("front"));
                (span, what, names.first().copied())
            }
        };
        let try_this = match near {
            Some(near) => format!("`to = \"{near}\"`"),
            None => format!("`port.http = 8100` in `[service.{}]`", self.name.value),
        };
        self.say(span, what, &declared, &try_this);
        None
    }

    /// How it is told to read its configuration again, `Some(None)` if it cannot be told.
    pub(crate) fn reload(&mut self, systems: &BTreeSet<Os>) -> Option<Option<FleetReload>> {
        let At { span, value: raw } = match &self.raw.reload {
            Field::Absent => return Some(None),
            Field::Bad => return None,
            Field::Given(at) => at,
        };
        let RawReload { signal, hook } = raw;
        if signal.is_bad() || hook.is_bad() {
            return None;
        }
        let path = self.path("reload");
        match (signal.at(), hook.value()) {
            (Some(signal), None) => {
                if systems.contains(&Os::Windows) {
                    let what = format!("service `{}` runs on Windows", self.name.value);
                    let because = "signals belong to Linux";
                    self.say(&signal.span, what, because, "`reload = { hook = [..] }`");
                }
                Some(Some(FleetReload::Signal(signal.value.0)))
            }
            (None, Some(hook)) => Some(Some(FleetReload::Hook(texts(hook)))),
            (None, None) => {
                let what = format!("`{path}` does not say how");
                let because = "a service is told by a signal or a hook";
                self.say(span, what, because, "`reload = { signal = \"HUP\" }`");
                None
            }
            (Some(_), Some(_)) => {
                let what = format!("`{path}` has both a signal and a hook");
                let because = "an instance is told in one way";
                self.say(span, what, because, "leave one of them out");
                None
            }
        }
    }
}
