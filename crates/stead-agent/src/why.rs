//! Why an instance is in the phase it is in, as one sentence.

use stead_core::denial::Denial;
use stead_wire::WallMs;
use stead_wire::api::{EndedRun, EventLine, InstanceStatus};
use stead_wire::journal::Event;

use crate::clock::rfc3339;

/// How many of its last runs are told.
const LAST_RUNS_MAX: usize = 10;

/// Says why: the newest events that led to the phase, else what the status notes.
pub(crate) fn because(status: &InstanceStatus, events: &[EventLine]) -> String {
    let told = match status.phase.as_str() {
        "up" => up(status, events),
        "starting" => starting(status),
        "stopping" => newest(events, stopping).map(|why| format!("it is stopping: {why}")),
        "waiting" => newest(events, ended).map(|why| format!("it waits to be restarted: {why}")),
        "failed" => failed(status, events),
        "down" => down(status, events),
        _ => None,
    };
    let told = told.or_else(|| status.notes.first().cloned());
    told.unwrap_or_else(|| format!("it is {}, and nothing is known about why", status.phase))
}

/// What the newest event that tells something tells.
fn newest(events: &[EventLine], tell: impl Fn(&Event, WallMs) -> Option<String>) -> Option<String> {
    events.iter().rev().find_map(|line| tell(&line.event, line.at))
}

fn up(status: &InstanceStatus, events: &[EventLine]) -> Option<String> {
    let since = status.started_at.as_ref()?;
    let mut told = format!("it is up since {since}, in run {}", status.run);
    if let Some(why) = unhealthy_before(status, events).or_else(|| newest(events, ended)) {
        told.push_str(&format!("; before that {why}"));
    }
    if let Some(hit) = limit_hit(status, events) {
        told.push_str(&format!("; {hit}"));
    }
    // The notes tell what its probe said.
    if status.ready == Some(false) {
        told.push_str("; it is not ready for work");
    }
    Some(told)
}

/// What this run has come up against last.
fn limit_hit(status: &InstanceStatus, events: &[EventLine]) -> Option<String> {
    newest(events, |event, at| {
        let Event::LimitHit { run, limit, what } = event else { return None };
        let is_this = *run == status.run;
        is_this.then(|| format!("it came up against limits.{limit} at {}: {what}", rfc3339(at)))
    })
}

/// Why the run before was ended, if it was because it did not serve.
fn unhealthy_before(status: &InstanceStatus, events: &[EventLine]) -> Option<String> {
    newest(events, |event, at| {
        let Event::Unhealthy { run, why } = event else { return None };
        let is_last = *run + 1 == status.run;
        is_last.then(|| format!("run {run} did not serve at {}: {why}", rfc3339(at)))
    })
}

fn failed(status: &InstanceStatus, events: &[EventLine]) -> Option<String> {
    let why = newest(events, ended)?;
    Some(match &status.next_run_at {
        None => format!("it failed and stays so: {why}"),
        Some(at) => format!("it failed, and runs next at {at}: {why}"),
    })
}

fn starting(status: &InstanceStatus) -> Option<String> {
    if !status.notes.is_empty() {
        return None;
    }
    match status.keeper_pid {
        Some(_) => Some("its process is just being made".into()),
        None => Some("its keeper is just being started".into()),
    }
}

fn down(status: &InstanceStatus, events: &[EventLine]) -> Option<String> {
    let next = status.next_run_at.as_ref().map(|at| format!("it runs next at {at}"));
    if status.run == 0 && (!status.notes.is_empty() || next.is_some()) {
        return next;
    }
    let tell = |event: &Event, at| stopping(event, at).or_else(|| ended(event, at));
    let why = newest(events, tell)?;
    Some(match next {
        None => format!("it is down: {why}"),
        Some(next) => format!("{next}; {why}"),
    })
}

/// The newest runs that have ended.
pub(crate) fn last_runs(events: &[EventLine]) -> Vec<EndedRun> {
    let ended = events.iter().rev().filter_map(|line| {
        let Event::Exited { run, exit, .. } = &line.event else { return None };
        Some(EndedRun { run: *run, exit: exit.clone() })
    });
    let mut ended: Vec<EndedRun> = ended.take(LAST_RUNS_MAX).collect();
    ended.reverse();
    ended
}

/// What the main processes of its runs were denied, each once. A process that had the same number
/// at another time is another one.
pub(crate) fn denials(events: &[EventLine], all: &[Denial]) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for denial in all.iter().rev() {
        let is_its = runs(events).any(|(pid, from, to)| {
            let to = to.map_or(u64::MAX, |to| to.saturating_add(CLOCKS_APART_MS));
            let during = from.saturating_sub(CLOCKS_APART_MS)..=to;
            pid == denial.pid && during.contains(&denial.at_ms)
        });
        let sentence = denial.to_string();
        if is_its && !told.contains(&sentence) && told.len() < DENIALS_TOLD_MAX {
            told.push(sentence);
        }
    }
    told.reverse();
    told
}

/// The kernel's clock for its log and the one of journals are that close.
const CLOCKS_APART_MS: WallMs = 1000;

/// Denials that are told, the newest.
const DENIALS_TOLD_MAX: usize = 10;

/// The main process of each run, when it began, and when it ended if it has.
fn runs(events: &[EventLine]) -> impl Iterator<Item = (u32, WallMs, Option<WallMs>)> {
    events.iter().enumerate().filter_map(|(at, line)| {
        let Event::Starting { run, pid } = line.event else { return None };
        let ended = events[at..].iter().find(|line| {
            if let Event::Exited { run: ended, .. } = line.event { ended == run } else { false }
        });
        Some((pid, line.at, ended.map(|line| line.at)))
    })
}

fn stopping(event: &Event, at: WallMs) -> Option<String> {
    let Event::Stopping { run, how, why } = event else { return None };
    Some(format!("run {run} was asked to end by {how} at {}: {why}", rfc3339(at)))
}

/// How a run ended, or did not begin.
fn ended(event: &Event, at: WallMs) -> Option<String> {
    let at = rfc3339(at);
    if let Event::LimitHit { run, limit, what } = event
        && limit == "memory"
    {
        return Some(format!("run {run} came up against limits.memory at {at}: {what}"));
    }
    if let Event::Exited { run, exit, .. } = event {
        return Some(format!("run {run} ended at {at}: {}", exit.reason));
    }
    if let Event::Killed { run, why, .. } = event {
        return Some(format!("run {run} was killed at {at}: {why}"));
    }
    if let Event::SpawnFailed { run, why } = event {
        return Some(format!("run {run} could not be started at {at}: {why}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use stead_core::denial::DeniedBy;
    use stead_wire::api::LogStatus;
    use stead_wire::journal::Exit;

    fn status(phase: &str, run: u64, notes: &[&str]) -> InstanceStatus {
        InstanceStatus {
            current: true,
            name: "a.0".into(),
            service: "a".into(),
            index: 0,
            phase: phase.into(),
            ready: None,
            pid: None,
            run,
            second_ports: false,
            restarts: 0,
            release: None,
            started_at: Some("then".into()),
            next_run_at: None,
            memory_bytes: None,
            cpu_percent: None,
            last_exit: None,
            keeper_pid: Some(1),
            notes: notes.iter().map(ToString::to_string).collect(),
            rejected: None,
            log: LogStatus::default(),
        }
    }

    #[test]
    fn denials_are_told_of_the_process_that_had_the_number_then_each_once() {
        let line = |at, event| EventLine { at, instance: Some("a.0".into()), event };
        let events = [
            line(10_000, Event::Starting { run: 1, pid: 5 }),
            line(20_000, Event::Exited { run: 1, pid: 5, exit: Exit::default() }),
            line(21_000, Event::Starting { run: 2, pid: 6 }),
        ];
        let denied = |pid, at_ms, what: &str| Denial {
            pid,
            at_ms,
            by: DeniedBy::AppArmor { profile: "p".into() },
            operation: what.into(),
            to: None,
        };
        let all = [
            denied(5, 5_000, "before"),
            denied(5, 15_000, "during"),
            denied(5, 16_000, "during"),
            denied(5, 30_000, "after"),
            denied(7, 15_000, "another"),
            denied(6, 99_000, "goes-on"),
        ];
        let told = denials(&events, &all);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("`during`") && told[1].contains("`goes-on`"), "{told:?}");
        let many: Vec<Denial> = (0..50).map(|n| denied(6, 22_000 + n, &format!("{n}."))).collect();
        let told = denials(&events, &many);
        assert_eq!(told.len(), DENIALS_TOLD_MAX);
        assert!(told.last().unwrap().contains("`49.`"), "{told:?}");
    }

    #[test]
    fn the_reason_is_the_newest_event_that_led_to_the_phase() {
        let exit = |reason: &str| Exit { reason: reason.into(), ..Exit::default() };
        let events = [
            Event::Exited { run: 1, pid: 5, exit: exit("exit code 1") },
            Event::Stopping { run: 2, how: "SIGTERM".into(), why: "asked to".into() },
            Event::Exited { run: 2, pid: 6, exit: exit("exit code 3") },
            Event::Waiting { delay_ms: 5, failures: 2 },
        ];
        let lines: Vec<EventLine> = events
            .into_iter()
            .map(|event| EventLine { at: 1000, instance: Some("a.0".into()), event })
            .collect();
        let at = "1970-01-01T00:00:01.000Z";
        let cases = [
            (
                status("waiting", 2, &["starts again in 1.0 s"]),
                format!("it waits to be restarted: run 2 ended at {at}: exit code 3"),
            ),
            (
                status("failed", 2, &[]),
                format!("it failed and stays so: run 2 ended at {at}: exit code 3"),
            ),
            (
                status("stopping", 2, &[]),
                format!("it is stopping: run 2 was asked to end by SIGTERM at {at}: asked to"),
            ),
            (
                status("up", 3, &[]),
                format!(
                    "it is up since then, in run 3; before that run 2 ended at {at}: exit code 3"
                ),
            ),
            (
                InstanceStatus { ready: Some(false), ..status("up", 4, &["it is not ready: no"]) },
                format!(
                    "it is up since then, in run 4; before that run 2 ended at {at}: exit code 3; \
                     it is not ready for work"
                ),
            ),
            (status("down", 0, &["waits for `db`"]), "waits for `db`".into()),
            (status("down", 2, &[]), format!("it is down: run 2 ended at {at}: exit code 3")),
            (status("starting", 0, &["no such user"]), "no such user".into()),
        ];
        for (status, because_it) in cases {
            assert_eq!(because(&status, &lines), because_it, "{}", status.phase);
        }
        let next = |status| InstanceStatus { next_run_at: Some("soon".into()), ..status };
        let rests = because(&next(status("down", 2, &[])), &lines);
        assert_eq!(rests, format!("it runs next at soon; run 2 ended at {at}: exit code 3"));
        let first = because(&next(status("down", 0, &[])), &[]);
        assert_eq!(first, "it runs next at soon");
        let runs: Vec<u64> = last_runs(&lines).iter().map(|ended| ended.run).collect();
        assert_eq!(runs, [1, 2]);
        let unknown = because(&status("down", 0, &[]), &[]);
        assert_eq!(unknown, "it is down, and nothing is known about why");
    }
}
