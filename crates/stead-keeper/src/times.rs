//! A scheduled instance and its times. The agent says that one has come; the keeper, who alone
//! knows what runs, says what becomes of it, and remembers which are done with.

use stead_core::launch::Launch;
use stead_core::machine::{Goal, Input, Phase, RunId};
use stead_core::schedule::OnDue;
use stead_core::units::millis;
use stead_proc::{boot_ms, start_ms};
use stead_wire::WallMs;
use stead_wire::journal::{Event, Timed};

use crate::keeper::Keeper;
use crate::state::wall_ms;

/// Where an instance stands that has not stood anywhere: its first time is yet to come.
pub(crate) fn timed(remembered: Option<Timed>, launch: &Launch) -> Option<Timed> {
    let fresh = Timed { done: wall_ms(), queued: false };
    launch.schedule.as_ref().map(|_| remembered.unwrap_or(fresh))
}

impl Keeper {
    /// A time has come.
    pub(crate) fn due(&mut self, due: WallMs) {
        if self.instance.goal() == Goal::Down || !self.is_new(due) {
            return;
        }
        let Some(schedule) = &self.launch.schedule else { return };
        let phase = self.instance.phase();
        let run = phase.run().unwrap_or_default().0;
        let overlapped = |what: &str| Event::Overlapped { run, due, what: what.to_owned() };
        match schedule.overlap.on_due(&phase) {
            OnDue::Queue => {
                if let Some(timed) = &mut self.timed {
                    timed.queued = true;
                }
                self.note(overlapped("the next run follows it"));
            }
            OnDue::Replace => {
                self.note(overlapped("it is stopped for the next run"));
                self.feed_with(Input::Restart, Event::Due { due });
            }
            OnDue::Skip => drop(self.note(overlapped("there is no run for it"))),
            OnDue::Start => self.feed_with(Input::Start, Event::Due { due }),
        }
    }

    /// Times have passed that nothing is run for.
    pub(crate) fn missed(&mut self, since: WallMs, until: WallMs) {
        if self.is_new(until) {
            self.note(Event::Missed { since, until });
        }
    }

    /// It is to run at its times again; those that passed meanwhile are done with.
    pub(crate) fn resume(&mut self) {
        self.timed = timed(None, &self.launch);
        self.feed_with(Input::Resume, Event::Wanted { goal: Goal::Up });
    }

    /// Takes note of a time; `false` if it was done with already. It is asked for again when an
    /// agent does not hear the answer.
    fn is_new(&mut self, due: WallMs) -> bool {
        let Some(timed) = self.timed.as_mut().filter(|timed| timed.done < due) else {
            return false;
        };
        timed.done = due;
        true
    }

    /// The run that was to follow the last one, once that has ended.
    pub(crate) fn queued_input(&mut self) -> Option<(Input, Option<Event>)> {
        let timed = self.timed.as_mut().filter(|timed| timed.queued)?;
        match self.instance.phase() {
            Phase::Down | Phase::Failed => (),
            Phase::Starting { .. }
            | Phase::Stopping { .. }
            | Phase::Sweeping { .. }
            | Phase::Up { .. }
            | Phase::Waiting { .. } => return None,
        }
        timed.queued = false;
        let due = timed.done;
        let is_wanted = self.instance.goal() == Goal::Up;
        is_wanted.then_some((Input::Start, Some(Event::Due { due })))
    }

    /// Tells of a run that is stopped because it took too long.
    pub(crate) fn note_overdue(&mut self, run: RunId) {
        let timeout = self.launch.schedule.as_ref().and_then(|schedule| schedule.timeout);
        let is_wanted = self.instance.goal() == Goal::Up;
        let Some(timeout) = timeout.filter(|_| is_wanted) else { return };
        let Some(current) = self.find_mut(run) else { return };
        let life_ms = boot_ms().saturating_sub(start_ms(current.start_ticks));
        if life_ms >= millis(timeout) {
            current.overdue = true;
            self.note(Event::Overdue { run: run.0, timeout_ms: millis(timeout) });
        }
    }

    /// Goes by the times of another launch; `old` is the one of before.
    pub(crate) fn reschedule(&mut self, old: &Launch) {
        let times = |launch: &Launch| launch.schedule.as_ref().map(|it| it.times.clone());
        if times(old) == times(&self.launch) {
            return;
        }
        self.timed = timed(None, &self.launch);
        let begins = old.schedule.is_none() && self.launch.schedule.is_some();
        if begins && self.instance.goal() == Goal::Up {
            // What ran all the time would never come to an end.
            self.feed(Input::Want(Goal::Down));
            self.feed(Input::Resume);
        }
    }
}
