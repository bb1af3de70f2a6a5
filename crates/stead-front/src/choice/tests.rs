//! Tables of choices, and what holds for every history.

use proptest::prelude::*;

use super::*;

const POLICY: Policy = Policy { wait: Duration::from_secs(10), waiting_max: 3 };

fn address(n: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], n))
}

fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
    ports.iter().copied().map(address).collect()
}

fn choice(ports: &[u16]) -> Choice {
    let mut choice = Choice::new(POLICY);
    choice.set(&addresses(ports));
    choice
}

/// What a client does in a table.
enum Act {
    /// A client comes and is to be joined to this port; it stays.
    Joins(u16),
    /// A client of this port goes.
    Goes(u16),
    /// A client comes; these fail it, and what comes then is this.
    Fails(&'static [u16], Outcome),
    Set(&'static [u16]),
}

#[derive(Debug, Eq, PartialEq)]
enum Outcome {
    Joined(u16),
    Waits,
    Closed,
}

fn seek(choice: &mut Choice, failing: &[u16], now: Millis) -> (Outcome, Vec<u16>, BackendId) {
    let mut client = Client::new(now);
    let mut failed = Vec::new();
    loop {
        match choice.next(&mut client, now) {
            Next::Connect { backend, address, .. } if failing.contains(&address.port()) => {
                failed.push(address.port());
                choice.failed(&mut client, backend, now);
            }
            Next::Connect { backend, address, .. } => {
                choice.joined(&mut client, backend);
                return (Outcome::Joined(address.port()), failed, backend);
            }
            Next::Wait => return (Outcome::Waits, failed, BackendId(u32::MAX)),
            Next::Close => return (Outcome::Closed, failed, BackendId(u32::MAX)),
        }
    }
}

fn check(ports: &[u16], table: &[(u64, Act)]) {
    let mut choice = choice(ports);
    let mut joined: Vec<(u16, BackendId)> = Vec::new();
    for (row, (at, act)) in table.iter().enumerate() {
        let now = Millis(*at);
        match act {
            Act::Joins(port) => {
                let (outcome, _, backend) = seek(&mut choice, &[], now);
                assert_eq!(outcome, Outcome::Joined(*port), "row {row}");
                joined.push((*port, backend));
            }
            Act::Goes(port) => {
                let at = joined.iter().position(|(one, _)| one == port).expect("it is there");
                choice.ended(joined.remove(at).1);
            }
            Act::Fails(failing, expected) => {
                let (outcome, failed, backend) = seek(&mut choice, failing, now);
                assert_eq!((&outcome, &*failed), (expected, *failing), "row {row}");
                if let Outcome::Joined(port) = outcome {
                    joined.push((port, backend));
                }
            }
            Act::Set(ports) => choice.set(&addresses(ports)),
        }
    }
}

#[test]
fn equals_take_turns_and_fewer_connections_come_first() {
    use Act::{Goes, Joins};
    check(
        &[1, 2, 3],
        &[
            (0, Joins(1)),
            (0, Joins(2)),
            (0, Joins(3)),
            (0, Joins(1)),
            (0, Goes(3)),
            (0, Joins(3)),
            (0, Goes(2)),
            (0, Goes(3)),
            (0, Joins(2)),
            (0, Joins(3)),
            (0, Joins(2)),
        ],
    );
}

#[test]
fn turns_go_on_when_connections_come_and_go_one_at_a_time() {
    use Act::{Goes, Joins};
    let table = [1, 2, 3, 1, 2, 3].map(|port| [(0, Joins(port)), (0, Goes(port))]);
    check(&[1, 2, 3], &table.into_iter().flatten().collect::<Vec<_>>());
}

#[test]
fn one_that_failed_is_asked_last_until_it_has_rested() {
    use Act::{Fails, Goes, Joins};
    check(
        &[1, 2],
        &[
            (0, Fails(&[1], Outcome::Joined(2))),
            (1, Joins(2)),
            (2, Joins(2)),
            (999, Joins(2)),
            // Now it has the fewest.
            (1000, Joins(1)),
            (1000, Joins(1)),
            (1000, Goes(2)),
            // While it rests it is still better than none.
            (1001, Fails(&[1, 2], Outcome::Waits)),
        ],
    );
}

#[test]
fn a_new_set_is_obeyed_at_once_and_forgets_old_failures() {
    use Act::{Fails, Joins, Set};
    check(
        &[1],
        &[
            (0, Joins(1)),
            (0, Set(&[2])),
            (0, Joins(2)),
            (0, Joins(2)),
            (0, Fails(&[2], Outcome::Waits)),
            (0, Set(&[2, 1])),
            (1, Joins(1)),
            (1, Joins(2)),
            (1, Set(&[])),
            (1, Fails(&[], Outcome::Waits)),
            (1, Fails(&[], Outcome::Waits)),
            // Three wait already.
            (1, Fails(&[], Outcome::Closed)),
        ],
    );
}

#[test]
fn one_that_left_the_set_is_told_of_until_its_last_connection_ends() {
    let mut choice = choice(&[1, 2]);
    let (_, _, first) = seek(&mut choice, &[], Millis(0));
    choice.set(&addresses(&[3]));
    let told = |port, connections| Told { address: address(port), connections };
    assert_eq!(choice.report().backends, [told(3, 0)]);
    assert_eq!(choice.report().draining, [told(1, 1)]);
    choice.set(&addresses(&[3, 1]));
    assert_eq!(choice.report().backends, [told(3, 0), told(1, 1)], "it came back");
    choice.set(&addresses(&[3]));
    choice.ended(first);
    assert_eq!(choice.report().draining, []);
}

#[test]
fn a_client_is_held_for_its_time_and_no_longer() {
    for (wait_ms, asked) in [
        (10_000, &[(0, Next::Wait), (9_999, Next::Wait), (10_000, Next::Close)][..]),
        (0, &[(0, Next::Close)]),
        (5, &[(0, Next::Wait), (4, Next::Wait), (5, Next::Close)]),
    ] {
        let wait = Duration::from_millis(wait_ms);
        let mut choice = Choice::new(Policy { wait, ..POLICY });
        let mut client = Client::new(Millis(0));
        for (at, expected) in asked {
            assert_eq!(choice.next(&mut client, Millis(*at)), *expected, "{wait_ms} at {at}");
        }
        assert_eq!(choice.report().waiting, 0, "{wait_ms}");
    }
}

#[test]
fn a_client_that_need_not_be_held_still_asks_every_backend() {
    let mut choice = Choice::new(Policy { wait: Duration::ZERO, ..POLICY });
    choice.set(&addresses(&[1, 2]));
    assert_eq!(seek(&mut choice, &[1], Millis(5)).0, Outcome::Joined(2));
    // Backends that do not answer take their time; the second is not asked after that.
    let mut client = Client::new(Millis(10_000));
    let Next::Connect { backend, until, .. } = choice.next(&mut client, Millis(10_000)) else {
        panic!("there is one to ask")
    };
    assert_eq!(until, Millis(12_000));
    choice.failed(&mut client, backend, until);
    assert_eq!(choice.next(&mut client, until), Next::Close);
}

#[derive(Clone, Debug)]
enum Happens {
    Came,
    Ended(usize),
    /// A client asks; if it is to connect, this says whether that works.
    Seeks(usize, bool),
    Set(Vec<u16>),
    Left(usize),
}

fn any_happening() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => Just(Happens::Came),
        2 => any::<usize>().prop_map(Happens::Ended),
        6 => (any::<usize>(), any::<bool>()).prop_map(|(n, works)| Happens::Seeks(n, works)),
        1 => proptest::sample::subsequence(vec![1_u16, 2, 3, 4], 0..=4).prop_map(Happens::Set),
        1 => any::<usize>().prop_map(Happens::Left),
    ]
}

/// What the world knows besides the choice itself.
#[derive(Default)]
struct World {
    set: Vec<u16>,
    joined: Vec<(u16, BackendId)>,
    clients: Vec<(Client, Vec<u16>)>,
}

impl World {
    fn connections_n(&self, port: u16) -> usize {
        self.joined.iter().filter(|(one, _)| *one == port).count()
    }

    /// One client asks once.
    fn seek(&mut self, choice: &mut Choice, n: usize, works: bool, now: Millis) {
        let (mut client, mut tried) = self.clients.remove(n % self.clients.len());
        match choice.next(&mut client, now) {
            Next::Close => {
                let late = now >= client.came_at + POLICY.wait;
                assert!(late || choice.report().waiting == POLICY.waiting_max as u64);
                return;
            }
            Next::Connect { backend, address, until } => {
                let port = address.port();
                assert!(self.set.contains(&port), "it is in the set");
                assert!(!tried.contains(&port), "it has not failed this client yet");
                assert!(until > now && until <= now + CONNECT_WAIT);
                if works {
                    choice.joined(&mut client, backend);
                    self.joined.push((port, backend));
                    return;
                }
                choice.failed(&mut client, backend, now);
                tried.push(port);
            }
            Next::Wait => {
                assert!(now < client.came_at + POLICY.wait);
                assert!(self.set.iter().all(|port| tried.contains(port)), "all were asked");
                tried.clear();
            }
        }
        self.clients.push((client, tried));
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// Whatever happens, clients go only to the set, to each backend once in a pass; those who wait
    /// are counted and not too many; and every connection is counted where it is.
    #[test]
    fn counts_are_right_and_choices_are_allowed(
        happenings in proptest::collection::vec((any_happening(), 0..800_u64), 0..300),
    ) {
        let mut choice = Choice::new(POLICY);
        let (mut world, mut now) = (World::default(), Millis(0));
        for (happens, wait) in happenings {
            now = Millis(now.0 + wait);
            match happens {
                Happens::Came => world.clients.push((Client::new(now), Vec::new())),
                Happens::Ended(n) if !world.joined.is_empty() => {
                    choice.ended(world.joined.remove(n % world.joined.len()).1);
                }
                Happens::Seeks(n, works) if !world.clients.is_empty() => {
                    world.seek(&mut choice, n, works, now);
                }
                Happens::Set(ports) => {
                    choice.set(&addresses(&ports));
                    world.set = ports;
                }
                Happens::Left(n) if !world.clients.is_empty() => {
                    let (mut client, _) = world.clients.remove(n % world.clients.len());
                    choice.leave(&mut client);
                }
                Happens::Ended(_) | Happens::Seeks(..) | Happens::Left(_) => (),
            }
            let report = choice.report();
            let waiting_n = world.clients.iter().filter(|(client, _)| client.waits).count();
            prop_assert_eq!(report.waiting, waiting_n as u64);
            prop_assert!(waiting_n <= POLICY.waiting_max);
            let ports: Vec<u16> = report.backends.iter().map(|told| told.address.port()).collect();
            prop_assert_eq!(&ports, &world.set);
            for told in report.backends.iter().chain(&report.draining) {
                let port = told.address.port();
                prop_assert_eq!(told.connections, world.connections_n(port) as u64);
            }
            let told_n: u64 = report.draining.iter().chain(&report.backends)
                .map(|told| told.connections).sum();
            prop_assert_eq!(told_n, world.joined.len() as u64);
        }
    }

    /// When all work, no backend has two connections more than another.
    #[test]
    fn connections_are_even(ports_n in 1..5_u16, clients_n in 0..100_usize) {
        let ports: Vec<u16> = (1..=ports_n).collect();
        let mut choice = choice(&ports);
        for _ in 0..clients_n {
            seek(&mut choice, &[], Millis(0));
        }
        let report = choice.report();
        let counts = || report.backends.iter().map(|told| told.connections);
        prop_assert!(counts().max() <= counts().min().map(|least| least + 1));
    }
}
