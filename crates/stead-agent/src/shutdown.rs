//! The end of the host: every keeper is told to end, and with it its service, in the order of
//! needs. What is wanted stays wanted: the next boot starts it again.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use stead_core::names::{InstanceName, ServiceName};
use stead_core::order::{Needs, may_end};
use stead_core::signal::Signal;
use stead_proc::{AsHandle as _, FolderLock, Process};

use crate::agent::Agent;

/// How often to look which keepers have ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What a keeper may take beyond its service's stop timeout: the kill of a tree, its journal.
const MARGIN: Duration = Duration::from_secs(5);

/// A keeper that was told to end.
struct Ending {
    process: Process,
    until: Instant,
}

impl Agent {
    /// Ends all services, those first that no other one needs.
    pub(crate) fn end_host(&mut self) {
        let needs = self.needs();
        let (names, _) = self.layout.list().unwrap_or_default();
        let mut left: BTreeMap<InstanceName, Option<Ending>> =
            names.into_iter().map(|name| (name, None)).collect();
        while !left.is_empty() {
            let services: BTreeSet<ServiceName> =
                left.keys().map(|name| name.service().clone()).collect();
            let next = may_end(&needs, &services);
            let mut late = Vec::new();
            left.retain(|name, ending| match ending {
                Some(Ending { process, until }) => {
                    let is_late = Instant::now() >= *until;
                    late.extend(is_late.then(|| name.to_string()));
                    !is_late
                        && stead_proc::wait(&[process.as_handle()], Some(Duration::ZERO))
                            .is_ok_and(|ended| !ended[0])
                }
                None if next.contains(name.service()) => {
                    *ending = self.end_keeper(name);
                    ending.is_some()
                }
                None => true,
            });
            for name in late {
                self.log.say(&format!("`{name}` has not ended in time"));
            }
            sleep(LOOK_EVERY);
        }
    }

    fn needs(&self) -> Needs {
        let mut needs = Needs::new();
        let plan = self.stored.as_ref().map(|stored| &stored.plan);
        for (name, spec) in plan.into_iter().flat_map(|plan| &plan.instances) {
            needs.insert(name.service().clone(), spec.needs.clone());
        }
        needs
    }

    /// Tells the keeper of an instance to end; `None` if there is none.
    fn end_keeper(&self, name: &InstanceName) -> Option<Ending> {
        let timeout = self.stored.as_ref().and_then(|stored| stored.plan.instances.get(name));
        let timeout = timeout.map(|spec| spec.stop.timeout).unwrap_or_default();
        // Whoever holds the lock is the keeper, and nobody else.
        let holder = || FolderLock::acquire(&self.layout.instance(name)).ok()?.err()?;
        let pid = holder()?;
        let process = Process::open_any(pid).ok()??;
        if holder() != Some(pid) || !process.signal(Signal::Term).unwrap_or(false) {
            return None;
        }
        Some(Ending { process, until: Instant::now() + timeout + MARGIN })
    }
}
