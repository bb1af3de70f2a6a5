//! What a host must keep of what was brought to it: the rest may go.
//!
//! ```text
//! kept = what the plans name that it goes by, or may go by at once
//!      + what the launches name that runs go by
//!      + what the last [`KEEP`] states of each service name, by the history
//!      + all that the history names of a service some run of which goes by nobody knows what
//! ```

use alloc::borrow::ToOwned as _;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::launch::Launch;
use crate::names::{InstanceName, ServiceName};
use crate::plan::{Digest, Plan, Spec};

/// So many states of each service can be gone back to, the present one among them: enough for a
/// mistake that is found after a few further deploys, and few enough to have a bound on the disk.
pub const KEEP: usize = 5;

/// What is kept, by the names that things have on the disk.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Kept {
    pub configs: BTreeSet<Digest>,
    pub releases: BTreeSet<Digest>,
    pub secrets: BTreeSet<Digest>,
}

/// A plan that the host went by.
#[derive(Clone, Debug)]
pub struct Past {
    pub plan: Plan,
    /// It was taken back: nobody goes back to it, but a run may be left that was begun by it.
    pub is_reverted: bool,
}

/// What runs of an instance go by.
#[derive(Clone, Debug)]
pub struct GoesBy {
    pub instance: InstanceName,
    /// The launches that its folder holds.
    pub launches: Vec<Launch>,
    /// No run goes by any other launch.
    pub is_settled: bool,
}

impl Kept {
    /// `plans` are those that the host goes by or may go by at once: the one it has, what is
    /// staged, the way back. `history` has those that it went by, the newest first; they are many
    /// and may be read one by one.
    pub fn of<'a>(
        plans: impl IntoIterator<Item = &'a Plan>,
        runs: &[GoesBy],
        history: impl IntoIterator<Item = Past>,
    ) -> Self {
        let mut kept = Self::default();
        for plan in plans {
            states(plan).values().for_each(|state| kept.add(state));
        }
        runs.iter().flat_map(|run| &run.launches).for_each(|launch| kept.add_launch(launch));
        let unsettled = runs.iter().filter(|run| !run.is_settled);
        let unsettled: BTreeSet<&ServiceName> =
            unsettled.map(|run| run.instance.service()).collect();
        // What a service has packed is its state: two plans with the same are one.
        let mut seen: BTreeMap<ServiceName, BTreeSet<Self>> = BTreeMap::new();
        for past in history {
            for (service, state) in states(&past.plan) {
                let seen = seen.entry(service.clone()).or_default();
                let is_last = !past.is_reverted && seen.len() < KEEP;
                if is_last || unsettled.contains(service) {
                    kept.add(&state);
                }
                if is_last {
                    seen.insert(state);
                }
            }
        }
        kept
    }

    fn add(&mut self, other: &Self) {
        self.configs.extend(other.configs.iter().cloned());
        self.releases.extend(other.releases.iter().cloned());
        self.secrets.extend(other.secrets.iter().cloned());
    }

    fn add_spec(&mut self, spec: &Spec) {
        self.configs.extend(spec.config.clone());
        self.releases.extend(spec.release.clone());
        self.secrets.extend(spec.secrets.values().map(|secret| secret.id.clone()));
    }

    fn add_launch(&mut self, launch: &Launch) {
        self.configs.extend(launch.config.clone());
        self.releases.extend(launch.release.clone());
        // The values stand in files that have their names.
        let names = launch.secrets.values().filter_map(|path| path.rsplit('/').next());
        self.secrets.extend(names.filter_map(|name| Digest::try_from(name.to_owned()).ok()));
    }
}

fn states(plan: &Plan) -> BTreeMap<&ServiceName, Kept> {
    let mut states: BTreeMap<&ServiceName, Kept> = BTreeMap::new();
    for (name, spec) in &plan.instances {
        states.entry(name.service()).or_default().add_spec(spec);
    }
    states
}

#[cfg(test)]
mod tests;
