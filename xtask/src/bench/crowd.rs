//! A supervisor with many services: how fast it starts them, and what it costs to keep them.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::clock::{Instant, wait_for};
use super::keep::{Measure, Trial};
use super::peers::{Peer, Running, Stead};
use super::procfs::Process;
use super::report::Report;
use crate::say;

/// The size that supervisors are compared at.
pub(super) const CROWD_N: usize = 100;
const STEAD_ALSO_N: [usize; 2] = [1, 10];
const REPETITIONS_N: usize = 3;

const START_LIMIT: Duration = Duration::from_secs(120);
/// Until what a start leaves to be done is done.
const SETTLE: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(10);

/// What one start of one supervisor showed.
#[derive(Default)]
struct Seen {
    start_seconds: Vec<f64>,
    pss_megabytes: Vec<f64>,
    kernel_megabytes: Vec<f64>,
    cpu_percent: Vec<f64>,
    processes_n: Vec<f64>,
}

pub(super) fn pss(instances_n: usize) -> String {
    format!("PSS at {instances_n}")
}

/// Starts, weighs and watches each supervisor in turn, and all of them again.
pub(super) fn measure(trial: &Trial<'_>, report: &mut Report) {
    let mut seen: Vec<(usize, &dyn Peer, Seen)> = Vec::new();
    for peer in trial.peers.iter().filter(|peer| peer.name() == Stead::NAME) {
        seen.extend(STEAD_ALSO_N.map(|n| (n, &**peer, Seen::default())));
    }
    let all = trial.peers.iter().filter(|peer| !peer.only_restarts());
    seen.extend(all.map(|peer| (CROWD_N, &**peer, Seen::default())));
    for round in 1..=REPETITIONS_N {
        for (instances_n, peer, seen) in &mut seen {
            let name = peer.name();
            say::progress(format_args!("{instances_n} instances: {name}, {round}"));
            if let Err(error) = seen.add(trial, *peer, *instances_n) {
                report.note(format!("{name} with {instances_n} instances: {error:#}"));
            }
        }
    }
    for (instances_n, peer, seen) in seen {
        seen.tell(trial, instances_n, peer.name(), report);
    }
    if trial.wants(Measure::Memory) {
        report.note(
            "PSS is the supervisor's own processes without the services; kernel memory is an \
             estimate: their page tables (VmPTE) and 16 KiB of stack a thread"
                .to_owned(),
        );
    }
}

impl Seen {
    fn add(&mut self, trial: &Trial<'_>, peer: &dyn Peer, instances_n: usize) -> Result<()> {
        let began = Instant::now();
        let running = peer.start(&trial.bed(instances_n)?)?;
        self.start_seconds.push(last_start(&running, instances_n)?.seconds_since(began));
        thread::sleep(SETTLE);
        let supervisors = running.supervisors()?;
        let (pss, kernel) = memory(&supervisors)?;
        self.pss_megabytes.push(pss / 1e6);
        self.kernel_megabytes.push(kernel / 1e6);
        self.processes_n.push(supervisors.len() as f64);
        if trial.wants(Measure::Cpu) {
            let (before, from) = (cpu_seconds(&supervisors)?, Instant::now());
            thread::sleep(IDLE);
            let spent = cpu_seconds(&supervisors)? - before;
            self.cpu_percent.push(100.0 * spent / Instant::now().seconds_since(from));
        }
        Ok(())
    }

    fn tell(self, trial: &Trial<'_>, instances_n: usize, subject: &str, report: &mut Report) {
        let at = |what: &str| format!("{what} at {instances_n}");
        if trial.wants(Measure::Start) {
            let seconds = self.start_seconds;
            report.add(&format!("start of {instances_n}"), "s", subject, seconds);
        }
        if trial.wants(Measure::Memory) {
            report.add(&pss(instances_n), "MB", subject, self.pss_megabytes);
            report.add(&at("kernel"), "MB", subject, self.kernel_megabytes);
            report.add(&at("processes"), "", subject, self.processes_n);
        }
        if trial.wants(Measure::Cpu) {
            report.add(&at("idle CPU"), "% core", subject, self.cpu_percent);
        }
    }
}

/// When the last of the services began, by its own clock.
fn last_start(running: &Running, instances_n: usize) -> Result<Instant> {
    wait_for("all services running", START_LIMIT, || {
        let stamps = running.bed().stamps()?;
        let pids: BTreeSet<_> = stamps.iter().map(|stamp| stamp.pid).collect();
        let last = stamps.iter().map(|stamp| stamp.at).max();
        Ok(last.filter(|_| pids.len() >= instances_n))
    })
}

/// Proportional and kernel memory of the processes together, in bytes.
fn memory(processes: &BTreeSet<Process>) -> Result<(f64, f64)> {
    let gone = "a supervisor ended while it was weighed";
    let sum = |bytes: fn(Process) -> Option<u64>| -> Result<f64> {
        let sum: Option<u64> = processes.iter().map(|process| bytes(*process)).sum();
        Ok(sum.context(gone)? as f64)
    };
    Ok((sum(Process::pss_bytes)?, sum(Process::kernel_bytes)?))
}

fn cpu_seconds(processes: &BTreeSet<Process>) -> Result<f64> {
    let sum: Option<f64> = processes.iter().map(|process| process.cpu_seconds()).sum();
    sum.context("a supervisor ended while its CPU time was watched")
}
