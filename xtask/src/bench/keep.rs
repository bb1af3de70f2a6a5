//! `cargo xtask bench keep`: what it costs to keep programs up.

use std::cell::Cell;
use std::path::PathBuf;
use std::{env, fs, process};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::front::Front;
use super::peers::{
    Bed, Floor, Oxmgr, Peer, Pm2, Runit, RunitBare, S6, STABLE_AFTER, Stead, Supervisord,
};
use super::report::{Goal, Limit, Report};
use super::serve::Serve;
use super::ship::Ship;
use super::{crowd, latency, logs};
use crate::packages::{self, Package};
use crate::say;
use crate::workspace::{Binaries, make, scratch};

#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// Requests, bytes and latency through the front, beside HAProxy and without either
    Front(Front),
    /// Crash to next run, memory, start, idle CPU and logs, beside other supervisors
    Keep(Keep),
    /// CPU of probing beside a bare C loop, ready to reported, replacement, and the front
    Serve(Serve),
    /// A 20 MB program brought to 1, 5 and 20 hosts, beside rsync and Ansible
    Ship(Ship),
}

#[derive(clap::Args)]
pub(crate) struct Keep {
    /// Fail if a goal is missed
    #[arg(long)]
    gate: bool,
    /// Crashes of each supervisor
    #[arg(long, default_value_t = 31, value_name = "N")]
    runs: usize,
    /// Only this measure; may be given more than once
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Measure>,
    /// Only this supervisor; may be given more than once
    #[arg(long, value_name = "NAME")]
    peer: Vec<String>,
    /// Measure this `stead`, with its keeper beside it, instead of building one
    #[arg(long, value_name = "FILE")]
    stead: Option<PathBuf>,
    /// Bytes of log to take in and to search
    #[arg(long, default_value_t = 1_000_000_000, value_name = "N")]
    log_bytes: u64,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub(super) enum Measure {
    Cpu,
    Crash,
    Ingest,
    Memory,
    Search,
    Start,
}

/// What every measure is given.
pub(super) struct Trial<'a> {
    pub(super) peers: &'a [Box<dyn Peer>],
    pub(super) log_bytes: u64,
    only: &'a [Measure],
    probe: PathBuf,
    folder: PathBuf,
    beds_n: Cell<u32>,
}

const PACKAGES: &[Package] = &[
    Package { name: "runit", program: "runsvdir", reason: "a supervisor to compare with" },
    Package { name: "s6", program: "s6-svscan", reason: "a supervisor to compare with" },
    Package { name: "supervisor", program: "supervisord", reason: "a supervisor to compare with" },
    Package { name: "ripgrep", program: "rg", reason: "the search to compare with" },
];

pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Front(front) => front.run(),
        Bench::Keep(keep) => keep.run(),
        Bench::Serve(serve) => serve.run(),
        Bench::Ship(ship) => ship.run(),
    }
}

impl Keep {
    fn run(&self) -> Result<()> {
        packages::ensure(PACKAGES)?;
        let mut report = Report::default();
        let probes = Binaries::probes()?;
        let stead = self.stead()?;
        let peers = self.peers(&probes, stead.clone(), &mut report)?;
        // A short path: the name of a socket has room for a hundred characters.
        let folder = env::temp_dir().join(format!("stead-bench-{}", process::id()));
        make(&folder)?;
        let trial = Trial {
            peers: &peers,
            log_bytes: self.log_bytes,
            only: &self.only,
            probe: probes.path("bench-probe"),
            folder: folder.clone(),
            beds_n: Cell::new(0),
        };
        let measured = self.measure(&trial, stead.as_ref(), &mut report);
        let removed = fs::remove_dir_all(&folder);
        measured?;
        removed.with_context(|| format!("cannot remove {}", folder.display()))?;
        self.conclude(&report)
    }

    fn measure(&self, trial: &Trial<'_>, stead: Option<&Stead>, report: &mut Report) -> Result<()> {
        if trial.wants(Measure::Crash) {
            latency::measure(trial, self.runs, report)?;
        }
        if [Measure::Start, Measure::Memory, Measure::Cpu].iter().any(|one| trial.wants(*one)) {
            crowd::measure(trial, report);
        }
        if let Some(stead) = stead {
            if (trial.wants(Measure::Ingest) || trial.wants(Measure::Search))
                && let Err(error) = logs::measure(trial, stead, report)
            {
                report.note(format!("logs: {error:#}"));
            }
            promise(trial, self.peer.is_empty(), report);
        }
        Ok(())
    }

    fn conclude(&self, report: &Report) -> Result<()> {
        if self.json {
            say::result(report.json());
        } else {
            say::result(report);
        }
        match report.missed_n() {
            0 => Ok(()),
            missed_n if self.gate => bail!("{missed_n} goals missed"),
            _ => Ok(()),
        }
    }

    fn takes(&self, name: &str) -> bool {
        self.peer.is_empty() || self.peer.iter().any(|peer| peer == name)
    }

    fn stead(&self) -> Result<Option<Stead>> {
        if !self.takes(Stead::NAME) {
            return Ok(None);
        }
        let program = match &self.stead {
            Some(program) => program.clone(),
            None => Binaries::shipped()?.path("stead"),
        };
        Ok(Some(Stead { program }))
    }

    /// Those that are wanted and there; who is missing and who has which terms is noted.
    fn peers(
        &self,
        probes: &Binaries,
        stead: Option<Stead>,
        report: &mut Report,
    ) -> Result<Vec<Box<dyn Peer>>> {
        let floor = Floor { program: probes.path("bench-floor") };
        let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(floor)];
        peers.extend(stead.map(|stead| Box::new(stead) as Box<dyn Peer>));
        peers.push(Box::new(Runit));
        peers.push(Box::new(RunitBare));
        peers.push(Box::new(S6));
        peers.push(Box::new(Supervisord));
        if self.takes(Pm2::NAME) {
            peers.push(Box::new(Pm2::install(&scratch("bench/peers")?)));
        }
        peers.push(Box::new(Oxmgr));
        let known = |name: &&String| peers.iter().any(|peer| peer.name() == **name);
        if let Some(name) = self.peer.iter().find(|name| !known(name)) {
            bail!("no supervisor here is called `{name}`");
        }
        peers.retain(|peer| {
            let wanted = self.takes(peer.name());
            let missing = peer.missing();
            if wanted {
                let said = missing.as_deref().map(|what| format!("not present: {what}"));
                let said = said.unwrap_or_else(|| peer.terms().to_owned());
                report.note(format!("{}: {said}", peer.name()));
            }
            wanted && missing.is_none()
        });
        let wait = STABLE_AFTER.as_millis();
        report.note(format!("every service is up for {wait} ms or more before it is killed"));
        Ok(peers)
    }
}

impl Trial<'_> {
    pub(super) fn wants(&self, measure: Measure) -> bool {
        self.only.is_empty() || self.only.contains(&measure)
    }

    /// A bed that nothing has slept in.
    pub(super) fn bed(&self, instances_n: usize) -> Result<Bed> {
        let n = self.beds_n.get();
        self.beds_n.set(n + 1);
        Bed::make(self.folder.join(n.to_string()), &self.probe, instances_n)
    }
}

/// Holds the figures of stead against its goals, as far as they were asked for. `all` says that
/// everybody was: then one that could not be compared with is a goal missed.
fn promise(trial: &Trial<'_>, all: bool, report: &mut Report) {
    let ratio = |over: Option<f64>, under: Option<f64>| Some(over? / under?);
    let mut goals = Vec::new();
    if trial.wants(Measure::Crash) {
        let stead = report.median(latency::CRASH, Stead::NAME);
        let floor = report.median(latency::CRASH, Floor::NAME);
        // Nobody runs a service without arguments: that one shows what runit itself takes.
        let others = [Stead::NAME, Floor::NAME, RunitBare::NAME];
        let best = report.medians_but(latency::CRASH, &others);
        let best = best.min_by(f64::total_cmp);
        let (name, limit) = ("crash to next run / floor", Limit::AtMost(1.5));
        if all || floor.is_some() {
            goals.push(Goal { name, value: ratio(stead, floor), limit, unit: "x" });
        }
        let (name, limit) = ("crash to next run / best peer", Limit::AtMost(0.5));
        if all || best.is_some() {
            goals.push(Goal { name, value: ratio(stead, best), limit, unit: "x" });
        }
    }
    if trial.wants(Measure::Memory) {
        let value = report.median(&crowd::pss(crowd::CROWD_N), Stead::NAME);
        let (name, limit) = ("PSS at 100", Limit::AtMost(12.0));
        goals.push(Goal { name, value, limit, unit: "MB" });
    }
    if trial.wants(Measure::Ingest) {
        let cat = report.median(logs::INGEST, logs::CAT).unwrap_or(f64::INFINITY);
        let value = report.median(logs::INGEST, Stead::NAME);
        let (name, limit) =
            ("log ingest: 200 or cat / 2", Limit::AtLeast(f64::min(200.0, cat / 2.0)));
        goals.push(Goal { name, value, limit, unit: "MB/s" });
    }
    if trial.wants(Measure::Search) {
        let stead = report.median(logs::SEARCH, Stead::NAME);
        let ripgrep = report.median(logs::SEARCH, logs::RIPGREP);
        let (name, limit) = ("log search / rg", Limit::AtMost(1.5));
        goals.push(Goal { name, value: ratio(stead, ripgrep), limit, unit: "x" });
    }
    goals.into_iter().for_each(|goal| report.promise(goal));
}
