//! Which instances the fronts send connections to, and when a replacement may take place behind
//! one.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use stead_core::machine::PhaseName;
use stead_core::names::InstanceName;
use stead_core::plan::{Fronted, Spec};

use super::Agent;
use crate::front::FrontLink;
use crate::kept::Kept;

/// The address of a run behind a front: the second port of a name is right above the first.
fn backend(port: u16, second: bool) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port.saturating_add(u16::from(second))))
}

/// The first of the two ports that a spec has for its front.
pub(crate) fn front_port(spec: &Spec) -> Option<u16> {
    let Fronted { port, .. } = spec.fronted.as_ref()?;
    spec.ports.get(port).copied()
}

impl Agent {
    /// Tells every front which runs may get work.
    pub(super) fn look_at_fronts(&mut self) {
        let Some(stored) = &self.stored else { return };
        let mut sets: BTreeMap<InstanceName, Vec<SocketAddr>> = BTreeMap::new();
        for (name, spec) in &stored.plan.instances {
            let Some(fronted) = &spec.fronted else { continue };
            let backends = sets.entry(fronted.by.clone()).or_default();
            let kept = self.kept.get(name);
            backends.extend(kept.and_then(|kept| self.backend_of(name, kept)));
        }
        self.fronts.retain(|front, _| sets.contains_key(front));
        for (front, backends) in sets {
            let link = self.fronts.entry(front).or_insert_with_key(|front| {
                let data = self.layout.data(front);
                FrontLink::start(front.clone(), data, self.messages.clone())
            });
            link.want(backends);
        }
    }

    /// The run of an instance that connections are to go to: the coming one once it is ready.
    fn backend_of(&self, name: &InstanceName, kept: &Kept) -> Option<SocketAddr> {
        let report = kept.report.as_ref()?;
        if let Some(backend) = self.coming_backend(name, kept) {
            return Some(backend);
        }
        let port = kept.front_port?;
        let serves = report.phase == PhaseName::Up && kept.ready() == Some(true);
        serves.then(|| backend(port, report.second))
    }

    /// The address of the run that comes, if it is ready.
    fn coming_backend(&self, name: &InstanceName, kept: &Kept) -> Option<SocketAddr> {
        let coming = kept.report.as_ref()?.coming.as_ref()?;
        let probing = kept.probing.iter().find(|probing| probing.target.run == coming.run)?;
        if probing.ready != Some(true) {
            return None;
        }
        let planned = match self.wanted.get(name) {
            Some(Ok(wanted)) if wanted.mark == coming.launch_mark => wanted.front_port,
            Some(_) | None => kept.front_port,
        };
        planned.map(|port| backend(port, coming.second))
    }

    /// Whether connections go to the coming run and not to the old one any more, so that the old
    /// one may be asked to end. Without a front there is nothing to wait for.
    pub(super) fn front_has_turned(&self, name: &InstanceName, kept: &Kept) -> bool {
        let spec = self.stored.as_ref().and_then(|stored| stored.plan.instances.get(name));
        let Some(fronted) = spec.and_then(|spec| spec.fronted.as_ref()) else { return true };
        let taken = self.fronts.get(&fronted.by).and_then(|link| link.taken.as_ref());
        let (Some(taken), Some(coming)) = (taken, self.coming_backend(name, kept)) else {
            return false;
        };
        let second = kept.report.as_ref().is_some_and(|report| report.second);
        let old = kept.front_port.map(|port| backend(port, second));
        taken.contains(&coming) && old.is_none_or(|old| !taken.contains(&old))
    }

    /// Takes note of what a front has taken; replacements may wait for it.
    pub(super) fn fronted(&mut self, front: &InstanceName, backends: Vec<SocketAddr>) {
        if let Some(link) = self.fronts.get_mut(front) {
            link.taken = Some(backends);
        }
        let waiting = self
            .kept
            .iter()
            .filter(|(_, kept)| kept.report.as_ref().is_some_and(|report| report.coming.is_some()));
        let waiting: Vec<InstanceName> = waiting.map(|(name, _)| name.clone()).collect();
        for name in waiting {
            self.tell_ready(&name);
        }
    }
}
