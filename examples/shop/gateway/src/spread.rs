//! Which instance gets an order: pure, so that time and failures can be made up.

use std::net::SocketAddr;

/// How long an instance that failed is asked last. Short: a restart takes less.
pub(crate) const ASIDE_MS: u64 = 1_000;

/// Milliseconds since the start of this process.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Millis(pub(crate) u64);

/// An instance by its place in the list of arguments.
pub(crate) type Index = usize;

/// The instances, whose turn it is, and which of them are set aside.
#[derive(Debug)]
pub(crate) struct Spread {
    instances: Vec<Instance>,
    turn: usize,
}

#[derive(Debug)]
struct Instance {
    address: SocketAddr,
    aside_until: Millis,
}

impl Spread {
    pub(crate) fn new(addresses: Vec<SocketAddr>) -> Self {
        assert!(!addresses.is_empty(), "the arguments demand at least one instance");
        let instance = |address| Instance { address, aside_until: Millis::default() };
        Spread { instances: addresses.into_iter().map(instance).collect(), turn: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.instances.len()
    }

    pub(crate) fn address(&self, index: Index) -> SocketAddr {
        self.instances[index].address
    }

    /// All instances in the order to try them: in turn, those set aside last. One that is set
    /// aside is still in the list, since asking it beats refusing the order.
    pub(crate) fn in_turn(&mut self, now: Millis) -> Vec<Index> {
        let first = self.turn;
        self.turn = (self.turn + 1) % self.len();
        let (mut sound, aside): (Vec<_>, Vec<_>) = (0..self.len())
            .map(|n| (first + n) % self.len())
            .partition(|index| self.instances[*index].aside_until <= now);
        sound.extend(aside);
        sound
    }

    /// The one instance that a client's own key belongs to, up or not.
    ///
    /// Each instance knows only the keys it has stored. Were the key of an order that may have
    /// been stored taken elsewhere, the order could be placed twice. The choice is by the highest
    /// hash of key and address, so a longer list moves no key between instances that stay.
    pub(crate) fn home(&self, key: &str) -> Index {
        let weight = |index: &Index| hash(key, self.instances[*index].address);
        (0..self.len()).max_by_key(weight).expect("there is at least one instance")
    }

    /// Returns whether this is news.
    pub(crate) fn failed(&mut self, index: Index, now: Millis) -> bool {
        let instance = &mut self.instances[index];
        let news = instance.aside_until <= now;
        instance.aside_until = Millis(now.0 + ASIDE_MS);
        news
    }

    pub(crate) fn answered(&mut self, index: Index) {
        self.instances[index].aside_until = Millis::default();
    }
}

/// FNV-1a with a final mix. It must give the same for ever, or keys would change their home with
/// a new compiler, which the standard library's hasher does not promise.
fn hash(key: &str, address: SocketAddr) -> u64 {
    let address = address.to_string();
    let bytes = key.bytes().chain([0]).chain(address.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(n: u8) -> Spread {
        Spread::new((1..=n).map(|n| SocketAddr::from(([10, 0, 0, n], 8100))).collect())
    }

    #[test]
    fn every_instance_gets_its_turn() {
        let mut spread = spread(3);
        let first: Vec<_> = (0..6).map(|_| spread.in_turn(Millis(0))[0]).collect();
        assert_eq!(first, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn one_that_failed_is_asked_last_for_a_while() {
        let mut spread = spread(3);
        assert!(spread.failed(0, Millis(10)));
        assert!(!spread.failed(0, Millis(20)), "the second failure is no news");
        assert_eq!(spread.in_turn(Millis(20)), [1, 2, 0]);
        assert_eq!(spread.in_turn(Millis(20 + ASIDE_MS)), [1, 2, 0]);
        assert_eq!(spread.in_turn(Millis(20 + ASIDE_MS)), [2, 0, 1]);
        assert_eq!(spread.in_turn(Millis(20 + ASIDE_MS)), [0, 1, 2]);
    }

    #[test]
    fn one_that_answers_is_back_at_once() {
        let mut spread = spread(2);
        spread.failed(0, Millis(10));
        spread.answered(0);
        assert_eq!(spread.in_turn(Millis(11)), [0, 1]);
    }

    #[test]
    fn with_all_set_aside_all_are_still_asked() {
        let mut spread = spread(2);
        spread.failed(0, Millis(10));
        spread.failed(1, Millis(10));
        assert_eq!(spread.in_turn(Millis(11)), [0, 1]);
    }

    #[test]
    fn a_key_has_one_home_and_keys_are_spread_evenly() {
        let spread = spread(3);
        let mut homes = [0; 3];
        for n in 0..3_000 {
            homes[spread.home(&format!("cart-{n}"))] += 1;
        }
        assert!(homes.iter().all(|n| (900..1_100).contains(n)), "{homes:?}");
    }

    #[test]
    fn a_new_instance_moves_keys_only_to_itself() {
        let (before, after) = (spread(3), spread(4));
        for n in 0..1_000 {
            let key = format!("cart-{n}");
            let home = after.home(&key);
            assert!(home == 3 || home == before.home(&key), "{key}");
        }
    }
}
