//! What a host remembers of a rollout, in `rollout.json`, and what it does by it.
//!
//! Whether an ask is taken is decided by `stead_core::rollout::HostRollout`. What was decided is on
//! disk before anything is done by it, and what is yet to be done is in the same file: an agent
//! that dies in between goes on with it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stead_core::plan::Plan;
use stead_core::rollout::{HostDo, HostRefusal, HostRollout, HostStage};
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
    machine: HostRollout,
    #[serde(default)]
    about: Option<About>,
    #[serde(default)]
    commit_within_ms: Option<u64>,
    /// What is switched to.
    #[serde(default)]
    staged: Option<Plan>,
    /// What was there before the switch.
    #[serde(default)]
    back: Option<Plan>,
    /// A plan that is to be put, and may not be yet.
    #[serde(default)]
    pending: Option<Pending>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Pending {
    Back,
    Staged,
}

impl Remembered {
    fn stage(&self) -> Option<&HostStage> {
        self.machine.held.as_ref().map(|held| &held.stage)
    }

    fn is_switched(&self) -> bool {
        self.stage() == Some(&HostStage::Switched)
    }

    fn pending_plan(&self) -> Option<&Plan> {
        match self.pending? {
            Pending::Back => self.back.as_ref(),
            Pending::Staged => self.staged.as_ref(),
        }
    }

    /// Whether the plan that is there came otherwise than by this rollout, after it.
    fn is_overtaken(&self, now_has: Option<&Plan>) -> bool {
        let last_put = match self.stage() {
            Some(HostStage::Switched | HostStage::Committed) => self.staged.as_ref(),
            Some(HostStage::Reverted { .. }) => self.back.as_ref(),
            Some(HostStage::Claimed | HostStage::Staged) | None => None,
        };
        self.pending.is_none() && last_put.is_some() && last_put != now_has
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
        let at = self.heard_at.filter(|_| self.remembered.is_switched())?;
        Some(at + self.remembered.commit_within())
    }

    pub(crate) fn state(&self, now: Instant) -> RolloutState {
        let machine = &self.remembered.machine;
        RolloutState {
            epoch: machine.epoch,
            held: machine.held.clone(),
            about: self.remembered.about.clone(),
            alive: self.is_alive(now),
        }
    }

    /// Why nobody else may change the plan now.
    pub(crate) fn in_the_way(&self, now: Instant) -> Option<String> {
        let machine = &self.remembered.machine;
        let held = machine.held.as_ref()?;
        let is_under_way = machine.is_under_way(self.is_alive(now));
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
        let taken = self.rollout.remembered.machine.clone().take(&ask.ask, alive);
        let (machine, what) = match taken {
            Ok(taken) => taken,
            Err(refusal) => return drop(to.send(Err(RolloutRefused::Conflict(refusal)))),
        };
        if what == HostDo::Store {
            let plan = ask.staged.as_ref().map(|staged| &staged.plan);
            let refusal = plan.map_or_else(|| Some(nothing_staged()), |plan| self.unfit(plan));
            if let Some(refusal) = refusal {
                return drop(to.send(Err(RolloutRefused::Bad(refusal))));
            }
        }
        self.rollout.heard_at = Some(now);
        let remembered = self.after(machine, &what, ask.staged.map(|staged| *staged));
        if remembered == self.rollout.remembered && remembered.pending.is_none() {
            return drop(to.send(Ok(self.rollout.state(now))));
        }
        let entry = self.entry_of(&remembered);
        self.remember(remembered, Some(to), entry);
    }

    /// What is remembered once this was decided.
    fn after(
        &self,
        machine: HostRollout,
        what: &HostDo,
        staged: Option<stead_wire::rollout::Staged>,
    ) -> Remembered {
        let before = self.rollout.remembered.clone();
        let is_same_rollout = machine.held.as_ref().map(|held| &held.id)
            == before.machine.held.as_ref().map(|held| &held.id);
        let mut next = if is_same_rollout { before } else { Remembered::default() };
        next.machine = machine;
        match what {
            HostDo::Nothing => (),
            HostDo::Drop => (next.staged, next.back, next.about) = (None, None, None),
            HostDo::KeepNew => next.back = None,
            HostDo::Store => {
                if let Some(staged) = staged {
                    next.about = Some(staged.about);
                    next.commit_within_ms = Some(staged.commit_within_ms);
                    next.staged = Some(staged.plan);
                }
            }
            HostDo::PutStaged => {
                next.back = next.back.or_else(|| Some(self.plan_of_now(next.staged.as_ref()?)));
                next.pending = Some(Pending::Staged);
            }
            HostDo::PutBack => next.pending = next.back.is_some().then_some(Pending::Back),
        }
        next
    }

    /// The plan that is there; an empty one, where none is.
    fn plan_of_now(&self, like: &Plan) -> Plan {
        let empty = || Plan { instances: BTreeMap::new(), ..like.clone() };
        self.stored.as_ref().map_or_else(empty, |stored| stored.plan.clone())
    }

    /// The line of the host's history that goes with a change, if it ends a rollout.
    fn entry_of(&self, next: &Remembered) -> Option<Box<NewEntry>> {
        let before = self.rollout.remembered.stage();
        let held = next.machine.held.as_ref()?;
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
            epoch: next.machine.epoch,
            plan: next.staged.clone()?,
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
            self.do_job(Job::Record(entry));
        }
        let now_has = self.stored.as_ref().map(|stored| &stored.plan);
        match self.rollout.remembered.pending_plan() {
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
        if is_put && self.rollout.remembered.pending.is_some() {
            let next = Remembered { pending: None, ..self.rollout.remembered.clone() };
            self.remember(next, None, None);
        }
    }

    /// Whether a change of the plan, or of what is remembered, is on its way to the disk.
    fn is_changing(&self) -> bool {
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
        if self.rollout.is_plan_new {
            if remembered.is_overtaken(self.stored.as_ref().map(|stored| &stored.plan)) {
                let machine = remembered.machine.clone().leave();
                return Some((Remembered { machine, ..Remembered::default() }, None));
            }
            self.rollout.is_plan_new = false;
        }
        if self.rollout.deadline().is_some_and(|at| at <= now) {
            let (machine, what) = self.rollout.remembered.machine.clone().expire();
            let next = self.after(machine, &what, None);
            let entry = self.entry_of(&next);
            return Some((next, entry));
        }
        let remembered = &self.rollout.remembered;
        remembered.pending.map(|_| (remembered.clone(), None))
    }

    fn say_stage(&mut self, next: &Remembered) {
        let Some(held) = &next.machine.held else { return };
        if self.rollout.remembered.machine.held.as_ref() == Some(held) {
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
        self.log.say(&format!("rollout {} of {who}: {stage}", next.machine.epoch));
        self.journal.note(Event::Rollout { epoch: next.machine.epoch, who, stage, why });
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
