//! The registry as the services of this host have it: set before a run begins that finds it so,
//! and put back once no service has it any more.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use stead_core::names::ServiceName;
use stead_core::plan::Plan;
use stead_core::registry::memory::{Decision, Memory};
use stead_core::registry::{Registry, contradiction};
use stead_host::registry::{HAS_REGISTRY, carry_out, flush, look};
use stead_wire::api::Refusal;
use stead_wire::file;

use crate::crash::{Crash, CrashPoint};
use crate::hands::read_launch;
use crate::host::AllWanted;
use crate::layout::Layout;
use crate::store::{self, Found};

const FORMAT: &str = "stead-registry/1";

/// Why the registry is not as a service has it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("the registry could not be changed: {0}; have the agent run as who may change it")]
    Change(io::Error),
    #[error(
        "`registry.json` is damaged ({0}), and with it what the registry was before stead: look at \
         the keys, then remove the file, and what they hold now is taken for that"
    )]
    Damaged(String),
    #[error("{first}; and what was set so far could not be put back: {then}")]
    Halfway { first: Box<Self>, then: Box<Self> },
    #[error("the instances could not be looked at: {0}")]
    List(io::Error),
    #[error("the registry could not be looked at: {0}; have the agent run as who may read it")]
    Look(io::Error),
    #[error("`registry.json` could not be written: {0}")]
    Remember(io::Error),
}

/// Why a plan can never be carried out, by its keys of the registry.
pub(crate) fn unfit(plan: &Plan) -> Option<Refusal> {
    refuse(plan, HAS_REGISTRY)
}

fn refuse(plan: &Plan, has_registry: bool) -> Option<Refusal> {
    let what = "the plan was not taken".to_owned();
    let all = plan.instances.iter().map(|(name, spec)| (name, spec.whole_registry()));
    let all: Vec<_> = all.filter(|(_, registry)| !registry.is_empty()).collect();
    let (first, _) = all.first()?;
    if !has_registry {
        let because = format!("`{first}` has keys of a registry, and this system has none");
        let try_this = "run it on a host with Windows".into();
        return Some(Refusal { what, because, try_this });
    }
    let (key, name) = contradiction(all.iter().map(|(_, registry)| registry))?;
    Some(Refusal {
        what,
        because: format!("two instances would have `{}` of `{key}` be different", name.as_str()),
        try_this: "put a plan that was made from a fleet file by a `stead` of the same version"
            .into(),
    })
}

/// The registry of one root.
pub(crate) struct Keys<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) crash: Crash,
}

impl Keys<'_> {
    /// Makes the registry be as a service has it. If that fails it is as before.
    pub(crate) fn set(
        &self,
        service: &ServiceName,
        registry: &Registry,
    ) -> Result<(), RegistryError> {
        let stored = match self.remembered() {
            // What it had is put back once the file can be read again.
            Ok(stored) if registry.is_empty() && stored.of(service).is_empty() => return Ok(()),
            Err(RegistryError::Damaged(_)) if registry.is_empty() => return Ok(()),
            stored => stored?,
        };
        let before = stored.of(service).clone();
        let mut next = stored.clone();
        next.have(service, registry);
        let first = match self.make_so(next, &stored) {
            Ok(()) => return Ok(()),
            // Nothing was touched.
            Err(error @ RegistryError::Look(_)) => return Err(error),
            Err(error) => error,
        };
        let back = self.remembered().and_then(|stored| {
            let mut back = stored.clone();
            back.have(service, &before);
            self.make_so(back, &stored)
        });
        Err(match back {
            Ok(()) => first,
            Err(then) => RegistryError::Halfway { first: first.into(), then: then.into() },
        })
    }

    /// Puts back what only services had that have left, completes what an agent was killed in, and
    /// makes the registry be as those have it which are by this plan already: they are switched no
    /// more.
    pub(crate) fn settle(
        &self,
        planned: &BTreeSet<ServiceName>,
        wanted: &AllWanted,
    ) -> Result<(), RegistryError> {
        let stored = self.remembered()?;
        let launches = wanted.iter().filter_map(|(name, wanted)| {
            let wanted = &wanted.as_ref().ok()?.launch.registry;
            let is_one = !wanted.is_empty() || !stored.of(name.service()).is_empty();
            is_one.then_some((name, wanted))
        });
        let launches: Vec<_> = launches.collect();
        if launches.is_empty() && stored.is_empty() {
            return Ok(());
        }
        let (folders, _) = self.layout.list().map_err(RegistryError::List)?;
        let mut next = stored.clone();
        next.services.retain(|service, _| {
            planned.contains(service) || folders.iter().any(|name| name.service() == service)
        });
        for (name, wanted) in launches {
            if let Found::Whole(launch) = read_launch(&self.layout.instance(name))
                && launch.registry == *wanted
            {
                next.have(name.service(), wanted);
            }
        }
        self.make_so(next, &stored)
    }

    fn make_so(&self, next: Memory, stored: &Memory) -> Result<(), RegistryError> {
        let there = look(&next).map_err(RegistryError::Look)?;
        let Decision { first, changes, last } = next.decide(&there);
        if first != *stored {
            self.remember(&first)?;
        }
        if !changes.is_empty() {
            self.crash.at(CrashPoint::BeforeRegistryChange);
        }
        for change in &changes {
            carry_out(change).map_err(RegistryError::Change)?;
            self.crash.at(CrashPoint::AmidRegistryChange);
        }
        flush(&changes).map_err(RegistryError::Change)?;
        if last != first {
            self.remember(&last)?;
        }
        Ok(())
    }

    fn remembered(&self) -> Result<Memory, RegistryError> {
        match store::read(&self.layout.registry(), FORMAT) {
            Found::Absent => Ok(Memory::default()),
            Found::Damaged { why, .. } => Err(RegistryError::Damaged(why)),
            Found::Whole(memory) => Ok(memory),
        }
    }

    fn remember(&self, memory: &Memory) -> Result<(), RegistryError> {
        let path = self.layout.registry();
        let done = match memory.is_empty() {
            false => store::replace(&path, &file::encode(FORMAT, memory)),
            true => match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => stead_proc::sync_folder(self.layout.root()),
            },
        };
        done.map_err(RegistryError::Remember)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempRoot, plan, spec};

    fn sets(value: u32) -> Registry {
        let text = format!(r#"{{"HKLM\\SOFTWARE\\Shop":{{"Workers":{{"dword":{value}}}}}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn keys_are_refused_where_there_is_no_registry_and_where_they_contradict_each_other() {
        let having = |value| {
            let mut spec = spec(&["x"]);
            spec.registry = sets(value);
            spec
        };
        let mut source = spec(&["x"]);
        source.event_source = "Shop".to_owned().try_into().ok();
        let cases = [
            (plan([("a.0", spec(&["x"]))]), false, None),
            (plan([("a.0", having(1))]), false, Some("this system has none")),
            (plan([("a.0", source)]), false, Some("this system has none")),
            (plan([("a.0", having(1)), ("b.0", having(1))]), true, None),
            (plan([("a.0", having(1)), ("b.0", having(2))]), true, Some("`Workers` of `HKLM")),
        ];
        for (plan, has_registry, because) in cases {
            let refusal = refuse(&plan, has_registry).map(|refusal| refusal.because);
            match (&refusal, because) {
                (None, None) => (),
                (Some(told), Some(because)) => assert!(told.contains(because), "{told}"),
                (None, Some(_)) | (Some(_), None) => panic!("{refusal:?}, not {because:?}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_read_any_more_holds_up_only_what_has_keys() {
        let root = TempRoot::new("registry-damaged");
        let layout = root.layout();
        let keys = Keys { layout: &layout, crash: Crash(None) };
        let service = "a".parse().unwrap();
        keys.set(&service, &Registry::default()).unwrap();
        assert!(!layout.registry().exists());
        fs::write(layout.registry(), "garbage").unwrap();
        let error = keys.set(&service, &sets(1)).unwrap_err();
        assert!(matches!(error, RegistryError::Damaged(_)), "{error}");
        assert_eq!(fs::read(layout.registry()).unwrap(), b"garbage");
        // A service without keys has nothing to do with it.
        keys.set(&service, &Registry::default()).unwrap();
    }
}
