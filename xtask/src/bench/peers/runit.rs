//! runit: `runsvdir` and one `runsv` per service.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::{Bed, Peer, RUNS, Running};
use crate::process;
use crate::workspace::make;

/// As its manual shows it: `run` is a shell script that ends in `exec`.
pub(in crate::bench) struct Runit;

/// With the shell left out: `run` is the program itself, which then can have no arguments.
pub(in crate::bench) struct RunitBare;

impl Peer for Runit {
    fn name(&self) -> &'static str {
        "runit"
    }

    fn terms(&self) -> &'static str {
        "`run` is a shell script with `exec`, no `finish`, no log service"
    }

    fn missing(&self) -> Option<String> {
        missing()
    }

    fn start(&self, bed: &Bed) -> Result<Running> {
        start(&bed.write_service_folders()?, bed)
    }
}

impl RunitBare {
    pub(in crate::bench) const NAME: &str = "runit-bare";
}

impl Peer for RunitBare {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn terms(&self) -> &'static str {
        "runit, and `run` is a link to the program itself: no shell, so no arguments either"
    }

    fn only_restarts(&self) -> bool {
        true
    }

    fn missing(&self) -> Option<String> {
        missing()
    }

    fn start(&self, bed: &Bed) -> Result<Running> {
        let services = bed.folder.join("services");
        for n in 0..bed.instances_n {
            let folder = services.join(format!("probe-{n}"));
            make(&folder)?;
            symlink(&bed.probe, folder.join("run")).context("cannot link a `run`")?;
        }
        start(&services, bed)
    }
}

fn missing() -> Option<String> {
    let found = process::find("runsvdir").and(process::find("runsv"));
    found.is_none().then(|| "runsvdir and runsv are not on PATH".to_owned())
}

fn start(services: &Path, bed: &Bed) -> Result<Running> {
    let mut command = Command::new("runsvdir");
    command.arg("-P").arg(services).env(RUNS, bed.runs());
    // On TERM it would leave its services behind.
    Running::foreground(&mut command, Signal::HUP, bed)
}
