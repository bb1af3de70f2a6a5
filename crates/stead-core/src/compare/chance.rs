//! Chance from a seed: the same seed gives the same numbers on every machine.

/// `SplitMix64` (Steele, Lea and Flood 2014): one word of state, no bad seed, and far more numbers
/// than a comparison draws. Not for secrets.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A sequence of its own for each `stream`, so that one more metric does not change what the
    /// others draw.
    pub fn stream(seed: u64, stream: u64) -> Self {
        Self::new(mix(seed ^ mix(stream.wrapping_add(GOLDEN_GAMMA))))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        mix(self.state)
    }

    /// A number below `n`, each as likely; 0 if `n` is 0. Multiplied instead of divided (Lemire
    /// 2019); what is left of a bias is below n / 2^64.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// From 0 to below 1, in steps of 2^-53.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn is_heads(&mut self) -> bool {
        self.next_u64() >> 63 == 1
    }

    /// Fisher and Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_published_generator() {
        // From the reference implementation `splitmix64.c` with the state 1234567.
        let mut chance = Chance::new(1_234_567);
        let expected = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(expected.map(|_| chance.next_u64()), expected);
    }

    #[test]
    fn each_number_and_each_order_is_about_as_likely() {
        let mut chance = Chance::new(1);
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            let mut items = [0, 1, 2];
            chance.shuffle(&mut items);
            // Of the six orders: first the first item, then whether the rest is in order.
            counts[items[0] * 2 + usize::from(items[1] < items[2])] += 1;
        }
        // Five standard deviations.
        assert!(counts.iter().all(|count| (9_544..10_456).contains(count)), "{counts:?}");
        assert!((0..10_000).all(|n| chance.below(n) <= n.saturating_sub(1)));
        let mean = (0..10_000).map(|_| chance.unit()).sum::<f64>() / 10_000.0;
        assert!((0.485..0.515).contains(&mean), "{mean}");
    }

    #[test]
    fn a_stream_is_its_own_sequence() {
        let take = |seed, stream| {
            let mut chance = Chance::stream(seed, stream);
            (0..4).map(|_| chance.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(take(7, 1), take(7, 1));
        assert_ne!(take(7, 1), take(7, 2));
        assert_ne!(take(7, 1), take(8, 1));
    }
}
