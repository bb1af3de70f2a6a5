//! What a new keeper finds: its instance's memory, and what still runs.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use stead_core::launch::Launch;
use stead_core::machine::{
    Goal, Instance, Memory as CoreMemory, Rest as CoreRest, RestBeside, RunId,
};
use stead_core::plan::When;
use stead_core::units::Millis;
use stead_proc::{
    CgroupHome, Process, StreamEnds, Tree, boot_id, kill_tree, members, newest_marked, start_ms,
};
use stead_wire::journal::{BesideMemory, Identity, Lane, Memory, Rest, Stream};

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
    /// The run beside it by the journal.
    pub(crate) beside: Option<Running>,
    /// A replacement was about to begin and there is no process of it.
    pub(crate) replacing: bool,
}

/// A run that another keeper began.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) run: RunId,
    pub(crate) lane: Lane,
    pub(crate) launch_mark: Option<u32>,
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    /// What it holds of its streams.
    pub(crate) stream_ends: Vec<u64>,
    /// `None` when it has ended meanwhile.
    pub(crate) main: Option<Process>,
}

impl Running {
    /// What it holds of one of its streams.
    pub(crate) fn holds(&self, stream: Stream) -> Option<StreamEnds<'_>> {
        let process = self.main.as_ref()?;
        let at = 2 * stream as usize;
        let [read, write] = *self.stream_ends.get(at..at + 2)? else { return None };
        Some(StreamEnds { process, read, write })
    }
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
    launch: &Launch,
    home: Option<&CgroupHome>,
    faults: &Faults,
    now: Millis,
) -> io::Result<Recovered> {
    let Some(memory) = memory else {
        // The journal may be missing because it could not be written.
        let found = newest_run(folder, faults)?;
        return Ok(match found {
            None => fresh(launch, now),
            Some((run, process)) => adopt(&Memory::default(), RunId(run), process, Goal::Up, now),
        });
    };
    faults.reach(CrashPoint::BeforeAdoption, folder);
    if faults.no_adoption {
        return Ok(at_rest(memory, launch, now));
    }
    let found = recover_run(folder, memory, launch, home, faults, now)?;
    recover_beside(found, memory, launch, now)
}

/// The run that is up by the journal, or whatever else is to be done.
fn recover_run(
    folder: &Path,
    memory: &Memory,
    launch: &Launch,
    home: Option<&CgroupHome>,
    faults: &Faults,
    now: Millis,
) -> io::Result<Recovered> {
    let run = memory.run.unwrap_or(memory.last_run);
    let known = memory.process.as_ref().map(open).transpose()?.flatten();
    // A run that the journal does not know was begun while the disk did not answer.
    let unknown = || -> io::Result<_> {
        let newest = newest_run(folder, faults)?;
        let beside = memory.beside.as_ref().map_or(0, |beside| beside.run.0);
        Ok(newest.filter(|(newest, _)| *newest > memory.last_run.0.max(beside)))
    };
    if let Some(process) = known {
        let mut found = adopt(memory, run, process, memory.goal, now);
        if launch.replace.overlap
            && let Some((coming, process)) = unknown()?
        {
            found.beside = Some(running_as(RunId(coming), process, Lane::default(), None));
        }
        return Ok(found);
    }
    if let Some((run, process)) = unknown()? {
        return Ok(adopt(memory, RunId(run), process, memory.goal, now));
    }
    let was_running = matches!(memory.rest, Rest::Running | Rest::Restarting);
    if let Some(identity) =
        memory.process.as_ref().filter(|was| was_running && is_of_this_boot(was))
    {
        let (lane, launch_mark) = (memory.lane, memory.run_mark);
        let Identity { pid, start_ticks, .. } = *identity;
        let stream_ends = Vec::new();
        let ended = Running { run, lane, launch_mark, pid, start_ticks, stream_ends, main: None };
        return Ok(going_on(memory, run, ended, now, now));
    }
    if !faults.no_sweep {
        sweep_leftovers(folder, memory, home)?;
    }
    Ok(at_rest(memory, launch, now))
}

/// Adds the run beside it.
fn recover_beside(
    mut found: Recovered,
    memory: &Memory,
    launch: &Launch,
    now: Millis,
) -> io::Result<Recovered> {
    let give_up_at = now + launch.replace.within;
    let rest = match (&memory.beside, &found.beside) {
        (None, None) => return Ok(found),
        (_, Some(unknown)) => RestBeside::Coming { run: unknown.run, give_up_at },
        (Some(BesideMemory { run, coming, process, lane, run_mark }), None) => {
            let Some(identity) = process.as_ref().filter(|it| is_of_this_boot(it)) else {
                found.replacing = *coming;
                return Ok(found);
            };
            let Identity { pid, start_ticks, .. } = *identity;
            let (run, lane, launch_mark) = (*run, *lane, *run_mark);
            let main = Process::open(pid, start_ticks)?;
            let stream_ends = identity.stream_ends.clone();
            let beside = Running { run, lane, launch_mark, pid, start_ticks, stream_ends, main };
            found.beside = Some(beside);
            match coming {
                true => RestBeside::Coming { run, give_up_at },
                false => RestBeside::Going { run, kill_at: now + launch.stop.timeout },
            }
        }
    };
    found.instance = found.instance.with_beside(rest);
    Ok(found)
}

fn is_of_this_boot(identity: &Identity) -> bool {
    boot_id().is_ok_and(|now| now == identity.boot)
}

/// The process that is meant, if it is alive.
fn open(identity: &Identity) -> io::Result<Option<Process>> {
    if is_of_this_boot(identity) {
        Process::open(identity.pid, identity.start_ticks)
    } else {
        Ok(None)
    }
}

fn running_as(run: RunId, process: Process, lane: Lane, launch_mark: Option<u32>) -> Running {
    let (pid, start_ticks) = (process.pid(), process.start_ticks());
    let main = Some(process);
    Running { run, lane, launch_mark, pid, start_ticks, stream_ends: Vec::new(), main }
}

fn newest_run(folder: &Path, faults: &Faults) -> io::Result<Option<(u64, Process)>> {
    if faults.no_scan { Ok(None) } else { newest_marked(&mark_prefix(folder)) }
}

/// An instance that never was. It is wanted before the first record says anything of it: a keeper
/// that dies right after that one leaves a start that is still owed. One that has its times waits
/// for the first of them.
fn fresh(launch: &Launch, now: Millis) -> Recovered {
    let rest = if launch.schedule.is_some() { CoreRest::Down } else { CoreRest::Waiting };
    let owed = CoreMemory { goal: Goal::Up, ..core_memory(&Memory::default(), rest) };
    resting(Instance::restore(owed, now))
}

fn resting(instance: Instance) -> Recovered {
    Recovered { instance, running: None, restarting: false, beside: None, replacing: false }
}

fn adopt(memory: &Memory, run: RunId, process: Process, goal: Goal, now: Millis) -> Recovered {
    let since = Millis(start_ms(process.start_ticks()));
    // What the journal says is about the run that it knows.
    let is_known = run == memory.run.unwrap_or(memory.last_run);
    let lane = if is_known { memory.lane } else { Lane::default() };
    let mut running = running_as(run, process, lane, memory.run_mark.filter(|_| is_known));
    if let Some(identity) = memory.process.as_ref().filter(|_| is_known) {
        running.stream_ends.clone_from(&identity.stream_ends);
    }
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
    let core = core_memory(memory, CoreRest::Running { since });
    let last_run = run.max(memory.last_run);
    let core = CoreMemory { last_run, run: Some(run), ..core };
    let running = Some(running);
    Recovered { running, restarting, ..resting(Instance::restore(core, now)) }
}

/// Nothing runs: on with what the journal says.
fn at_rest(memory: &Memory, launch: &Launch, now: Millis) -> Recovered {
    // A run of its own time that a reboot has ended is tried again only if failed ones are.
    let is_over = launch.schedule.is_some() && launch.restart.when == When::Never;
    let rest = match memory.rest {
        Rest::Running | Rest::Restarting if is_over => CoreRest::Failed,
        // Ended by a reboot; what was wanted is wanted still.
        Rest::Running | Rest::Restarting | Rest::Waiting if memory.goal == Goal::Up => {
            CoreRest::Waiting
        }
        Rest::Failed => CoreRest::Failed,
        Rest::Down | Rest::Running | Rest::Restarting | Rest::Waiting => CoreRest::Down,
    };
    resting(Instance::restore(core_memory(memory, rest), now))
}

fn core_memory(memory: &Memory, rest: CoreRest) -> CoreMemory {
    CoreMemory {
        goal: memory.goal,
        last_run: memory.last_run,
        failures: memory.failures,
        restarts: memory.restarts,
        rest,
        run: None,
        beside: None,
    }
}

/// Kills what an ended run left behind, if its keeper died before it could.
fn sweep_leftovers(folder: &Path, memory: &Memory, home: Option<&CgroupHome>) -> io::Result<()> {
    let run = memory.run.unwrap_or(memory.last_run);
    let mark = format!("{}{}", mark_prefix(folder), run.0);
    let slot = memory.lane.slot.map_or(run.0 % 2, u64::from);
    let cgroup = home.map(|home| home.run(slot)).transpose()?;
    let tree = Tree { cgroup: cgroup.as_ref(), main: None, mark: &mark, alone: true };
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
