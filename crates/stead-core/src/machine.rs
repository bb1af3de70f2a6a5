//! The life of one instance, as a pure function.
//!
//! ```text
//!            spawn              started                 exited
//!   Down ──────────> Starting ─────────> Up ──────────────────────────> Sweeping
//!    ^  ^               │ spawn failed   │ want down, restart              │ gone
//!    │  └── want down ──┤                v            exited               │
//!    │                  v             Stopping ───────────────────────────>┤
//!    │               Waiting <─────────────────────────────────────────────┤
//!    └─────────────────────────────────────────────────────────── Failed <─┘
//! ```
//!
//! Beside a run that is up there may be one more: the one that is to take its place, or the one
//! whose place it took (see [`Beside`]).
//!
//! Each input about a process carries the run it is about; one about another run changes nothing.
//! A deadline that fires early, late or twice is a no-op.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::{Restart, When};
use crate::units::{Millis, millis};

mod beside;
mod health;

pub use beside::{Beside, RestBeside};

/// One life of an instance's process. Numbered from 1; a number is never used twice.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct RunId(pub u64);

/// What the operator and the plan want of an instance.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    #[default]
    Down,
    Up,
}

/// The part of a spec that decides.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub restart: Restart,
    /// From the polite request to the kill of the whole tree.
    pub stop_timeout: Duration,
    /// A run that is to take the place of another is ready within this, or it is given up.
    pub replace_within: Duration,
    /// A run that takes longer is stopped, and has failed.
    pub run_timeout: Option<Duration>,
}

/// How long a kill may take to show before it is sent again.
pub const KILL_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What becomes of an instance once nothing of the current run is left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum After {
    /// Down, because that is wanted or because the run ended as it may.
    Down,
    /// Failed: it ended badly and its policy says that it stays so.
    Failed,
    /// The next run, at once: asked for by the operator or by a new spec.
    Start,
    /// The next run, after a backoff.
    Wait { until: Millis },
}

/// Where an instance is, with just what that phase has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Phase {
    #[default]
    Down,
    Failed,
    Starting {
        run: RunId,
    },
    /// Asked to end. From `kill_at` on its whole tree is killed.
    Stopping {
        run: RunId,
        kill_at: Millis,
        after: After,
    },
    /// The main process is gone; what it left behind is being killed.
    Sweeping {
        run: RunId,
        kill_at: Millis,
        after: After,
    },
    Up {
        run: RunId,
        since: Millis,
        /// It has lived for `reset_after`: its failures are forgotten.
        settled: bool,
    },
    Waiting {
        start_at: Millis,
    },
}

/// The phase as people and scripts see it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PhaseName {
    Down,
    Failed,
    Starting,
    Stopping,
    Up,
    Waiting,
}

impl PhaseName {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Failed => "failed",
            Self::Starting => "starting",
            Self::Stopping => "stopping",
            Self::Up => "up",
            Self::Waiting => "waiting",
        }
    }
}

impl Phase {
    pub fn name(&self) -> PhaseName {
        match self {
            Self::Down => PhaseName::Down,
            Self::Failed => PhaseName::Failed,
            Self::Starting { .. } => PhaseName::Starting,
            Self::Stopping { .. } | Self::Sweeping { .. } => PhaseName::Stopping,
            Self::Up { .. } => PhaseName::Up,
            Self::Waiting { .. } => PhaseName::Waiting,
        }
    }

    /// The run of which something may be alive.
    pub fn run(&self) -> Option<RunId> {
        match self {
            Self::Starting { run }
            | Self::Stopping { run, .. }
            | Self::Sweeping { run, .. }
            | Self::Up { run, .. } => Some(*run),
            Self::Down | Self::Failed | Self::Waiting { .. } => None,
        }
    }
}

/// One instance as its keeper knows it. Only [`step`] changes it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Instance {
    goal: Goal,
    phase: Phase,
    last_run: RunId,
    /// Ends in a row that came sooner than `reset_after`.
    failures: u32,
    /// Runs begun because the one before ended by itself.
    restarts: u64,
    beside: Option<Beside>,
}

/// What a keeper's journal remembers of an instance.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Memory {
    pub goal: Goal,
    pub last_run: RunId,
    pub failures: u32,
    pub restarts: u64,
    pub rest: Rest,
    /// The run of `rest`, where it is not the last one.
    pub run: Option<RunId>,
    pub beside: Option<RestBeside>,
}

/// The phase a journal remembers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Rest {
    #[default]
    Down,
    Failed,
    /// The last run began and its end was not seen.
    Running {
        since: Millis,
    },
    /// The next run was due.
    Waiting,
}

/// Something that happened, or was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Input {
    DeadlinePassed,
    /// The main process ended. `roll` is any number, for the jitter of the backoff.
    Exited {
        run: RunId,
        success: bool,
        roll: u32,
    },
    /// Nothing of the run's tree is alive any more.
    Gone {
        run: RunId,
    },
    /// The run serves: whoever decides that has seen it.
    Ready {
        run: RunId,
    },
    /// A fresh run is wanted beside the one that is up, which ends once the fresh one is ready.
    /// Where nothing is up, as [`Input::Restart`].
    Replace,
    /// The operator wants a fresh run, or the spec has changed.
    Restart,
    /// It is wanted, and begins when one of its times has come.
    Resume,
    /// No process of the run could be made.
    SpawnFailed {
        run: RunId,
        roll: u32,
    },
    /// The operator wants it up now, whatever backoff or failure it is in.
    Start,
    Started {
        run: RunId,
    },
    /// The run does not serve any more, or never came to: it must be restarted.
    Unhealthy {
        run: RunId,
        roll: u32,
    },
    /// The goal of the plan. Repeating it changes nothing.
    Want(Goal),
}

/// What the keeper must do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Kill whatever is alive of the run's tree, then say [`Input::Gone`].
    Kill {
        run: RunId,
    },
    Spawn {
        run: RunId,
    },
    /// Ask the run to end, by its signal or hook.
    Stop {
        run: RunId,
    },
}

/// Takes one input and says what must be done. The only way an [`Instance`] changes.
#[must_use]
pub fn step(
    policy: &Policy,
    mut instance: Instance,
    input: Input,
    now: Millis,
) -> (Instance, Option<Action>) {
    let action = match input {
        Input::DeadlinePassed => instance.deadline_passed(policy, now),
        Input::Exited { run, success, roll } => instance.exited(policy, run, success, roll, now),
        Input::Gone { run } => instance.gone(run, now),
        Input::Ready { run } => instance.ready(policy, run, now),
        Input::Replace => instance.replace(policy, now),
        Input::Restart => instance.restart(policy, now),
        Input::Resume => instance.resume(),
        Input::SpawnFailed { run, roll } => instance.spawn_failed(policy, run, roll, now),
        Input::Start => instance.start(),
        Input::Started { run } => instance.started(run, now),
        Input::Unhealthy { run, roll } => instance.unhealthy(policy, run, roll, now),
        Input::Want(Goal::Down) => instance.want_down(policy, now),
        Input::Want(Goal::Up) => instance.want_up(),
    };
    (instance, action)
}

impl Instance {
    /// The instance that a journal remembers. A run it believes alive is taken as `Up`: the keeper
    /// then says `Exited` if it is not.
    pub fn restore(memory: Memory, now: Millis) -> Self {
        let phase = match memory.rest {
            Rest::Down => Phase::Down,
            Rest::Failed => Phase::Failed,
            Rest::Running { since } => {
                let run = memory.run.unwrap_or(memory.last_run);
                Phase::Up { run, since, settled: false }
            }
            Rest::Waiting => Phase::Waiting { start_at: now },
        };
        let Memory { goal, last_run, failures, restarts, rest: _, run: _, beside } = memory;
        let beside = beside.map(Beside::restore);
        Self { goal, phase, last_run, failures, restarts, beside }
    }

    pub fn goal(&self) -> Goal {
        self.goal
    }

    pub fn phase(&self) -> Phase {
        self.phase
    }

    pub fn last_run(&self) -> RunId {
        self.last_run
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }

    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// The same instance with the run beside it that a journal remembers.
    #[must_use]
    pub fn with_beside(self, rest: RestBeside) -> Self {
        let run = match rest {
            RestBeside::Coming { run, .. } | RestBeside::Going { run, .. } => run,
        };
        let last_run = self.last_run.max(run);
        Self { beside: Some(Beside::restore(rest)), last_run, ..self }
    }

    pub fn beside(&self) -> Option<Beside> {
        self.beside
    }

    /// When [`Input::DeadlinePassed`] is due.
    pub fn deadline(&self, policy: &Policy) -> Option<Millis> {
        let beside = self.beside.as_ref().map(Beside::deadline);
        [self.phase_deadline(policy), beside].into_iter().flatten().min()
    }

    fn phase_deadline(&self, policy: &Policy) -> Option<Millis> {
        match self.phase {
            Phase::Down | Phase::Failed | Phase::Starting { .. } => None,
            Phase::Stopping { kill_at, .. } | Phase::Sweeping { kill_at, .. } => Some(kill_at),
            Phase::Up { since, settled, .. } => {
                let settles = (!settled).then(|| since + policy.restart.reset_after);
                [settles, self.timeout_at(policy, since)].into_iter().flatten().min()
            }
            Phase::Waiting { start_at } => Some(start_at),
        }
    }

    fn spawn(&mut self) -> Option<Action> {
        let run = RunId(self.last_run.0 + 1);
        self.last_run = run;
        self.phase = Phase::Starting { run };
        Some(Action::Spawn { run })
    }

    fn stop(&mut self, policy: &Policy, run: RunId, after: After, now: Millis) -> Option<Action> {
        self.phase = Phase::Stopping { run, kill_at: now + policy.stop_timeout, after };
        Some(Action::Stop { run })
    }

    fn want_up(&mut self) -> Option<Action> {
        if self.goal == Goal::Up {
            return None;
        }
        self.start()
    }

    fn want_down(&mut self, policy: &Policy, now: Millis) -> Option<Action> {
        self.goal = Goal::Down;
        self.give_up_coming(now);
        match &mut self.phase {
            Phase::Down => None,
            Phase::Failed | Phase::Waiting { .. } => {
                self.phase = Phase::Down;
                None
            }
            Phase::Starting { run } | Phase::Up { run, .. } => {
                let run = *run;
                self.stop(policy, run, After::Down, now)
            }
            Phase::Stopping { after, .. } | Phase::Sweeping { after, .. } => {
                *after = After::Down;
                None
            }
        }
    }

    fn start(&mut self) -> Option<Action> {
        self.goal = Goal::Up;
        match &mut self.phase {
            Phase::Down | Phase::Failed | Phase::Waiting { .. } => {
                self.failures = 0;
                self.spawn()
            }
            Phase::Starting { .. } | Phase::Up { .. } => None,
            Phase::Stopping { after, .. } | Phase::Sweeping { after, .. } => {
                *after = After::Start;
                self.failures = 0;
                None
            }
        }
    }

    /// A run that is being stopped for good stays so: the next one begins at its time.
    fn resume(&mut self) -> Option<Action> {
        self.goal = Goal::Up;
        None
    }

    fn restart(&mut self, policy: &Policy, now: Millis) -> Option<Action> {
        self.failures = 0;
        self.give_up_coming(now);
        match self.phase {
            Phase::Starting { run } | Phase::Up { run, .. } => {
                self.goal = Goal::Up;
                self.stop(policy, run, After::Start, now)
            }
            Phase::Down
            | Phase::Failed
            | Phase::Stopping { .. }
            | Phase::Sweeping { .. }
            | Phase::Waiting { .. } => self.start(),
        }
    }

    fn started(&mut self, run: RunId, now: Millis) -> Option<Action> {
        self.started_beside(run);
        if self.phase == (Phase::Starting { run }) {
            self.phase = Phase::Up { run, since: now, settled: false };
        }
        None
    }

    fn spawn_failed(
        &mut self,
        policy: &Policy,
        run: RunId,
        roll: u32,
        now: Millis,
    ) -> Option<Action> {
        if self.beside.is_some_and(|beside| beside.run() == run) {
            self.beside = None;
            return None;
        }
        if self.phase.run() != Some(run) {
            return None;
        }
        match self.phase {
            Phase::Starting { .. } => {
                let after = self.after_end(policy, false, Duration::ZERO, roll, now);
                self.finish(after, now)
            }
            Phase::Stopping { after, .. } => self.finish(after, now),
            // A run that was up or is being swept had a process, so it did not fail to spawn.
            Phase::Down
            | Phase::Failed
            | Phase::Sweeping { .. }
            | Phase::Up { .. }
            | Phase::Waiting { .. } => None,
        }
    }

    fn exited(
        &mut self,
        policy: &Policy,
        run: RunId,
        success: bool,
        roll: u32,
        now: Millis,
    ) -> Option<Action> {
        if self.phase.run() != Some(run) {
            return self.exited_beside(run, now);
        }
        if let Some(action) = self.promote_coming(run, now) {
            return Some(action);
        }
        let after = match self.phase {
            Phase::Starting { .. } => self.after_end(policy, success, Duration::ZERO, roll, now),
            Phase::Up { since, .. } => self.after_end(policy, success, now - since, roll, now),
            Phase::Stopping { after, .. } => after,
            Phase::Down | Phase::Failed | Phase::Sweeping { .. } | Phase::Waiting { .. } => {
                return None;
            }
        };
        self.phase = Phase::Sweeping { run, kill_at: now + KILL_AGAIN_AFTER, after };
        Some(Action::Kill { run })
    }

    fn gone(&mut self, run: RunId, now: Millis) -> Option<Action> {
        self.gone_beside(run);
        match self.phase {
            Phase::Sweeping { run: swept, after, .. } if swept == run => self.finish(after, now),
            Phase::Down
            | Phase::Failed
            | Phase::Starting { .. }
            | Phase::Stopping { .. }
            | Phase::Sweeping { .. }
            | Phase::Up { .. }
            | Phase::Waiting { .. } => None,
        }
    }

    fn deadline_passed(&mut self, policy: &Policy, now: Millis) -> Option<Action> {
        if self.phase_deadline(policy).is_none_or(|deadline| now < deadline) {
            return self.deadline_passed_beside(policy, now);
        }
        match &mut self.phase {
            Phase::Down | Phase::Failed | Phase::Starting { .. } => None,
            Phase::Stopping { run, kill_at, .. } | Phase::Sweeping { run, kill_at, .. } => {
                *kill_at = now + KILL_AGAIN_AFTER;
                Some(Action::Kill { run: *run })
            }
            Phase::Up { run, since, settled } => {
                if now >= *since + policy.restart.reset_after {
                    *settled = true;
                    self.failures = 0;
                }
                let (run, since) = (*run, *since);
                let timed_out = self.timeout_at(policy, since).is_some_and(|at| at <= now);
                // Nobody waits for the backoff of one that is timed, so chance is of no use.
                if timed_out { self.unhealthy(policy, run, 0, now) } else { None }
            }
            Phase::Waiting { .. } => {
                // The first run may be owed by a keeper that died; it is no restart.
                if self.last_run != RunId::default() {
                    self.restarts += 1;
                }
                self.spawn()
            }
        }
    }

    /// What follows a run that ended without being asked to.
    fn after_end(
        &mut self,
        policy: &Policy,
        success: bool,
        life: Duration,
        roll: u32,
        now: Millis,
    ) -> After {
        match (policy.restart.when, success) {
            (When::Failure | When::Never, true) => return After::Down,
            (When::Never, false) => return After::Failed,
            (When::Always, _) | (When::Failure, false) => (),
        }
        if life >= policy.restart.reset_after {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        After::Wait { until: now + backoff(&policy.restart, self.failures, roll) }
    }

    fn finish(&mut self, after: After, now: Millis) -> Option<Action> {
        match after {
            After::Down => self.phase = Phase::Down,
            After::Failed => self.phase = Phase::Failed,
            After::Start => return self.spawn(),
            After::Wait { until } if until <= now => {
                self.restarts += 1;
                return self.spawn();
            }
            After::Wait { until } => self.phase = Phase::Waiting { start_at: until },
        }
        None
    }
}

/// The wait before the next run after so many failures in a row: none after the first, then
/// doubling from `backoff_min` to `backoff_max`. Jitter takes away up to half of it, so that
/// instances felled by one cause do not come back in step. `roll` is any number.
pub fn backoff(restart: &Restart, failures: u32, roll: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(2) else { return Duration::ZERO };
    let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
    let whole_ms = millis(restart.backoff_min).saturating_mul(factor);
    let whole_ms = whole_ms.min(millis(restart.backoff_max));
    let jitter_ms = u128::from(whole_ms / 2) * u128::from(roll) / u128::from(u32::MAX);
    Duration::from_millis(whole_ms - u64::try_from(jitter_ms).unwrap_or(0))
}

#[cfg(test)]
mod tests;
