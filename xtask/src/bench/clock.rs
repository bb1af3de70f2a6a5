//! The monotonic clock, which the probe reads too.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock: comparable between all processes of this machine.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Instant(pub(super) i128);

impl Instant {
    pub(super) fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        Self(i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec))
    }

    pub(super) fn seconds_since(self, earlier: Self) -> f64 {
        (self.0 - earlier.0) as f64 / 1e9
    }

    pub(super) fn sleep_until_past(self, wait: Duration) {
        let spent = Self::now().0 - self.0;
        let left = wait.as_nanos().saturating_sub(u128::try_from(spent).unwrap_or(0));
        thread::sleep(Duration::from_nanos(u64::try_from(left).unwrap_or(u64::MAX)));
    }
}

/// Looks every millisecond until `seen` has something, at most for `limit`.
pub(super) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut seen: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(it) = seen()? {
            return Ok(it);
        }
        if Instant::now().seconds_since(began) > limit.as_secs_f64() {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        thread::sleep(Duration::from_millis(1));
    }
}
