//! Facts for tests: one of everything that can be shown.

use stead_core::machine::Goal;
use stead_wire::api::{AgentStatus, EventLine, InstanceStatus, LogLine, LogStatus, Status, Why};
use stead_wire::journal::{Event, Exit, Stream};

/// The moment of all samples.
pub(crate) const NOW: &str = "2026-08-22T12:00:00Z";
const NOW_MS: u64 = 1_787_400_000_000;

/// An end with this code.
pub(crate) fn exit(code: i32) -> Exit {
    Exit { code: Some(code), reason: format!("exit code {code}"), ..Exit::default() }
}

/// An instance that is up in its fourth run, since two minutes.
pub(crate) fn up(service: &str, index: u32) -> InstanceStatus {
    InstanceStatus {
        name: format!("{service}.{index}"),
        service: service.into(),
        index,
        phase: "up".into(),
        ready: Some(true),
        pid: Some(4700 + index),
        run: 4,
        second_ports: false,
        restarts: 0,
        release: Some("0123456789abcdef".repeat(4)),
        started_at: Some("2026-08-22T11:57:55Z".into()),
        next_run_at: None,
        memory_bytes: Some(12_900_000),
        cpu_percent: Some(1.25),
        last_exit: None,
        keeper_pid: Some(4600 + index),
        notes: Vec::new(),
        rejected: None,
        current: true,
        log: LogStatus::default(),
    }
}

/// One instance that is up, one that is not ready, one that waits.
pub(crate) fn status() -> Status {
    let not_yet = "`limits.cpu` cannot be kept here: its cgroups have no such controller";
    let mut slow = up("orders", 0);
    slow.notes = vec![not_yet.into()];
    slow.ready = Some(false);
    slow.log.dropped_bytes = 4096;
    let mut waiting = up("orders", 1);
    waiting.phase = "waiting".into();
    (waiting.ready, waiting.pid, waiting.started_at) = (Some(false), None, None);
    (waiting.memory_bytes, waiting.cpu_percent) = (None, None);
    waiting.restarts = 12;
    waiting.last_exit = Some(exit(3));
    waiting.notes = vec!["exit code 3; the next run starts in 4 s \x1b[2J".into(), not_yet.into()];
    Status {
        host: "vm1".into(),
        agent: AgentStatus {
            version: "0.1.0".into(),
            pid: 4500,
            root: "/var/lib/stead".into(),
            keeper: "/var/lib/stead/kit/k/stead-keeper".into(),
            fleet: Some("shop".into()),
            generation: 3,
            troubles: vec!["the disk is nearly full".into()],
        },
        instances: vec![up("db", 0), slow, waiting],
    }
}

/// One that waits for its time, after a run that failed.
pub(crate) fn scheduled() -> InstanceStatus {
    let mut scheduled = up("backup", 0);
    scheduled.phase = "failed".into();
    (scheduled.ready, scheduled.pid, scheduled.started_at) = (Some(false), None, None);
    (scheduled.memory_bytes, scheduled.cpu_percent) = (None, None);
    scheduled.next_run_at = Some("2026-08-22T14:30:00Z".into());
    scheduled.last_exit = Some(exit(1));
    scheduled
}

/// One event of every kind.
pub(crate) fn events() -> Vec<EventLine> {
    let text = String::from;
    let all = [
        Event::AgentStarted { pid: 4500, version: text("0.1.0") },
        Event::Planned { generation: 3, fleet: text("shop"), instances: 1 },
        Event::Rollout { epoch: 7, who: text("ann@desk"), stage: text("switched"), why: None },
        Event::Rollout {
            epoch: 7,
            who: text("ann@desk"),
            stage: text("reverted"),
            why: Some(text("web.0 crashed on h1")),
        },
        Event::KeeperStarted { pid: 4600, version: text("0.1.0") },
        Event::Wanted { goal: Goal::Up },
        Event::Starting { run: 1, pid: 4700 },
        Event::Started { run: 1, pid: 4700 },
        Event::Ready { run: 1 },
        Event::Reloaded { run: 1, how: text("SIGHUP") },
        Event::ReloadFailed { run: 1, why: text("its process has just ended") },
        Event::Signalled { run: 1, signal: text("SIGHUP") },
        Event::Replacing { run: 2, old: 1 },
        Event::ReplaceFailed { run: 2, kept: 1, why: text("it was not ready within 1m") },
        Event::Replaced { run: 3, old: 1 },
        Event::Unhealthy {
            run: 1,
            why: text("its live probe failed 3 times in a row: status 503"),
        },
        Event::Exited { run: 1, pid: 4700, exit: exit(3) },
        Event::Waiting { delay_ms: 200, failures: 2 },
        Event::SpawnFailed { run: 2, why: text("no such program") },
        Event::JournalStalled { run: 3 },
        Event::Dropped { stream: Stream::Err, bytes: 2048, why: text("the disk is full") },
        Event::Damaged { file: text("events"), bytes: 12, what: text("torn") },
        Event::KeeperLost { keeper_of: text("orders.0"), pid: 4600 },
        Event::Adopted { run: 3, pid: 4701 },
        Event::KeeperUpgraded { pid: 4601, version: text("0.2.0") },
        Event::SpecChanged,
        Event::Stopping { run: 3, how: text("SIGTERM"), why: text("asked to") },
        Event::LimitHit { run: 3, limit: text("cpu"), what: text("its threads waited") },
        Event::Due { due: NOW_MS },
        Event::Missed { since: NOW_MS - 7_200_000, until: NOW_MS },
        Event::Overdue { run: 3, timeout_ms: 7_200_000 },
        Event::Overlapped { run: 3, due: NOW_MS, what: text("there is no run for it") },
        Event::Killed { run: 3, processes: 2, why: text("left behind") },
        Event::Exited { run: 3, pid: 4701, exit: exit(0) },
        Event::Wanted { goal: Goal::Down },
        Event::Retired,
        Event::Collected {
            removed: vec![text("release 0123456789ab"), text("secret ba9876543210")],
            more: 3,
            bytes: 12 << 20,
        },
        Event::AgentStopped { pid: 4500 },
    ];
    let of_agent = |event: &Event| {
        matches!(
            event,
            Event::AgentStarted { .. }
                | Event::AgentStopped { .. }
                | Event::Collected { .. }
                | Event::KeeperLost { .. }
                | Event::Planned { .. }
                | Event::Rollout { .. }
        )
    };
    let line = |(n, event): (u64, Event)| EventLine {
        at: NOW_MS + n * 1_001,
        instance: (!of_agent(&event)).then(|| text("orders.0")),
        event,
    };
    (0..).zip(all).map(line).collect()
}

/// Why the waiting instance waits.
pub(crate) fn why() -> Why {
    let line = |text: &str| LogLine {
        instance: "orders.1".into(),
        stream: Stream::Err,
        time_us: NOW_MS * 1000,
        line: text.into(),
        dropped_before: 0,
    };
    Why {
        instance: status().instances.remove(2),
        because: "it ended 3 times in a row; the next run starts in 4 s".into(),
        events: events().into_iter().skip(7).take(2).collect(),
        last_runs: Vec::new(),
        denials: Vec::new(),
        last_output: vec![line("panic: no database"), line("\x1b[31mgoodbye")],
    }
}
