//! `stead agent install`: the agent as a service of systemd, from the boot on, and its upgrade.
//!
//! The unit is not delegated and ends its main process alone, so that agents come and go without a
//! service noticing; each keeper has a scope of its own.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use stead_wire::api::Status;
use tokio::time::{Instant, sleep};

use crate::Context;
use crate::agent;
use crate::client::Client;
use crate::failure::Failure;

const UNIT: &str = "stead-agent.service";

/// What brings the programs of before back unless it is called off.
const REVERT: &str = "stead-agent-revert";

/// A fresh agent that has not answered within this is taken back.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// When the timer takes it back, should this command die meanwhile.
const REVERT_AFTER: &str = "60s";

/// Programs that belong together.
const PROGRAMS: [&str; 3] = ["stead", "stead-keeper", "stead-front"];

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where everything is.
struct Places {
    root: PathBuf,
    unit: PathBuf,
    is_root: bool,
}

fn failed(step: &str, why: impl ToString) -> Failure {
    Failure::Install { step: step.to_owned(), why: why.to_string() }
}

impl Places {
    fn find(root: &Path) -> Result<Self, Failure> {
        if !Path::new("/run/systemd/system").exists() {
            return Err(failed("find systemd", "this machine was not booted by it"));
        }
        let is_root = stead_proc::is_root();
        let folder = match (is_root, std::env::var_os("HOME")) {
            (true, _) => PathBuf::from("/etc/systemd/system"),
            (false, Some(home)) => Path::new(&home).join(".config/systemd/user"),
            (false, None) => return Err(failed("find the folder of units", "HOME is not set")),
        };
        Ok(Self { root: root.to_owned(), unit: folder.join(UNIT), is_root })
    }

    fn programs(&self) -> PathBuf {
        self.root.join("programs")
    }

    fn current(&self) -> PathBuf {
        self.programs().join("current")
    }

    fn previous(&self) -> PathBuf {
        self.programs().join("previous")
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
        let (program, root) = (self.current().join("stead"), self.root.display());
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
    let digest = put_programs(&places)?;
    let before = fs::read_link(places.current()).ok();
    let is_same = before.as_deref() == Some(Path::new(&digest));
    let had_unit = places.unit.exists();
    write_unit(&places)?;
    if had_unit && !is_same && before.is_some() {
        upgrade(&places, &client, &digest).await?;
        return ctx.screen.write(&format!("the agent was upgraded to {digest}; services ran on\n"));
    }
    switch(&places.current(), Path::new(&digest))?;
    if !had_unit {
        end_unmanaged(&client).await?;
    }
    places.systemctl(&["enable", "--now", UNIT])?;
    answers(&client).await?;
    let unit = places.unit.display();
    ctx.screen.write(&format!("the agent runs as {UNIT}, from the boot on\n  unit {unit}\n"))
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
    let previous = fs::read_link(places.previous());
    let previous = previous.map_err(|error| failed("find the programs of before", error))?;
    switch(&places.current(), &previous)?;
    places.systemctl(&["restart", "--no-block", UNIT])
}

/// How `stead agent status` calls the way it starts.
pub(crate) fn starts_at_boot(root: &Path) -> Option<bool> {
    let places = Places::find(root).ok()?;
    Some(places.systemctl(&["is-enabled", "--quiet", UNIT]).is_ok())
}

async fn upgrade(places: &Places, client: &Client, digest: &str) -> Result<(), Failure> {
    let before = fs::read_link(places.current());
    let before = before.map_err(|error| failed("find the programs of before", error))?;
    switch(&places.previous(), &before)?;
    let old = places.programs().join(&before).join("stead");
    let (old, root) = (old.to_string_lossy(), places.root.to_string_lossy());
    // One that is left from a command that died is in the way.
    let _ = places.systemctl(&["stop", &format!("{REVERT}.timer")]);
    let after = format!("--on-active={REVERT_AFTER}");
    let unit = format!("--unit={REVERT}");
    let again = [&after, &unit, "--collect", "--quiet", &old, "--root", &root, "agent", "revert"];
    places.ask("systemd-run", &again)?;
    switch(&places.current(), Path::new(digest))?;
    let begun = async {
        places.systemctl(&["restart", UNIT])?;
        answers(client).await
    };
    let begun = begun.await;
    if begun.is_err() {
        switch(&places.current(), &before)?;
        places.systemctl(&["restart", UNIT])?;
    }
    places.systemctl(&["stop", &format!("{REVERT}.timer")])?;
    begun.map_err(|error| {
        failed("start the new agent; the one of before is back", error.because().join(": "))
    })
}

/// Copies this very program and those beside it into the root, under their digest.
fn put_programs(places: &Places) -> Result<String, Failure> {
    let at = |error: io::Error| failed("copy the programs", error);
    let own = std::env::current_exe().map_err(at)?;
    let keeper = agent::keeper_program()?;
    let mut digest = blake3::Hasher::new();
    let mut all = Vec::new();
    for name in PROGRAMS {
        let from = match name {
            "stead" => own.clone(),
            name => keeper.with_file_name(name),
        };
        let bytes = fs::read(&from).map_err(|error| {
            failed("copy the programs", format!("`{}`: {error}", from.display()))
        })?;
        digest.update(&bytes);
        all.push((name, bytes));
    }
    let digest = digest.finalize().to_hex()[..16].to_owned();
    let folder = places.programs().join(&digest);
    fs::create_dir_all(&folder).map_err(at)?;
    for (name, bytes) in all {
        let path = folder.join(name);
        if fs::read(&path).ok().as_deref() == Some(&bytes) {
            continue;
        }
        let new = folder.join(format!("{name}.new"));
        fs::write(&new, bytes).map_err(at)?;
        stead_proc::set_mode(&new, 0o755).map_err(at)?;
        fs::File::open(&new).and_then(|file| file.sync_all()).map_err(at)?;
        fs::rename(&new, path).map_err(at)?;
    }
    Ok(digest)
}

/// Points a link at something else, at once.
fn switch(link: &Path, to: &Path) -> Result<(), Failure> {
    let at = |error: io::Error| failed("switch the programs", error);
    let new = link.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(error)),
        _ => (),
    }
    symlink(to, &new).map_err(at)?;
    fs::rename(&new, link).map_err(at)
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
    process.signal(stead_core::signal::Signal::Term).map_err(at)?;
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
