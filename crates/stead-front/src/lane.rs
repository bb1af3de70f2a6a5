//! A lane: one thread, and the connections that are its own from beginning to end.
//!
//! All lanes take connections from the same sockets; one that has taken more than its share hands
//! them to the lane with the fewest. A client is read from only once it is joined to a backend, so
//! whatever happens before that loses none of its bytes.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use slab::Slab;
use stead_core::units::Millis;
use stead_proc::{News, Ready, TcpListening, TcpSocket, boot_ms};

use crate::choice::{BackendId, Client};
use crate::join::{Join, Stage};
use crate::line::Line;
use crate::shared::{Door, Shared};
use crate::way::Kit;

/// Clients that wait try again this often.
const RETRY_EVERY: Duration = Duration::from_millis(5);

/// When no more connections can be taken, this is how long nobody looks for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// So many connections are taken before the others have their turn.
const ACCEPTS_PER_TURN: usize = 16;

/// A lane with so many connections more than another hands new ones over. Handing over costs both a
/// little, so it does not happen for one.
const SLACK: usize = 2;

/// What lies idle for so long is given back to the system.
const IDLE: Duration = Duration::from_secs(1);

/// Numbers of what is no connection. Those of listening sockets count down from the first.
const LISTENING: u64 = u64::MAX - 1;
const WAKEUP: u64 = u64::MAX;

/// Listening sockets there may be.
pub(crate) const LISTENING_MAX: usize = 16;

pub(crate) struct Lane {
    pub(crate) shared: Arc<Shared>,
    index: usize,
    pub(crate) ready: Ready,
    /// Gone once this lane takes no more connections.
    listening: Vec<Arc<TcpListening>>,
    /// While no connections can be taken: until when.
    paused_until: Option<Millis>,
    pub(crate) joins: Slab<Join>,
    pub(crate) kit: Kit,
    pub(crate) line: Line,
    retry_at: Millis,
    /// Attempts in the order in which their time is over; those that ended are still in it.
    pub(crate) attempts: VecDeque<Attempt>,
    pub(crate) attempts_n: u64,
    /// Joined connections with more to do.
    pub(crate) again: Vec<usize>,
    rest_at: Option<Millis>,
    pub(crate) now: Millis,
}

/// A connection to a backend that is being made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) key: usize,
    pub(crate) number: u64,
    pub(crate) until: Millis,
}

impl Lane {
    pub(crate) fn new(
        shared: Arc<Shared>,
        index: usize,
        listening: Vec<Arc<TcpListening>>,
    ) -> io::Result<Self> {
        let ready = Ready::new()?;
        ready.add_steady(&shared.doors[index].wakeup, WAKEUP)?;
        let mut lane = Self {
            shared,
            index,
            ready,
            listening,
            paused_until: None,
            joins: Slab::new(),
            kit: Kit::new(),
            line: Line::default(),
            retry_at: Millis(0),
            attempts: VecDeque::new(),
            attempts_n: 0,
            again: Vec::new(),
            rest_at: None,
            now: Millis(boot_ms()),
        };
        lane.listen()?;
        Ok(lane)
    }

    /// Works until this front ends and every connection with it.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut news = News::default();
        loop {
            self.ready.wait(&mut news, self.timeout())?;
            self.now = Millis(boot_ms());
            let mut listening = None;
            for readiness in news.iter() {
                match readiness.number {
                    WAKEUP => self.woken(),
                    number if LISTENING - number < LISTENING_MAX as u64 => {
                        listening = Some(usize::try_from(LISTENING - number).unwrap_or(0));
                    }
                    _ => self.happened(readiness),
                }
            }
            for key in std::mem::take(&mut self.again) {
                self.pump(key);
            }
            self.look_at_clock();
            self.try_line();
            // Last, so that nothing that was told above is taken for news of a new connection.
            if let Some(at) = listening {
                self.accept(at);
            }
            if self.listening.is_empty() && self.is_done() {
                return Ok(());
            }
        }
    }

    pub(crate) fn door(&self) -> &Door {
        &self.shared.doors[self.index]
    }

    fn timeout(&self) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let retry = (!self.line.is_empty()).then_some(self.retry_at);
        let attempt = self.attempts.front().map(|attempt| attempt.until);
        let deadlines = [retry, attempt, self.paused_until, self.rest_at];
        deadlines.into_iter().flatten().min().map(|deadline| deadline - self.now)
    }

    fn listen(&mut self) -> io::Result<()> {
        self.paused_until = None;
        for (socket, number) in self.listening.iter().zip((0..=LISTENING).rev()) {
            self.ready.add_shared(socket, number)?;
        }
        Ok(())
    }

    /// Looks for no connections for a while.
    fn pause(&mut self) {
        for socket in &self.listening {
            // It is there, since it was added.
            let _ = self.ready.remove(socket);
        }
        self.paused_until = Some(self.now + ACCEPT_PAUSE);
    }

    /// Takes connections that wait, up to a number.
    fn accept(&mut self, at: usize) {
        for _ in 0..ACCEPTS_PER_TURN {
            let Some(listening) = self.listening.get(at) else { return };
            if !self.shared.reserve() {
                return self.pause();
            }
            match listening.accept() {
                Ok(Some(client)) => {
                    self.shared.counts.accepted.fetch_add(1, Ordering::Relaxed);
                    self.place(client);
                }
                Ok(None) => return self.shared.release(),
                Err(error) => {
                    self.shared.release();
                    // A client that has given up already is none; when files or memory are used
                    // up, to ask again at once would only burn time.
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        return self.pause();
                    }
                }
            }
        }
    }

    /// Keeps a client, or hands it to a lane that has fewer.
    fn place(&mut self, client: TcpSocket) {
        let own_n = self.joins.len();
        let count = |door: &Door| door.connections_n.load(Ordering::Relaxed);
        let fewest = self.shared.doors.iter().min_by_key(|door| count(door));
        let door = fewest.filter(|door| count(door) + SLACK <= own_n);
        match door {
            None => self.welcome(client),
            Some(door) => {
                // Counted at once, so that the next one goes elsewhere.
                door.connections_n.fetch_add(1, Ordering::Relaxed);
                door.inbox().push(client);
                door.wakeup.wake();
            }
        }
    }

    fn welcome(&mut self, client: TcpSocket) {
        let key = self.joins.insert(Join::new(client, Client::new(self.now)));
        self.count();
        self.seek(key);
    }

    /// Lets others know how many connections this lane has.
    pub(crate) fn count(&self) {
        self.door().connections_n.store(self.joins.len(), Ordering::Relaxed);
    }

    /// Somebody wants this lane to look around.
    fn woken(&mut self) {
        self.door().wakeup.clear();
        if self.shared.is_ending() && !self.listening.is_empty() {
            if self.paused_until.take().is_none() {
                self.pause();
                self.paused_until = None;
            }
            self.listening.clear();
            self.shared.lane_closed();
        }
        let clients = std::mem::take(&mut *self.door().inbox());
        clients.into_iter().for_each(|client| self.welcome(client));
        self.follow();
    }

    /// Gives up attempts at backends that have left the set, and lets those who wait try the new.
    fn follow(&mut self) {
        let newest = self.shared.newest_set();
        if self.door().follows.load(Ordering::SeqCst) >= newest {
            return;
        }
        for attempt in std::mem::take(&mut self.attempts) {
            let Some(backend) = self.attempted(&attempt) else { continue };
            if self.shared.choice().is_in_set(backend) {
                self.attempts.push_back(attempt);
            } else {
                self.shared.choice().ended(backend);
                self.joins[attempt.key].give_up();
                self.seek(attempt.key);
            }
        }
        self.line.send_scouts();
        self.door().follows.store(newest, Ordering::SeqCst);
        self.shared.main.wake();
    }

    /// Whether there is nothing left to do, and never will be.
    fn is_done(&self) -> bool {
        // In this order: once no lane hands over, what is not in the inbox will not be.
        self.joins.is_empty() && self.shared.all_closed() && self.door().inbox().is_empty()
    }

    /// Does what is due.
    fn look_at_clock(&mut self) {
        while let Some(attempt) = self.attempts.front().copied() {
            match self.attempted(&attempt) {
                Some(_) if attempt.until > self.now => break,
                Some(_) => {
                    self.attempts.pop_front();
                    self.attempt_failed(attempt.key);
                }
                None => drop(self.attempts.pop_front()),
            }
        }
        if !self.line.is_empty() && self.retry_at <= self.now {
            self.retry_at = self.now + RETRY_EVERY;
            self.close_the_late();
            self.line.send_scouts();
        }
        if self.paused_until.is_some_and(|until| until <= self.now) && self.listen().is_err() {
            self.pause();
        }
        if self.rest_at.is_some_and(|at| at <= self.now) {
            self.kit.rest();
            self.rest_at = None;
        } else if self.rest_at.is_none() && self.kit.is_worn() {
            self.rest_at = Some(self.now + IDLE);
        }
    }

    /// Closes those who have waited for too long.
    fn close_the_late(&mut self) {
        let (shared, now, joins) = (Arc::clone(&self.shared), self.now, &self.joins);
        let choice = shared.choice();
        let late = self.line.take_out(|key| match &joins[key].stage {
            Stage::Seeking(client) => choice.is_late(client, now),
            Stage::Connecting { .. } | Stage::Joined(_) => false,
        });
        drop(choice);
        late.into_iter().for_each(|key| self.seek(key));
    }

    fn try_line(&mut self) {
        while let Some(key) = self.line.pop() {
            self.seek(key);
        }
    }

    /// The backend of an attempt that still goes on.
    fn attempted(&self, attempt: &Attempt) -> Option<BackendId> {
        match &self.joins.get(attempt.key)?.stage {
            Stage::Connecting { number, backend, .. } if *number == attempt.number => {
                Some(*backend)
            }
            Stage::Connecting { .. } | Stage::Joined(_) | Stage::Seeking(_) => None,
        }
    }
}
