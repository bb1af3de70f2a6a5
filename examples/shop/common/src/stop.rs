//! The wish of the system that this process ends.

use std::io;

/// Hears the signals that ask for an orderly end: TERM and INT, or Ctrl-Break and Ctrl-C.
pub struct Stop(imp::Signals);

impl Stop {
    /// From here on such a signal no longer ends the process by itself, so call it first.
    pub fn listen() -> io::Result<Self> {
        imp::Signals::listen().map(Stop)
    }

    /// Returns at the first signal, with its name.
    pub async fn asked(&mut self) -> &'static str {
        self.0.next().await
    }
}

#[cfg(unix)]
mod imp {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    pub(super) struct Signals {
        interrupt: Signal,
        terminate: Signal,
    }

    impl Signals {
        pub(super) fn listen() -> io::Result<Self> {
            Ok(Signals {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
            })
        }

        pub(super) async fn next(&mut self) -> &'static str {
            tokio::select! {
                _ = self.interrupt.recv() => "INT",
                _ = self.terminate.recv() => "TERM",
            }
        }
    }
}

#[cfg(windows)]
mod imp {
    use std::io;

    use tokio::signal::windows::{
        CtrlBreak, CtrlC, CtrlShutdown, ctrl_break, ctrl_c, ctrl_shutdown,
    };

    pub(super) struct Signals {
        r#break: CtrlBreak,
        c: CtrlC,
        shutdown: CtrlShutdown,
    }

    impl Signals {
        pub(super) fn listen() -> io::Result<Self> {
            Ok(Signals { r#break: ctrl_break()?, c: ctrl_c()?, shutdown: ctrl_shutdown()? })
        }

        pub(super) async fn next(&mut self) -> &'static str {
            tokio::select! {
                _ = self.r#break.recv() => "Ctrl-Break",
                _ = self.c.recv() => "Ctrl-C",
                _ = self.shutdown.recv() => "shutdown",
            }
        }
    }
}
