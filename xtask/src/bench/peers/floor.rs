//! No supervisor at all: the least that starting a program again can cost.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use rustix::process::Signal;

use super::{Bed, Peer, Running};

pub(in crate::bench) struct Floor {
    pub(in crate::bench) program: PathBuf,
}

impl Floor {
    pub(in crate::bench) const NAME: &str = "floor";
}

impl Peer for Floor {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn terms(&self) -> &'static str {
        "a loop of posix_spawn and waitpid in one thread: no supervisor at all"
    }

    fn only_restarts(&self) -> bool {
        true
    }

    fn missing(&self) -> Option<String> {
        None
    }

    fn start(&self, bed: &Bed) -> Result<Running> {
        let mut command = Command::new(&self.program);
        command.arg(&bed.probe).arg(bed.runs());
        // It would start another service for each that is ended before it.
        Running::foreground(&mut command, Signal::KILL, bed)
    }
}
