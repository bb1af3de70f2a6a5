//! When a scheduled service runs.
//!
//! Times are milliseconds since 1970-01-01 UTC by the host's clock, which may be set. Which times a
//! `cron` text means in its time zone is asked of whoever knows zones.

use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::machine::Phase;
use crate::plan::is_default;
use crate::units::{as_millis, millis};

/// A service that runs now and then instead of always.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Schedule {
    pub times: Times,
    #[serde(default, skip_serializing_if = "is_default")]
    pub overlap: Overlap,
    /// A run that takes longer is stopped, and has failed.
    #[serde(default, rename = "timeout_ms", skip_serializing_if = "is_default")]
    #[serde(with = "crate::units::as_optional_millis")]
    pub timeout: Option<Duration>,
    /// A time that passed while the host or the agent was down is made up for, once.
    #[serde(default, skip_serializing_if = "is_default")]
    pub catch_up: bool,
}

/// The times themselves.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Times {
    /// Five fields as of cron, in a time zone by its IANA name; `None` is that of the host.
    Cron { text: String, zone: Option<String> },
    /// From the start of one run to the start of the next.
    Every {
        #[serde(with = "as_millis", rename = "ms")]
        interval: Duration,
    },
}

/// What happens when a run is due while the last one still goes on.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// The new one follows as soon as the old one has ended; no more than one waits.
    Queue,
    /// The old one is stopped.
    Replace,
    /// The new one does not take place, which is said.
    #[default]
    Skip,
}

/// What the times of a schedule ask for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Due {
    /// Nothing before this.
    Later { at: u64 },
    /// All times up to this one have passed without a run, `since` the first of them.
    Missed { since: u64, until: u64 },
    /// There is no further time.
    Never,
    /// A run, which is the one of all times up to this one.
    Now { due: u64 },
}

/// A run that begins up to so late is still the one of its time.
pub const LATE_MAX: Duration = Duration::from_secs(60);

/// A clock that is set back by up to this is waited for: no time comes twice. By more, it was wrong
/// before, and its times are heeded as they come.
pub const SET_BACK_MAX: Duration = Duration::from_secs(3600);

impl Schedule {
    /// What is due `now` if everything up to `last` is done with. `next` is the first time of the
    /// `cron` text after another one.
    pub fn due(&self, last: u64, now: u64, next: impl Fn(u64) -> Option<u64>) -> Due {
        let last = if last > now.saturating_add(millis(SET_BACK_MAX)) { now } else { last };
        let first = match &self.times {
            Times::Cron { .. } => next(last),
            Times::Every { interval } => last.checked_add(millis(*interval)),
        };
        let Some(first) = first else { return Due::Never };
        if first > now {
            return Due::Later { at: first };
        }
        match (self.newest(last, now, next), self.catch_up) {
            (Some(newest), _) if now - newest <= millis(LATE_MAX) => Due::Now { due: newest },
            (newest, true) => Due::Now { due: newest.unwrap_or(now) },
            (newest, false) => Due::Missed { since: first, until: newest.unwrap_or(now) },
        }
    }

    /// The newest time after `last` up to `now`, for `cron` only if it is not too late for it.
    fn newest(&self, last: u64, now: u64, next: impl Fn(u64) -> Option<u64>) -> Option<u64> {
        match &self.times {
            Times::Cron { .. } => {
                let from = last.max(now.saturating_sub(millis(LATE_MAX) + 1));
                let times = core::iter::successors(next(from), |time| next(*time));
                times.take_while(|time| *time <= now).last()
            }
            Times::Every { interval } => {
                let interval = millis(*interval).max(1);
                Some(now - now.saturating_sub(last) % interval)
            }
        }
    }
}

/// What becomes of a time that has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnDue {
    /// A run begins as soon as the one that goes on has ended.
    Queue,
    /// The run that goes on is stopped, and another one begins.
    Replace,
    Skip,
    Start,
}

impl Overlap {
    pub fn on_due(self, phase: &Phase) -> OnDue {
        match (phase, self) {
            // A run that was to be tried again is the one of the new time.
            (Phase::Down | Phase::Failed | Phase::Waiting { .. }, _) => OnDue::Start,
            (
                Phase::Starting { .. }
                | Phase::Stopping { .. }
                | Phase::Sweeping { .. }
                | Phase::Up { .. },
                overlap,
            ) => match overlap {
                Self::Queue => OnDue::Queue,
                Self::Replace => OnDue::Replace,
                Self::Skip => OnDue::Skip,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::RunId;
    use crate::units::Millis;

    const MINUTE: u64 = 60_000;
    const HOUR: u64 = 60 * MINUTE;

    fn every(interval: u64, catch_up: bool) -> Schedule {
        let times = Times::Every { interval: Duration::from_millis(interval) };
        Schedule { times, overlap: Overlap::Skip, timeout: None, catch_up }
    }

    /// At the full hours, as `cron` would have it.
    fn hourly(catch_up: bool) -> Schedule {
        let times = Times::Cron { text: "0 * * * *".into(), zone: None };
        Schedule { times, overlap: Overlap::Skip, timeout: None, catch_up }
    }

    fn next_hour(after: u64) -> Option<u64> {
        Some((after / HOUR + 1) * HOUR)
    }

    #[test]
    fn a_time_is_waited_for_run_or_missed() {
        let at = |at| Due::Later { at };
        let now = |due| Due::Now { due };
        let missed = |since, until| Due::Missed { since, until };
        type Case = (Schedule, u64, u64, Due);
        let cases: [Case; 14] = [
            (every(HOUR, false), 100, 100, at(100 + HOUR)),
            (every(HOUR, false), 100, 99 + HOUR, at(100 + HOUR)),
            (every(HOUR, false), 100, 100 + HOUR, now(100 + HOUR)),
            (every(HOUR, false), 100, 100 + HOUR + MINUTE, now(100 + HOUR)),
            (every(HOUR, false), 0, HOUR + 2 * MINUTE, missed(HOUR, HOUR)),
            (every(HOUR, false), 0, 5 * HOUR + 2 * MINUTE, missed(HOUR, 5 * HOUR)),
            (every(HOUR, true), 0, 5 * HOUR + 2 * MINUTE, now(5 * HOUR)),
            // Of several that are due at once the newest stands for all.
            (every(1000, false), 0, 30_500, now(30_000)),
            (hourly(false), HOUR, HOUR + 1, at(2 * HOUR)),
            (hourly(false), HOUR, 2 * HOUR, now(2 * HOUR)),
            (hourly(false), HOUR, 2 * HOUR + MINUTE, now(2 * HOUR)),
            (hourly(false), HOUR, 9 * HOUR + 2 * MINUTE, missed(2 * HOUR, 9 * HOUR + 2 * MINUTE)),
            (hourly(true), HOUR, 9 * HOUR + 2 * MINUTE, now(9 * HOUR + 2 * MINUTE)),
            (hourly(false), HOUR, 9 * HOUR + 5, now(9 * HOUR)),
        ];
        for (number, (schedule, last, at, due)) in cases.into_iter().enumerate() {
            assert_eq!(schedule.due(last, at, next_hour), due, "case {number}");
        }
        assert_eq!(hourly(false).due(0, 0, |_| None), Due::Never);
    }

    #[test]
    fn a_time_that_comes_while_a_run_goes_on_is_dealt_with_as_was_asked_for() {
        let up = Phase::Up { run: RunId(1), since: Millis(0), settled: false };
        let waiting = Phase::Waiting { start_at: Millis(9) };
        for (overlap, then) in [
            (Overlap::Queue, OnDue::Queue),
            (Overlap::Replace, OnDue::Replace),
            (Overlap::Skip, OnDue::Skip),
        ] {
            assert_eq!(overlap.on_due(&up), then);
            assert_eq!(overlap.on_due(&Phase::Starting { run: RunId(1) }), then);
            for resting in [Phase::Down, Phase::Failed, waiting] {
                assert_eq!(overlap.on_due(&resting), OnDue::Start);
            }
        }
    }

    #[test]
    fn a_clock_that_is_set_back_a_little_brings_no_time_twice() {
        let ran = 5 * HOUR;
        assert_eq!(hourly(false).due(ran, ran - 1000, next_hour), Due::Later { at: 6 * HOUR });
        // One that was a day ahead brings its times again, instead of none for a day.
        let ahead = 29 * HOUR;
        assert_eq!(hourly(false).due(ahead, ran, next_hour), Due::Later { at: 6 * HOUR });
        assert_eq!(every(HOUR, false).due(ahead, ran, next_hour), Due::Later { at: 6 * HOUR });
    }

    #[test]
    fn whatever_was_done_once_is_not_due_again() {
        for schedule in [every(7 * MINUTE, true), every(HOUR, false), hourly(true), hourly(false)] {
            let (mut last, mut runs) = (0, 0);
            for now in (0..30 * HOUR).step_by(41_000) {
                match schedule.due(last, now, next_hour) {
                    Due::Now { due } | Due::Missed { until: due, .. } => {
                        assert!(last < due && due <= now);
                        (last, runs) = (due, runs + 1);
                        let again = schedule.due(last, now, next_hour);
                        assert!(matches!(again, Due::Later { .. }), "{again:?}");
                    }
                    Due::Later { at } => assert!(at > now),
                    Due::Never => unreachable!("there is always another hour"),
                }
            }
            assert!(runs >= 29, "{runs}");
        }
    }
}
