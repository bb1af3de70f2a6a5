//! Dying on purpose, for tests: before and after each request that changes something on a host.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the places that were passed, and dies at one of them if so told.
#[derive(Debug, Default)]
pub(crate) struct Crash {
    at: Option<u64>,
    passed: AtomicU64,
}

impl Crash {
    pub(crate) fn new(at: Option<u64>) -> Self {
        Self { at, passed: AtomicU64::new(0) }
    }

    /// Does the work, between two places.
    pub(crate) async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        self.point();
        let done = work.await;
        self.point();
        done
    }

    fn point(&self) {
        let n = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
        if self.at == Some(n) {
            stead_proc::crash();
        }
    }

    /// How many places were passed, where that was asked for.
    pub(crate) fn counted(&self) -> Option<u64> {
        self.at.map(|_| self.passed.load(Ordering::Relaxed))
    }
}
