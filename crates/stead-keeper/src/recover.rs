//! What a new keeper finds: its instance's memory, and what still runs.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use stead_core::machine::{Goal, Instance, Memory as CoreMemory, Rest as CoreRest, RunId};
use stead_core::units::Millis;
use stead_proc::{CgroupHome, Process, Tree, boot_id, kill_tree, members, newest_marked, start_ms};
use stead_wire::journal::{Memory, Rest};

use crate::faults::{CrashPoint, Faults};

/// How long leftovers of an ended run may take to die before the keeper gives up; the agent then
/// starts another one, and no second run is begun meanwhile.
const LEFTOVERS_GONE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// Where the new keeper goes on.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) instance: Instance,
    /// The last run was going on by the journal.
    pub(crate) running: Option<Running>,
    /// A restart was under way.
    pub(crate) restarting: bool,
}

/// A run that another keeper began.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    /// `None` when it has ended meanwhile.
    pub(crate) main: Option<Process>,
}

/// The variable that marks everything a run of the instance in this folder starts, up to its value.
pub(crate) fn mark_prefix(folder: &Path) -> String {
    format!("{MARK_VARIABLE}={}#", folder.display())
}

/// The name of that variable.
pub(crate) const MARK_VARIABLE: &str = "STEAD_RUN";

/// Finds out where the instance stands. `None` as memory is an instance that never was.
pub(crate) fn recover(
    folder: &Path,
    memory: Option<&Memory>,
    home: Option<&CgroupHome>,
    faults: &Faults,
    now: Millis,
) -> io::Result<Recovered> {
    let Some(memory) = memory else {
        // The journal may be missing because it could not be written.
        let found = newest_run(folder, faults)?;
        return Ok(match found {
            None => fresh(now),
            Some((run, process)) => adopt(&Memory::default(), RunId(run), process, Goal::Up, now),
        });
    };
    faults.reach(CrashPoint::BeforeAdoption, folder);
    if faults.no_adoption {
        return Ok(at_rest(memory, now));
    }
    let same_boot = |boot: &str| boot_id().is_ok_and(|now| now == boot);
    let known = match &memory.process {
        Some(identity) if same_boot(&identity.boot) => {
            Process::open(identity.pid, identity.start_ticks)?
        }
        Some(_) | None => None,
    };
    if let Some(process) = known {
        return Ok(adopt(memory, memory.last_run, process, memory.goal, now));
    }
    // A run that the journal does not know was begun while the disk did not answer.
    match newest_run(folder, faults)? {
        Some((run, process)) if run > memory.last_run.0 => {
            return Ok(adopt(memory, RunId(run), process, memory.goal, now));
        }
        Some(_) | None => (),
    }
    let was_running = matches!(memory.rest, Rest::Running | Rest::Restarting);
    if let Some(identity) =
        memory.process.as_ref().filter(|was| was_running && same_boot(&was.boot))
    {
        let ended = Running { pid: identity.pid, start_ticks: identity.start_ticks, main: None };
        return Ok(going_on(memory, memory.last_run, ended, now, now));
    }
    if !faults.no_sweep {
        sweep_leftovers(folder, memory, home)?;
    }
    Ok(at_rest(memory, now))
}

fn newest_run(folder: &Path, faults: &Faults) -> io::Result<Option<(u64, Process)>> {
    if faults.no_scan { Ok(None) } else { newest_marked(&mark_prefix(folder)) }
}

/// An instance that never was. It is wanted before the first record says anything of it: a keeper
/// that dies right after that one leaves a start that is still owed.
fn fresh(now: Millis) -> Recovered {
    let owed = CoreMemory { goal: Goal::Up, ..core_memory(&Memory::default(), CoreRest::Waiting) };
    Recovered { instance: Instance::restore(owed, now), running: None, restarting: false }
}

fn adopt(memory: &Memory, run: RunId, process: Process, goal: Goal, now: Millis) -> Recovered {
    let since = Millis(start_ms(process.start_ticks()));
    let (pid, start_ticks) = (process.pid(), process.start_ticks());
    let running = Running { pid, start_ticks, main: Some(process) };
    going_on(&Memory { goal, ..memory.clone() }, run, running, since, now)
}

fn going_on(
    memory: &Memory,
    run: RunId,
    running: Running,
    since: Millis,
    now: Millis,
) -> Recovered {
    let restarting = memory.rest == Rest::Restarting && run == memory.last_run;
    let core = CoreMemory { last_run: run, ..core_memory(memory, CoreRest::Running { since }) };
    Recovered { instance: Instance::restore(core, now), running: Some(running), restarting }
}

/// Nothing runs: on with what the journal says.
fn at_rest(memory: &Memory, now: Millis) -> Recovered {
    let rest = match memory.rest {
        // Ended by a reboot; what was wanted is wanted still.
        Rest::Running | Rest::Restarting | Rest::Waiting if memory.goal == Goal::Up => {
            CoreRest::Waiting
        }
        Rest::Failed => CoreRest::Failed,
        Rest::Down | Rest::Running | Rest::Restarting | Rest::Waiting => CoreRest::Down,
    };
    let instance = Instance::restore(core_memory(memory, rest), now);
    Recovered { instance, running: None, restarting: false }
}

fn core_memory(memory: &Memory, rest: CoreRest) -> CoreMemory {
    CoreMemory {
        goal: memory.goal,
        last_run: memory.last_run,
        failures: memory.failures,
        restarts: memory.restarts,
        rest,
    }
}

/// Kills what an ended run left behind, if its keeper died before it could.
fn sweep_leftovers(folder: &Path, memory: &Memory, home: Option<&CgroupHome>) -> io::Result<()> {
    let mark = format!("{}{}", mark_prefix(folder), memory.last_run.0);
    let cgroup = home.map(|home| home.run(memory.last_run.0)).transpose()?;
    let tree = Tree { cgroup: cgroup.as_ref(), main: None, mark: &mark };
    let deadline = Instant::now() + LEFTOVERS_GONE_WITHIN;
    while !members(&tree)?.is_empty() {
        if Instant::now() > deadline {
            let text = "processes of an ended run cannot be killed";
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        kill_tree(&tree)?;
        thread::sleep(LOOK_AGAIN_AFTER);
    }
    Ok(())
}
