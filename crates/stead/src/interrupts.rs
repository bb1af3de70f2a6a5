//! Ctrl-C and SIGTERM, as something to wait for.

use std::future::Future;

use crate::failure::Failure;

/// Requests to end, whether typed or sent.
#[derive(Debug)]
pub(crate) struct Interrupts(stead_local::Interrupts);

impl Interrupts {
    /// From here on such a request no longer ends the process by itself.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listened = stead_local::Interrupts::listen();
        listened.map(Self).map_err(|source| Failure::Runtime { source })
    }

    /// Returns once one has come.
    pub(crate) async fn next(&mut self) {
        self.0.next().await;
    }

    /// Does the work unless interrupted, and drops it then.
    pub(crate) async fn or<T>(
        &mut self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            done = work => done,
            () = self.next() => Err(Failure::Interrupted { hint: None }),
        }
    }
}
