//! The run beside the one that is up: one takes the place of the other.
//!
//! ```text
//!   replace            ready                     exited            gone
//!  ─────────> Coming ─────────> the other Going ────────> Sweeping ─────> none
//!               │ given up: a Going of its own                 ^
//!               └─────────────────────── exited ───────────────┘
//! ```
//!
//! Until the coming run is ready, the one that is up is left alone: if the coming one fails or is
//! not ready in time, it is asked to end, and nothing has changed. It is not killed at once, since
//! it may have taken work already. If instead the one that is up ends by itself meanwhile, the
//! coming one is what is left, and takes its place at once.

use super::{Action, Goal, Instance, KILL_AGAIN_AFTER, Phase, Policy, RunId};
use crate::units::Millis;

/// The other run of an instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Beside {
    /// Begun to take the place of the one that is up, and not ready yet.
    Coming {
        run: RunId,
        /// Its program runs.
        started: bool,
        give_up_at: Millis,
    },
    /// Asked to end, since it gave way or was given up, or killed already. From `kill_at` on its
    /// whole tree is killed.
    Going { run: RunId, kill_at: Millis },
    /// Its main process is gone; what it left behind is being killed.
    Sweeping { run: RunId, kill_at: Millis },
}

/// What a journal remembers of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RestBeside {
    Coming { run: RunId, give_up_at: Millis },
    Going { run: RunId, kill_at: Millis },
}

impl Beside {
    pub fn run(&self) -> RunId {
        match self {
            Self::Coming { run, .. } | Self::Going { run, .. } | Self::Sweeping { run, .. } => *run,
        }
    }

    pub(super) fn deadline(&self) -> Millis {
        match self {
            Self::Coming { give_up_at, .. } => *give_up_at,
            Self::Going { kill_at, .. } | Self::Sweeping { kill_at, .. } => *kill_at,
        }
    }

    /// As a journal remembers it. A run that comes is taken as begun: the keeper then says
    /// `Exited` if it is not.
    pub(super) fn restore(rest: RestBeside) -> Self {
        match rest {
            RestBeside::Coming { run, give_up_at } => {
                Self::Coming { run, started: true, give_up_at }
            }
            RestBeside::Going { run, kill_at } => Self::Going { run, kill_at },
        }
    }
}

impl Instance {
    pub(super) fn replace(&mut self, policy: &Policy, now: Millis) -> Option<Action> {
        match (self.phase, self.beside) {
            (Phase::Up { .. }, None) => {
                let run = RunId(self.last_run.0 + 1);
                self.goal = Goal::Up;
                self.last_run = run;
                let give_up_at = now + policy.replace_within;
                self.beside = Some(Beside::Coming { run, started: false, give_up_at });
                Some(Action::Spawn { run })
            }
            (
                Phase::Down
                | Phase::Failed
                | Phase::Starting { .. }
                | Phase::Stopping { .. }
                | Phase::Sweeping { .. }
                | Phase::Up { .. }
                | Phase::Waiting { .. },
                _,
            ) => self.restart(policy, now),
        }
    }

    /// The coming run takes the place of the one that is up.
    pub(super) fn ready(&mut self, policy: &Policy, run: RunId, now: Millis) -> Option<Action> {
        let Some(Beside::Coming { run: coming, started, give_up_at }) = self.beside else {
            return None;
        };
        let Phase::Up { run: old, .. } = self.phase else { return None };
        // One that is given up already may stand beside a run that is newer.
        if coming != run || give_up_at <= now {
            return None;
        }
        self.take_place(run, started, now);
        self.failures = 0;
        self.beside = Some(Beside::Going { run: old, kill_at: now + policy.stop_timeout });
        Some(Action::Stop { run: old })
    }

    fn take_place(&mut self, run: RunId, started: bool, now: Millis) {
        self.phase = if started {
            Phase::Up { run, since: now, settled: false }
        } else {
            Phase::Starting { run }
        };
    }

    /// The run that is up has ended by itself: if another one is coming, that one is what is left.
    pub(super) fn promote_coming(&mut self, run: RunId, now: Millis) -> Option<Action> {
        let Some(Beside::Coming { run: coming, started, give_up_at }) = self.beside else {
            return None;
        };
        // One that is given up already is not what is wanted.
        if !matches!(self.phase, Phase::Up { .. }) || give_up_at <= now {
            return None;
        }
        self.take_place(coming, started, now);
        self.beside = Some(Beside::Sweeping { run, kill_at: now + KILL_AGAIN_AFTER });
        Some(Action::Kill { run })
    }

    /// Lets the deadline of a coming run be due now.
    pub(super) fn give_up_coming(&mut self, now: Millis) {
        if let Some(Beside::Coming { give_up_at, .. }) = &mut self.beside {
            *give_up_at = now;
        }
    }

    pub(super) fn started_beside(&mut self, run: RunId) {
        if let Some(Beside::Coming { run: coming, started, .. }) = &mut self.beside
            && *coming == run
        {
            *started = true;
        }
    }

    pub(super) fn exited_beside(&mut self, run: RunId, now: Millis) -> Option<Action> {
        match self.beside {
            Some(Beside::Coming { run: other, .. } | Beside::Going { run: other, .. })
                if other == run =>
            {
                self.beside = Some(Beside::Sweeping { run, kill_at: now + KILL_AGAIN_AFTER });
                Some(Action::Kill { run })
            }
            Some(Beside::Coming { .. } | Beside::Going { .. } | Beside::Sweeping { .. }) | None => {
                None
            }
        }
    }

    pub(super) fn gone_beside(&mut self, run: RunId) {
        let is_it = |beside: &mut Beside| match beside {
            Beside::Sweeping { run: swept, .. } => *swept == run,
            Beside::Coming { .. } | Beside::Going { .. } => false,
        };
        self.beside.take_if(is_it);
    }

    pub(super) fn deadline_passed_beside(
        &mut self,
        policy: &Policy,
        now: Millis,
    ) -> Option<Action> {
        let beside = self.beside.as_mut().filter(|beside| beside.deadline() <= now)?;
        let run = beside.run();
        let kill_at = now + KILL_AGAIN_AFTER;
        let (after, action) = match *beside {
            Beside::Coming { .. } => {
                let kill_at = now + policy.stop_timeout;
                (Beside::Going { run, kill_at }, Action::Stop { run })
            }
            Beside::Going { .. } => (Beside::Going { run, kill_at }, Action::Kill { run }),
            Beside::Sweeping { .. } => (Beside::Sweeping { run, kill_at }, Action::Kill { run }),
        };
        *beside = after;
        Some(action)
    }
}
