//! `cargo xtask bench serve`: what it costs to know whether services serve, and to change them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{env, fs, process, thread};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::clock::wait_for;
use super::front::Front;
use super::report::{Goal, Limit, Report};
use crate::workspace::{Binaries, make, root};
use crate::{process as run, say};

const PROBED_N: u16 = 100;
const PORT_FIRST: u16 = 29_100;

/// How long each look at CPU time lasts.
const WINDOW: Duration = Duration::from_secs(10);

/// Until what a start leaves to be done is done.
const SETTLE: Duration = Duration::from_secs(4);

/// When a service becomes ready after its start: soon, and when probes are far apart already.
const READY_AFTER_MS: [u64; 3] = [0, 100, 1000];

const WITHIN: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Serve {
    /// Fail if a goal is missed
    #[arg(long)]
    gate: bool,
    /// How often each is measured
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// Leave the front out, which `bench front` measures alone
    #[arg(long)]
    no_front: bool,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

/// stead with a root of its own.
struct Bed {
    folder: PathBuf,
    stead: PathBuf,
    load: PathBuf,
    probe: PathBuf,
}

impl Serve {
    pub(super) fn run(&self) -> Result<()> {
        let stead = Binaries::tested()?;
        let ends = Binaries::front()?;
        let folder = env::temp_dir().join(format!("stead-bench-{}", process::id()));
        make(&folder)?;
        let bed = Bed {
            folder: folder.clone(),
            stead: stead.path("stead"),
            load: ends.path("bench-load"),
            probe: stead.path("stead-probe"),
        };
        let mut report = Report::default();
        let measured = self.measure(&bed, &mut report);
        // Only after an error is there anything left to end.
        let _left = bed.command().arg("down").stderr(Stdio::null()).status();
        let removed = fs::remove_dir_all(&folder);
        measured?;
        removed.with_context(|| format!("cannot remove {}", folder.display()))?;
        promise(&mut report);
        match self.json {
            true => say::result(report.json()),
            false => say::result(&report),
        }
        if !self.no_front {
            Front::with_rounds(self.rounds).run()?;
        }
        match report.missed_n() {
            0 => Ok(()),
            missed_n if self.gate => bail!("{missed_n} goals missed"),
            _ => Ok(()),
        }
    }

    fn measure(&self, bed: &Bed, report: &mut Report) -> Result<()> {
        self.probing(bed, report)?;
        self.readiness(bed, report)?;
        self.replacing(bed, report)
    }

    /// CPU time of the agent and of the floor, in turn, at the same servers.
    fn probing(&self, bed: &Bed, report: &mut Report) -> Result<()> {
        let floor = bed.build_floor()?;
        let load = bed.load.display();
        bed.up(&format!(
            "[service.a]\nrun = [\"{load}\", \"serve\", \"{{port.http}}\", \"0\"]\n\
             count = {PROBED_N}\nport.http = {PORT_FIRST}\nready = {{ http = \"/healthz\" }}\n"
        ))?;
        thread::sleep(SETTLE);
        let agent = bed.status()?["agent"]["pid"].as_u64().context("no agent")?;
        let (mut by_agent, mut by_floor) = (Vec::new(), Vec::new());
        for round in 1..=self.rounds {
            say::progress(format_args!("{PROBED_N} probes a second: round {round}"));
            by_agent.push(percent_over(agent, WINDOW)?);
            let seconds = (WINDOW + SETTLE).as_secs().to_string();
            let (n, first) = (PROBED_N.to_string(), PORT_FIRST.to_string());
            let mut child = Command::new(&floor)
                .args([n, first, seconds])
                .stdin(Stdio::null())
                .spawn()
                .context("cannot start the floor")?;
            thread::sleep(SETTLE / 2);
            by_floor.push(percent_over(child.id().into(), WINDOW));
            let status = child.wait()?;
            anyhow::ensure!(status.success(), "the floor has ended with {status}");
        }
        let by_floor = by_floor.into_iter().collect::<Result<Vec<f64>>>()?;
        report.add(PROBING, "% of a core", "stead", by_agent);
        report.add(PROBING, "% of a core", "bare C loop", by_floor);
        bed.stead(&["down"])
    }

    /// From the moment a service takes connections to the moment its agent says so.
    fn readiness(&self, bed: &Bed, report: &mut Report) -> Result<()> {
        for after_ms in READY_AFTER_MS {
            let mut seen = Vec::new();
            for round in 1..=self.rounds {
                say::progress(format_args!("ready after {after_ms} ms: round {round}"));
                let stamp = bed.folder.join("stamp");
                let (load, path) = (bed.load.display(), stamp.display());
                let port = PORT_FIRST + u16::try_from(round)?;
                // Its stamp is outside of what a service may write.
                bed.begin(&format!(
                    "[service.a]\nsandbox = \"off\"\nuser = \"root\"\n\
                     run = [\"{load}\", \"serve\", \"{{port.http}}\", \"{after_ms}\", \"{path}\"]\n\
                     port.http = {port}\nready = {{ http = \"/healthz\" }}\n"
                ))?;
                wait_for("the service to be ready", WITHIN, || {
                    // There may be no agent yet.
                    let status = bed.status().unwrap_or_default();
                    Ok((status["instances"][0]["ready"] == true).then(now_ns))
                })
                .and_then(|reported| {
                    let stamp: u128 = fs::read_to_string(&stamp)?.parse()?;
                    seen.push(reported.saturating_sub(stamp) as f64 / 1e6);
                    Ok(())
                })?;
                bed.stead(&["down"])?;
                fs::remove_file(&stamp)?;
            }
            report.add(&format!("ready after {after_ms} ms to reported"), "ms", "stead", seen);
        }
        Ok(())
    }

    /// From the beginning of the fresh run to the moment it has the old one's place.
    fn replacing(&self, bed: &Bed, report: &mut Report) -> Result<()> {
        let probe = bed.probe.display();
        bed.up(&format!(
            "[service.a]\nrun = [\"{probe}\", \"serve\"]\nport.http = {PORT_FIRST}\n\
             listen.http = \"127.0.0.1\"\nready = {{ http = \"/healthz\" }}\n"
        ))?;
        for _ in 0..self.rounds * 4 {
            let run = |status: &Value| status["instances"][0]["run"].as_u64();
            let before = run(&bed.status()?);
            bed.stead(&["restart", "a"])?;
            wait_for("the fresh run to have its place", WITHIN, || {
                Ok((run(&bed.status()?) > before).then_some(()))
            })?;
        }
        let events = bed.output(&["events", "--json"])?;
        let mut began = 0;
        let mut seen = Vec::new();
        for line in events.lines() {
            let event: Value = serde_json::from_str(line).context("an event is no JSON")?;
            let at = event["at"].as_u64().context("an event has no time")?;
            match event["event"].as_str() {
                Some("replacing") => began = at,
                Some("replaced") => seen.push(at.saturating_sub(began) as f64),
                _ => (),
            }
        }
        report.add("fresh run begun to old one replaced", "ms", "stead", seen);
        bed.stead(&["down"])
    }
}

const PROBING: &str = "CPU of 100 HTTP probes a second";

impl Bed {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.stead);
        command.arg("--root").arg(self.folder.join("root")).stdin(Stdio::null());
        command
    }

    fn stead(&self, args: &[&str]) -> Result<()> {
        run::output(self.command().args(args)).map(drop)
    }

    fn output(&self, args: &[&str]) -> Result<String> {
        String::from_utf8(run::output(self.command().args(args))?).context("it said no text")
    }

    fn write(&self, fleet: &str) -> Result<PathBuf> {
        let file = self.folder.join("stead.toml");
        fs::write(&file, fleet)?;
        Ok(file)
    }

    fn up(&self, fleet: &str) -> Result<()> {
        let file = self.write(fleet)?;
        run::output(self.command().arg("up").arg("--detach").arg(file)).map(drop)
    }

    /// As [`Bed::up`], without waiting until all is ready.
    fn begin(&self, fleet: &str) -> Result<()> {
        let file = self.write(fleet)?;
        let mut up =
            self.command().arg("up").arg("--detach").arg(file).stdout(Stdio::null()).spawn()?;
        // It is reaped by the next wait; what it waits for is what is measured here.
        thread::spawn(move || up.wait());
        Ok(())
    }

    fn status(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&run::output(self.command().args(["status", "--json"]))?)?)
    }

    fn build_floor(&self) -> Result<PathBuf> {
        let program = self.folder.join("floor");
        let source = root().join("xtask/src/bench/floor.c");
        run::run(Command::new("cc").args(["-O2", "-o"]).arg(&program).arg(source))?;
        Ok(program)
    }
}

fn now_ns() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()
}

/// What a process uses over a time, in percent of a core.
fn percent_over(pid: u64, time: Duration) -> Result<f64> {
    let before = cpu_ns(pid)?;
    thread::sleep(time);
    Ok((cpu_ns(pid)? - before) as f64 / time.as_nanos() as f64 * 100.0)
}

/// CPU time of all threads, which the scheduler counts to the nanosecond.
fn cpu_ns(pid: u64) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(sum)
}

/// Holds the figures against the goals.
fn promise(report: &mut Report) {
    let stead = report.median(PROBING, "stead");
    let floor = report.median(PROBING, "bare C loop");
    report.promise(Goal {
        name: "CPU of probing / bare C loop",
        value: stead.zip(floor).map(|(stead, floor)| stead / floor),
        limit: Limit::AtMost(2.0),
        unit: "x",
    });
    report.promise(Goal {
        name: PROBING,
        value: stead,
        limit: Limit::AtMost(0.5),
        unit: "% of a core",
    });
}
