//! How the keeper begins a run.

use stead_core::machine::{Input, RunId};
use stead_proc::{Held, random};
use stead_wire::journal::{Event, Exit};

use crate::current::{Making, begin};
use crate::faults::CrashPoint;
use crate::keeper::{JOURNAL_WAIT_MAX, Keeper};
use crate::state::wall_ms;

impl Keeper {
    pub(crate) fn spawn(&mut self, run: RunId) {
        self.options.faults.reach(CrashPoint::BeforeFork, &self.folder);
        self.prepare_surroundings(run);
        let begun = begin(self.making(run));
        let (current, held) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                self.spawn_failed(run, crate::chain(&error));
                return;
            }
        };
        let pid = current.pid;
        self.told.says = None;
        self.runs.push(current);
        // Only as a fault is the gate opened before the journal knows who is behind it.
        let (held, early) = if self.options.faults.no_gate {
            (None, Some(held.release()))
        } else {
            (Some(held), None)
        };
        self.options.faults.reach(CrashPoint::Forked, &self.folder);
        let written = self.note(Event::Starting { run: run.0, pid });
        if !self.disk.wait_for(written, JOURNAL_WAIT_MAX) {
            self.note(Event::JournalStalled { run: run.0 });
        }
        self.options.faults.reach(CrashPoint::Journalled, &self.folder);
        let progress = held.map(Held::release).or(early);
        self.options.faults.reach(CrashPoint::Released, &self.folder);
        if let Some(current) = self.find_mut(run) {
            current.progress = progress;
        }
    }

    pub(crate) fn prepare_surroundings(&mut self, run: RunId) {
        let comes = self.instance.beside().is_some_and(|beside| beside.run() == run);
        let next = self.next.as_ref().filter(|_| comes);
        let launch = next.unwrap_or(&self.launch);
        self.sandboxes.prepare(&self.folder, launch);
        self.limiter.prepare(self.home.as_ref(), &launch.limits);
    }

    /// What a run is made of: one that comes by the next launch, in a lane that no other one has.
    pub(crate) fn making(&self, run: RunId) -> Making<'_> {
        let comes = self.instance.beside().is_some_and(|beside| beside.run() == run);
        let next = self.next.as_ref().filter(|_| comes);
        let others = || self.runs.iter().filter(|other| other.run != run);
        let free = |slot: &u64| others().all(|other| other.slot() != *slot);
        // There are never more than two others.
        let slot = [run.0 % 2, (run.0 + 1) % 2, 2].into_iter().find(free).unwrap_or(2);
        let there = self.find(run).map(|current| current.lane);
        Making {
            folder: &self.folder,
            launch: next.unwrap_or(&self.launch),
            home: self.home.as_ref(),
            limiter: &self.limiter,
            sockets: &self.sockets,
            sandboxes: &self.sandboxes,
            pipes: self.disk.pipes(),
            run,
            slot: u8::try_from(slot).unwrap_or(2),
            // Only behind a front are there two ports.
            second: there.map_or_else(
                || {
                    self.launch.second.is_some()
                        && others().any(|other| other.main.is_some() && !other.lane.second)
                },
                |lane| lane.second,
            ),
        }
    }

    pub(crate) fn spawn_failed(&mut self, run: RunId, why: String) {
        let (at, reason) = (Some(wall_ms()), format!("could not start: {why}"));
        self.told.last_exit = Some(Exit { reason, at, ..Exit::default() });
        let input = Input::SpawnFailed { run, roll: random() };
        self.feed_with(input, Event::SpawnFailed { run: run.0, why });
    }
}
