//! `stead-keeper --enter`: runs a program in the place of a run, for probes and `stead exec`: with
//! its account, environment, directory, limits and sandbox. It is no keeper and touches none.

use std::io;
use std::time::{Duration, Instant};

use stead_core::launch::Launch;
use stead_core::signal::Signal;
use stead_proc::{
    AsHandle, Cgroup, ENTERED, Fires, Held, Signals, SpawnSpec, any_child, kill_descendants,
    reap_all, spawn, wait,
};
use stead_wire::file;

use crate::keeper::{KeepError, LAUNCH_FORMAT};
use crate::recover::MARK_VARIABLE;
use crate::secrets::SecretError;
use crate::{Entered, Options};

/// Why a program could not be run in the place of a run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EnterError {
    #[error(transparent)]
    Keep(#[from] KeepError),
    #[error("its sandbox could not be prepared: {0}")]
    Sandbox(String),
    #[error("could not start it")]
    Spawn(#[source] stead_proc::SpawnError),
    #[error(transparent)]
    Exec(stead_proc::ExecFailed),
    #[error(transparent)]
    Secret(SecretError),
    #[error("could not wait for it")]
    Wait(#[source] io::Error),
}

/// Runs it to its end and says its exit code.
pub(crate) fn enter(options: &Options, entered: &Entered) -> Result<u8, EnterError> {
    let folder = stead_proc::one_path(&options.folder);
    let folder =
        folder.map_err(|source| KeepError::Folder { folder: options.folder.clone(), source })?;
    let bytes = std::fs::read(folder.join("spec.json")).map_err(KeepError::ReadSpec)?;
    let launch: Launch = file::decode(LAUNCH_FORMAT, &bytes).map_err(KeepError::Spec)?;
    let at = |step| move |source| KeepError::Start { step, source };
    let signals = Signals::take_over().map_err(at("take over signals"))?;
    // What it leaves behind comes to us, and ends with us at the latest.
    stead_proc::become_subreaper().map_err(at("become the reaper of its tree"))?;
    let second = launch.second.as_ref().filter(|_| entered.second);
    let mut env = vec![(MARK_VARIABLE.to_owned(), format!("{}#{}", folder.display(), entered.run))];
    let (name, value) = ENTERED.split_once('=').expect("it is a variable and its value");
    env.push((name.to_owned(), value.to_owned()));
    env.push(("STEAD_INSTANCE".to_owned(), launch.instance.to_string()));
    env.push(("STEAD_PID".to_owned(), entered.pid.to_string()));
    env.extend(second.map_or(&launch.env, |second| &second.env).clone());
    env.extend(crate::secrets::read(&launch).map_err(EnterError::Secret)?);
    env.extend(std::env::var("TERM").ok().map(|term| ("TERM".to_owned(), term)));
    let cgroup = Cgroup::of_process(entered.pid);
    let sandbox = crate::sandboxes::prepare(&folder, &launch);
    let sandbox = sandbox.transpose().map_err(EnterError::Sandbox)?;
    let held = spawn(&SpawnSpec {
        argv: &entered.argv,
        directory: &launch.directory,
        env: &env,
        account: launch.account.as_ref(),
        umask: launch.umask.0,
        new_privileges: launch.new_privileges,
        files: crate::limits::files(&launch.limits),
        stdin: Some(io::stdin().as_handle()),
        ends_with_us: true,
        sandbox: sandbox.as_ref(),
        out: io::stdout().as_handle(),
        err: io::stderr().as_handle(),
        holds: [None; 2],
        cgroup: cgroup.as_ref().map(AsHandle::as_handle),
        sockets: &[],
    });
    let held = held.map_err(EnterError::Spawn)?;
    let ended = attend(held, &signals, entered.within);
    end_what_is_left(&signals);
    ended
}

/// Waits for its end and says its exit code. What takes longer than it may is killed.
fn attend(held: Held, signals: &Signals, within: Option<Duration>) -> Result<u8, EnterError> {
    let deadline = within.map(|within| Instant::now() + within);
    let left = || deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    let is_late = || left().is_some_and(|left| left.is_zero());
    let main = held.hold().map_err(EnterError::Wait)?;
    let pid = held.pid();
    let progress = held.release();
    while !is_late() {
        let ready =
            wait(&[signals.as_handle(), progress.as_handle()], left()).map_err(EnterError::Wait)?;
        if ready[1] {
            break;
        }
    }
    if let Some(Err(error)) = progress.poll() {
        return Err(EnterError::Exec(error));
    }
    loop {
        let ended = reap_all().map_err(EnterError::Wait)?.into_iter().find(|it| it.pid == pid);
        if let Some(ended) = ended {
            return Ok(ended.shell_code());
        }
        let look = match left() {
            Some(left) if left.is_zero() => {
                main.signal(Signal::Kill).map_err(EnterError::Wait)?;
                LOOK_EVERY
            }
            Some(left) => left.min(LOOK_EVERY),
            None => LOOK_EVERY,
        };
        wait(&[signals.as_handle()], Some(look)).map_err(EnterError::Wait)?;
        if signals.take().contains(&Fires::End) {
            main.signal(Signal::Term).map_err(EnterError::Wait)?;
        }
    }
}

/// Ends what it has left behind, which is ours now, for we are the reaper of its tree.
fn end_what_is_left(signals: &Signals) {
    let until = Instant::now() + LEFT_WITHIN;
    while any_child() && Instant::now() < until {
        // Who we are for has the exit code already; what cannot be killed yet is tried again.
        let _ = kill_descendants();
        let _ = wait(&[signals.as_handle()], Some(LEFT_LOOK_EVERY));
        let _ = (signals.take(), reap_all());
    }
}

/// Killed processes end at once but for those that the kernel holds up: a disk that hangs.
const LEFT_WITHIN: Duration = Duration::from_secs(2);
const LEFT_LOOK_EVERY: Duration = Duration::from_millis(20);

/// A signal tells of an end; this is for one that was missed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
