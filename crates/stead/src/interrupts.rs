//! Ctrl-C and SIGTERM, as something to wait for.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// Requests to end, whether typed or sent.
#[derive(Debug)]
pub(crate) struct Interrupts {
    typed: Signal,
    sent: Signal,
}

impl Interrupts {
    /// From here on such a request no longer ends the process by itself.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|source| Failure::Runtime { source });
        let (typed, sent) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
        Ok(Self { typed, sent })
    }

    /// Returns once one has come.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.typed.recv() => (),
            _ = self.sent.recv() => (),
        }
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
