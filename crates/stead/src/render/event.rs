//! Events as sentences.

use std::time::Duration;

use jiff::tz::TimeZone;
use stead_core::machine::Goal;
use stead_core::units::show_duration;
use stead_wire::WallMs;
use stead_wire::api::EventLine;
use stead_wire::journal::{Event, Exit};

use crate::render::quantity;
use crate::screen::{Paint, Tone, show_controls};

/// The width that short names are padded to, so that sentences of a fleet line up.
const NAME_LEN: usize = 12;

/// One event as a line.
pub(crate) fn line(event: &EventLine, zone: &TimeZone, paint: Paint) -> String {
    let (tone, sentence) = sentence(&event.event, zone);
    let name = event.instance.as_deref().unwrap_or("agent");
    format!(
        "{}  {:<NAME_LEN$}  {}",
        paint.paint(Tone::Dim, &quantity::moment(event.at, zone)),
        show_controls(name),
        paint.paint(tone, &show_controls(&sentence)),
    )
}

fn limit_hit(run: u64, limit: &str, what: &str) -> (Tone, String) {
    (Tone::Warn, format!("run {run} came up against limits.{limit}: {what}"))
}

fn ended(run: u64, pid: u32, exit: &Exit) -> (Tone, String) {
    let tone = if exit.is_success() { Tone::Plain } else { Tone::Bad };
    (tone, format!("run {run} (pid {pid}) ended: {}", exit.reason))
}

fn killed(run: u64, processes: u32, why: &str) -> (Tone, String) {
    let processes_n = plural(u64::from(processes), "process", "processes");
    (Tone::Warn, format!("run {run}: {processes_n} killed: {why}"))
}

fn waiting(delay_ms: u64, failures: u32) -> (Tone, String) {
    let failures_n = plural(u64::from(failures), "failure", "failures");
    (Tone::Warn, format!("waits {delay_ms} ms after {failures_n} in a row"))
}

fn missed(times: [WallMs; 2], zone: &TimeZone) -> (Tone, String) {
    let [since, until] = times.map(|at| quantity::moment(at, zone));
    (Tone::Warn, format!("its times from {since} to {until} passed without a run"))
}

fn overdue(run: u64, timeout_ms: u64) -> (Tone, String) {
    let timeout = show_duration(Duration::from_millis(timeout_ms));
    (Tone::Bad, format!("run {run} took longer than its timeout of {timeout}"))
}

fn overlapped(run: u64, due: WallMs, what: &str, zone: &TimeZone) -> (Tone, String) {
    let due = quantity::moment(due, zone);
    (Tone::Warn, format!("its time came while run {run} went on, {due}: {what}"))
}

fn damaged(file: &str, bytes: u64, what: &str) -> (Tone, String) {
    (Tone::Bad, format!("{bytes} bytes of `{file}` are damaged: {what}"))
}

fn collected(removed: &[String], more: u64, bytes: u64) -> (Tone, String) {
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let what = removed.join(", ");
    (Tone::Plain, format!("{} of what was old removed: {what}{more}", quantity::bytes(bytes)))
}

fn rollout(epoch: u64, who: &str, stage: &str, why: Option<&str>) -> (Tone, String) {
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    (Tone::Strong, format!("rollout {epoch} of {who}: {stage}{why}"))
}

/// What happened, and how its colour should be.
pub(crate) fn sentence(event: &Event, zone: &TimeZone) -> (Tone, String) {
    match event {
        Event::Adopted { run, pid } => {
            (Tone::Plain, format!("run {run} (pid {pid}) taken over by a new keeper"))
        }
        Event::AgentStarted { pid, version } => {
            (Tone::Plain, format!("agent {version} started (pid {pid})"))
        }
        Event::AgentStopped { pid } => (Tone::Plain, format!("agent stopped (pid {pid})")),
        Event::Collected { removed, more, bytes } => collected(removed, *more, *bytes),
        Event::Damaged { file, bytes, what } => damaged(file, *bytes, what),
        Event::Dropped { stream, bytes, why } => {
            (Tone::Bad, format!("{} of {} lost: {why}", quantity::bytes(*bytes), stream.as_str()))
        }
        Event::Due { due } => {
            (Tone::Plain, format!("its time has come: {}", quantity::moment(*due, zone)))
        }
        Event::Exited { run, pid, exit } => ended(*run, *pid, exit),
        Event::JournalStalled { run } => {
            (Tone::Warn, format!("run {run} started before the slow journal could note it"))
        }
        Event::KeeperLost { keeper_of, pid } => {
            (Tone::Bad, format!("the keeper of {keeper_of} was lost (pid {pid})"))
        }
        Event::KeeperStarted { pid, version } => {
            (Tone::Dim, format!("keeper {version} started (pid {pid})"))
        }
        Event::KeeperUpgraded { pid, version } => {
            (Tone::Plain, format!("keeper upgraded to {version} (pid {pid})"))
        }
        Event::Killed { run, processes, why } => killed(*run, *processes, why),
        Event::LimitHit { run, limit, what } => limit_hit(*run, limit, what),
        Event::Missed { since, until } => missed([*since, *until], zone),
        Event::Overdue { run, timeout_ms } => overdue(*run, *timeout_ms),
        Event::Overlapped { run, due, what } => overlapped(*run, *due, what, zone),
        Event::Planned { generation, fleet, instances } => {
            let instances_n = plural(u64::from(*instances), "instance", "instances");
            (Tone::Strong, format!("plan {generation} of fleet {fleet}: {instances_n}"))
        }
        Event::Rollout { epoch, who, stage, why } => rollout(*epoch, who, stage, why.as_deref()),
        Event::Ready { run } => (Tone::Good, format!("run {run} is ready")),
        Event::Reloaded { run, how } => (Tone::Plain, format!("run {run} told to reload by {how}")),
        Event::ReloadFailed { run, why } => {
            (Tone::Bad, format!("run {run} could not be told to reload: {why}"))
        }
        Event::ReplaceFailed { run, kept, why } => {
            (Tone::Bad, format!("run {run} did not take the place of run {kept}: {why}"))
        }
        Event::Replaced { run, old } => {
            (Tone::Good, format!("run {run} has taken the place of run {old}"))
        }
        Event::Replacing { run, old } => {
            (Tone::Plain, format!("run {run} begins beside run {old}, to take its place"))
        }
        Event::Retired => (Tone::Plain, "retired".into()),
        Event::Signalled { run, signal } => (Tone::Plain, format!("run {run} got {signal}")),
        Event::SpawnFailed { run, why } => {
            (Tone::Bad, format!("run {run} could not be started: {why}"))
        }
        Event::SpecChanged => (Tone::Plain, "runs by a new spec".into()),
        Event::Started { run, pid } => (Tone::Good, format!("run {run} started (pid {pid})")),
        Event::Starting { run, pid } => (Tone::Dim, format!("run {run} made (pid {pid})")),
        Event::Stopping { run, how, why } => {
            (Tone::Plain, format!("run {run} asked to end by {how}: {why}"))
        }
        Event::Unhealthy { run, why } => (Tone::Bad, format!("run {run} does not serve: {why}")),
        Event::Waiting { delay_ms, failures } => waiting(*delay_ms, *failures),
        Event::Wanted { goal: Goal::Down } => (Tone::Plain, "wanted down".into()),
        Event::Wanted { goal: Goal::Up } => (Tone::Plain, "wanted up".into()),
    }
}

/// A count with its noun.
pub(crate) fn plural(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn every_event_goes_through_json_and_back() {
        let samples = samples::events();
        for instance in [None, Some("orders.0".to_owned())] {
            for sample in samples.iter().cloned() {
                let event = EventLine { instance: instance.clone(), ..sample };
                let json = serde_json::to_string(&event).unwrap();
                let back: EventLine =
                    serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"));
                assert_eq!(back, event);
            }
        }
        let kind = |event: &EventLine| {
            serde_json::to_value(event).unwrap()["event"].as_str().unwrap().to_owned()
        };
        let kinds: std::collections::BTreeSet<String> = samples.iter().map(kind).collect();
        let described = &stead_agent::openapi()["components"]["schemas"]["EventLine"]["oneOf"];
        assert_eq!(described.as_array().unwrap().len(), kinds.len(), "{kinds:?}");
    }

    #[test]
    fn every_event_is_a_sentence() {
        let show = |event: &EventLine| line(event, &TimeZone::UTC, Paint(false));
        let text: Vec<String> = samples::events().iter().map(show).collect();
        insta::assert_snapshot!("events", text.join("\n"));
    }
}
