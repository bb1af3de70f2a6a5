//! What the agent shows of each instance, and the sentences that go with it.

use std::time::Duration;

use stead_core::machine::PhaseName;
use stead_core::names::{InstanceName, ServiceName};
use stead_wire::WallMs;
use stead_wire::keeper::Report;

/// The agent's knowledge at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) generation: u64,
    pub(crate) fleet: Option<String>,
    pub(crate) troubles: Vec<String>,
    pub(crate) views: Vec<View>,
}

/// One instance at one moment.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) name: InstanceName,
    pub(crate) phase: PhaseName,
    pub(crate) report: Option<Box<Report>>,
    pub(crate) keeper_pid: Option<u32>,
    pub(crate) release: Option<String>,
    /// Whether it may get work; `None` while nobody knows.
    pub(crate) ready: Option<bool>,
    /// When it runs next, if it has its times.
    pub(crate) next: Option<WallMs>,
    pub(crate) notes: Vec<String>,
    /// Why the run by the plan's launch did not take the place of the one that is up.
    /// It goes by what the plan says now.
    pub(crate) current: bool,
    pub(crate) rejected: Option<String>,
}

/// How things are with a keeper, as far as people care.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeeperIs {
    /// There is none yet.
    Absent,
    Heard,
    Leaving,
    Lost,
    Silent,
    Starting,
}

/// What the notes are made of.
#[derive(Clone, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) keeper: KeeperIs,
    pub(crate) keeper_pid: Option<u32>,
    pub(crate) report: Option<&'a Report>,
    /// The plan holds it no more.
    pub(crate) leaving: bool,
    /// The first need that is not up, and its phase.
    pub(crate) unmet: Option<(ServiceName, PhaseName)>,
    /// Why it could not be started, and when that is tried again.
    pub(crate) unstarted: Option<(&'a str, Duration)>,
    pub(crate) trouble: Option<&'a str>,
    /// What its runs may be refused.
    pub(crate) warnings: &'a [String],
    /// What its ready probe said last, if it is up and not ready.
    pub(crate) not_ready: Option<&'a str>,
    /// What the ready probe said last of the run that was to take its place.
    pub(crate) coming_said: Option<&'a str>,
    /// Why a restart that it needs is held back.
    pub(crate) held_back: Option<&'a str>,
    /// Why it can have no launch by the plan.
    pub(crate) unwanted: Option<&'a String>,
    pub(crate) now: WallMs,
}

impl Facts<'_> {
    /// The phase to show: what the keeper said last, or what its absence means.
    pub(crate) fn phase(&self) -> PhaseName {
        match (self.report, self.keeper) {
            (_, KeeperIs::Absent) if self.unstarted.is_some() => PhaseName::Failed,
            (_, KeeperIs::Absent | KeeperIs::Leaving) => PhaseName::Down,
            (Some(report), _) => report.phase,
            (None, KeeperIs::Heard | KeeperIs::Lost | KeeperIs::Silent | KeeperIs::Starting) => {
                PhaseName::Starting
            }
        }
    }

    /// Why it is not up, and what else is worth knowing.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some((why, again_in)) = self.unstarted {
            notes.push(format!("{why}; tried again in {}", seconds(again_in)));
        }
        if let Some((need, phase)) = &self.unmet {
            let phase = phase.as_str();
            notes.push(format!("waits for `{need}`, which is {phase}"));
        }
        match self.keeper {
            KeeperIs::Lost => notes.push(
                "its keeper is gone and is being replaced; the service itself is not touched"
                    .into(),
            ),
            KeeperIs::Silent => {
                let pid = self.keeper_pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
                notes.push(format!(
                    "its keeper{pid} does not answer; the service itself is not touched, but is \
                     not restarted either until its keeper goes on"
                ));
            }
            KeeperIs::Absent | KeeperIs::Heard | KeeperIs::Leaving | KeeperIs::Starting => (),
        }
        if self.leaving {
            notes.push("the plan no longer holds it; it is being ended".into());
        }
        notes.extend(self.trouble.map(ToOwned::to_owned));
        notes.extend(self.warnings.iter().cloned());
        if let Some(why) = self.unwanted.filter(|_| self.keeper != KeeperIs::Absent) {
            notes.push(format!("it keeps its old spec: {why}"));
        }
        notes.extend(self.report.iter().flat_map(|report| report_notes(report, self.now)));
        notes.extend(self.report.and_then(|report| self.rejected(report)));
        notes.extend(self.not_ready.map(|last| format!("it is not ready: {last}")));
        notes.extend(self.held_back.map(ToOwned::to_owned));
        notes
    }

    /// Why a change was not taken up.
    fn rejected(&self, report: &Report) -> Option<String> {
        let why = &report.rejected.as_ref()?.why;
        let said = self.coming_said.filter(|said| !why.contains(said));
        let said = said.map(|said| format!("; its ready probe said last: {said}"));
        let said = said.unwrap_or_default();
        Some(format!("it keeps its old spec: the run by the new one failed: {why}{said}"))
    }
}

fn report_notes(report: &Report, now: WallMs) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(start_at) = report.next_start_at.filter(|_| report.phase == PhaseName::Waiting) {
        let wait = Duration::from_millis(start_at.saturating_sub(now));
        let failures = match report.failures {
            1 => "it ended".to_owned(),
            many => format!("{many} ends in a row that came too soon"),
        };
        notes.push(format!("starts again in {} after {failures}", seconds(wait)));
    }
    if let Some(coming) = &report.coming {
        notes.push(format!("run {} is to take its place once it is ready", coming.run));
    }
    notes.extend(report.unheld.iter().cloned());
    if let Some(says) = &report.says {
        notes.push(format!("it says: {says}"));
    }
    if let Some(why) = &report.log.stalled {
        notes.push(format!("its output cannot be stored at the moment: {why}"));
    }
    if report.log.dropped_bytes > 0 {
        let bytes = report.log.dropped_bytes;
        notes.push(format!("{bytes} bytes of its output were dropped: the disk was too slow"));
    }
    notes
}

/// A wait for people: `1.2 s`.
fn seconds(wait: Duration) -> String {
    if wait.as_secs() >= 10 {
        format!("{} s", wait.as_secs())
    } else {
        format!("{:.1} s", wait.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::report;

    const QUIET: Facts<'_> = Facts {
        keeper: KeeperIs::Heard,
        keeper_pid: Some(41),
        report: None,
        leaving: false,
        unmet: None,
        unstarted: None,
        trouble: None,
        warnings: &[],
        not_ready: None,
        coming_said: None,
        held_back: None,
        unwanted: None,
        now: 10_000,
    };

    #[test]
    fn every_reason_not_to_be_up_is_a_sentence() {
        let mut waiting = report("orders.0", PhaseName::Waiting);
        waiting.failures = 3;
        waiting.next_start_at = Some(11_250);
        let mut dropping = report("orders.0", PhaseName::Up);
        dropping.log.dropped_bytes = 512;
        dropping.log.stalled = Some("no space left on device".into());
        let up = report("orders.0", PhaseName::Up);
        let need = ("db".parse().unwrap(), PhaseName::Waiting);
        let cases = [
            (QUIET, PhaseName::Starting, vec![]),
            (
                Facts { keeper: KeeperIs::Absent, unmet: Some(need), ..QUIET },
                PhaseName::Down,
                vec!["waits for `db`, which is waiting"],
            ),
            (
                Facts { report: Some(&waiting), ..QUIET },
                PhaseName::Waiting,
                vec!["starts again in 1.2 s after 3 ends in a row that came too soon"],
            ),
            (
                Facts { report: Some(&dropping), keeper: KeeperIs::Lost, ..QUIET },
                PhaseName::Up,
                vec!["is being replaced", "cannot be stored", "512 bytes"],
            ),
            (
                Facts {
                    keeper: KeeperIs::Absent,
                    unstarted: Some(("there is no user `x` on this host", Duration::from_secs(30))),
                    ..QUIET
                },
                PhaseName::Failed,
                vec!["there is no user `x` on this host; tried again in 30 s"],
            ),
            (
                Facts { keeper: KeeperIs::Silent, report: Some(&waiting), ..QUIET },
                PhaseName::Waiting,
                vec!["its keeper (pid 41) does not answer", "starts again"],
            ),
            (
                Facts { report: Some(&up), not_ready: Some("status 503"), ..QUIET },
                PhaseName::Up,
                vec!["it is not ready: status 503"],
            ),
        ];
        for (facts, phase, notes) in cases {
            assert_eq!(facts.phase(), phase, "{facts:?}");
            let found = facts.notes();
            assert_eq!(found.len(), notes.len(), "{found:?}");
            for (found, part) in found.iter().zip(notes) {
                assert!(found.contains(part), "{found:?} has no {part:?}");
            }
        }
    }
}
