//! Which environment is visited when: random, and balanced.
//!
//! Usual orders (all of A, then all of B) called two equal systems up to 38 % different at "95 %"
//! (Abedi and Brecht 2017). Here each block visits everybody once, in the rows of a Williams square
//! with random names and in random order of rows: in a whole square each visitor comes once at
//! each place, and, in one of an even number or in two of an odd, once (or twice) right after each
//! other. So neither a warm host nor what the one before left behind favors anybody.

use alloc::vec::Vec;

use super::chance::Chance;
use super::design::{BLOCKS_MAX, Design, Visitor};

/// Blocks to run, in order; each holds every environment and the baseline's twin. Which of the
/// baseline's two visits is called the twin is chance too. At most [`BLOCKS_MAX`].
pub fn order(design: &Design, blocks_n: u32) -> Vec<Vec<Visitor>> {
    let blocks_n = blocks_n.min(BLOCKS_MAX);
    let mut visitors =
        Vec::from([Visitor::of(&design.baseline), Visitor::twin_of(&design.baseline)]);
    visitors.extend(design.candidates.iter().map(|name| Visitor::of(name)));
    let mut chance = Chance::stream(design.seed, u64::MAX);
    let mut blocks = Vec::new();
    while blocks.len() < blocks_n as usize {
        chance.shuffle(&mut visitors);
        let mut rows = williams(visitors.len());
        chance.shuffle(&mut rows);
        blocks.extend(
            rows.iter().map(|row| row.iter().map(|at| visitors[*at].clone()).collect::<Vec<_>>()),
        );
    }
    blocks.truncate(blocks_n as usize);
    blocks
}

/// `n` rows, or twice as many for an odd `n`, in which each number stands as often at each place
/// and as often right after each other.
fn williams(n: usize) -> Vec<Vec<usize>> {
    // 0, 1, n - 1, 2, n - 2, ..: neighbors differ by each number once.
    let zigzag = |at: usize| if at % 2 == 1 { at.div_ceil(2) } else { (n - at / 2) % n };
    let row = |shift: usize| (0..n).map(|at| (zigzag(at) + shift) % n).collect::<Vec<_>>();
    let mut rows: Vec<Vec<usize>> = (0..n).map(row).collect();
    if n % 2 == 1 {
        let mirrored: Vec<_> = rows.iter().map(|row| row.iter().rev().copied().collect()).collect();
        rows.extend::<Vec<Vec<usize>>>(mirrored);
    }
    rows
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::string::String;

    use super::*;
    use crate::compare::tests::design;

    fn with(candidates: &[&str], seed: u64) -> Design {
        let candidates = candidates.iter().map(|name| String::from(*name)).collect();
        Design { candidates, seed, ..design() }
    }

    #[test]
    fn each_block_visits_everybody_and_the_twin_once() {
        for names in [&["vm"][..], &["vm", "container"], &["vm", "container", "windows"]] {
            for block in order(&with(names, 3), 11) {
                let mut sorted = block.clone();
                sorted.sort();
                sorted.dedup();
                assert_eq!(sorted.len(), names.len() + 2);
                assert_eq!(sorted.iter().filter(|visitor| visitor.is_twin).count(), 1);
            }
        }
    }

    #[test]
    fn nobody_is_favored_by_place_or_by_who_came_before() {
        for (names, blocks_n) in [(&["vm", "container"][..], 4), (&["vm"], 6)] {
            let mut at_place = BTreeMap::<_, u32>::new();
            let mut after = BTreeMap::<_, u32>::new();
            for block in order(&with(names, 9), blocks_n) {
                for (place, visitor) in block.iter().enumerate() {
                    *at_place.entry((place, visitor.clone())).or_default() += 1;
                }
                for pair in block.windows(2) {
                    *after.entry((pair[0].clone(), pair[1].clone())).or_default() += 1;
                }
            }
            let n = names.len() + 2;
            assert_eq!((at_place.len(), after.len()), (n * n, n * (n - 1)));
            let per_place = blocks_n / n as u32;
            assert!(at_place.values().all(|count| *count == per_place), "{at_place:?}");
            assert!(after.values().all(|count| *count == per_place), "{after:?}");
        }
    }

    #[test]
    fn the_order_is_that_of_the_seed_and_of_no_other() {
        let names = ["vm", "container"];
        assert_eq!(order(&with(&names, 5), 20), order(&with(&names, 5), 20));
        assert_ne!(order(&with(&names, 5), 20), order(&with(&names, 6), 20));
        // A longer run goes on where a shorter one ends.
        assert_eq!(order(&with(&names, 5), 20)[..7], order(&with(&names, 5), 7));
        assert_eq!(order(&with(&names, 5), 0), Vec::<Vec<_>>::new());
    }
}
