//! What lanes and the main thread share.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use stead_proc::{TcpSocket, Wakeup};
use stead_wire::front::{Report, Set};

use crate::choice::{Choice, Policy};

/// One connection is a socket to the client and one to the backend.
const FILES_PER_CONNECTION: u64 = 2;

/// Kept for all that is no connection: streams, the control socket and who talks over it, the file
/// of the set.
const FILES_RESERVED: u64 = 64;

pub(crate) struct Shared {
    choice: Mutex<Choice>,
    pub(crate) doors: Vec<Door>,
    /// Wakes the main thread.
    pub(crate) main: Wakeup,
    /// Which set is the newest, counted from 1; lanes follow.
    newest_set: AtomicU64,
    ending: AtomicBool,
    /// Lanes that take no connections any more.
    closed_n: AtomicUsize,
    /// Connections of all lanes, in whatever state.
    open_n: AtomicUsize,
    connections_max: usize,
    pub(crate) counts: Counts,
}

/// How others reach a lane.
pub(crate) struct Door {
    pub(crate) wakeup: Wakeup,
    inbox: Mutex<Vec<TcpSocket>>,
    pub(crate) connections_n: AtomicUsize,
    /// The set that it follows.
    pub(crate) follows: AtomicU64,
    /// The lane works no more.
    pub(crate) has_ended: AtomicBool,
}

impl Door {
    /// Clients that are handed to the lane.
    pub(crate) fn inbox(&self) -> MutexGuard<'_, Vec<TcpSocket>> {
        self.inbox.lock().expect("nobody panics while holding it")
    }
}

/// What became of all clients so far.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) accepted: AtomicU64,
    pub(crate) joined: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) cut: AtomicU64,
}

/// How many connections there may be with so many files; `None` when it is none at all.
pub(crate) fn connections_max(files_max: u64, lanes_n: usize) -> Option<usize> {
    let tubes = (lanes_n * crate::way::TUBES_MAX * 2) as u64;
    let connections = files_max.checked_sub(FILES_RESERVED + tubes)? / FILES_PER_CONNECTION;
    usize::try_from(connections).ok().filter(|max| *max > 0)
}

impl Shared {
    pub(crate) fn new(
        policy: Policy,
        lanes_n: usize,
        connections_max: usize,
    ) -> std::io::Result<Self> {
        let door = || -> std::io::Result<Door> {
            Ok(Door {
                wakeup: Wakeup::new()?,
                inbox: Mutex::default(),
                connections_n: AtomicUsize::new(0),
                follows: AtomicU64::new(0),
                has_ended: AtomicBool::new(false),
            })
        };
        Ok(Self {
            choice: Mutex::new(Choice::new(policy)),
            doors: (0..lanes_n).map(|_| door()).collect::<Result<_, _>>()?,
            main: Wakeup::new()?,
            newest_set: AtomicU64::new(0),
            ending: AtomicBool::new(false),
            closed_n: AtomicUsize::new(0),
            open_n: AtomicUsize::new(0),
            connections_max,
            counts: Counts::default(),
        })
    }

    pub(crate) fn choice(&self) -> MutexGuard<'_, Choice> {
        self.choice.lock().expect("nobody panics while holding it")
    }

    /// Makes a set the newest; says its number. Lanes follow soon.
    pub(crate) fn set(&self, set: &Set) -> u64 {
        self.choice().set(&set.backends);
        let number = self.newest_set.fetch_add(1, Ordering::SeqCst) + 1;
        self.wake_lanes();
        number
    }

    pub(crate) fn newest_set(&self) -> u64 {
        self.newest_set.load(Ordering::SeqCst)
    }

    /// Whether no lane still makes connections by an older set.
    pub(crate) fn all_follow(&self, number: u64) -> bool {
        self.doors.iter().all(|door| door.follows.load(Ordering::SeqCst) >= number)
    }

    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
        self.wake_lanes();
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// A lane says that it will hand over no more connections.
    pub(crate) fn lane_closed(&self) {
        self.closed_n.fetch_add(1, Ordering::SeqCst);
        self.wake_lanes();
    }

    /// Whether no lane hands over connections any more.
    pub(crate) fn all_closed(&self) -> bool {
        self.closed_n.load(Ordering::SeqCst) == self.doors.len()
    }

    fn wake_lanes(&self) {
        self.doors.iter().for_each(|door| door.wakeup.wake());
    }

    /// Makes room for one more connection, if there may be one more.
    pub(crate) fn reserve(&self) -> bool {
        let is_full = self.open_n.fetch_add(1, Ordering::Relaxed) >= self.connections_max;
        if is_full {
            self.release();
        }
        !is_full
    }

    pub(crate) fn release(&self) {
        self.open_n.fetch_sub(1, Ordering::Relaxed);
    }

    /// A backend that gives way has ended a connection without the answer that was due.
    pub(crate) fn note_cut(&self) {
        self.counts.cut.fetch_add(1, Ordering::Relaxed);
        self.main.wake();
    }

    pub(crate) fn report(&self) -> Report {
        let counted = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Report {
            accepted: counted(&self.counts.accepted),
            refused: counted(&self.counts.refused),
            joined: counted(&self.counts.joined),
            cut: counted(&self.counts.cut),
            ..self.choice().report()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_have_two_files_each_of_those_that_nothing_else_needs() {
        for (files_max, lanes_n, expected) in [
            (1024, 1, Some((1024 - 64 - 64) / 2)),
            (1024, 2, Some((1024 - 64 - 128) / 2)),
            (130, 1, Some(1)),
            (129, 1, None),
            (0, 1, None),
        ] {
            assert_eq!(connections_max(files_max, lanes_n), expected, "{files_max}");
        }
    }
}
