//! The run that is current: its process, its tree, its way in and out.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use stead_core::launch::{Launch, LaunchReload, LaunchStopHow};
use stead_core::machine::RunId;
use stead_core::signal::Signal;
use stead_core::units::Millis;
use stead_proc::{
    AsHandle, Cgroup, CgroupHome, ExecProgress, Handle, Held, NotifySocket, Pipe, Process,
    SpawnError, SpawnSpec, Tree, any_child, kill_tree, members, spawn,
};
use stead_wire::file;
use stead_wire::journal::Lane;

use crate::limits::{Limiter, Watched};
use crate::recover::{MARK_VARIABLE, Running, mark_prefix};
use crate::sandboxes::Sandboxes;
use crate::secrets::SecretError;
use crate::sockets::Sockets;

/// One run, from its fork until nothing of it is left.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) run: RunId,
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    /// What it holds of its streams.
    pub(crate) stream_ends: Vec<u64>,
    /// Begun by this keeper, so that orphans of its tree become this keeper's children.
    pub(crate) born_here: bool,
    /// The hold on the main process, until its end was seen.
    pub(crate) main: Option<Process>,
    /// Since when an adopted main process is gone without anybody knowing how.
    pub(crate) lost_since: Option<u64>,
    /// Until it is known whether the program runs.
    pub(crate) progress: Option<ExecProgress>,
    pub(crate) cgroup: Option<Cgroup>,
    /// What is being waited for is the end of the whole tree.
    pub(crate) sweeping: bool,
    pub(crate) lane: Lane,
    /// The mark of the launch it was begun by.
    pub(crate) launch_mark: Option<u32>,
    /// By when it must have said that it is well.
    pub(crate) watchdog_at: Option<Millis>,
    /// Why it is being restarted, if it did not serve.
    pub(crate) unhealthy: Option<String>,
    /// It took longer than it may.
    pub(crate) overdue: bool,
    /// What it has come up against.
    pub(crate) watched: Watched,
    mark: String,
}

/// What a run is made of.
#[derive(Clone, Copy)]
pub(crate) struct Making<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) launch: &'a Launch,
    pub(crate) home: Option<&'a CgroupHome>,
    pub(crate) limiter: &'a Limiter,
    pub(crate) sockets: &'a Sockets,
    pub(crate) sandboxes: &'a Sandboxes,
    pub(crate) pipes: &'a [Pipe; 2],
    pub(crate) run: RunId,
    pub(crate) slot: u8,
    /// It has the second of two ports of each name.
    pub(crate) second: bool,
}

impl Making<'_> {
    fn argv(&self) -> &[String] {
        self.other_side().map_or(&self.launch.argv, |second| &second.argv)
    }

    fn env(&self) -> &BTreeMap<String, String> {
        self.other_side().map_or(&self.launch.env, |second| &second.env)
    }

    fn other_side(&self) -> Option<&stead_core::launch::Second> {
        self.launch.second.as_ref().filter(|_| self.second)
    }
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error("could not make its cgroup")]
    Cgroup(#[source] io::Error),
    #[error("could not open its output")]
    Fifo(#[source] io::Error),
    #[error("{0}")]
    Limits(String),
    #[error("could not take hold of its process")]
    Hold(#[source] io::Error),
    #[error("its sandbox could not be prepared: {0}")]
    Sandbox(String),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("it is to be handed {0}, which could not be opened")]
    Socket(String),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// Makes the process of a run, which holds at its gate.
pub(crate) fn begin(making: Making<'_>) -> Result<(Current, Held), BeginError> {
    let slot = u64::from(making.slot);
    let cgroup = making.home.map(|home| home.begin(slot)).transpose();
    let cgroup = cgroup.map_err(BeginError::Cgroup)?;
    let limited = making.limiter.hold(cgroup.as_ref(), &making.launch.limits);
    limited.map_err(BeginError::Limits)?;
    let watched = match making.launch.limits.need_cgroup() {
        true => Watched::from_now(cgroup.as_ref()),
        false => Watched::default(),
    };
    let held = make(&making, cgroup.as_ref(), making.argv(), &making.variables(), true)?;
    let main = Some(held.hold().map_err(BeginError::Hold)?);
    let current = Current {
        run: making.run,
        pid: held.pid(),
        start_ticks: held.start_ticks(),
        stream_ends: held.stream_ends(),
        born_here: true,
        main,
        lost_since: None,
        progress: None,
        cgroup,
        sweeping: false,
        lane: Lane { slot: Some(making.slot), second: making.second, ready: false },
        launch_mark: Some(file::mark(making.launch)),
        watchdog_at: None,
        unhealthy: None,
        overdue: false,
        watched,
        mark: format!("{}{}", mark_prefix(making.folder), making.run.0),
    };
    Ok((current, held))
}

impl Making<'_> {
    /// What a main process is told besides its launch, by the protocols of systemd.
    fn variables(&self) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        let mut set = |name: &str, value: String| variables.push((name.to_owned(), value));
        if !self.launch.listen.is_empty() {
            let names: Vec<&str> = self.launch.listen.iter().map(|it| it.name.as_str()).collect();
            set("LISTEN_FDS", names.len().to_string());
            set("LISTEN_FDNAMES", names.join(":"));
            set("LISTEN_PID", "0".to_owned());
        }
        if self.launch.notify
            && let Ok(address) = NotifySocket::address(self.folder)
        {
            set("NOTIFY_SOCKET", address);
        }
        if let Some(watchdog) = self.launch.watchdog {
            set("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        variables
    }
}

fn make(
    making: &Making<'_>,
    cgroup: Option<&Cgroup>,
    argv: &[String],
    more: &[(String, String)],
    is_main: bool,
) -> Result<Held, BeginError> {
    let [out_pipe, err_pipe] = making.pipes;
    let stream = |pipe: &Pipe| pipe.for_run().map_err(BeginError::Fifo);
    let (out, err) = (stream(out_pipe)?, stream(err_pipe)?);
    let own = |text: &str| text.to_owned();
    let launch = making.launch;
    // The mark first: it is found however large the rest is.
    let mut env = vec![
        (own(MARK_VARIABLE), format!("{}#{}", making.folder.display(), making.run.0)),
        (own("STEAD_INSTANCE"), launch.instance.to_string()),
    ];
    env.extend(making.env().iter().map(|(name, value)| (name.clone(), value.clone())));
    env.extend(crate::secrets::read(launch)?);
    env.extend_from_slice(more);
    let sockets: Vec<Handle<'_>> =
        if is_main { making.sockets.of(launch).map_err(BeginError::Socket)? } else { Vec::new() };
    let spec = SpawnSpec {
        argv,
        directory: &launch.directory,
        env: &env,
        account: launch.account.as_ref(),
        umask: launch.umask.0,
        new_privileges: launch.new_privileges,
        files: crate::limits::files(&launch.limits),
        stdin: None,
        ends_with_us: false,
        sandbox: making.sandboxes.of(launch).map_err(BeginError::Sandbox)?,
        out: out.as_handle(),
        err: err.as_handle(),
        holds: [out_pipe.to_be_held(), err_pipe.to_be_held()],
        cgroup: cgroup.map(AsHandle::as_handle),
        sockets: &sockets,
    };
    Ok(spawn(&spec)?)
}

impl Current {
    /// The run that another keeper began.
    pub(crate) fn adopted(
        folder: &Path,
        running: Running,
        home: Option<&CgroupHome>,
    ) -> io::Result<Self> {
        let run = running.run;
        // A keeper of before there were lanes put runs into its cgroups by their number.
        let slot = running.lane.slot.map_or(run.0 % 2, u64::from);
        let cgroup = home.map(|home| home.run(slot)).transpose()?;
        Ok(Self {
            run,
            pid: running.pid,
            start_ticks: running.start_ticks,
            stream_ends: running.stream_ends,
            // After an upgrade in place it is still our child.
            born_here: stead_proc::is_own_child(running.pid),
            main: running.main,
            lost_since: None,
            progress: None,
            watched: Watched::from_now(cgroup.as_ref()),
            cgroup,
            sweeping: false,
            lane: running.lane,
            launch_mark: running.launch_mark,
            watchdog_at: None,
            unhealthy: None,
            overdue: false,
            mark: format!("{}{}", mark_prefix(folder), run.0),
        })
    }

    pub(crate) fn slot(&self) -> u64 {
        self.lane.slot.map_or(self.run.0 % 2, u64::from)
    }

    /// Sends a signal to the main process; `false` when it is gone.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<bool> {
        self.main.as_ref().map_or(Ok(false), |main| main.signal(signal))
    }

    /// As [`Self::signal`]; says what that is called on this system.
    fn ask(&self, signal: Signal) -> io::Result<Option<String>> {
        self.main.as_ref().map_or(Ok(None), |main| main.ask(signal))
    }

    /// The first rung of the ladder; says what was done. A hook that cannot be run is no reason
    /// not to ask at all.
    pub(crate) fn ask_to_end(&self, making: &Making<'_>) -> io::Result<String> {
        let stop = making.other_side().map_or(&making.launch.stop.how, |second| &second.stop);
        let signal = match stop {
            LaunchStopHow::Signal(signal) => *signal,
            // These exist on the other system; the nearest thing here asks just as well.
            LaunchStopHow::CtrlBreak => Signal::Term,
            LaunchStopHow::CtrlC => Signal::Int,
            LaunchStopHow::Hook(hook) => match self.run_hook(making, hook) {
                Ok(_) => return Ok(format!("hook `{}`", hook.join(" "))),
                Err(error) => {
                    let how = self.ask(Signal::Term)?.unwrap_or_else(|| Signal::Term.to_string());
                    return Ok(format!("{how}, since its hook failed: {}", crate::chain(&error)));
                }
            },
        };
        Ok(self.ask(signal)?.unwrap_or_else(|| signal.to_string()))
    }

    /// Tells it to read its configuration again; says what was done, and the process of the hook if
    /// it is one.
    pub(crate) fn reload(&self, making: &Making<'_>) -> Result<(String, Option<u32>), String> {
        match &making.launch.reload {
            None => Err("its service has no `reload`".to_owned()),
            Some(LaunchReload::Hook(hook)) => match self.run_hook(making, hook) {
                Ok(pid) => Ok((format!("hook `{}`", hook.join(" ")), Some(pid))),
                Err(error) => Err(crate::chain(&error)),
            },
            Some(LaunchReload::Signal(signal)) => match self.ask(*signal) {
                Ok(Some(how)) => Ok((how, None)),
                Ok(None) => Err("its process has just ended".to_owned()),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    fn run_hook(&self, making: &Making<'_>, hook: &[String]) -> Result<u32, BeginError> {
        let pid = ("STEAD_PID".to_owned(), self.pid.to_string());
        // It belongs to the run's tree: it ends with it, at the latest.
        let held = make(making, self.cgroup.as_ref(), hook, &[pid], false)?;
        let pid = held.pid();
        held.release();
        Ok(pid)
    }

    /// Whether it has been silent for longer than it may.
    pub(crate) fn watchdog_expired(&self, now: Millis) -> bool {
        self.watchdog_at.is_some_and(|at| at <= now)
    }

    /// Kills whatever is left of the tree; says how many processes that were. `alone` is as below.
    pub(crate) fn kill(&self, main_only: bool, alone: bool) -> io::Result<u32> {
        if main_only {
            return Ok(u32::from(self.signal(Signal::Kill)?));
        }
        if self.is_empty(alone) {
            return Ok(0);
        }
        kill_tree(&self.tree(alone))
    }

    /// Whether nothing of the tree is alive. `alone`: there is no other run of the instance, so
    /// that whatever child there is belongs to it.
    pub(crate) fn is_gone(&self, alone: bool) -> bool {
        // Without any child of ours there is nothing of a tree that began here.
        if self.born_here && alone && !any_child() {
            return true;
        }
        self.is_empty(alone)
    }

    fn is_empty(&self, alone: bool) -> bool {
        match &self.cgroup {
            Some(cgroup) => cgroup.is_empty(),
            // What cannot be looked at may be alive.
            None => members(&self.tree(alone)).is_ok_and(|members| members.is_empty()),
        }
    }

    fn tree(&self, alone: bool) -> Tree<'_> {
        let main = Some((self.pid, self.start_ticks));
        Tree { cgroup: self.cgroup.as_ref(), main, mark: &self.mark, alone }
    }
}
