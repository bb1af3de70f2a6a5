//! A client on its way to a backend, and the two of them once they are joined.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use stead_core::units::Millis;
use stead_proc::{Readiness, TcpSocket};

use crate::choice::{BackendId, Client, Next};
use crate::lane::{Attempt, Lane};
use crate::way::{Pumped, Way};

/// A client and what is being done for it.
pub(crate) struct Join {
    client: TcpSocket,
    /// News of the client are told, and may have been while it could not be read from.
    is_watched: bool,
    pub(crate) stage: Stage,
}

pub(crate) enum Stage {
    /// A backend is asked for this one.
    Connecting {
        client: Client,
        socket: TcpSocket,
        backend: BackendId,
        address: SocketAddr,
        /// Tells this attempt from earlier ones.
        number: u64,
    },
    Joined(Box<Joined>),
    /// About to ask, or in the line.
    Seeking(Client),
}

pub(crate) struct Joined {
    socket: TcpSocket,
    backend: BackendId,
    /// From the client to the backend.
    up: Way,
    down: Way,
    /// Room is told of, on the client's side and on the backend's.
    tells_room: [bool; 2],
    answers: Answers,
}

/// Whether the backend owes the client something, as far as it can be told from bytes alone: the
/// client was the last to send.
#[derive(Debug, Default)]
struct Answers {
    /// Bytes that the backend had sent, and those that the client had sent by then.
    seen: [u64; 2],
    /// The backend has ended without.
    is_owed_for_ever: bool,
}

impl Joined {
    /// Looks whether the backend has just ended a connection without the answer that was due;
    /// `broken` says that nothing can be read from it any more.
    fn ends_without_answer(&mut self, broken: bool) -> bool {
        let (up, down) = (self.up.taken(), self.down.taken());
        if down != self.answers.seen[0] {
            self.answers.seen = [down, up];
        }
        let is_due = up > self.answers.seen[1];
        // A client that has ended its side may have said farewell.
        let client_stays = self.up.is_cut() || !self.up.is_over();
        let has_ended = broken || self.down.is_over() || self.up.is_cut();
        let is_new = has_ended && is_due && client_stays && !self.answers.is_owed_for_ever;
        self.answers.is_owed_for_ever |= is_new;
        is_new
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    Client,
    Backend,
}

impl Join {
    pub(crate) fn new(client: TcpSocket, record: Client) -> Self {
        Self { client, is_watched: false, stage: Stage::Seeking(record) }
    }

    /// Lets go of the backend that is being asked.
    pub(crate) fn give_up(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, NOBODY) {
            Stage::Connecting { client, .. } => Stage::Seeking(client),
            other @ (Stage::Joined(_) | Stage::Seeking(_)) => other,
        };
    }
}

/// Stands in for a moment.
const NOBODY: Stage = Stage::Seeking(Client::new(Millis(0)));

/// What readiness of one side of a connection is told under.
fn number(key: usize, side: Side) -> u64 {
    2 * key as u64 + side as u64
}

fn parts(number: u64) -> (usize, Side) {
    let side = if number.is_multiple_of(2) { Side::Client } else { Side::Backend };
    (usize::try_from(number / 2).unwrap_or(usize::MAX), side)
}

impl Lane {
    /// Finds a backend for a client, or a place in the line.
    pub(crate) fn seek(&mut self, key: usize) {
        while let Stage::Seeking(client) = &mut self.joins[key].stage {
            let next = self.shared.choice().next(client, self.now);
            match next {
                Next::Close => {
                    self.shared.counts.refused.fetch_add(1, Ordering::Relaxed);
                    return self.remove(key);
                }
                Next::Connect { backend, address, until } => {
                    let attempt = TcpSocket::connect(address).and_then(|socket| {
                        let is_connected = socket.is_connected(address)?;
                        Ok((socket, is_connected))
                    });
                    match attempt {
                        Ok((socket, true)) => return self.join(key, socket, backend, false),
                        Ok((socket, false)) => {
                            self.attempt(key, socket, backend, address, until);
                        }
                        Err(_) => self.shared.choice().failed(client, backend, self.now),
                    }
                }
                Next::Wait => {
                    self.line.push(key);
                    return self.watch(key);
                }
            }
        }
    }

    /// Waits for a backend to answer.
    fn attempt(
        &mut self,
        key: usize,
        socket: TcpSocket,
        backend: BackendId,
        address: SocketAddr,
        until: Millis,
    ) {
        let join = &mut self.joins[key];
        let Stage::Seeking(client) = std::mem::replace(&mut join.stage, NOBODY) else { return };
        let is_added = self.ready.add_both(&socket, number(key, Side::Backend)).is_ok();
        self.attempts_n += 1;
        let number = self.attempts_n;
        join.stage = Stage::Connecting { client, socket, backend, address, number };
        if is_added {
            self.attempts.push_back(Attempt { key, number, until });
        } else {
            self.lose_attempt(key);
        }
    }

    /// The backend that is being asked does not take the client: another one may.
    pub(crate) fn attempt_failed(&mut self, key: usize) {
        self.lose_attempt(key);
        self.seek(key);
    }

    fn lose_attempt(&mut self, key: usize) {
        if let Stage::Connecting { client, backend, .. } = &mut self.joins[key].stage {
            self.shared.choice().failed(client, *backend, self.now);
        }
        self.joins[key].give_up();
    }

    /// From now on bytes go both ways. `is_told` says that the backend's news are told already.
    fn join(&mut self, key: usize, socket: TcpSocket, backend: BackendId, is_told: bool) {
        let join = &mut self.joins[key];
        let (Stage::Seeking(client) | Stage::Connecting { client, .. }) = &mut join.stage else {
            return;
        };
        if client.waits() {
            self.line.joined();
        }
        self.shared.choice().joined(client, backend);
        self.shared.counts.joined.fetch_add(1, Ordering::Relaxed);
        let was_watched = join.is_watched;
        let way = |was_told| if was_told { Way::thorough() } else { Way::default() };
        let joined = Joined {
            up: way(was_watched),
            down: way(is_told),
            socket,
            backend,
            tells_room: [false, is_told],
            answers: Answers::default(),
        };
        let is_added =
            is_told || self.ready.add_reading(&joined.socket, number(key, Side::Backend)).is_ok();
        join.stage = Stage::Joined(Box::new(joined));
        if !is_added {
            return self.remove(key);
        }
        // What was told before is told no more.
        if was_watched || is_told {
            self.again.push(key);
        }
        self.watch(key);
    }

    fn watch(&mut self, key: usize) {
        let join = &mut self.joins[key];
        if !join.is_watched {
            join.is_watched = true;
            if self.ready.add_reading(&join.client, number(key, Side::Client)).is_err() {
                self.remove(key);
            }
        }
    }

    /// Something is told of one side of a connection.
    pub(crate) fn happened(&mut self, readiness: Readiness) {
        let (key, side) = parts(readiness.number);
        let Some(join) = self.joins.get_mut(key) else { return };
        match (&mut join.stage, side) {
            (Stage::Connecting { socket, address, .. }, Side::Backend) => {
                match socket.is_connected(*address) {
                    Ok(true) => self.connected(key),
                    Ok(false) => (),
                    Err(_) => self.attempt_failed(key),
                }
            }
            (Stage::Joined(_), side) => self.joined_happened(key, side, readiness),
            (Stage::Connecting { .. } | Stage::Seeking(_), Side::Client) => {
                // That it has ended its side is no reason to forget what it has sent.
                if readiness.ends && join.client.is_broken() {
                    self.remove(key);
                }
            }
            // Told late, of an attempt that is given up.
            (Stage::Seeking(_), Side::Backend) => (),
        }
    }

    fn connected(&mut self, key: usize) {
        match std::mem::replace(&mut self.joins[key].stage, NOBODY) {
            Stage::Connecting { client, socket, backend, .. } => {
                self.joins[key].stage = Stage::Seeking(client);
                self.join(key, socket, backend, true);
            }
            other @ (Stage::Joined(_) | Stage::Seeking(_)) => self.joins[key].stage = other,
        }
    }

    fn joined_happened(&mut self, key: usize, side: Side, told: Readiness) {
        let join = &mut self.joins[key];
        let Stage::Joined(joined) = &mut join.stage else { return };
        let Joined { socket, up, down, .. } = &mut **joined;
        // What is readable here leads there, what is writable here comes from there.
        let (into, out) = match side {
            Side::Client => (&mut *up, &mut *down),
            Side::Backend => (&mut *down, &mut *up),
        };
        let (mine, other) = match side {
            Side::Client => (&join.client, &*socket),
            Side::Backend => (&*socket, &join.client),
        };
        let mut pumped = [Pumped::Quiet; 2];
        if told.readable {
            pumped[0] = into.readable(told.ends, mine, other, &mut self.kit);
        }
        if told.writable {
            pumped[1] = out.writable(other, mine, &mut self.kit);
        }
        let [into, out] = pumped;
        let (up, down) = match side {
            Side::Client => (into, out),
            Side::Backend => (out, into),
        };
        if told.ends && self.is_broken_unseen(key, side) {
            return self.break_off(key);
        }
        self.settle(key, up, down);
    }

    /// Whether a side is broken, and nothing is read from it that would tell.
    fn is_broken_unseen(&self, key: usize, side: Side) -> bool {
        let join = &self.joins[key];
        let Stage::Joined(joined) = &join.stage else { return false };
        match side {
            Side::Client => joined.up.is_blind() && join.client.is_broken(),
            Side::Backend => joined.down.is_blind() && joined.socket.is_broken(),
        }
    }

    /// Goes on where there was more to do.
    pub(crate) fn pump(&mut self, key: usize) {
        let Some(join) = self.joins.get_mut(key) else { return };
        let Stage::Joined(joined) = &mut join.stage else { return };
        let Joined { socket, up, down, .. } = &mut **joined;
        let up = up.readable(false, &join.client, socket, &mut self.kit);
        let down = down.readable(false, socket, &join.client, &mut self.kit);
        self.settle(key, up, down);
    }

    /// Does what follows from how far both directions came.
    fn settle(&mut self, key: usize, up: Pumped, down: Pumped) {
        let join = &mut self.joins[key];
        let Stage::Joined(joined) = &mut join.stage else { return };
        // One that stays in the set and ends connections does so by its own rules.
        if joined.ends_without_answer(down == Pumped::Broken)
            && !self.shared.choice().is_in_set(joined.backend)
        {
            self.shared.note_cut();
        }
        if up == Pumped::Broken || down == Pumped::Broken {
            return self.break_off(key);
        }
        if joined.up.is_over() && joined.down.is_over() {
            let is_cut = joined.up.is_cut() || joined.down.is_cut();
            return if is_cut { self.break_off(key) } else { self.remove(key) };
        }
        joined.up.pass_end(&joined.socket);
        joined.down.pass_end(&join.client);
        let blocked = [
            (down, &join.client, number(key, Side::Client)),
            (up, &joined.socket, number(key, Side::Backend)),
        ];
        for ((pumped, socket, number), tells) in blocked.into_iter().zip(&mut joined.tells_room) {
            if pumped == Pumped::Blocked && !std::mem::replace(tells, true) {
                // It is there, and there is nothing to run out of.
                let _ = self.ready.also_writing(socket, number);
            }
        }
        if up == Pumped::More || down == Pumped::More {
            self.again.push(key);
        }
    }

    /// Ends both sides as the one that broke: neither may take it for a proper end.
    fn break_off(&mut self, key: usize) {
        let join = self.take(key);
        join.client.reset();
        if let Stage::Joined(joined) = join.stage {
            joined.socket.reset();
        }
    }

    /// Closes both sides, wherever they are.
    fn remove(&mut self, key: usize) {
        drop(self.take(key));
    }

    /// Takes a connection out of all books.
    fn take(&mut self, key: usize) -> Join {
        let mut join = self.joins.remove(key);
        match &mut join.stage {
            Stage::Connecting { client, backend, .. } => {
                let mut choice = self.shared.choice();
                choice.leave(client);
                choice.ended(*backend);
            }
            Stage::Joined(joined) => {
                self.shared.choice().ended(joined.backend);
                joined.up.empty_handed(&mut self.kit);
                joined.down.empty_handed(&mut self.kit);
            }
            Stage::Seeking(client) => {
                if client.waits() {
                    self.line.take_out(|waiting| waiting == key);
                }
                self.shared.choice().leave(client);
            }
        }
        self.shared.release();
        self.count();
        join
    }
}
