//! s6: `s6-svscan` and one `s6-supervise` per service.

use std::process::Command;

use anyhow::Result;
use rustix::process::Signal;

use super::{Bed, Peer, Running};
use crate::process;

pub(in crate::bench) struct S6;

impl Peer for S6 {
    fn name(&self) -> &'static str {
        "s6"
    }

    fn terms(&self) -> &'static str {
        "`run` is a shell script with `exec`, no `finish`; it waits a second by design"
    }

    fn missing(&self) -> Option<String> {
        let found = process::find("s6-svscan").and(process::find("s6-supervise"));
        found.is_none().then(|| "s6-svscan and s6-supervise are not on PATH".to_owned())
    }

    fn start(&self, bed: &Bed) -> Result<Running> {
        let services = bed.write_service_folders()?;
        Running::foreground(Command::new("s6-svscan").arg(services), Signal::TERM, bed)
    }
}
