//! Whether a fresh run does worse than the one before it, on the same host.
//!
//! What is looked at while a rollout bakes: seconds, not days. So only what is far off counts;
//! what grows slowly is for those who watch.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use crate::units::{Bytes, MilliCpu};

/// A fresh run may have half as much memory again, and this on top.
const MEMORY_MORE: Bytes = Bytes(64 << 20);

/// It may use twice the CPU, and this on top.
const CPU_MORE: MilliCpu = MilliCpu(500);

/// Fewer errors than this say nothing.
const ERRORS_MIN: u64 = 5;

/// So many standard deviations more than before are no chance.
const ERRORS_Z: f64 = 4.0;

/// What was seen of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    pub memory: Option<Bytes>,
    /// On average.
    pub cpu: Option<MilliCpu>,
    pub errors: Option<Errors>,
}

/// Lines that tell of errors, and in how long they came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    pub n: u64,
    pub within: Duration,
}

/// In what the new run is worse than the old, if it is: what it has, and what that had.
pub fn worse(old: &Seen, new: &Seen) -> Option<String> {
    memory(old, new).or_else(|| cpu(old, new)).or_else(|| errors(old, new))
}

fn memory(old: &Seen, new: &Seen) -> Option<String> {
    let (old, new) = (old.memory?, new.memory?);
    let most = old.0.saturating_add(old.0 / 2).saturating_add(MEMORY_MORE.0);
    let mib = |bytes: Bytes| bytes.0 >> 20;
    (new.0 > most)
        .then(|| format!("has {} MiB of memory, where the old had {} MiB", mib(new), mib(old)))
}

fn cpu(old: &Seen, new: &Seen) -> Option<String> {
    let (old, new) = (old.cpu?, new.cpu?);
    let most = old.0.saturating_mul(2).saturating_add(CPU_MORE.0);
    let cores = |cpu: MilliCpu| format!("{}.{}", cpu.0 / 1000, cpu.0 % 1000 / 100);
    (new.0 > most).then(|| format!("uses {} cores, where the old used {}", cores(new), cores(old)))
}

/// Were the rates the same, the errors of the new would be a share of all, by the times. The
/// squares are compared, since there is no root here.
fn errors(old: &Seen, new: &Seen) -> Option<String> {
    let (old, new) = (old.errors?, new.errors?);
    if new.n < ERRORS_MIN || old.within.is_zero() {
        return None;
    }
    let ratio = new.within.as_secs_f64() / old.within.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "so many lines are never counted")]
    let (old_n, new_n) = (old.n as f64, new.n as f64);
    let more = new_n - ratio * old_n;
    let is_more = more > 0.0 && more * more > ERRORS_Z * ERRORS_Z * ratio * (old_n + new_n);
    let told = |errors: Errors| format!("{} in {} s", errors.n, errors.within.as_secs());
    is_more.then(|| format!("logs errors, {}, where the old had {}", told(new), told(old)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(mib: u64, cpu: u32, errors: (u64, u64)) -> Seen {
        let (n, secs) = errors;
        Seen {
            memory: Some(Bytes(mib << 20)),
            cpu: Some(MilliCpu(cpu)),
            errors: Some(Errors { n, within: Duration::from_secs(secs) }),
        }
    }

    #[test]
    fn only_what_is_far_off_is_worse() {
        let old = seen(100, 300, (6, 60));
        let cases = [
            (seen(100, 300, (1, 10)), None),
            (seen(20, 10, (0, 10)), None),
            (seen(210, 300, (1, 10)), None),
            (seen(215, 300, (1, 10)), Some("has 215 MiB of memory, where the old had 100 MiB")),
            (seen(100, 1100, (1, 10)), None),
            (seen(100, 1150, (1, 10)), Some("uses 1.1 cores, where the old used 0.3")),
            (seen(100, 300, (4, 10)), None),
            (
                seen(100, 300, (20, 10)),
                Some("logs errors, 20 in 10 s, where the old had 6 in 60 s"),
            ),
        ];
        for (new, expected) in cases {
            assert_eq!(worse(&old, &new).as_deref(), expected, "{new:?}");
        }
    }

    #[test]
    fn what_was_not_seen_is_no_reason() {
        let bad = seen(9000, 9000, (900, 10));
        assert_eq!(worse(&Seen::default(), &bad), None);
        assert_eq!(worse(&bad, &Seen::default()), None);
        // A service that always logs errors may go on so.
        let (old, new) = (seen(1, 1, (600, 60)), seen(1, 1, (110, 10)));
        assert_eq!(worse(&old, &new), None);
        // One that was hardly there before has no rate.
        let (old, new) = (seen(1, 1, (0, 0)), seen(1, 1, (110, 10)));
        assert_eq!(worse(&old, &new), None);
    }

    #[test]
    fn the_same_rate_of_errors_is_hardly_ever_worse() {
        // Errors that come by chance, five times a second in both runs, from a fixed sequence.
        let mut state = 1_u64;
        let mut count = |tenths: u32| {
            let mut n = 0;
            for _ in 0..tenths * 10 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                n += u64::from(state >> 33 & 0xff < 13);
            }
            n
        };
        let is_worse = |_: &u32| {
            let (old, new) = (count(600), count(100));
            worse(&seen(1, 1, (old, 60)), &seen(1, 1, (new, 10))).is_some()
        };
        assert_eq!((0..1000_u32).filter(is_worse).count(), 0);
    }
}
