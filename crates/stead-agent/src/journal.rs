//! The agent's journal: what happened to the agent and its host, written by a thread of its own
//! so that a slow disk holds nothing up.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use stead_proc::cut_file;
use stead_wire::frame::{self, Framed};
use stead_wire::journal::{Event, Record};

use crate::clock::wall_ms;
use crate::store;

/// Past this size only the newest half is kept.
pub(crate) const EVENTS_LEN_MAX: u64 = 4 << 20;

/// Events that may wait for a slow disk; more are lost, and that is said.
const WAITING_MAX: usize = 1024;

/// How long the agent waits at its end for the last events to be stored.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

enum Entry {
    Event(Box<Record>),
    /// Says when everything before it is stored.
    Flush(SyncSender<()>),
}

/// The writing end of the journal.
#[derive(Debug)]
pub(crate) struct Journal {
    entries: SyncSender<Entry>,
    lost: u64,
}

impl Journal {
    /// Opens the journal, cuts off a torn end and says what was damaged.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = Appended::open(path)?;
        let (entries, waiting) = sync_channel(WAITING_MAX);
        for event in file.recover()? {
            file.append(&Record { at: wall_ms(), event, memory: None })?;
        }
        thread::Builder::new().name("journal".into()).spawn(move || write_all(file, &waiting))?;
        Ok(Self { entries, lost: 0 })
    }

    /// Notes an event, with the time of now.
    pub(crate) fn note(&mut self, event: Event) {
        if self.lost > 0 {
            let why = "the disk was too slow for the agent's journal".to_owned();
            let lost = Event::Damaged { file: "events".into(), bytes: 0, what: why };
            if self.send(lost) {
                self.lost = 0;
            }
        }
        if !self.send(event) {
            self.lost += 1;
        }
    }

    /// Events that could not be kept for now.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    fn send(&self, event: Event) -> bool {
        let record = Record { at: wall_ms(), event, memory: None };
        match self.entries.try_send(Entry::Event(Box::new(record))) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Waits until what was noted is stored, as long as that is worth.
    pub(crate) fn flush(&self) {
        let (stored, done) = sync_channel(1);
        if self.entries.try_send(Entry::Flush(stored)).is_ok() {
            let _ = done.recv_timeout(FLUSH_WITHIN);
        }
    }
}

fn write_all(mut file: Appended, waiting: &Receiver<Entry>) {
    while let Ok(entry) = waiting.recv() {
        match entry {
            // A full disk costs events, never a service.
            Entry::Event(record) => drop(file.append(&record)),
            Entry::Flush(stored) => drop(stored.send(())),
        }
    }
}

#[derive(Debug)]
struct Appended {
    path: PathBuf,
    file: File,
    len: u64,
}

impl Appended {
    fn open(path: &Path) -> io::Result<Self> {
        let file = stead_proc::append_file(path, 0o600)?;
        let len = file.metadata()?.len();
        Ok(Self { path: path.to_path_buf(), file, len })
    }

    /// Cuts off a torn end; returns what to say about this and other damage.
    fn recover(&mut self) -> io::Result<Vec<Event>> {
        let bytes = fs::read(&self.path)?;
        let mut damaged: u64 = 0;
        let mut torn = None;
        for framed in frame::decode_all::<Record>(&bytes) {
            match framed {
                Framed::Damaged { len, .. } => damaged += len as u64,
                Framed::Torn { offset, len } => torn = Some((offset as u64, len as u64)),
                Framed::Whole(_) => (),
            }
        }
        let say =
            |bytes, what: &str| Event::Damaged { file: "events".into(), bytes, what: what.into() };
        let mut events = Vec::new();
        if damaged > 0 {
            events.push(say(damaged, "bytes that are no whole record were skipped"));
        }
        if let Some((offset, len)) = torn {
            cut_file(&self.path, offset)?;
            self.len = offset;
            events.push(say(len, "a record that was not finished was cut off"));
        }
        Ok(events)
    }

    fn append(&mut self, record: &Record) -> io::Result<()> {
        let bytes = frame::encode(record);
        if self.len + bytes.len() as u64 > EVENTS_LEN_MAX {
            self.halve()?;
        }
        if let Err(error) = self.file.write_all(&bytes) {
            // Half a record would swallow the next one.
            cut_file(&self.path, self.len)?;
            return Err(error);
        }
        self.len += bytes.len() as u64;
        self.file.sync_data()
    }

    /// Keeps the newest half, from a record's start on.
    fn halve(&mut self) -> io::Result<()> {
        let bytes = fs::read(&self.path)?;
        let half = bytes.len() / 2;
        let start =
            bytes[half..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |at| half + at + 1);
        store::replace(&self.path, &bytes[start..])?;
        *self = Self::open(&self.path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempRoot;

    fn pids(path: &Path) -> Vec<u32> {
        let pid = |framed| match framed {
            Framed::Whole(Record { event: Event::AgentStopped { pid }, .. }) => Some(pid),
            Framed::Whole(_) | Framed::Damaged { .. } | Framed::Torn { .. } => None,
        };
        frame::decode_all::<Record>(&fs::read(path).unwrap()).into_iter().filter_map(pid).collect()
    }

    #[test]
    fn a_torn_end_is_cut_off_and_said() {
        let root = TempRoot::new("journal-torn");
        let path = root.layout().events();
        let mut journal = Journal::open(&path).unwrap();
        journal.note(Event::AgentStopped { pid: 1 });
        journal.flush();
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(b"5d1ef0a3 {\"at\":17");
        fs::write(&path, bytes).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        journal.note(Event::AgentStopped { pid: 2 });
        journal.flush();
        assert_eq!(pids(&path), [1, 2]);
        assert!(fs::read_to_string(&path).unwrap().contains("was cut off"));
    }

    #[test]
    fn the_journal_is_bounded_and_keeps_the_newest() {
        let root = TempRoot::new("journal-bound");
        let path = root.layout().events();
        let mut file = Appended::open(&path).unwrap();
        let record = |pid| Record { at: 1, event: Event::AgentStopped { pid }, memory: None };
        let per_record = frame::encode(&record(0)).len();
        let filler = frame::encode(&record(0)).repeat(EVENTS_LEN_MAX as usize / per_record);
        fs::write(&path, filler).unwrap();
        file.len = fs::metadata(&path).unwrap().len();
        file.append(&record(7)).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < EVENTS_LEN_MAX * 3 / 4);
        assert_eq!(pids(&path).last(), Some(&7));
        assert_eq!(fs::metadata(&path).unwrap().len(), file.len);
    }
}
