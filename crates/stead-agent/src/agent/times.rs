//! The times of scheduled instances: the agent tells keepers that they have come.

use std::time::Duration;

use stead_core::machine::Goal;
use stead_core::schedule::Due;
use stead_wire::WallMs;
use stead_wire::journal::Timed;
use stead_wire::keeper::Request;
use tokio::time::Instant;

use super::Agent;
use crate::clock::wall_ms;
use crate::host::Wanted;
use crate::kept::Kept;
use crate::link::Asker;
use crate::message::Errand;

/// A clock may be set at any moment, of which nobody is told: where something has its times, it is
/// looked at this often.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The next time of an instance, and what it was found out from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Next {
    /// The mark of its launch.
    mark: u32,
    done: WallMs,
    looked_at: WallMs,
    pub(crate) at: WallMs,
}

impl Agent {
    /// Tells keepers of the times that have come; says when to look again.
    pub(super) fn look_at_times(&mut self, now: Instant) -> Option<Instant> {
        let wall = wall_ms();
        let Self { kept, wanted, .. } = self;
        let next = kept.iter_mut().filter_map(|(name, kept)| match wanted.get(name) {
            Some(Ok(wanted)) => look_at_time(wanted, kept, wall),
            Some(Err(_)) | None => None,
        });
        let wait = Duration::from_millis(next.min()?.saturating_sub(wall));
        Some(now + wait.min(LOOK_AGAIN_AFTER))
    }
}

/// The next time of an instance; `None` while it has none, or while it is to be seen what becomes
/// of one that has come.
fn look_at_time(wanted: &Wanted, kept: &mut Kept, now: WallMs) -> Option<WallMs> {
    let report = kept.report.as_ref().filter(|report| {
        // By other times than the plan's, or none at all.
        report.launch_mark == wanted.mark && report.goal == Goal::Up && !report.retiring
    });
    let timed = report.and_then(|report| report.timed).zip(wanted.timetable.as_ref());
    let Some((Timed { done, .. }, timetable)) = timed else {
        kept.next = None;
        return None;
    };
    let mark = wanted.mark;
    let is_known = |next: &Next| {
        (next.mark, next.done) == (mark, done) && (next.looked_at..next.at).contains(&now)
    };
    if let Some(next) = kept.next.filter(is_known) {
        return Some(next.at);
    }
    let request = match timetable.due(done, now) {
        Due::Later { at } => {
            kept.next = Some(Next { mark, done, looked_at: now, at });
            return Some(at);
        }
        Due::Missed { since, until } => Request::Missed { since, until },
        Due::Never => {
            kept.next = None;
            return None;
        }
        Due::Now { due } => Request::Due { due },
    };
    // Its next report tells what has become of it.
    if kept.asked.due != Some(done)
        && let Some(link) = kept.link()
        && link.ask(request, Asker::Agent(Errand::Due)).is_ok()
    {
        kept.asked.due = Some(done);
    }
    None
}
