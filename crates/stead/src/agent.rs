//! The agent as a process: being it, and starting one.

use std::env::consts::EXE_SUFFIX;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use stead_host::Fault;
use tokio::time::Instant;

use crate::Context;
use crate::args::AgentRunArgs;
use crate::client::Client;
use crate::failure::Failure;
use crate::root;

/// How long an agent may take until it answers.
const START_WAIT: Duration = Duration::from_secs(10);
/// How long another agent, for which ours has ended, may take until it answers.
const OTHER_WAIT: Duration = Duration::from_secs(1);
const ASK_EVERY: Duration = Duration::from_millis(20);
/// How much of the agent's log is shown when it does not start.
const TAIL_LEN: u64 = 2 << 10;

fn keeper_name() -> String {
    format!("stead-keeper{EXE_SUFFIX}")
}

/// The keeper program: as told by STEAD_KEEPER_BIN, else beside this very program.
pub(crate) fn keeper_program() -> Result<PathBuf, Failure> {
    let told = std::env::var_os("STEAD_KEEPER_BIN").filter(|path| !path.is_empty());
    let keeper = match told {
        Some(path) => std::path::absolute(path),
        None => std::env::current_exe().map(|own| own.with_file_name(keeper_name())),
    };
    let keeper = keeper.unwrap_or_else(|_| keeper_name().into());
    if keeper.is_file() { Ok(keeper) } else { Err(Failure::KeeperMissing { looked_at: keeper }) }
}

/// Is the agent of this root until it is told to end. Blocks the thread.
pub(crate) fn run(ctx: &Context, mut args: AgentRunArgs) -> Result<(), Failure> {
    let root = ctx.root.clone();
    let Some(name) = args.service.take() else { return live(root.as_deref(), args) };
    // Whatever it lacks is told to the service manager, which hears only of what has begun.
    let life = move || {
        live(root.as_deref(), args).map_err(|failure| {
            let why = failure.whole();
            if let Ok(root) = root::find(root.as_deref()) {
                stead_agent::say_in_log(&root, &why);
            }
            Fault { code: failure.exit().code().into(), why }
        })
    };
    Ok(stead_host::be_service(&name, life)?)
}

fn live(root: Option<&Path>, args: AgentRunArgs) -> Result<(), Failure> {
    let options = stead_agent::Options {
        root: root::find(root)?,
        host: None,
        keeper_program: args.keeper.map_or_else(keeper_program, Ok)?,
        until_down: args.until_down,
        keeper_args: args.keeper_arg,
        crash_at: args.crash_at,
    };
    stead_agent::run(options).map(|_ended| ()).map_err(|source| Failure::Agent { source })
}

/// How long an agent lives that is started in the background.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lasts {
    Always,
    /// Until all that it keeps was told to go down and has.
    UntilDown,
}

/// Starts an agent of this very program for this root, and returns once it answers.
pub(crate) async fn start_own(client: &Client) -> Result<(), Failure> {
    let own = std::env::current_exe();
    let own = own.map_err(|error| failed(error, &client.root().join("agent.log"), 0))?;
    start(client, &own, Lasts::UntilDown).await
}

/// Starts an agent for this root in the background, and returns once it answers.
pub(crate) async fn start(client: &Client, program: &Path, lasts: Lasts) -> Result<(), Failure> {
    let root = client.root();
    let log = root.join("agent.log");
    // What is in the log already is not about this start.
    let log_from = std::fs::metadata(&log).map_or(0, |there| there.len());
    let mut args = vec![OsString::from("agent"), "run".into(), "--root".into(), root.into()];
    if lasts == Lasts::UntilDown {
        args.extend(["--until-down".into(), "--keeper".into(), keeper_program()?.into()]);
    }
    let args: Vec<&OsStr> = args.iter().map(OsString::as_os_str).collect();
    let pid = stead_proc::spawn_detached(program, &args, Some(&log))
        .map_err(|error| failed(error, &log, log_from))?;
    answers(client, pid, &log, log_from).await
}

async fn answers(client: &Client, pid: u32, log: &Path, log_from: u64) -> Result<(), Failure> {
    let mut deadline = Instant::now() + START_WAIT;
    let mut why = format!("it did not answer within {} s", START_WAIT.as_secs());
    let mut has_ended = false;
    loop {
        match client.get::<serde_json::Value>("/v1/status").await {
            Ok(_) => return Ok(()),
            Err(Failure::AgentMissing { .. } | Failure::AgentLost { .. }) => (),
            Err(other) => return Err(other),
        }
        if !has_ended && stead_proc::reap(pid).unwrap_or(false) {
            // Where two start an agent at a time, one ends for the other's sake and ours will do.
            has_ended = true;
            deadline = deadline.min(Instant::now() + OTHER_WAIT);
            why = "it ended at once".into();
        }
        if Instant::now() >= deadline {
            return Err(failed(why, log, log_from));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn failed(why: impl ToString, log: &Path, log_from: u64) -> Failure {
    let tail = tail(log, log_from).unwrap_or_default();
    Failure::AgentStart { why: why.to_string(), tail }
}

/// The last of what was written to a file from a byte on.
fn tail(path: &Path, from: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL_LEN).max(from.min(len))))?;
    let mut bytes = Vec::new();
    file.take(TAIL_LEN).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
