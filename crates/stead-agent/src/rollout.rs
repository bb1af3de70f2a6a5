//! What a host remembers of a rollout, in `rollout.json`, and what it does by it.
//!
//! Whether an ask is taken is decided by `stead_core::rollout::HostMemory`. What was decided is on
//! disk before anything is done by it, and what is yet to be done is in the same file: an agent
//! that dies in between goes on with it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stead_core::plan::Plan;
use stead_core::rollout::{HostDo, HostMemory, HostRefusal, HostStage};
use stead_wire::api::Refusal;
use stead_wire::journal::Event;
use stead_wire::rollout::{About, Outcome, RolloutAsk, RolloutState};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::agent::{Agent, START_AGAIN_AFTER};
use crate::hands::Job;
use crate::history::NewEntry;
use crate::plan_change::Then;

pub(crate) const ROLLOUT_FORMAT: &str = "stead-rollout/1";

/// An operator that said nothing for so long counts as gone: another one may begin anew, unless
/// something was switched.
const ALIVE_FOR: Duration = Duration::from_secs(30);

/// How long a switch may stay uncommitted, if nobody said.
const COMMIT_WITHIN: Duration = Duration::from_secs(120);

/// Asks that may wait for the disk.
const WAITING_MAX: usize = 16;

/// Everything a host remembers of rollouts.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Remembered {
    #[serde(flatten)]
    memory: HostMemory<Plan>,
    #[serde(default)]
    about: Option<About>,
    #[serde(default)]
    commit_within_ms: Option<u64>,
}

impl Remembered {
    /// What is remembered of the rollout goes with what the memory holds of it.
    fn with(self, memory: HostMemory<Plan>) -> Self {
        let id = |memory: &HostMemory<Plan>| memory.machine.held.as_ref().map(|it| it.id.clone());
        let is_same = id(&memory) == id(&self.memory) && memory.staged().is_some();
        let kept = if is_same { self } else { Self::default() };
        Self { memory, ..kept }
    }

    fn commit_within(&self) -> Duration {
        self.commit_within_ms.map_or(COMMIT_WITHIN, Duration::from_millis)
    }
}

pub(crate) type AnswerTo = oneshot::Sender<Result<RolloutState, RolloutRefused>>;

/// Why an ask was not taken.
#[derive(Debug)]
pub(crate) enum RolloutRefused {
    /// The plan that was to be staged can never be carried out here.
    Bad(Refusal),
    /// Another one is in the way, or it is not its turn.
    Conflict(HostRefusal),
    /// The host goes down: nothing is to run there any more.
    GoingDown(Refusal),
    /// The disk did not take it.
    NotStored(Refusal),
}

/// The rollout of an agent.
#[derive(Debug, Default)]
pub(crate) struct Rollout {
    /// As on disk.
    pub(crate) remembered: Remembered,
    /// When the operator was last heard of; an agent that has just started counts from there.
    heard_at: Option<Instant>,
    /// One change at a time goes to the disk.
    in_flight: Option<InFlight>,
    /// When what could not be stored is tried again.
    again_at: Option<Instant>,
    /// The plan may have come otherwise than by the rollout: that is yet to be looked at.
    pub(crate) is_plan_new: bool,
    waiting: VecDeque<(RolloutAsk, AnswerTo)>,
}

/// A change that is being stored, or whose plan is being put.
#[derive(Debug)]
struct InFlight {
    to: Option<AnswerTo>,
    entry: Option<Box<NewEntry>>,
}

impl Rollout {
    pub(crate) fn new(remembered: Remembered) -> Self {
        Self { remembered, heard_at: Some(Instant::now()), is_plan_new: true, ..Self::default() }
    }

    fn is_alive(&self, now: Instant) -> bool {
        self.heard_at.is_some_and(|at| now < at + ALIVE_FOR)
    }

    /// When to look at it again, if nobody asks.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        self.again_at.or_else(|| self.deadline())
    }

    /// When a switch is taken back.
    fn deadline(&self) -> Option<Instant> {
        let at = self.heard_at.filter(|_| self.remembered.memory.is_switched())?;
        Some(at + self.remembered.commit_within())
    }

    /// The plans that may yet be put.
    pub(crate) fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.remembered.memory.plans()
    }

    pub(crate) fn state(&self, now: Instant) -> RolloutState {
        RolloutState {
            machine: self.remembered.memory.machine.clone(),
            about: self.remembered.about.clone(),
            alive: self.is_alive(now),
        }
    }

    /// Why nobody else may change the plan now.
    pub(crate) fn in_the_way(&self, now: Instant) -> Option<String> {
        let memory = &self.remembered.memory;
        let held = memory.machine.held.as_ref()?;
        let is_under_way = memory.is_under_way(self.is_alive(now));
        is_under_way.then(|| format!("a rollout of {} is under way", held.who))
    }
}

impl Agent {
    /// Takes one ask of an operator, or says why not.
    pub(crate) fn rollout_asked(&mut self, ask: RolloutAsk, to: AnswerTo) {
        if self.down.is_some() {
            return drop(to.send(Err(RolloutRefused::GoingDown(going_down()))));
        }
        if self.is_changing() {
            if self.rollout.waiting.len() < WAITING_MAX {
                self.rollout.waiting.push_back((ask, to));
            }
            // Else who asked sees by the dropped answer that it may ask again.
            return;
        }
        let now = Instant::now();
        let alive = self.rollout.is_alive(now);
        let is_bare = ask.staged.is_none();
        let (plan, about) = match ask.staged {
            Some(staged) => (Some(staged.plan), Some((staged.about, staged.commit_within_ms))),
            None => (None, None),
        };
        let before = &self.rollout.remembered;
        let taken = before.memory.take(&ask.ask, plan, alive, |like| self.plan_of_now(like));
        let (memory, what) = match taken {
            Ok(taken) => taken,
            Err(refusal) => return drop(to.send(Err(RolloutRefused::Conflict(refusal)))),
        };
        let mut next = before.clone().with(memory);
        if what == HostDo::Store {
            let plan = next.memory.staged().filter(|_| !is_bare);
            let refusal = plan.map_or_else(|| Some(nothing_staged()), |plan| self.unfit(plan));
            if let Some(refusal) = refusal {
                return drop(to.send(Err(RolloutRefused::Bad(refusal))));
            }
            if let Some((about, commit_within_ms)) = about {
                (next.about, next.commit_within_ms) = (Some(about), Some(commit_within_ms));
            }
        }
        self.rollout.heard_at = Some(now);
        if next == self.rollout.remembered && next.memory.pending().is_none() {
            return drop(to.send(Ok(self.rollout.state(now))));
        }
        let entry = self.entry_of(&next);
        self.remember(next, Some(to), entry);
    }

    /// What could be brought back of the plan that is there; an empty one, where none is.
    fn plan_of_now(&self, like: &Plan) -> Plan {
        let empty = || Plan { instances: BTreeMap::new(), ..like.clone() };
        self.stored.as_ref().map_or_else(empty, |stored| stored.plan.clone().lasting())
    }

    /// The line of the host's history that goes with a change, if it ends a rollout.
    fn entry_of(&self, next: &Remembered) -> Option<Box<NewEntry>> {
        let before = self.rollout.remembered.memory.stage();
        let held = next.memory.machine.held.as_ref()?;
        if before != Some(&HostStage::Switched) {
            return None;
        }
        let outcome = match &held.stage {
            HostStage::Committed => Outcome::Committed,
            HostStage::Reverted { why, .. } => Outcome::Reverted(why.clone()),
            HostStage::Claimed | HostStage::Staged | HostStage::Switched => return None,
        };
        let about = next.about.as_ref();
        Some(Box::new(NewEntry {
            who: held.who.clone(),
            what: about.map_or_else(|| "deploy".into(), |about| about.what.clone()),
            commit: about.and_then(|about| about.commit.clone()),
            outcome,
            epoch: next.memory.machine.epoch,
            plan: next.memory.staged()?.clone(),
        }))
    }

    fn remember(&mut self, next: Remembered, to: Option<AnswerTo>, entry: Option<Box<NewEntry>>) {
        self.rollout.in_flight = Some(InFlight { to, entry });
        self.do_job(Job::Remember(Box::new(next)));
    }

    /// Goes on once what was decided is on disk, or is not.
    pub(crate) fn remembered(&mut self, next: Remembered, stored: std::io::Result<()>) {
        let Some(in_flight) = self.rollout.in_flight.take() else { return };
        if let Err(error) = stored {
            let refusal = not_stored(&error);
            self.log.say(&format!("rollout.json could not be written: {error}"));
            if let Some(to) = in_flight.to {
                // Who asked may be gone.
                let _ = to.send(Err(RolloutRefused::NotStored(refusal)));
            }
            self.rollout.again_at = Some(Instant::now() + START_AGAIN_AFTER);
            return;
        }
        self.say_stage(&next);
        self.rollout.remembered = next;
        if let Some(entry) = in_flight.entry {
            // What it has ended may leave something old behind.
            self.collect_at = Some(Instant::now());
            self.do_job(Job::Record(entry));
        }
        let now_has = self.stored.as_ref().map(|stored| &stored.plan);
        match self.rollout.remembered.memory.pending() {
            Some(plan) if Some(plan) != now_has => {
                let plan = plan.clone();
                self.change_plan(plan, Then::Rollout(in_flight.to));
            }
            Some(_) | None => self.rollout_done(in_flight.to, Ok(())),
        }
    }

    /// A plan that a rollout has put is in force now, or is not.
    pub(crate) fn rollout_done(&mut self, to: Option<AnswerTo>, put: Result<(), Refusal>) {
        let state = self.rollout.state(Instant::now());
        let answer = put.map(|()| state).map_err(RolloutRefused::NotStored);
        let is_put = answer.is_ok();
        self.rollout.again_at = (!is_put).then(|| Instant::now() + START_AGAIN_AFTER);
        if let Some(to) = to {
            // Who asked may be gone.
            let _ = to.send(answer);
        }
        if is_put && self.rollout.remembered.memory.pending().is_some() {
            let memory = self.rollout.remembered.memory.settle();
            let next = Remembered { memory, ..self.rollout.remembered.clone() };
            self.remember(next, None, None);
        }
    }

    /// Whether a change of the plan, or of what is remembered, is on its way to the disk.
    pub(crate) fn is_changing(&self) -> bool {
        self.rollout.in_flight.is_some() || self.change.is_some()
    }

    /// Does what is due without being asked, then takes the asks that have waited.
    pub(crate) fn look_at_rollout(&mut self, now: Instant) {
        if self.is_changing() {
            return;
        }
        if self.down.is_none() && self.rollout.again_at.is_none_or(|at| at <= now) {
            self.rollout.again_at = None;
            if let Some((next, entry)) = self.due_in_rollout(now) {
                return self.remember(next, None, entry);
            }
        }
        while !self.is_changing()
            && let Some((ask, to)) = self.rollout.waiting.pop_front()
        {
            self.rollout_asked(ask, to);
        }
    }

    /// What is to be remembered now: that another plan has come meanwhile, that nobody has
    /// committed, or what an agent before had decided and is yet to be done.
    fn due_in_rollout(&mut self, now: Instant) -> Option<(Remembered, Option<Box<NewEntry>>)> {
        let remembered = &self.rollout.remembered;
        let memory = &remembered.memory;
        if self.rollout.is_plan_new {
            if memory.is_overtaken(self.stored.as_ref().map(|stored| &stored.plan)) {
                return Some((remembered.clone().with(memory.leave()), None));
            }
            self.rollout.is_plan_new = false;
        }
        let remembered = &self.rollout.remembered;
        if self.rollout.deadline().is_some_and(|at| at <= now) {
            let next = remembered.clone().with(remembered.memory.expire());
            let entry = self.entry_of(&next);
            return Some((next, entry));
        }
        remembered.memory.pending().map(|_| (remembered.clone(), None))
    }

    fn say_stage(&mut self, next: &Remembered) {
        let Some(held) = &next.memory.machine.held else { return };
        if self.rollout.remembered.memory.machine.held.as_ref() == Some(held) {
            return;
        }
        let (stage, why) = match &held.stage {
            HostStage::Claimed => ("claimed", None),
            HostStage::Committed => ("committed", None),
            HostStage::Reverted { why, .. } => ("reverted", Some(why.clone())),
            HostStage::Staged => ("staged", None),
            HostStage::Switched => ("switched", None),
        };
        let (who, stage) = (held.who.clone(), stage.to_owned());
        self.log.say(&format!("rollout {} of {who}: {stage}", next.memory.machine.epoch));
        self.journal.note(Event::Rollout { epoch: next.memory.machine.epoch, who, stage, why });
    }
}

fn nothing_staged() -> Refusal {
    Refusal {
        what: "nothing was staged".into(),
        because: "the request holds no plan".into(),
        try_this: "`/v1/openapi.json` describes what goes into the body".into(),
    }
}

fn going_down() -> Refusal {
    Refusal {
        what: "nothing can be brought there".into(),
        because: "the host is going down".into(),
        try_this: "wait until `stead down` has ended there".into(),
    }
}

fn not_stored(error: &std::io::Error) -> Refusal {
    Refusal {
        what: "it was not stored".into(),
        because: format!("rollout.json could not be written: {error}"),
        try_this: "look at the disk of the host; nothing was changed".into(),
    }
}
