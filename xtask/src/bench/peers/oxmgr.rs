//! OxMgr: one Rust process that is the parent of all. It is measured where it is installed.

use std::fmt::Write;
use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::{Bed, Peer, Running};
use crate::bench::clock::wait_for;
use crate::process;

pub(in crate::bench) struct Oxmgr;

impl Peer for Oxmgr {
    fn name(&self) -> &'static str {
        "oxmgr"
    }

    fn terms(&self) -> &'static str {
        "restart_policy always, restart_delay 0, crash_restart_limit 0 (by default it gives up)"
    }

    fn missing(&self) -> Option<String> {
        process::find("oxmgr").is_none().then(|| "oxmgr is not on PATH".to_owned())
    }

    fn start(&self, bed: &Bed) -> Result<Running> {
        let file = bed.write("oxfile.toml", &oxfile(bed))?;
        let (daemon, api) = (free_address()?, free_address()?);
        let command = || {
            let mut command = Command::new("oxmgr");
            command.env("OXMGR_HOME", bed.folder.join("oxmgr"));
            command.env("OXMGR_DAEMON_ADDR", &daemon).env("OXMGR_API_ADDR", &api);
            command
        };
        let (mut run, mut apply, mut delete) = (command(), command(), command());
        let running = Running::foreground(run.args(["daemon", "run"]), Signal::TERM, bed)?;
        let answers = || Ok(process::output(command().arg("list")).ok());
        wait_for("the daemon of oxmgr", Duration::from_secs(10), answers)?;
        process::output(apply.arg("apply").arg(file))?;
        delete.args(["delete", "all"]);
        Ok(running.stopped_by(delete))
    }
}

fn oxfile(bed: &Bed) -> String {
    let mut text = "version = 1\n".to_owned();
    let command = format!("{} {}", bed.probe.display(), bed.runs().display());
    for n in 0..bed.instances_n {
        let app = format!(
            "[[apps]]\n\
             name = \"probe-{n}\"\n\
             command = \"{command}\"\n\
             restart_policy = \"always\"\n\
             max_restarts = 1000000\n\
             crash_restart_limit = 0\n\
             restart_delay_secs = 0\n"
        );
        text.write_str(&app).expect("a String takes everything");
    }
    text
}

/// An address of this machine that was free a moment ago.
fn free_address() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port is free")?;
    Ok(listener.local_addr().context("a listener has no address")?.to_string())
}
