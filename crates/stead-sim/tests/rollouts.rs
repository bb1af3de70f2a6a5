//! Rollouts from many seeds. `stead-sim --trace SEED` tells one step by step.

use std::collections::BTreeMap;
use std::thread;

use stead_sim::{Broken, Plan, run};

const SEEDS_N: u64 = 100_000;

/// A protection that is missing must be noticed within so many.
const CONTROL_SEEDS_N: u64 = 20_000;

const THREADS_N: u64 = 2;

#[test]
fn a_hundred_thousand_rollouts_with_faults_keep_every_invariant() {
    let part = |from: u64| {
        let mut kinds: BTreeMap<&'static str, u64> = BTreeMap::new();
        for seed in (from..SEEDS_N).step_by(THREADS_N as usize) {
            let report = run(Plan::of(seed, None), false);
            if let Some(violation) = report.violation {
                panic!("seed {seed}: {violation}");
            }
            for ending in &report.endings {
                *kinds.entry(ending.word()).or_default() += 1;
            }
        }
        kinds
    };
    let kinds: Vec<_> = thread::scope(|scope| {
        let parts: Vec<_> = (0..THREADS_N).map(|n| scope.spawn(move || part(n))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("a seed failed")).collect()
    });
    let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
    for (kind, n) in kinds {
        *sums.entry(kind).or_default() += n;
    }
    eprintln!("{SEEDS_N} worlds; their operators ended: {sums:?}");
    // A world in which some end never comes would prove nothing about it.
    assert_eq!(sums.len(), 7, "{sums:?}");
}

#[test]
fn every_protection_that_is_left_out_is_missed() {
    for broken in Broken::ALL {
        let failed = (0..CONTROL_SEEDS_N)
            .find_map(|seed| Some((seed, run(Plan::of(seed, Some(broken)), false).violation?)));
        let (seed, violation) = failed.unwrap_or_else(|| panic!("{broken:?} is not missed"));
        eprintln!("without {broken:?}, seed {seed}: {violation}");
    }
}

#[test]
fn a_seed_is_always_the_same_world() {
    for seed in [3, 1424, 7771] {
        let traces = [(); 2].map(|()| run(Plan::of(seed, None), true).trace);
        assert!(!traces[0].is_empty());
        assert_eq!(traces[0], traces[1]);
    }
}
