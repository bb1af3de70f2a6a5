//! What must hold in every world.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use stead_core::names::RolloutId;
use stead_core::rollout::{Ended, Held, HostStage};

use crate::host::Host;
use crate::operator::Ending;
use crate::plan::{Fault, Kind, Plan};
use crate::{Ms, Version};

/// What should have held, when it did not, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    pub at: Ms,
    pub invariant: &'static str,
    pub how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, invariant, how } = self;
        write!(f, "at {at} ms `{invariant}` does not hold: {how}")
    }
}

#[derive(Debug)]
pub(crate) struct Checks {
    pub(crate) violation: Option<Violation>,
    plan: Plan,
    /// No power was lost and nothing fails late: something serves all the time.
    serves_always: bool,
    epochs: Vec<u64>,
    versions: BTreeMap<RolloutId, Version>,
    committed: BTreeMap<(RolloutId, usize), u64>,
    /// Those that were switched and told to go back.
    told_back: BTreeSet<RolloutId>,
    switched: BTreeSet<(RolloutId, usize)>,
    /// What operators said that hosts have not got, by rollout and epoch.
    said_old: Vec<(RolloutId, u64, usize)>,
}

impl Checks {
    pub(crate) fn new(plan: &Plan) -> Self {
        let loses_power = |fault: &Fault| matches!(fault, Fault::PowerLost { .. });
        let fails_late =
            plan.kinds.iter().flatten().any(|kind| matches!(kind, Kind::FailsAfter(_)));
        Self {
            violation: None,
            serves_always: !plan.all_faults().any(loses_power) && !fails_late,
            epochs: vec![0; plan.hosts_n],
            versions: BTreeMap::new(),
            committed: BTreeMap::new(),
            told_back: BTreeSet::new(),
            switched: BTreeSet::new(),
            said_old: Vec::new(),
            plan: plan.clone(),
        }
    }

    fn fail(&mut self, at: Ms, invariant: &'static str, how: String) {
        self.violation.get_or_insert(Violation { at, invariant, how });
    }

    pub(crate) fn spins(&mut self, at: Ms) {
        self.fail(at, "a rollout comes to an end", "the world spins".into());
    }

    pub(crate) fn never_ends(&mut self, at: Ms, operator: usize) {
        self.fail(at, "a rollout comes to an end", format!("{} does not", self.plan.who(operator)));
    }

    pub(crate) fn drives(&mut self, id: &RolloutId, version: Option<Version>) {
        if let Some(version) = version {
            self.versions.insert(id.clone(), version);
        }
    }

    pub(crate) fn look(&mut self, at: Ms, hosts: &mut [Host]) {
        if self.serves_always
            && let Some(host) = hosts.iter_mut().position(|host| host.serving(at).is_none())
        {
            self.fail(at, "something serves all the time", format!("not on h{host}"));
        }
    }

    /// A host's stage is durable, it says.
    pub(crate) fn reached(&mut self, at: Ms, host: usize, epoch: u64, held: &Held, hosts: &[Host]) {
        let known = self.epochs[host];
        if epoch < known {
            let how = format!("h{host} knows {known} and obeys {epoch}");
            self.fail(at, "who was overtaken changes nothing", how);
        }
        self.epochs[host] = known.max(epoch);
        match &held.stage {
            HostStage::Committed => self.commits(at, host, epoch, &held.id, hosts),
            HostStage::Switched => drop(self.switched.insert((held.id.clone(), host))),
            HostStage::Reverted { by_itself: false, .. } => {
                if self.switched.contains(&(held.id.clone(), host)) {
                    self.told_back.insert(held.id.clone());
                }
            }
            HostStage::Claimed
            | HostStage::Staged
            | HostStage::Reverted { by_itself: true, .. } => (),
        }
        let is_committed = self.committed.keys().any(|(id, _)| *id == held.id);
        if is_committed && self.told_back.contains(&held.id) {
            let how = format!("{} is committed and was told back", held.id);
            self.fail(at, "nobody is told to go back beside one that is committed", how);
        }
    }

    fn commits(&mut self, at: Ms, host: usize, epoch: u64, id: &RolloutId, hosts: &[Host]) {
        let is_first = !self.committed.keys().any(|(it, _)| it == id);
        self.committed.entry((id.clone(), host)).or_insert(epoch);
        self.late_commits(at, host, epoch, id);
        let Some(version) = self.versions.get(id).copied().filter(|_| is_first) else { return };
        let bad = (0..hosts.len()).find(|n| {
            let held = hosts[*n].memory.machine.held.as_ref();
            let takes_part = held.is_some_and(|held| {
                held.id == *id && matches!(held.stage, HostStage::Switched | HostStage::Committed)
            });
            let kind = self.plan.kind(version, *n);
            takes_part && matches!(kind, Kind::NeverReady | Kind::Crashes)
        });
        if let Some(bad) = bad {
            let how = format!("{id} on h{host}, while h{bad} cannot run it");
            self.fail(at, "nothing is committed that does not work", how);
        }
    }

    /// What was said to have the old must not get the new by what is still on its way.
    fn late_commits(&mut self, at: Ms, host: usize, epoch: u64, id: &RolloutId) {
        let is_late =
            |(of, said, on): &&(RolloutId, u64, usize)| of == id && *on == host && epoch <= *said;
        if let Some((_, said, _)) = self.said_old.iter().find(is_late) {
            let how = format!("h{host} was said to have the old by epoch {said}");
            self.fail(at, "what an operator says in the end is so", how);
        }
    }

    /// What an operator says in the end.
    pub(crate) fn ended(&mut self, at: Ms, ending: &Ending, hosts: &[Host]) {
        let Ending::Told { id, epoch, ends, .. } = ending else { return };
        let invariant = "what an operator says in the end is so";
        for (host, end) in ends.iter().enumerate() {
            let is_committed = self.committed.contains_key(&(id.clone(), host));
            match end {
                Ended::New if !is_committed => {
                    self.fail(at, invariant, format!("h{host} has never committed {id}"));
                }
                Ended::Old(_) if hosts[host].memory.machine.for_good.as_ref() == Some(id) => {
                    self.fail(at, invariant, format!("h{host} has {id} for good"));
                }
                Ended::Old(_) if self.versions.get(id) == Some(&hosts[host].plan) => {
                    self.fail(at, invariant, format!("h{host} still runs {id}"));
                }
                Ended::Old(_) => self.said_old.push((id.clone(), *epoch, host)),
                Ended::New | Ended::Unknown(_) => (),
            }
        }
    }

    /// Nobody drives a rollout any more, for longer than a host waits.
    pub(crate) fn nobody_is_there(&mut self, at: Ms, hosts: &[Host]) {
        if let Some(host) = hosts.iter().position(|host| host.memory.is_switched()) {
            let how = format!("h{host} is still switched");
            self.fail(at, "what nobody commits is taken back", how);
        }
    }

    /// Everything has been mended and ended.
    pub(crate) fn over(&mut self, at: Ms, last: &Ending, hosts: &mut [Host]) {
        let plans: BTreeSet<Version> = hosts.iter().map(|host| host.plan).collect();
        let names_all = match last {
            Ending::Told { ends, .. } => ends.iter().any(|end| !matches!(end, Ended::New)),
            Ending::Nothing { is_split } => *is_split,
            Ending::Untouched { .. } | Ending::Died => false,
        };
        if plans.len() > 1 && !names_all {
            let how = format!("hosts run {plans:?}");
            self.fail(at, "the fleet is whole in the end, or the split is named", how);
        }
        let mute = (0..hosts.len()).find(|n| {
            let version = hosts[*n].plan;
            let may_fail = matches!(self.plan.kind(version, *n), Kind::FailsAfter(_));
            hosts[*n].serving(at).is_none() && !may_fail
        });
        if let Some(host) = mute {
            self.fail(at, "every host serves in the end", format!("h{host} does not"));
        }
        if let Some(host) = hosts.iter().position(|host| host.memory.pending().is_some()) {
            self.fail(at, "what was decided is done", format!("not on h{host}"));
        }
    }
}
