//! What an agent finds when it starts: keepers that live are connected to, dead ones are replaced.

use std::time::Duration;

use stead_core::names::InstanceName;
use stead_proc::FolderLock;
use stead_wire::journal::Stream;
use tokio::time::Instant;

use super::Agent;
use crate::hands::{self, Job};
use crate::kept::{Hearing, Keeper, Kept};
use crate::store::Found;

/// How long an instance of unknown launch is given to stop when the host goes down.
const STOP_TIMEOUT_UNKNOWN: Duration = Duration::from_secs(10);

impl Agent {
    /// Takes over every instance that has a folder.
    pub(crate) fn adopt(&mut self) {
        let (names, strange) = match self.layout.list() {
            Ok(found) => found,
            Err(error) => {
                let trouble = format!("the folder `instances` cannot be read: {error}");
                self.log.say(&trouble);
                self.troubles.insert("instances".into(), trouble);
                return;
            }
        };
        for name in strange {
            let trouble = format!("`instances/{name}` is no instance; it is left alone");
            self.troubles.insert(format!("instances/{name}"), trouble);
        }
        for name in names {
            self.adopt_one(&name);
        }
    }

    fn adopt_one(&mut self, name: &InstanceName) {
        let folder = self.layout.instance(name);
        let needs = self.stored.as_ref().and_then(|stored| {
            let planned = stored.plan.instances.get(name).map(|spec| &spec.needs);
            planned.or(stored.leaving.get(name)).cloned()
        });
        let mut kept = Kept::starting(needs.unwrap_or_default(), STOP_TIMEOUT_UNKNOWN);
        if let Found::Whole(launch) = hands::read_launch(&folder) {
            kept.release = launch.release;
            kept.stop_timeout = launch.stop.timeout;
        }
        let held = FolderLock::acquire(&folder).map(|lock| lock.err());
        kept.keeper = match held {
            Ok(Some(holder)) => {
                let holder = holder.map_or_else(|| "?".into(), |pid| pid.to_string());
                self.log.say(&format!("`{name}`: connecting to its keeper {holder}"));
                // Held so that nothing is lost if the keeper goes; one that cannot be opened now
                // is opened with the next keeper.
                let fifos = Stream::ALL.map(|stream| folder.join(stream.as_str()));
                kept.fifos = fifos.iter().filter_map(|it| stead_proc::open_fifo(it).ok()).collect();
                let link = self.link(name, false);
                Keeper::Alive { child: None, link, hearing: Hearing::Waiting }
            }
            Ok(None) if hands::is_retired(&folder) => {
                self.do_job(Job::Bury { instance: name.clone() });
                Keeper::Burying
            }
            Ok(None) => {
                self.log.say(&format!("`{name}`: its keeper is gone; another one follows"));
                Keeper::Dead { start_at: Instant::now() }
            }
            Err(error) => {
                self.log.say(&format!("`{name}`: its lock cannot be looked at: {error}"));
                Keeper::Dead { start_at: Instant::now() }
            }
        };
        self.kept.insert(name.clone(), kept);
    }
}
