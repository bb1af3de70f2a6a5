//! `stead agent install`: the agent as a service of systemd, from the boot on, and its upgrade.
//!
//! The unit is not delegated and ends its main process alone, so that agents come and go without a
//! service noticing; each keeper has a scope of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use stead_core::signal::Signal;
use stead_release::lock::Putting;
use stead_wire::api::Status;
use stead_wire::ship::Installed;
use tokio::time::{Instant, sleep};

use crate::Context;
use crate::agent::{self, Lasts};
use crate::client::Client;
use crate::failure::Failure;
use crate::kit::{self, KitPlaces, switch};
use crate::root;

const UNIT: &str = "stead-agent.service";

/// What brings the programs of before back unless it is called off.
const REVERT: &str = "stead-agent-revert";

/// A fresh agent that has not answered within this is taken back.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// When the timer takes it back, should this command die meanwhile.
const REVERT_AFTER: &str = "60s";

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where everything is.
struct Places {
    root: PathBuf,
    kits: KitPlaces,
    unit: PathBuf,
    is_root: bool,
}

fn failed(step: &str, why: impl ToString) -> Failure {
    Failure::Install { step: step.to_owned(), why: why.to_string() }
}

impl Places {
    fn find(root: &Path) -> Result<Self, Failure> {
        if !has_systemd() {
            return Err(failed("find systemd", "this machine was not booted by it"));
        }
        let is_root = stead_proc::is_root();
        let folder = match (is_root, std::env::var_os("HOME")) {
            (true, _) => PathBuf::from("/etc/systemd/system"),
            (false, Some(home)) => Path::new(&home).join(".config/systemd/user"),
            (false, None) => return Err(failed("find the folder of units", "HOME is not set")),
        };
        let (root, kits) = (root.to_owned(), KitPlaces::below(root));
        Ok(Self { root, kits, unit: folder.join(UNIT), is_root })
    }

    fn systemctl(&self, args: &[&str]) -> Result<(), Failure> {
        self.ask("systemctl", args)
    }

    fn ask(&self, program: &str, args: &[&str]) -> Result<(), Failure> {
        let mut command = Command::new(program);
        if !self.is_root {
            command.arg("--user");
        }
        let output = command.args(args).stdin(Stdio::null()).output();
        let step = format!("`{program} {}`", args.join(" "));
        let output = output.map_err(|error| failed(&step, error))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(failed(&step, String::from_utf8_lossy(&output.stderr).trim())),
        }
    }

    fn unit_text(&self) -> String {
        let wanted_by = if self.is_root { "multi-user.target" } else { "default.target" };
        let (program, root) = (self.kits.current().join("stead"), self.root.display());
        format!(
            "# Written by `stead agent install`, which writes it anew.\n\
             [Unit]\n\
             Description=stead agent\n\
             After=network-online.target\n\
             Wants=network-online.target\n\
             StartLimitIntervalSec=0\n\
             \n\
             [Service]\n\
             Type=notify\n\
             ExecStart={} --root {root} agent run\n\
             Restart=always\n\
             RestartSec=100ms\n\
             # Services are kept by keepers, which live in scopes of their own.\n\
             KillMode=process\n\
             # At the end of the host it ends them in the order of their needs.\n\
             TimeoutStopSec=180s\n\
             TasksMax=infinity\n\
             \n\
             [Install]\n\
             WantedBy={wanted_by}\n",
            program.display()
        )
    }
}

/// Makes the agent a service from the boot on; where it is one already, it becomes this version.
pub(crate) async fn install(ctx: &mut Context) -> Result<(), Failure> {
    let client = ctx.client()?;
    let places = Places::find(client.root())?;
    let (installed, kit) = with_systemd(&places, &client).await?;
    let unit = places.unit.display();
    ctx.screen.write(&match installed {
        Installed::Upgraded => format!("the agent was upgraded to {kit}; services ran on\n"),
        Installed::Fresh | Installed::Later | Installed::Same => {
            format!("the agent runs as {UNIT}, from the boot on\n  unit {unit}\n")
        }
    })
}

/// Sees to it that an agent of this version looks after a root, unless a later one does: as a
/// service where systemd is, else as a process of its own.
pub(crate) async fn make_current(client: &Client) -> Result<Installed, Failure> {
    if let Ok(status) = client.get::<Status>("/v1/status").await
        && is_later(&status.agent.version, env!("CARGO_PKG_VERSION"))
    {
        return Ok(Installed::Later);
    }
    match has_systemd() {
        true => Ok(with_systemd(&Places::find(client.root())?, client).await?.0),
        false => without_systemd(client).await,
    }
}

fn has_systemd() -> bool {
    Path::new("/run/systemd/system").exists()
}

/// Whether one version follows another: by numbers, part by part.
fn is_later(one: &str, other: &str) -> bool {
    let numbers = |version: &str| {
        let parts = version.split(['.', '-', '+']).map_while(|part| part.parse::<u64>().ok());
        parts.collect::<Vec<_>>()
    };
    numbers(one) > numbers(other)
}

/// Programs may be old that are there already: they stay until a link leads to them.
fn putting(root: &Path) -> Result<Putting, Failure> {
    let began = root::make(root).and_then(|()| Putting::begin(root));
    began.map_err(|source| Failure::Root { root: root.into(), source })
}

/// Says what was done, and the name of the kit that the agent is of.
async fn with_systemd(places: &Places, client: &Client) -> Result<(Installed, String), Failure> {
    let _putting = putting(&places.root)?;
    let kit = kit::make_present(&places.kits)?;
    let before = places.kits.current_kit();
    let is_same = before.as_deref() == Some(Path::new(&kit));
    let had_unit = places.unit.exists();
    write_unit(places)?;
    if had_unit && !is_same && before.is_some() {
        upgrade(places, client, &kit).await?;
        return Ok((Installed::Upgraded, kit));
    }
    switch(&places.kits.current(), Path::new(&kit))?;
    if !had_unit {
        end_unmanaged(client).await?;
    }
    places.systemctl(&["enable", "--now", UNIT])?;
    answers(client).await?;
    Ok((if had_unit { Installed::Same } else { Installed::Fresh }, kit))
}

async fn without_systemd(client: &Client) -> Result<Installed, Failure> {
    let places = KitPlaces::below(client.root());
    let _putting = putting(client.root())?;
    let kit = kit::make_present(&places)?;
    let before = places.current_kit();
    let is_same = before.as_deref() == Some(Path::new(&kit));
    let is_there = match client.get::<Status>("/v1/status").await {
        Ok(_) if is_same => return Ok(Installed::Same),
        Ok(_) => true,
        Err(Failure::AgentMissing { .. }) => false,
        Err(other) => return Err(other),
    };
    if let Some(before) = before.as_deref().filter(|_| !is_same) {
        switch(&places.previous(), before)?;
    }
    switch(&places.current(), Path::new(&kit))?;
    if is_there {
        end_unmanaged(client).await?;
    }
    let begun = agent::start(client, &places.program(Path::new("current")), Lasts::Always).await;
    let Err(error) = begun else {
        return Ok(if is_there { Installed::Upgraded } else { Installed::Fresh });
    };
    let Some(before) = before.filter(|_| is_there && !is_same) else { return Err(error) };
    end_unmanaged(client).await?;
    switch(&places.current(), &before)?;
    agent::start(client, &places.program(Path::new("current")), Lasts::Always).await?;
    Err(failed("start the new agent; the one of before is back", error.because().join(": ")))
}

/// Takes the agent out of systemd. Services and keepers run on.
pub(crate) fn uninstall(ctx: &mut Context) -> Result<(), Failure> {
    let client = ctx.client()?;
    let places = Places::find(client.root())?;
    if !places.unit.exists() {
        return ctx.screen.write("the agent is not installed\n");
    }
    places.systemctl(&["disable", "--now", UNIT])?;
    fs::remove_file(&places.unit).map_err(|error| failed("remove its unit", error))?;
    places.systemctl(&["daemon-reload"])?;
    ctx.screen.write(
        "the agent has ended and does not start at boot; what it kept runs on\n  \
         try `stead up` for an agent without systemd, or `stead agent install` again\n",
    )
}

/// Goes back to the programs of before. Called by a timer, by the programs of before.
pub(crate) fn revert(ctx: &mut Context) -> Result<(), Failure> {
    let client = ctx.client()?;
    let places = Places::find(client.root())?;
    let previous = fs::read_link(places.kits.previous());
    let previous = previous.map_err(|error| failed("find the programs of before", error))?;
    switch(&places.kits.current(), &previous)?;
    places.systemctl(&["restart", "--no-block", UNIT])
}

/// How `stead agent status` calls the way it starts.
pub(crate) fn starts_at_boot(root: &Path) -> Option<bool> {
    let places = Places::find(root).ok()?;
    Some(places.systemctl(&["is-enabled", "--quiet", UNIT]).is_ok())
}

async fn upgrade(places: &Places, client: &Client, digest: &str) -> Result<(), Failure> {
    let before = fs::read_link(places.kits.current());
    let before = before.map_err(|error| failed("find the programs of before", error))?;
    switch(&places.kits.previous(), &before)?;
    let old = places.kits.program(&before);
    let (old, root) = (old.to_string_lossy(), places.root.to_string_lossy());
    // One that is left from a command that died is in the way.
    let _ = places.systemctl(&["stop", &format!("{REVERT}.timer")]);
    let after = format!("--on-active={REVERT_AFTER}");
    let unit = format!("--unit={REVERT}");
    let again = [&after, &unit, "--collect", "--quiet", &old, "--root", &root, "agent", "revert"];
    places.ask("systemd-run", &again)?;
    switch(&places.kits.current(), Path::new(digest))?;
    let begun = async {
        places.systemctl(&["restart", UNIT])?;
        answers(client).await
    };
    let begun = begun.await;
    if begun.is_err() {
        switch(&places.kits.current(), &before)?;
        places.systemctl(&["restart", UNIT])?;
    }
    places.systemctl(&["stop", &format!("{REVERT}.timer")])?;
    begun.map_err(|error| {
        failed("start the new agent; the one of before is back", error.because().join(": "))
    })
}

fn write_unit(places: &Places) -> Result<(), Failure> {
    let text = places.unit_text();
    if let Ok(there) = fs::read_to_string(&places.unit) {
        if there == text {
            return Ok(());
        }
        let root = format!("--root {} ", places.root.display());
        if !there.contains(&root) {
            let why = format!("`{}` is about another root", places.unit.display());
            return Err(failed("write its unit", why));
        }
    }
    let folder = places.unit.parent().unwrap_or(Path::new("/"));
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&places.unit, text));
    written.map_err(|error| failed("write its unit", error))?;
    places.systemctl(&["daemon-reload"])
}

/// Ends an agent that somebody has started by hand; its keepers and services run on.
async fn end_unmanaged(client: &Client) -> Result<(), Failure> {
    let pid = match client.get::<Status>("/v1/status").await {
        Ok(status) => status.agent.pid,
        Err(Failure::AgentMissing { .. }) => return Ok(()),
        Err(other) => return Err(other),
    };
    let at = |error: io::Error| failed("end the agent that is there", error);
    let Some(process) = stead_proc::Process::open_any(pid).map_err(at)? else { return Ok(()) };
    // Where it has no console it cannot be told, and it may be killed at any moment.
    let told = process.signal(Signal::Term).or_else(|_| process.signal(Signal::Kill));
    told.map_err(at)?;
    let until = Instant::now() + ANSWERS_WITHIN;
    while stead_proc::start_ticks(pid).map_err(at)?.is_some() {
        if Instant::now() >= until {
            return Err(failed("end the agent that is there", format!("pid {pid} does not end")));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn answers(client: &Client) -> Result<(), Failure> {
    let until = Instant::now() + ANSWERS_WITHIN;
    loop {
        match client.get::<Status>("/v1/status").await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => sleep(LOOK_EVERY).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_later_by_its_numbers() {
        for (one, other, is_so) in [
            ("0.1.0", "0.1.0", false),
            ("0.1.1", "0.1.0", true),
            ("0.10.0", "0.9.9", true),
            ("1.0.0", "0.9.9", true),
            ("0.1.0", "0.1.1", false),
            ("", "0.1.0", false),
        ] {
            assert_eq!(is_later(one, other), is_so, "{one} after {other}");
        }
    }
}
