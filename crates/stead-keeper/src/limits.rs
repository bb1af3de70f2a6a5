//! What runs are held to, and what is told when they come up against it.

use std::time::Duration;

use stead_core::machine::RunId;
use stead_core::plan::{Enforce, Limits};
use stead_core::units::{Bytes, Millis, show_duration};
use stead_proc::{
    Ceilings, Cgroup, CgroupHome, Hits, Keepable, boot_ms, open_files, open_files_ceiling,
};
use stead_wire::journal::Event;

use crate::current::Current;
use crate::keeper::Keeper;

/// How often the counters of a limited run are read.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The same limit of a run is told of this often at most.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// A run that waited for CPU time for less than this share of the time is not slowed by its limit.
const THROTTLED_MIN_PERCENT: u64 = 10;

/// Where runs are held to their limits, as far as the host can.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// Why there is no cgroup for runs; empty if there is.
    why_none: String,
    /// What can be kept, once a launch has asked for it.
    keepable: Option<Keepable>,
    look_at: Option<Millis>,
}

/// What a run has come up against so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Watched {
    seen: Hits,
    /// When each limit was told of last.
    told_at: [Option<Millis>; 4],
    looked_at: Millis,
}

impl Watched {
    /// From now on: a cgroup that is used again has counted before.
    pub(crate) fn from_now(cgroup: Option<&Cgroup>) -> Self {
        let seen = cgroup.map(Cgroup::hits).unwrap_or_default();
        Self { seen, told_at: [None; 4], looked_at: Millis(boot_ms()) }
    }
}

fn ceilings(limits: &Limits) -> Ceilings {
    Ceilings {
        memory: limits.memory.map(|Bytes(bytes)| bytes),
        cpu: limits.cpu.map(|cpu| cpu.0),
        processes: limits.processes,
        io_weight: limits.io_weight,
    }
}

/// How many files a run may hold open, as far as that can be had.
pub(crate) fn files(limits: &Limits) -> Option<u64> {
    limits.files.map(|files| files.min(open_files_ceiling()))
}

impl Limiter {
    pub(crate) fn new(home: &Result<CgroupHome, String>) -> Self {
        let was_limited = home.as_ref().is_ok_and(CgroupHome::is_limited);
        Self {
            why_none: home.as_ref().err().cloned().unwrap_or_default(),
            keepable: was_limited.then(|| home.as_ref().map(CgroupHome::keepable).ok()).flatten(),
            look_at: None,
        }
    }

    /// Finds out what can be kept, if that is asked for.
    pub(crate) fn prepare(&mut self, home: Option<&CgroupHome>, limits: &Limits) {
        if limits.need_cgroup() && self.keepable.is_none() {
            self.keepable = home.map(CgroupHome::keepable);
        }
    }

    /// Those that cannot be kept.
    pub(crate) fn unkept(&self, limits: &Limits) -> Option<String> {
        let wanted = ceilings(limits);
        let missing = self.keepable.unwrap_or_default().missing(&wanted);
        let mut missing = missing;
        let ceiling = open_files_ceiling();
        if let Some(files) = limits.files.filter(|files| *files > ceiling) {
            let why =
                format!("`limits.files` of {files} cannot be kept here: the most is {ceiling}");
            if missing.is_empty() {
                return Some(why);
            }
            missing.push("files");
        }
        let names: Vec<String> = missing.iter().map(|name| format!("`limits.{name}`")).collect();
        let why = match self.why_none.as_str() {
            "" => "its cgroups have no such controller",
            why => why,
        };
        (!names.is_empty()).then(|| format!("{} cannot be kept here: {why}", names.join(", ")))
    }

    /// Holds a run to its limits; says why it may not run.
    pub(crate) fn hold(&self, cgroup: Option<&Cgroup>, limits: &Limits) -> Result<(), String> {
        if let Some(unkept) = self.unkept(limits)
            && limits.enforce == Enforce::Must
        {
            return Err(format!("{unkept}; `limits.enforce = \"best\"` runs it all the same"));
        }
        let (Some(cgroup), Some(_)) = (cgroup, self.keepable) else { return Ok(()) };
        match cgroup.hold_to(&ceilings(limits)) {
            Err(error) if limits.enforce == Enforce::Must => {
                Err(format!("its limits cannot be set: {error}"))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// When to look next, if there is anything to look at.
    pub(crate) fn look_at(&self) -> Option<Millis> {
        self.look_at
    }
}

impl Keeper {
    /// Holds every run to what the launch says now.
    pub(crate) fn hold_in_place(&mut self) {
        self.limiter.prepare(self.home.as_ref(), &self.launch.limits);
        for current in &self.runs {
            // A run is not ended for what cannot be kept; that is said with the report.
            let _ = self.limiter.hold(current.cgroup.as_ref(), &self.launch.limits);
        }
    }

    /// Tells of the limits that runs have come up against.
    pub(crate) fn look_at_limits(&mut self, now: Millis) {
        let limits = &self.launch.limits;
        let by_cgroup = limits.need_cgroup() && self.limiter.keepable.is_some();
        if self.runs.is_empty() || (!by_cgroup && limits.files.is_none()) {
            self.limiter.look_at = None;
            return;
        }
        if self.limiter.look_at.is_none_or(|at| at <= now) {
            self.limiter.look_at = Some(now + LOOK_EVERY);
            let runs: Vec<RunId> = self.runs.iter().map(|current| current.run).collect();
            for run in runs {
                self.look_at_hits(run, now);
            }
        }
    }

    /// Tells of what a run has come up against since the last look; says whether the kernel has
    /// killed in it for want of memory.
    pub(crate) fn look_at_hits(&mut self, run: RunId, now: Millis) -> bool {
        let limits = self.launch.limits;
        let Some(current) = self.find_mut(run) else { return false };
        let cgroup = current.cgroup.as_ref().filter(|_| limits.need_cgroup());
        let hits = cgroup.map_or(current.watched.seen, Cgroup::hits);
        let full = files(&limits).and_then(|most| Some((full_of_files(current, most)?, most)));
        let was_killed = hits.out_of_memory > current.watched.seen.out_of_memory;
        for (limit, what) in told(current, hits, full, &limits, now) {
            let limit = limit.to_owned();
            self.note(Event::LimitHit { run: run.0, limit, what });
        }
        was_killed
    }
}

/// A process of the run that holds as many files open as it may. No system counts what a process
/// was refused; one that stays at its limit is seen.
fn full_of_files(current: &Current, most: u64) -> Option<u32> {
    let members = current.cgroup.as_ref().and_then(|cgroup| cgroup.pids().ok());
    let pids = members.unwrap_or_else(|| vec![current.pid]);
    pids.into_iter().find(|pid| open_files(*pid).is_ok_and(|held| held >= most))
}

/// What is to be told, and takes note of it; `full` is a process that may open no more files, and
/// how many it may.
fn told(
    current: &mut Current,
    hits: Hits,
    full: Option<(u32, u64)>,
    limits: &Limits,
    now: Millis,
) -> Vec<(&'static str, String)> {
    let Watched { seen, told_at, looked_at } = &mut current.watched;
    let time = now - *looked_at;
    *looked_at = now;
    let kills = hits.out_of_memory.saturating_sub(seen.out_of_memory);
    let refused = hits.processes.saturating_sub(seen.processes);
    let throttled = Duration::from_micros(hits.throttled_us.saturating_sub(seen.throttled_us));
    *seen = Hits { processes: seen.processes, ..hits };
    let is_slowed = throttled.as_millis() * 100
        >= time.as_millis() * u128::from(THROTTLED_MIN_PERCENT)
        && throttled > Duration::ZERO;
    let at = |limit: Option<String>| limit.map_or("a limit above its own".to_owned(), |it| it);
    let found = [
        (kills > 0).then(|| {
            let limit = at(limits.memory.map(|memory| format!("its limit of {memory}")));
            ("memory", format!("the kernel ended it, since it was out of memory at {limit}"))
        }),
        (refused > 0).then(|| {
            let limit = at(limits.processes.map(|most| format!("its limit of {most}")));
            ("processes", format!("{refused} processes or threads were refused at {limit}"))
        }),
        is_slowed.then(|| {
            let limit = at(limits.cpu.map(|cpu| format!("its limit of {cpu}")));
            let (waited, of) = (in_ms(throttled), in_ms(time));
            ("cpu", format!("its threads waited {waited} for CPU time in {of}, at {limit}"))
        }),
        full.map(|(pid, most)| {
            ("files", format!("process {pid} holds as many files open as it may, {most}"))
        }),
    ];
    let mut told = Vec::new();
    for (found, told_at) in found.into_iter().zip(told_at) {
        let is_due = told_at.is_none_or(|at| now - at >= TOLD_EVERY);
        if let Some(found) = found.filter(|_| is_due) {
            *told_at = Some(now);
            told.push(found);
        }
    }
    // What was not told yet is told with the next.
    if told.iter().any(|(limit, _)| *limit == "processes") {
        seen.processes = hits.processes;
    }
    told
}

fn in_ms(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    show_duration(Duration::from_millis(ms))
}
