//! A new plan, and the way down.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use stead_core::names::ServiceName;
use stead_core::order::{Needs, start_order};
use stead_core::plan::Plan;
use stead_wire::api::{PlanPut, PlanState, Refusal};
use stead_wire::journal::Event;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::Ended;
use crate::agent::Agent;
use crate::hands::Job;
use crate::history::NewEntry;
use crate::host::{self, AllWanted};
use crate::message::PutRefused;
use crate::registry;
use crate::rollout::AnswerTo;
use crate::store::Stored;

/// The most instances a host takes, if its limit of open files lets it.
pub const INSTANCES_MAX: usize = 1000;

/// Files that an agent holds open for each instance: two pipes and a connection.
const FILES_PER_INSTANCE: u64 = 3;

/// Files that are left for everything else: connections, logs that are read.
const FILES_OWN: u64 = 256;

/// The most instances for an agent that may hold so many files open.
pub(crate) fn instances_max(open_files_max: u64) -> usize {
    let for_files = open_files_max.saturating_sub(FILES_OWN) / FILES_PER_INSTANCE;
    usize::try_from(for_files).unwrap_or(usize::MAX).min(INSTANCES_MAX)
}

/// What going down may take beyond the time that the instances have to stop.
pub const DOWN_MARGIN: Duration = Duration::from_secs(10);

/// A plan that is being written.
#[derive(Debug)]
pub(crate) struct Change {
    then: Then,
}

/// Who waits for a plan.
#[derive(Debug)]
pub(crate) enum Then {
    /// The agent does it for going down.
    Nobody,
    Put(oneshot::Sender<Result<PlanState, PutRefused>>),
    Rollout(Option<AnswerTo>),
}

/// The host goes down: nothing is to run any more.
#[derive(Debug)]
pub(crate) struct Down {
    to: Vec<oneshot::Sender<Result<PlanState, Refusal>>>,
    pub(crate) deadline: Instant,
    /// The empty plan was handed to the disk.
    is_applied: bool,
}

impl Agent {
    /// Takes a new plan if it replaces the one that is there and can be carried out.
    pub(crate) fn put_plan(
        &mut self,
        put: PlanPut,
        to: oneshot::Sender<Result<PlanState, PutRefused>>,
    ) {
        match self.refuse_plan(&put) {
            Some(refused) => drop(to.send(Err(refused))),
            None => self.change_plan(put.plan, Then::Put(to)),
        }
    }

    fn refuse_plan(&self, put: &PlanPut) -> Option<PutRefused> {
        let stale = |because: String| {
            PutRefused::Stale(Refusal {
                what: "the plan was not taken".into(),
                because,
                try_this: "look at the plan that is there and put yours again".into(),
            })
        };
        if self.down.is_some() {
            return Some(stale("the host is going down".into()));
        }
        if let Some(rollout) = self.rollout.in_the_way(Instant::now()) {
            return Some(stale(rollout));
        }
        if self.change.is_some() {
            return Some(stale("another plan is being written".into()));
        }
        let generation = self.generation();
        if put.replaces != generation {
            let because = format!(
                "it replaces generation {}, and the host has generation {generation}",
                put.replaces
            );
            return Some(stale(because));
        }
        self.unfit(&put.plan).map(PutRefused::Bad)
    }

    /// Why a plan can never be carried out on this host.
    pub(crate) fn unfit(&self, plan: &Plan) -> Option<Refusal> {
        if let Some(refusal) = bad_plan(plan, self.instances_max) {
            return Some(refusal);
        }
        if let Some(refusal) = registry::unfit(plan) {
            return Some(refusal);
        }
        let too_much = self.capacity.refuse(plan)?;
        Some(Refusal {
            what: "the plan was not taken".into(),
            because: too_much.because,
            try_this: too_much.try_this,
        })
    }

    pub(crate) fn change_plan(&mut self, plan: Plan, then: Then) {
        let leaving = self.kept.iter().filter(|(name, _)| !plan.instances.contains_key(name));
        let stored = Stored {
            generation: self.generation() + 1,
            leaving: leaving.map(|(name, kept)| (name.clone(), kept.needs.clone())).collect(),
            inherited: host::inherited(&plan, |name| std::env::var(name).ok()),
            plan,
        };
        self.change = Some(Change { then });
        self.do_job(Job::Apply(Box::new(stored)));
    }

    /// Takes note of a plan that is on disk now, or is not.
    pub(crate) fn applied(&mut self, stored: Stored, wanted: Result<AllWanted, io::Error>) {
        let then = self.change.take().map_or(Then::Nobody, |change| change.then);
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(error) => {
                self.log.say(&format!("plan.json could not be written: {error}"));
                if let Some(down) = &mut self.down {
                    down.deadline = Instant::now();
                }
                let refusal = Refusal {
                    what: "the plan was not taken".into(),
                    because: format!("plan.json could not be written: {error}"),
                    try_this: "look at the disk of the host; nothing was changed".into(),
                };
                match then {
                    Then::Nobody => (),
                    Then::Put(to) => drop(to.send(Err(PutRefused::NotStored(refusal)))),
                    Then::Rollout(to) => self.rollout_done(to, Err(refusal)),
                }
                return;
            }
        };
        // What failed under the plan before is tried again: what it failed for may be mended.
        for kept in self.kept.values_mut() {
            if let Some(report) = &mut kept.report {
                report.rejected = None;
            }
        }
        self.log.say(&format!("obeys generation {}", stored.generation));
        self.journal.note(Event::Planned {
            generation: stored.generation,
            fleet: stored.plan.fleet.to_string(),
            instances: u32::try_from(stored.plan.instances.len()).unwrap_or(u32::MAX),
        });
        for (name, kept) in &mut self.kept {
            kept.trouble = None;
            kept.asked.update = None;
            if let Some(spec) = stored.plan.instances.get(name) {
                kept.needs.clone_from(&spec.needs);
            }
        }
        self.unstarted.clear();
        self.troubles.remove("plan.json");
        self.wanted = wanted;
        self.resolve_at = None;
        self.rollout.is_plan_new = true;
        match then {
            Then::Nobody => self.stored = Some(stored),
            Then::Put(to) => {
                let entry = NewEntry::put(&stored.plan);
                self.stored = Some(stored);
                self.do_job(Job::Record(Box::new(entry)));
                self.collect_at = Some(Instant::now());
                drop(to.send(Ok(self.plan_state())));
            }
            Then::Rollout(to) => {
                self.stored = Some(stored);
                self.rollout_done(to, Ok(()));
            }
        }
    }

    /// Begins to go down, or joins those who wait for it.
    pub(crate) fn go_down(&mut self, to: oneshot::Sender<Result<PlanState, Refusal>>) {
        let timeouts: Duration = self.kept.values().map(|kept| kept.stop_timeout).sum();
        let down = self.down.get_or_insert_with(|| Down {
            to: Vec::new(),
            deadline: Instant::now() + timeouts + DOWN_MARGIN,
            is_applied: false,
        });
        down.to.push(to);
    }

    /// Makes the plan empty once no other one is being written.
    pub(crate) fn apply_down(&mut self) {
        let is_waiting = self.down.as_ref().is_some_and(|down| !down.is_applied);
        if !is_waiting || self.change.is_some() {
            return;
        }
        if let Some(down) = &mut self.down {
            down.is_applied = true;
        }
        let plan = match &self.stored {
            Some(stored) if stored.plan.instances.is_empty() => return,
            Some(stored) => Plan { instances: BTreeMap::new(), ..stored.plan.clone() },
            None if self.kept.is_empty() => return,
            // Whose instances these are cannot be read any more; they are to end all the same.
            None => Plan {
                fleet: "unknown".parse().expect("it is a name"),
                host: self.host.parse().unwrap_or_else(|_| "local".parse().expect("a name")),
                instances: BTreeMap::new(),
            },
        };
        self.change_plan(plan, Then::Nobody);
    }

    /// Answers those who wait for the host to be down, when it is or its time is over.
    pub(crate) fn finish_down(&mut self, now: Instant) {
        let Some(down) = &self.down else { return };
        let is_done = self.kept.is_empty() && down.is_applied && self.change.is_none();
        if !is_done && now < down.deadline {
            return;
        }
        let left: Vec<String> = self.kept.keys().map(ToString::to_string).collect();
        for to in self.down.take().map(|down| down.to).unwrap_or_default() {
            let answer = if is_done { Ok(self.plan_state()) } else { Err(not_down(&left)) };
            // Who asked may be gone; the host goes down all the same.
            let _ = to.send(answer);
        }
        if self.until_down {
            self.ended = Some(Ended::Down { left });
        }
    }
}

fn not_down(left: &[String]) -> Refusal {
    Refusal {
        what: "not everything has ended in time".into(),
        because: format!("still there: {}", left.join(", ")),
        try_this: "`stead why` one of them; `stead down` again waits on".into(),
    }
}

/// Why a plan can never be carried out.
fn bad_plan(plan: &Plan, instances_max: usize) -> Option<Refusal> {
    let refuse = |because: String| Refusal {
        what: "the plan was not taken".into(),
        because,
        try_this: "put a plan that was made from a fleet file by a `stead` of the same version"
            .into(),
    };
    if plan.instances.len() > instances_max {
        let count = plan.instances.len();
        let refusal =
            refuse(format!("it holds {count} instances; this host takes {instances_max}"));
        if instances_max == INSTANCES_MAX {
            return Some(refusal);
        }
        let try_this = "raise the hard limit of open files (`ulimit -Hn`) and start the agent anew";
        return Some(Refusal { try_this: try_this.into(), ..refusal });
    }
    let mut needs = Needs::new();
    for (name, spec) in &plan.instances {
        if spec.run.is_empty() {
            return Some(refuse(format!("`{name}` has nothing to run")));
        }
        let is_bad = |variable: &&String| variable.is_empty() || variable.contains(['=', '\0']);
        let variables = spec.env.keys().chain(spec.secrets.keys()).chain(&spec.inherit);
        if let Some(variable) = variables.into_iter().find(is_bad) {
            return Some(refuse(format!("`{name}` has a variable of the bad name {variable:?}")));
        }
        needs.entry(name.service().clone()).or_default().extend(spec.needs.iter().cloned());
    }
    let cycle = start_order(&needs).err()?;
    let ring: Vec<&str> = cycle.0.iter().map(ServiceName::as_str).collect();
    Some(refuse(format!("these services need each other in a ring: {}", ring.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{plan, spec};
    use stead_core::names::InstanceName;

    #[test]
    fn the_limit_of_open_files_bounds_the_instances() {
        let cases = [(0, 0), (1024, 256), (4096, 1000), (u64::MAX, 1000)];
        for (files, instances) in cases {
            assert_eq!(instances_max(files), instances, "{files}");
        }
    }

    #[test]
    fn a_plan_that_can_never_be_carried_out_is_refused_with_the_reason() {
        let needing = |need: &str| {
            let mut spec = spec(&["x"]);
            spec.needs = vec![need.parse().unwrap()];
            spec
        };
        let mut bad_env = spec(&["x"]);
        bad_env.inherit = vec!["A=B".into()];
        let many: BTreeMap<InstanceName, _> = (0..=INSTANCES_MAX)
            .map(|n| (format!("a.{n}").parse().unwrap(), spec(&["x"])))
            .collect();
        let cases = [
            (plan([("a.0", needing("b")), ("b.0", spec(&["x"]))]), None),
            (plan([("a.0", needing("elsewhere"))]), None),
            (plan([("a.0", needing("b")), ("b.0", needing("a"))]), Some("in a ring: a, b")),
            (plan([("a.0", spec(&[]))]), Some("`a.0` has nothing to run")),
            (plan([("a.0", bad_env)]), Some("\"A=B\"")),
            (Plan { instances: many, ..plan([]) }, Some("this host takes 1000")),
        ];
        for (plan, because) in cases {
            let refusal = bad_plan(&plan, INSTANCES_MAX);
            match (&refusal, because) {
                (None, None) => (),
                (Some(refusal), Some(because)) => {
                    assert!(refusal.because.contains(because), "{refusal:?}");
                }
                (None, Some(_)) | (Some(_), None) => panic!("{refusal:?}, not {because:?}"),
            }
        }
    }
}
