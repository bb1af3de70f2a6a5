//! What a keeper tells of its instance: to the journal, and to whoever asks.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stead_core::machine::{After, Beside, Goal, Phase};
use stead_core::units::{Millis, millis};
use stead_proc::{Ended, boot_id, boot_ms, exec_with_state, start_ms};
use stead_wire::journal::{BesideMemory, Event, Exit, Identity, Memory, Record, Rest, Stream};
use stead_wire::keeper::{Coming, Rejected, Report};
use stead_wire::{WIRE_VERSION, WallMs, file, frame};

use crate::current::Current;
use crate::keeper::{Ending, Keeper};

/// What was told already, and what is still to be told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) last_exit: Option<Exit>,
    /// The number of the newest journal record.
    pub(crate) last_note: u64,
    /// Something changed since the last report.
    pub(crate) changed: bool,
    /// Dropped output that the journal knows of, and when it last was told.
    dropped_bytes: u64,
    dropped_at_ms: u64,
    stalled: Option<String>,
    boot: Option<String>,
    /// What the run says it does.
    pub(crate) says: Option<String>,
    /// The launch that the last replacement did not bring.
    pub(crate) rejected: Option<Rejected>,
}

/// Dropped output is journalled this often at most.
const DROPPED_NOTE_EVERY: Duration = Duration::from_secs(1);
/// How long an upgrade waits for the disk.
const UPGRADE_FLUSH_WITHIN: Duration = Duration::from_secs(1);

impl Told {
    pub(crate) fn from_memory(memory: Option<&Memory>) -> Self {
        let last_exit = memory.and_then(|memory| memory.last_exit.clone());
        Self { last_exit, boot: boot_id().ok(), ..Self::default() }
    }
}

/// How a run ended, in words.
pub(crate) fn exit_of(ended: Option<Ended>) -> Exit {
    let Some(Ended { code, signal, core_dumped, .. }) = ended else {
        let reason = "unknown: it ended while no keeper was its parent".to_owned();
        return Exit { reason, ..Exit::default() };
    };
    let core = if core_dumped { ", core dumped" } else { "" };
    let reason = match (&code, &signal) {
        (Some(0), _) => "exit code 0".to_owned(),
        (Some(code), _) if *code < 0 => status(*code),
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by SIG{signal}{core}"),
        (None, None) => "unknown".to_owned(),
    };
    Exit { code, signal, reason, ..Exit::default() }
}

/// What Windows says of a process that did not end by itself, in its own writing.
fn status(code: i32) -> String {
    const KNOWN: [(u32, &str); 9] = [
        (0xC000_0005, "access violation"),
        (0xC000_0017, "out of memory"),
        (0xC000_001D, "illegal instruction"),
        (0xC000_0094, "division by zero"),
        (0xC000_00FD, "stack overflow"),
        (0xC000_0135, "a DLL was not found"),
        (0xC000_013A, "ended by Ctrl-C"),
        (0xC000_0142, "a DLL could not begin"),
        (0xC000_0409, "it gave up"),
    ];
    let code = code.cast_unsigned();
    match KNOWN.iter().find(|(known, _)| *known == code) {
        Some((_, name)) => format!("exit code 0x{code:08X} ({name})"),
        None => format!("exit code 0x{code:08X}"),
    }
}

impl Keeper {
    /// Hands an event to the journal, with the memory after it; says its number.
    pub(crate) fn note(&mut self, event: Event) -> u64 {
        let memory = self.memory();
        self.told.changed = true;
        let record = Record { at: wall_ms(), event, memory: Some(memory) };
        self.told.last_note = self.disk.append(frame::encode(&record));
        self.told.last_note
    }

    /// What the next keeper must know.
    fn memory(&self) -> Memory {
        let phase = self.instance.phase();
        let current = self.current();
        let identity = |current: &Current| Identity {
            boot: self.told.boot.clone().unwrap_or_default(),
            pid: current.pid,
            start_ticks: current.start_ticks,
            stream_ends: current.stream_ends.clone(),
        };
        let beside = self.instance.beside().map(|beside| {
            let there = self.find(beside.run());
            BesideMemory {
                run: beside.run(),
                coming: matches!(beside, Beside::Coming { .. }),
                process: there.map(identity),
                lane: there.map(|it| it.lane).unwrap_or_default(),
                run_mark: there.and_then(|it| it.launch_mark),
            }
        });
        Memory {
            // A host that goes down does not change what is wanted of it.
            goal: match self.ending {
                Some(Ending::Shutdown { goal }) => goal,
                Some(Ending::Retiring) | None => self.instance.goal(),
            },
            last_run: self.instance.last_run(),
            failures: self.instance.failures(),
            restarts: self.instance.restarts(),
            rest: match (self.ending, rest_of(phase)) {
                (Some(Ending::Shutdown { goal: Goal::Up }), Rest::Down) if self.timed.is_none() => {
                    Rest::Waiting
                }
                (_, rest) => rest,
            },
            run_mark: current.and_then(|current| current.launch_mark),
            process: current.map(identity),
            last_exit: self.told.last_exit.clone(),
            run: phase.run().filter(|run| *run != self.instance.last_run()),
            lane: current.map(|current| current.lane).unwrap_or_default(),
            timed: self.timed,
            beside,
        }
    }

    /// Everything there is to know about the instance.
    pub(crate) fn report(&self) -> Report {
        let phase = self.instance.phase();
        let now_ms = boot_ms();
        let current = self.current();
        let main = current.filter(|current| current.main.is_some());
        let wall_of = |boot_ms: u64| wall_ms().saturating_sub(now_ms.saturating_sub(boot_ms));
        let next = match phase {
            Phase::Waiting { start_at } => Some(wall_ms() + millis(start_at - Millis(now_ms))),
            Phase::Down
            | Phase::Failed
            | Phase::Starting { .. }
            | Phase::Stopping { .. }
            | Phase::Sweeping { .. }
            | Phase::Up { .. } => None,
        };
        Report {
            wire: WIRE_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            keeper_pid: std::process::id(),
            instance: self.launch.instance.clone(),
            launch_mark: file::mark(&self.launch),
            goal: self.instance.goal(),
            phase: phase.name(),
            retiring: self.ending == Some(Ending::Retiring),
            run: phase.run().unwrap_or(self.instance.last_run()).0,
            pid: main.map(|current| current.pid),
            restarts: self.instance.restarts(),
            failures: self.instance.failures(),
            started_at: main.map(|current| wall_of(start_ms(current.start_ticks))),
            next_start_at: next,
            last_exit: self.told.last_exit.clone(),
            log: self.disk.counts(),
            ready: self.launch.notify.then(|| current.is_some_and(|current| current.lane.ready)),
            says: self.told.says.clone(),
            second: current.is_some_and(|current| current.lane.second),
            coming: self.coming().map(|coming| Coming {
                run: coming.run.0,
                pid: coming.main.as_ref().map(|_| coming.pid),
                second: coming.lane.second,
                ready: coming.lane.ready,
                launch_mark: coming.launch_mark.unwrap_or_default(),
                started_at: Some(wall_of(start_ms(coming.start_ticks))),
            }),
            going: match self.instance.beside() {
                Some(Beside::Going { run, .. } | Beside::Sweeping { run, .. }) => Some(run.0),
                Some(Beside::Coming { .. }) | None => None,
            },
            rejected: self.told.rejected.clone(),
            between_launches: self.is_between_launches(),
            unheld: {
                let mut unheld = self.sandboxes.unheld(&self.launch);
                unheld.extend(self.limiter.unkept(&self.launch.limits));
                unheld
            },
            holds_sockets: !self.sockets.named().is_empty(),
            timed: self.timed,
        }
    }

    fn is_between_launches(&self) -> bool {
        let mark = Some(file::mark(&self.launch));
        let is_to_come = self.next.is_some() || self.waiting.is_some();
        is_to_come || self.runs.iter().any(|current| current.launch_mark != mark)
    }

    /// The run that is to take the place of the one that is up.
    pub(crate) fn coming(&self) -> Option<&Current> {
        match self.instance.beside() {
            Some(Beside::Coming { run, .. }) => self.find(run),
            Some(Beside::Going { .. } | Beside::Sweeping { .. }) | None => None,
        }
    }

    /// Journals what was dropped, now and then, and reports a disk that fails or is well again.
    pub(crate) fn note_dropped(&mut self) {
        let counts = self.disk.counts();
        if counts.stalled != self.told.stalled {
            self.told.stalled.clone_from(&counts.stalled);
            self.told.changed = true;
        }
        let new = counts.dropped_bytes - self.told.dropped_bytes;
        let waited = boot_ms() - self.told.dropped_at_ms >= millis(DROPPED_NOTE_EVERY);
        if new > 0 && waited {
            self.told.dropped_bytes = counts.dropped_bytes;
            self.told.dropped_at_ms = boot_ms();
            let why = counts.stalled.unwrap_or_else(|| "the disk did not take it".to_owned());
            // Both streams share one count; `out` is by far the likelier.
            self.note(Event::Dropped { stream: Stream::Out, bytes: new, why });
        }
    }

    /// Becomes another version of the keeper. Returns only with the reason why not.
    pub(crate) fn upgrade(&mut self, program: &Path) -> Result<(), String> {
        if self.instance.beside().is_some() {
            return Err("one run takes the place of another; ask again".to_owned());
        }
        match self.instance.phase() {
            Phase::Down | Phase::Failed | Phase::Up { .. } | Phase::Waiting { .. } => (),
            Phase::Starting { .. } | Phase::Stopping { .. } | Phase::Sweeping { .. } => {
                return Err("its instance is between two phases; ask again".to_owned());
            }
        }
        if !program.is_file() {
            return Err(format!("there is no program `{}`", program.display()));
        }
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.note(Event::KeeperUpgraded { pid: std::process::id(), version });
        if !self.disk.finish(UPGRADE_FLUSH_WITHIN) {
            return Err("its disk does not answer".to_owned());
        }
        let Some(lock) = self.lock.take() else { return Err("it has no lock".to_owned()) };
        let file: File = lock.into_file();
        let error = exec_with_state(program, &self.options.args, &file, &self.sockets.named());
        // The disk thread has ended: without it this keeper is no use. The agent starts another.
        crate::say(&format!("error: could not become `{}`\n  because {error}", program.display()));
        std::process::exit(1)
    }
}

fn rest_of(phase: Phase) -> Rest {
    match phase {
        Phase::Down | Phase::Sweeping { after: After::Down, .. } => Rest::Down,
        Phase::Failed | Phase::Sweeping { after: After::Failed, .. } => Rest::Failed,
        Phase::Starting { .. } | Phase::Up { .. } => Rest::Running,
        Phase::Stopping { after: After::Down | After::Failed, .. } => Rest::Running,
        Phase::Stopping { after: After::Start | After::Wait { .. }, .. } => Rest::Restarting,
        Phase::Sweeping { after: After::Start | After::Wait { .. }, .. }
        | Phase::Waiting { .. } => Rest::Waiting,
    }
}

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn wall_ms() -> WallMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_run_ended_is_told_in_the_words_of_its_system() {
        let reason = |code: Option<i32>, signal: Option<&str>| {
            let signal = signal.map(str::to_owned);
            let ended = Ended { pid: 7, code, signal, signal_number: None, core_dumped: false };
            exit_of(Some(ended)).reason
        };
        for (code, signal, said) in [
            (Some(0), None, "exit code 0"),
            (Some(3), None, "exit code 3"),
            (None, Some("KILL"), "killed by SIGKILL"),
            (Some(-1_073_741_819), None, "exit code 0xC0000005 (access violation)"),
            (Some(-1), None, "exit code 0xFFFFFFFF"),
        ] {
            assert_eq!(reason(code, signal), said);
        }
    }
}
