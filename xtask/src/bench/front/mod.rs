//! `cargo xtask bench front`: what it costs to have a front.

mod subject;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, process, thread};

use anyhow::{Context, Result, bail, ensure};

use self::subject::{Origin, Standing, Subject, end, first_line};
use super::clock::Instant;
use super::report::{Goal, Limit, Report};
use crate::packages::{self, Package};
use crate::workspace::{Binaries, make};
use crate::{process as run, say};

const PACKAGES: &[Package] =
    &[Package { name: "haproxy", program: "haproxy", reason: "a front to compare with" }];

const CLIENTS_N: usize = 64;
const POURS_N: usize = 4;
const IDLE_N: usize = 1000;

/// Well below what any of them can do, so that a latency is not one of a queue.
const KEPT_RATE: f64 = 2000.0;
const NEW_RATE: f64 = 1000.0;

/// Until what a load leaves to be given back is given back.
const SETTLE: Duration = Duration::from_millis(1500);

#[derive(clap::Args)]
pub(crate) struct Front {
    /// Fail if a goal is missed
    #[arg(long)]
    gate: bool,
    /// How often each is measured
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// How long each measurement lasts
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    seconds: f64,
    /// Measure this `stead-front` instead of building one
    #[arg(long, value_name = "FILE")]
    front: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// What is measured, each in its unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Measure {
    Kept,
    KeptCpu,
    New,
    NewCpu,
    Bulk,
    BulkCpu,
    KeptP50,
    KeptP99,
    NewP50,
    NewP99,
    IdleMemory,
}

impl Measure {
    fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Kept => ("requests, kept connections", "1/s"),
            Self::KeptCpu => ("its CPU time, kept", "µs/request"),
            Self::New => ("requests, new connections", "1/s"),
            Self::NewCpu => ("its CPU time, new", "µs/request"),
            Self::Bulk => ("bulk", "MB/s"),
            Self::BulkCpu => ("its CPU time, bulk", "µs/MB"),
            Self::KeptP50 => ("latency p50, kept, 2000/s", "µs"),
            Self::KeptP99 => ("latency p99, kept, 2000/s", "µs"),
            Self::NewP50 => ("latency p50, new, 1000/s", "µs"),
            Self::NewP99 => ("latency p99, new, 1000/s", "µs"),
            Self::IdleMemory => ("PSS with 1000 idle connections", "MB"),
        }
    }
}

impl Front {
    /// As by default, but so often.
    pub(super) fn with_rounds(rounds: usize) -> Self {
        Self { gate: false, rounds, seconds: 2.0, front: None, json: false }
    }

    pub(super) fn run(&self) -> Result<()> {
        packages::ensure(PACKAGES)?;
        let binaries = Binaries::front()?;
        let own = binaries.path("stead-front");
        let front = self.front.as_ref().unwrap_or(&own);
        // A thousand idle connections are two files each.
        stead_proc::raise_open_files();
        let folder = env::temp_dir().join(format!("stead-bench-{}", process::id()));
        make(&folder)?;
        let mut report = Report::default();
        let measured = self.measure(&folder, front, &binaries.path("bench-load"), &mut report);
        let removed = fs::remove_dir_all(&folder);
        measured?;
        removed.with_context(|| format!("cannot remove {}", folder.display()))?;
        promise(&mut report);
        if self.json {
            say::result(report.json());
        } else {
            say::result(&report);
        }
        match report.missed_n() {
            0 => Ok(()),
            missed_n if self.gate => bail!("{missed_n} goals missed"),
            _ => Ok(()),
        }
    }

    fn measure(&self, folder: &Path, front: &Path, load: &Path, report: &mut Report) -> Result<()> {
        let mut seen: Vec<(Subject, Measure, Vec<f64>)> = Vec::new();
        for round in 1..=self.rounds {
            for subject in Subject::ALL.into_iter().filter(|subject| subject.is_there()) {
                say::progress(format_args!("{}: round {round}", subject.name()));
                let origin = Origin::start(load)?;
                let standing = subject.start(folder, front, origin.address)?;
                for (measure, value) in self.measure_one(&standing, load)? {
                    let same = |one: &&mut (Subject, Measure, Vec<f64>)| {
                        (one.0, one.1) == (subject, measure)
                    };
                    match seen.iter_mut().find(same) {
                        Some((_, _, values)) => values.push(value),
                        None => seen.push((subject, measure, vec![value])),
                    }
                }
            }
        }
        for (subject, measure, values) in seen {
            let (name, unit) = measure.name();
            report.add(name, unit, subject.name(), values);
        }
        let missing = Subject::ALL.into_iter().filter(|subject| !subject.is_there());
        missing.for_each(|subject| report.note(format!("{}: not present", subject.name())));
        report.note(format!(
            "{CLIENTS_N} connections ask, {POURS_N} pour; clients, backend and what is between \
             share the machine's cores"
        ));
        Ok(())
    }

    fn measure_one(&self, standing: &Standing, load: &Path) -> Result<Vec<(Measure, f64)>> {
        let (to, lasts) = (standing.address.to_string(), self.seconds.to_string());
        let (clients, pours) = (CLIENTS_N.to_string(), POURS_N.to_string());
        let mut seen = Vec::new();
        for (rate, cpu, args) in [
            (Measure::Kept, Measure::KeptCpu, &["saturate", "kept", &to, &clients, &lasts][..]),
            (Measure::New, Measure::NewCpu, &["saturate", "new", &to, &clients, &lasts]),
            (Measure::Bulk, Measure::BulkCpu, &["pour", &to, &pours, &lasts]),
        ] {
            let before = standing.cpu_seconds();
            let began = Instant::now();
            let value = *figures(load, args)?.first().context("no figure")?;
            let lasted = Instant::now().seconds_since(began);
            seen.push((rate, value));
            let spent = standing.cpu_seconds().zip(before).map(|(after, before)| after - before);
            // The warm-up is in both the time and the CPU time.
            seen.extend(spent.map(|spent| (cpu, spent / lasted / value * 1e6)));
        }
        for (way, rate, p50, p99) in [
            ("kept", KEPT_RATE, Measure::KeptP50, Measure::KeptP99),
            ("new", NEW_RATE, Measure::NewP50, Measure::NewP99),
        ] {
            let rate = rate.to_string();
            let latencies = figures(load, &["pace", way, &to, &clients, &rate, &lasts])?;
            seen.extend([p50, p99].into_iter().zip(latencies.into_iter().map(|at| at * 1e6)));
        }
        seen.extend(idle_memory(standing, load)?.map(|value| (Measure::IdleMemory, value)));
        Ok(seen)
    }
}

/// What the load says, each on a line.
fn figures(load: &Path, args: &[&str]) -> Result<Vec<f64>> {
    let said = run::output(Command::new(load).args(args))?;
    let said = String::from_utf8(said).context("the load says no text")?;
    said.lines()
        .map(|line| line.parse().with_context(|| format!("`{line}` is no figure")))
        .collect()
}

/// Its memory in megabytes while connections rest, each of which has been served before.
fn idle_memory(standing: &Standing, load: &Path) -> Result<Option<f64>> {
    let mut command = Command::new(load);
    command.args(["idle", &standing.address.to_string(), &IDLE_N.to_string()]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let said = first_line(&mut child);
    thread::sleep(SETTLE);
    let bytes = standing.pss_bytes();
    end(&mut child);
    ensure!(said? == "idle", "the connections do not come to rest");
    Ok(bytes.map(|bytes| bytes as f64 / 1e6))
}

/// Holds the figures against the goals.
fn promise(report: &mut Report) {
    let median =
        |measure: Measure, subject: Subject| report.median(measure.name().0, subject.name());
    let ratio = |measure, peer| Some(median(measure, Subject::Stead)? / median(measure, peer)?);
    let added = |measure| {
        let direct = median(measure, Subject::Direct)?;
        let stead = median(measure, Subject::Stead)? - direct;
        Some(stead / (median(measure, Subject::Haproxy)? - direct))
    };
    let (least, most) = (Limit::AtLeast(0.9), Limit::AtMost(1.2));
    let goals = [
        ("requests, kept / haproxy", ratio(Measure::Kept, Subject::Haproxy), least),
        ("requests, new / haproxy", ratio(Measure::New, Subject::Haproxy), least),
        ("bulk / haproxy", ratio(Measure::Bulk, Subject::Haproxy), least),
        ("bulk / haproxy, splice", ratio(Measure::Bulk, Subject::HaproxySplice), least),
        ("added latency p50, kept / haproxy", added(Measure::KeptP50), most),
        ("added latency p99, kept / haproxy", added(Measure::KeptP99), most),
        ("added latency p50, new / haproxy", added(Measure::NewP50), most),
        ("added latency p99, new / haproxy", added(Measure::NewP99), most),
    ];
    let goals = goals.map(|(name, value, limit)| Goal { name, value, limit, unit: "x" });
    goals.into_iter().for_each(|goal| report.promise(goal));
}
