//! Waiting for very many sockets at once, with one thread or several.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// How many readinesses one [`Ready::wait`] tells of; those left over come with the next.
const EVENTS_MAX: usize = 256;

/// A set of sockets that one thread waits for, each under a number that the caller chose.
///
/// Sockets leave it when they are closed.
#[derive(Debug)]
pub struct Ready(OwnedFd);

/// What one [`Ready::wait`] told of.
pub struct News(Vec<Event>);

/// That something can be done with a socket, told once for each change. It is a hint: what the
/// socket says when it is used counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Readiness {
    pub number: u64,
    pub readable: bool,
    pub writable: bool,
    /// The peer has ended its side or the connection is broken: reading leads to the end.
    pub ends: bool,
}

impl Ready {
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Tells each time bytes have come, or the end.
    pub fn add_reading(&self, socket: impl AsFd, number: u64) -> io::Result<()> {
        self.add(socket, number, EDGE | EventFlags::IN)
    }

    /// Tells of room for bytes as well.
    pub fn add_both(&self, socket: impl AsFd, number: u64) -> io::Result<()> {
        self.add(socket, number, EDGE | EventFlags::IN | EventFlags::OUT)
    }

    /// Tells of room as well from now on, and of what is so already.
    pub fn also_writing(&self, socket: impl AsFd, number: u64) -> io::Result<()> {
        let flags = EDGE | EventFlags::IN | EventFlags::OUT;
        Ok(epoll::modify(&self.0, socket, EventData::new_u64(number), flags)?)
    }

    /// Tells as long as something is there to take, and of several sets that hold the same
    /// socket not all: for sockets that threads share.
    pub fn add_shared(&self, socket: impl AsFd, number: u64) -> io::Result<()> {
        self.add(socket, number, EventFlags::IN | EventFlags::EXCLUSIVE)
    }

    /// Tells as long as something is there to read.
    pub fn add_steady(&self, source: impl AsFd, number: u64) -> io::Result<()> {
        self.add(source, number, EventFlags::IN)
    }

    pub fn remove(&self, socket: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.0, socket)?)
    }

    /// Waits until something is ready or the time is over. A signal may end it early.
    pub fn wait(&self, news: &mut News, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        news.0.clear();
        let room = rustix::buffer::spare_capacity(&mut news.0);
        match epoll::wait(&self.0, room, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn add(&self, socket: impl AsFd, number: u64, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.0, socket, EventData::new_u64(number), flags)?)
    }
}

impl News {
    pub fn iter(&self) -> impl Iterator<Item = Readiness> {
        self.0.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            let broken = EventFlags::ERR | EventFlags::HUP;
            let ends = flags.intersects(broken | EventFlags::RDHUP);
            Readiness {
                number: data.u64(),
                readable: ends || flags.contains(EventFlags::IN),
                writable: flags.intersects(broken | EventFlags::OUT),
                ends,
            }
        })
    }
}

impl Default for News {
    fn default() -> Self {
        Self(Vec::with_capacity(EVENTS_MAX))
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

const EDGE: EventFlags = EventFlags::ET.union(EventFlags::RDHUP);
