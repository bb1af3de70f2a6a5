//! One of each thing that may stand in a journal.

use stead_core::machine::Goal;
use stead_wire::journal::{Event, Exit, Stream};

pub(crate) fn events() -> Vec<Event> {
    let text = || "text".to_owned();
    let (run, pid) = (2, 7);
    vec![
        Event::Adopted { run, pid },
        Event::AgentStarted { pid, version: text() },
        Event::AgentStopped { pid },
        Event::Collected { removed: vec![text()], more: 2, bytes: 3 },
        Event::Damaged { file: text(), bytes: 1, what: text() },
        Event::Dropped { stream: Stream::Out, bytes: 1, why: text() },
        Event::Exited { run, pid, exit: Exit { code: Some(0), ..Exit::default() } },
        Event::JournalStalled { run },
        Event::Due { due: 5 },
        Event::KeeperLost { keeper_of: text(), pid },
        Event::KeeperStarted { pid, version: text() },
        Event::KeeperUpgraded { pid, version: text() },
        Event::LimitHit { run, limit: text(), what: text() },
        Event::Missed { since: 5, until: 6 },
        Event::Killed { run, processes: 3, why: text() },
        Event::Overdue { run, timeout_ms: 5 },
        Event::Overlapped { run, due: 5, what: text() },
        Event::Planned { generation: 3, fleet: text(), instances: 1 },
        Event::Rollout { epoch: 7, who: text(), stage: text(), why: Some(text()) },
        Event::Ready { run },
        Event::Reloaded { run, how: text() },
        Event::ReloadFailed { run, why: text() },
        Event::ReplaceFailed { run, kept: 1, why: text() },
        Event::Replaced { run, old: 1 },
        Event::Replacing { run, old: 1 },
        Event::Retired,
        Event::Signalled { run, signal: text() },
        Event::SpawnFailed { run, why: text() },
        Event::SpecChanged,
        Event::Started { run, pid },
        Event::Starting { run, pid },
        Event::Stopping { run, how: text(), why: text() },
        Event::Unhealthy { run, why: text() },
        Event::Waiting { delay_ms: 5, failures: 1 },
        Event::Wanted { goal: Goal::Down },
    ]
}
