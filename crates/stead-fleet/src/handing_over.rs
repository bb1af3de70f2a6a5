//! How a service hands its work from one run to the next: sockets that outlive runs, and reloads.

use std::collections::{BTreeMap, BTreeSet};

use crate::across::some_of;
use crate::fleet::{FleetReload, Os};
use crate::raw::RawReload;
use crate::read::{At, Field, Named};
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
