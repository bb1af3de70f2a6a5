//! `cargo xtask bench ship`: a program of some 20 MB brought to hosts, beside rsync and Ansible.
//!
//! The hosts are network namespaces with an `sshd` each. They share this machine's cores and disk,
//! so that twenty of them are slower than twenty machines would be, for all alike.

mod bed;
mod payload;
mod ways;

use std::path::Path;
use std::{env, fs, process};

use anyhow::{Context, Result, bail};
use stead_lab::Hosts;

use super::clock::Instant;
use super::report::{Goal, Limit, Report};
use crate::packages::{self, Package};
use crate::say;
use crate::workspace::Binaries;

use bed::Bed;
use payload::Payload;
use ways::{Ansible, Rsync, Ssh, Stead, Way};

/// So many hosts the goals are about.
const GOAL_HOSTS_N: usize = 20;

const PACKAGES: &[Package] = &[
    Package { name: "openssh-server", program: "sshd", reason: "hosts to bring something to" },
    Package { name: "openssh-client", program: "ssh", reason: "the way to them" },
    Package { name: "iproute2", program: "ip", reason: "hosts of their own networks" },
    Package { name: "curl", program: "curl", reason: "scripts ask whether a service is ready" },
    Package { name: "rsync", program: "rsync", reason: "a way of deploying to compare with" },
    Package { name: "ansible-core", program: "ansible-playbook", reason: "another one" },
];

#[derive(clap::Args)]
pub(crate) struct Ship {
    /// Fail if a goal is missed
    #[arg(long)]
    gate: bool,
    /// Numbers of hosts
    #[arg(long, value_delimiter = ',', default_values_t = [1, 5, 20], value_name = "N,…")]
    hosts: Vec<usize>,
    /// Deploys to hosts that have nothing, by each way
    #[arg(long, default_value_t = 3, value_name = "N")]
    cold: usize,
    /// Deploys of a small change to hosts that have the program, by each way
    #[arg(long, default_value_t = 5, value_name = "N")]
    warm: usize,
    /// Only this way; may be given more than once
    #[arg(long, value_name = "NAME")]
    way: Vec<String>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum State {
    Cold,
    Warm,
}

impl Ship {
    pub(super) fn run(&self) -> Result<()> {
        packages::ensure(PACKAGES)?;
        if let Some(why) = Hosts::missing() {
            bail!("no hosts can be made here: {why}");
        }
        if self.cold == 0 {
            bail!("without one cold deploy nothing is there to be changed: `--cold 1`");
        }
        let mut report = Report::default();
        let ways = self.ways(&mut report)?;
        let payload = Payload::build(self.warm)?;
        report.note(format!("the program has {:.1} MB", payload.len() as f64 / 1e6));
        let folder = env::temp_dir().join(format!("stead-bench-{}", process::id()));
        for hosts_n in &self.hosts {
            let measured = self.measure(*hosts_n, &folder, &ways, &payload, &mut report);
            let removed = fs::remove_dir_all(&folder);
            measured?;
            removed.with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        promise(&mut report, self.hosts.contains(&GOAL_HOSTS_N));
        match self.json {
            true => say::result(report.json()),
            false => say::result(&report),
        }
        match report.missed_n() {
            missed_n @ 1.. if self.gate => bail!("{missed_n} goals missed"),
            _ => Ok(()),
        }
    }

    /// Those that are wanted and there.
    fn ways(&self, report: &mut Report) -> Result<Vec<Box<dyn Way>>> {
        let stead = Stead { program: Binaries::shipped()?.path("stead") };
        let all: [Box<dyn Way>; 4] =
            [Box::new(Ssh), Box::new(stead), Box::new(Rsync), Box::new(Ansible)];
        if let Some(name) = self.way.iter().find(|name| !all.iter().any(|it| it.name() == **name)) {
            bail!("no way here is called `{name}`");
        }
        let mut ways = Vec::new();
        for way in all {
            if !self.way.is_empty() && !self.way.iter().any(|name| *name == way.name()) {
                continue;
            }
            match way.missing() {
                Some(what) => report.note(format!("{}: not present: {what}", way.name())),
                None => {
                    report.note(format!("{}: {}", way.name(), way.terms()));
                    ways.push(way);
                }
            }
        }
        Ok(ways)
    }

    fn measure(
        &self,
        hosts_n: usize,
        folder: &Path,
        ways: &[Box<dyn Way>],
        payload: &Payload,
        report: &mut Report,
    ) -> Result<()> {
        let mut bed = Bed::make(folder, hosts_n)?;
        let mut taken = Taken::new(ways.len());
        for round in 0..self.cold {
            bed.wipe()?;
            ways.iter().try_for_each(|way| way.prepare(&bed))?;
            taken.take(&bed, ways, round, payload, 0)?;
        }
        taken.report(State::Cold, hosts_n, ways, report);
        let mut taken = Taken::new(ways.len());
        for round in 1..=self.warm {
            taken.take(&bed, ways, round, payload, round)?;
        }
        taken.report(State::Warm, hosts_n, ways, report);
        Ok(())
    }
}

/// What was measured of each way.
struct Taken {
    seconds: Vec<Vec<f64>>,
    /// Of each host.
    megabytes: Vec<Vec<f64>>,
}

impl Taken {
    fn new(ways_n: usize) -> Self {
        Self { seconds: vec![Vec::new(); ways_n], megabytes: vec![Vec::new(); ways_n] }
    }

    /// Deploys a version by each way, in an order that changes from round to round.
    fn take(
        &mut self,
        bed: &Bed,
        ways: &[Box<dyn Way>],
        round: usize,
        payload: &Payload,
        version: usize,
    ) -> Result<()> {
        for n in 0..ways.len() {
            let n = (n + round) % ways.len();
            let way = &ways[n];
            say::progress(format_args!(
                "version {version} to {} hosts by {}",
                bed.hosts_n,
                way.name()
            ));
            way.place(bed, &payload.program(version))?;
            bed.rest()?;
            let (before, began) = (bed.traffic()?, Instant::now());
            way.deploy(bed).with_context(|| format!("{} does not deploy", way.name()))?;
            self.seconds[n].push(Instant::now().seconds_since(began));
            let bytes = bed.traffic()? - before;
            self.megabytes[n].push(bytes as f64 / 1e6 / bed.hosts_n as f64);
            if let Some(port) = way.port() {
                bed.all_serve(port, version)?;
            }
        }
        Ok(())
    }

    fn report(self, state: State, hosts_n: usize, ways: &[Box<dyn Way>], report: &mut Report) {
        let (time, size) = measures(state, hosts_n);
        for (way, seconds) in ways.iter().zip(self.seconds) {
            report.add(&time, "s", way.name(), seconds);
        }
        for (way, megabytes) in ways.iter().zip(self.megabytes) {
            report.add(&size, "MB", way.name(), megabytes);
        }
    }
}

/// What the time and the bytes of each host are called.
fn measures(state: State, hosts_n: usize) -> (String, String) {
    let name = match state {
        State::Cold => "cold",
        State::Warm => "warm",
    };
    let time = format!("{name}, {hosts_n} hosts");
    let size = format!("{time}: each gets and sends");
    (time, size)
}

/// Holds stead's figures against its goals.
fn promise(report: &mut Report, is_measured: bool) {
    if !is_measured {
        return report.note(format!("the goals are about {GOAL_HOSTS_N} hosts"));
    }
    let (time, size) = measures(State::Warm, GOAL_HOSTS_N);
    let (stead, bytes) = (report.median(&time, Stead::NAME), report.median(&size, Stead::NAME));
    let ansible = report.median(&time, Ansible::NAME);
    let rsync = report.median(&size, Rsync::NAME);
    let ratio = |over: Option<f64>, under: Option<f64>| Some(over? / under?);
    for (name, value, limit, unit) in [
        ("warm, 20 hosts", stead, Limit::AtMost(3.0), "s"),
        ("warm, 20 hosts: Ansible / stead", ratio(ansible, stead), Limit::AtLeast(5.0), "x"),
        ("warm, 20 hosts: bytes / rsync -z", ratio(bytes, rsync), Limit::AtMost(0.3), "x"),
    ] {
        report.promise(Goal { name, value, limit, unit });
    }
}
