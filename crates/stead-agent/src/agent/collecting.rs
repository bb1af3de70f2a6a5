//! When what is old is collected, and what is told of it.

use std::io;

use stead_wire::journal::Event;
use tokio::time::Instant;

use crate::agent::Agent;
use crate::collect::{Collect, Collected};
use crate::hands::Job;

/// So much of what was removed is named: a journal's record has a bound.
const NAMED_MAX: usize = 100;

impl Agent {
    /// Has what is old collected when that is due, and nobody is about to change the plan. A job
    /// for that is done before any ask that comes later is answered, since one thread does both.
    pub(crate) fn look_at_what_is_old(&mut self, now: Instant) {
        let is_due = self.collect_at.is_some_and(|at| at <= now);
        let is_busy = self.is_changing() || self.rollout.in_the_way(now).is_some();
        if !is_due || is_busy || self.down.is_some() {
            return;
        }
        let Some(stored) = &self.stored else { return };
        self.collect_at = None;
        let plans = [&stored.plan].into_iter().chain(self.rollout.plans()).cloned().collect();
        let settled = self.kept.iter();
        let settled = settled.filter_map(|(name, kept)| Some((name.clone(), kept.settled()?)));
        let collect = Collect { plans, settled: settled.collect() };
        self.do_job(Job::Collect(Box::new(collect)));
    }

    /// Takes note of what was collected.
    pub(crate) fn collected(&mut self, collected: io::Result<Collected>) {
        let Collected { mut removed, bytes, again_after } = match collected {
            Ok(collected) => collected,
            Err(error) => {
                // The next change of the plan tries it again.
                return self.log.say(&format!("what is old could not be collected: {error}"));
            }
        };
        if let Some(after) = again_after {
            self.collect_at.get_or_insert(Instant::now() + after);
        }
        if removed.is_empty() {
            return;
        }
        let more = removed.len().saturating_sub(NAMED_MAX) as u64;
        removed.truncate(NAMED_MAX);
        self.log.say(&format!("collected {bytes} bytes: {}", removed.join(", ")));
        self.journal.note(Event::Collected { removed, more, bytes });
    }
}
