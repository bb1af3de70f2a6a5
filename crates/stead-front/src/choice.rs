//! Which backend a client goes to, and what becomes of one that no backend takes.
//!
//! Pure: it opens no socket and reads no clock. A [`Client`] asks [`Choice::next`] until it is
//! joined or closed, and says how each attempt went.

use std::net::SocketAddr;
use std::time::Duration;

use stead_core::units::Millis;
use stead_wire::front::{Backend as Told, Report};

/// For so long a backend may leave a connection unanswered: time for its system to be asked again
/// once, which happens after a second.
pub(crate) const CONNECT_WAIT: Duration = Duration::from_secs(2);

/// For so long a backend that failed is asked after the others. Else one that is dead, and so has
/// the fewest connections, would be everybody's first choice.
pub(crate) const REST: Duration = Duration::from_secs(1);

/// More clients than this do not wait at the same time: each holds a socket, and those who come
/// when so many wait are better told at once.
pub(crate) const WAITING_MAX: usize = 4096;

/// What does not change while a front runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// How long a client is held that no backend takes.
    pub(crate) wait: Duration,
    /// How many are held at the same time.
    pub(crate) waiting_max: usize,
}

/// The backends, and how many connections each has.
#[derive(Debug)]
pub(crate) struct Choice {
    policy: Policy,
    backends: Vec<Backend>,
    /// Where the search among equals begins.
    turn: usize,
    id_next: u32,
    waiting_n: usize,
}

#[derive(Debug)]
struct Backend {
    id: BackendId,
    address: SocketAddr,
    connections_n: usize,
    in_set: bool,
    rests_until: Millis,
}

/// Numbers backends; one that left and came back while it had connections is the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BackendId(u32);

/// A connection that came and is not joined yet.
#[derive(Debug)]
pub(crate) struct Client {
    came_at: Millis,
    /// Those that failed it since it last waited.
    tried: Vec<SocketAddr>,
    /// Has been failed by all there were, and is counted as waiting.
    waits: bool,
}

impl Client {
    pub(crate) const fn new(came_at: Millis) -> Self {
        Self { came_at, tried: Vec::new(), waits: false }
    }

    pub(crate) fn waits(&self) -> bool {
        self.waits
    }
}

/// What to do for a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Next {
    /// It is told no.
    Close,
    /// The connection counts as the backend's from now on: [`Choice::ended`] or
    /// [`Choice::failed`] gives it back.
    Connect { backend: BackendId, address: SocketAddr, until: Millis },
    /// Ask again soon, or when the set changes.
    Wait,
}

impl Choice {
    pub(crate) fn new(policy: Policy) -> Self {
        Self { policy, backends: Vec::new(), turn: 0, id_next: 0, waiting_n: 0 }
    }

    /// From now on these alone are chosen.
    pub(crate) fn set(&mut self, addresses: &[SocketAddr]) {
        let mut before = std::mem::take(&mut self.backends);
        for address in addresses {
            let known = before.iter().position(|backend| backend.address == *address);
            let backend = match known {
                Some(at) => before.remove(at),
                None => self.stranger(*address),
            };
            // Who sets it anew knows more than we have seen.
            self.backends.push(Backend { in_set: true, rests_until: Millis(0), ..backend });
        }
        before.retain(|backend| backend.connections_n > 0);
        before.iter_mut().for_each(|backend| backend.in_set = false);
        self.backends.extend(before);
    }

    fn stranger(&mut self, address: SocketAddr) -> Backend {
        let id = BackendId(self.id_next);
        self.id_next = self.id_next.wrapping_add(1);
        Backend { id, address, connections_n: 0, in_set: true, rests_until: Millis(0) }
    }

    /// What to do for this client now.
    #[must_use]
    pub(crate) fn next(&mut self, client: &mut Client, now: Millis) -> Next {
        let deadline = self.deadline(client);
        let is_late = self.is_late(client, now) && (client.waits || !client.tried.is_empty());
        if !is_late && let Some(at) = self.best(&client.tried, now) {
            self.turn = at + 1;
            let backend = &mut self.backends[at];
            backend.connections_n += 1;
            let until = (now + CONNECT_WAIT).min(deadline.max(now + SHORTEST_WAIT));
            return Next::Connect { backend: backend.id, address: backend.address, until };
        }
        client.tried.clear();
        let has_room = client.waits || self.waiting_n < self.policy.waiting_max;
        if is_late || now >= client.came_at + self.policy.wait || !has_room {
            self.leave(client);
            return Next::Close;
        }
        if !client.waits {
            client.waits = true;
            self.waiting_n += 1;
        }
        Next::Wait
    }

    /// Whether a client that waits has waited for long enough.
    pub(crate) fn is_late(&self, client: &Client, now: Millis) -> bool {
        now >= self.deadline(client)
    }

    /// A client that is held has its time. One that has not asked all backends yet may do so, even
    /// if nobody is to be held.
    fn deadline(&self, client: &Client) -> Millis {
        let wait = self.policy.wait;
        client.came_at + if client.waits { wait } else { wait.max(CONNECT_WAIT) }
    }

    /// The backend with the fewest connections that has not failed the client: by preference one
    /// that does not rest, among equals the next in turn.
    fn best(&self, tried: &[SocketAddr], now: Millis) -> Option<usize> {
        let len = self.backends.len();
        let order = (0..len).map(|step| (self.turn + step) % len);
        let free = order.filter(|at| {
            let backend = &self.backends[*at];
            backend.in_set && !tried.contains(&backend.address)
        });
        free.min_by_key(|at| {
            let backend = &self.backends[*at];
            (now < backend.rests_until, backend.connections_n)
        })
    }

    /// The backend did not take the connection.
    pub(crate) fn failed(&mut self, client: &mut Client, backend: BackendId, now: Millis) {
        client.tried.extend(self.rest(backend, now + REST));
        self.ended(backend);
    }

    /// The backend took it.
    pub(crate) fn joined(&mut self, client: &mut Client, backend: BackendId) {
        self.rest(backend, Millis(0));
        self.leave(client);
    }

    /// A client that is not joined has gone, or need not wait any more.
    pub(crate) fn leave(&mut self, client: &mut Client) {
        if std::mem::take(&mut client.waits) {
            self.waiting_n -= 1;
        }
    }

    /// A connection of this backend is over, or its attempt is given up.
    pub(crate) fn ended(&mut self, backend: BackendId) {
        let Some(at) = self.backends.iter().position(|one| one.id == backend) else { return };
        self.backends[at].connections_n -= 1;
        if !self.backends[at].in_set && self.backends[at].connections_n == 0 {
            // Those in the set stand before those that left it, so the turn stays right.
            self.backends.remove(at);
        }
    }

    /// Lets a backend rest until then; says which address that is.
    fn rest(&mut self, id: BackendId, until: Millis) -> Option<SocketAddr> {
        let backend = self.backends.iter_mut().find(|backend| backend.id == id)?;
        backend.rests_until = until;
        Some(backend.address)
    }

    pub(crate) fn is_in_set(&self, id: BackendId) -> bool {
        self.backends.iter().any(|backend| backend.id == id && backend.in_set)
    }

    /// Where connections are. What has been counted elsewhere is left at zero.
    pub(crate) fn report(&self) -> Report {
        let told = |in_set| {
            let backends = self.backends.iter().filter(move |backend| backend.in_set == in_set);
            let told = backends.map(|backend| Told {
                address: backend.address,
                connections: backend.connections_n as u64,
            });
            told.collect()
        };
        let waiting = self.waiting_n as u64;
        Report { backends: told(true), draining: told(false), waiting, ..Report::default() }
    }
}

/// An attempt that begins at the very end of a client's time may still succeed at once.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
