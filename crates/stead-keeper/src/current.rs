//! The run that is current: its process, its tree, its way in and out.

use std::io;
use std::path::{Path, PathBuf};

use stead_core::launch::{Launch, LaunchStopHow};
use stead_core::machine::RunId;
use stead_core::signal::Signal;
use stead_proc::{
    Cgroup, CgroupHome, ExecProgress, Held, Pipe, Process, SpawnError, SpawnSpec, Tree, any_child,
    kill_tree, members, spawn,
};

use crate::recover::{MARK_VARIABLE, Running, mark_prefix};

/// One run, from its fork until nothing of it is left.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) run: RunId,
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    /// Begun by this keeper, so that orphans of its tree become this keeper's children.
    pub(crate) born_here: bool,
    /// The hold on the main process, until its end was seen.
    pub(crate) main: Option<Process>,
    /// Until it is known whether the program runs.
    pub(crate) progress: Option<ExecProgress>,
    pub(crate) cgroup: Option<Cgroup>,
    /// What is being waited for is the end of the whole tree.
    pub(crate) sweeping: bool,
    mark: String,
}

/// Why a run could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error("could not make its cgroup")]
    Cgroup(#[source] io::Error),
    #[error("could not open its output")]
    Fifo(#[source] io::Error),
    #[error("could not take hold of its process")]
    Hold(#[source] io::Error),
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// Makes the process of a run, which holds at its gate.
pub(crate) fn begin(
    folder: &Path,
    launch: &Launch,
    home: Option<&CgroupHome>,
    run: RunId,
) -> Result<(Current, Held), BeginError> {
    let cgroup = home.map(|home| home.begin(run.0)).transpose().map_err(BeginError::Cgroup)?;
    let held = make(folder, launch, cgroup.as_ref(), run, &launch.argv, &[])?;
    let main = Some(held.hold().map_err(BeginError::Hold)?);
    let current = Current {
        run,
        pid: held.pid(),
        start_ticks: held.start_ticks(),
        born_here: true,
        main,
        progress: None,
        cgroup,
        sweeping: false,
        mark: format!("{}{}", mark_prefix(folder), run.0),
    };
    Ok((current, held))
}

fn make(
    folder: &Path,
    launch: &Launch,
    cgroup: Option<&Cgroup>,
    run: RunId,
    argv: &[String],
    more: &[(String, String)],
) -> Result<Held, BeginError> {
    use std::os::fd::AsFd;
    let stream = |name: &str| Pipe::open_for_run(&PathBuf::from(name)).map_err(BeginError::Fifo);
    let (out, err) = (stream("out")?, stream("err")?);
    let own = |text: &str| text.to_owned();
    // The mark first: it is found however large the rest is.
    let mut env = vec![
        (own(MARK_VARIABLE), format!("{}#{}", folder.display(), run.0)),
        (own("STEAD_INSTANCE"), launch.instance.to_string()),
    ];
    env.extend(launch.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    env.extend_from_slice(more);
    let spec = SpawnSpec {
        argv,
        directory: &launch.directory,
        env: &env,
        account: launch.account.as_ref(),
        umask: launch.umask.0,
        new_privileges: launch.new_privileges,
        out: out.as_fd(),
        err: err.as_fd(),
        cgroup: cgroup.map(AsFd::as_fd),
    };
    Ok(spawn(&spec)?)
}

impl Current {
    /// The run that another keeper began.
    pub(crate) fn adopted(
        folder: &Path,
        run: RunId,
        running: Running,
        home: Option<&CgroupHome>,
    ) -> io::Result<Self> {
        Ok(Self {
            run,
            pid: running.pid,
            start_ticks: running.start_ticks,
            // After an upgrade in place it is still our child.
            born_here: stead_proc::is_own_child(running.pid),
            main: running.main,
            progress: None,
            cgroup: home.map(|home| home.run(run.0)).transpose()?,
            sweeping: false,
            mark: format!("{}{}", mark_prefix(folder), run.0),
        })
    }

    /// Sends a signal to the main process; `false` when it is gone.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<bool> {
        self.main.as_ref().map_or(Ok(false), |main| main.signal(signal))
    }

    /// The first rung of the ladder; says what was done. A hook that cannot be run is no reason
    /// not to ask at all.
    pub(crate) fn ask_to_end(&self, folder: &Path, launch: &Launch) -> io::Result<String> {
        let signal = match &launch.stop.how {
            LaunchStopHow::Signal(signal) => *signal,
            // These exist on the other system; the nearest thing here asks just as well.
            LaunchStopHow::CtrlBreak => Signal::Term,
            LaunchStopHow::CtrlC => Signal::Int,
            LaunchStopHow::Hook(hook) => match self.run_hook(folder, launch, hook) {
                Ok(()) => return Ok(format!("hook `{}`", hook.join(" "))),
                Err(error) => {
                    self.signal(Signal::Term)?;
                    return Ok(format!("SIGTERM, since its hook failed: {}", crate::chain(&error)));
                }
            },
        };
        self.signal(signal)?;
        Ok(signal.to_string())
    }

    fn run_hook(&self, folder: &Path, launch: &Launch, hook: &[String]) -> Result<(), BeginError> {
        let pid = ("STEAD_PID".to_owned(), self.pid.to_string());
        // It belongs to the run's tree: it ends with it, at the latest.
        make(folder, launch, self.cgroup.as_ref(), self.run, hook, &[pid])?.release();
        Ok(())
    }

    /// Kills whatever is left of the tree; says how many processes that were.
    pub(crate) fn kill(&self, main_only: bool) -> io::Result<u32> {
        if main_only {
            return Ok(u32::from(self.signal(Signal::Kill)?));
        }
        if self.is_gone() {
            return Ok(0);
        }
        kill_tree(&self.tree())
    }

    /// Whether nothing of the tree is alive.
    pub(crate) fn is_gone(&self) -> bool {
        if self.born_here && !any_child() {
            return true;
        }
        match &self.cgroup {
            Some(cgroup) => cgroup.is_empty(),
            // What cannot be looked at may be alive.
            None => members(&self.tree()).is_ok_and(|members| members.is_empty()),
        }
    }

    fn tree(&self) -> Tree<'_> {
        let main = Some((self.pid, self.start_ticks));
        Tree { cgroup: self.cgroup.as_ref(), main, mark: &self.mark }
    }
}
