//! How fast logs are taken in, and how fast they are searched.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::clock::{Instant, wait_for};
use super::keep::{Measure, Trial};
use super::peers::{Bed, Running, Stead};
use super::report::Report;
use crate::{process, say};

pub(super) const INGEST: &str = "log ingest";
pub(super) const SEARCH: &str = "log search";
pub(super) const CAT: &str = "cat";
pub(super) const RIPGREP: &str = "rg";

/// Matches one line in 64 MiB of what the probe writes.
const PATTERN: &str = "payment [0-9a-f]{8} refused";

const REPETITIONS_N: usize = 5;
const FLOOD_LIMIT: Duration = Duration::from_secs(120);

/// Writes the same bytes through `cat` and through stead in turn, then searches them in turn.
pub(super) fn measure(trial: &Trial<'_>, stead: &Stead, report: &mut Report) -> Result<()> {
    let (mut by_cat, mut by_stead) = (Vec::new(), Vec::new());
    let repetitions_n = if trial.wants(Measure::Ingest) { REPETITIONS_N } else { 1 };
    let mut last = None;
    for round in 1..=repetitions_n {
        say::progress(format_args!("{INGEST}: round {round} of {repetitions_n}"));
        // The one before is ended and its bytes are freed before the next is timed.
        drop(last.take());
        let bed = trial.bed(1)?;
        let file = bed.folder.join("plain.log");
        by_cat.push(through_cat(&bed, &file, trial.log_bytes)?);
        let bed = trial.bed(1)?;
        rustix::fs::sync();
        let running = stead.start_flood(&bed, trial.log_bytes)?;
        by_stead.push(rate(&running, trial.log_bytes)?);
        last = Some(Logged { running, file });
    }
    if trial.wants(Measure::Ingest) {
        report.add(INGEST, "MB/s", CAT, by_cat);
        report.add(INGEST, "MB/s", Stead::NAME, by_stead);
    }
    match last {
        Some(logged) if trial.wants(Measure::Search) => search(&logged, stead, report),
        Some(_) | None => Ok(()),
    }
}

/// The same bytes twice: kept by a running stead, and in a plain file.
struct Logged {
    running: Running,
    file: PathBuf,
}

impl Drop for Logged {
    fn drop(&mut self) {
        // A gigabyte each; that one is left is no reason to stop.
        let _left = std::fs::remove_file(&self.file);
        rustix::fs::sync();
    }
}

/// A process that is killed when it is no longer wanted.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// `probe | cat > file`, timed by the probe from its first byte to its last.
fn through_cat(bed: &Bed, file: &Path, bytes: u64) -> Result<f64> {
    rustix::fs::sync();
    let mut probe = Command::new(&bed.probe);
    probe.arg(bed.runs()).args(["flood", &bytes.to_string()]);
    let probe = probe.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut probe = Killed(probe.context("cannot start the probe")?);
    let file = File::create(file).context("cannot write the plain log")?;
    let pipe = probe.0.stdout.take().context("the probe has no pipe")?;
    let cat = Command::new("cat").stdin(pipe).stdout(file).spawn();
    let mut cat = cat.context("cannot start cat")?;
    let rate = flood_rate(bed, bytes);
    drop(probe);
    cat.wait().context("cannot wait for cat")?;
    rate
}

fn rate(running: &Running, bytes: u64) -> Result<f64> {
    flood_rate(running.bed(), bytes)
}

/// Waits for both stamps of a flood; megabytes a second.
fn flood_rate(bed: &Bed, bytes: u64) -> Result<f64> {
    let (first, last) = wait_for("the end of the flood", FLOOD_LIMIT, || {
        Ok(match *bed.stamps()?.as_slice() {
            [first, last, ..] => Some((first, last)),
            [_] | [] => None,
        })
    })?;
    if first.pid != last.pid {
        bail!("the service was restarted in the middle of its flood");
    }
    Ok(bytes as f64 / 1e6 / last.at.seconds_since(first.at))
}

fn search(logged: &Logged, stead: &Stead, report: &mut Report) -> Result<()> {
    if process::find(RIPGREP).is_none() {
        report.note(format!("{SEARCH}: rg is not on PATH"));
        return Ok(());
    }
    let by_stead = || {
        let mut command = stead.command(logged.running.bed());
        command.args(["logs", "flood", "--grep", PATTERN]);
        command
    };
    let by_ripgrep = || {
        let mut command = Command::new(RIPGREP);
        command.args(["--no-config", PATTERN]).arg(&logged.file);
        command
    };
    // The first of each warms the cache and must agree.
    let expected_n = timed_search(by_ripgrep())?.1;
    let same = || Ok((timed_search(by_stead())?.1 == expected_n).then_some(()));
    let what = format!("as many matches of `{PATTERN}` as rg finds, {expected_n}");
    wait_for(&what, Duration::from_secs(30), same)?;
    let (mut stead_seconds, mut ripgrep_seconds) = (Vec::new(), Vec::new());
    for round in 1..=REPETITIONS_N {
        say::progress(format_args!("{SEARCH}: round {round} of {REPETITIONS_N}"));
        stead_seconds.push(timed_search(by_stead())?.0);
        ripgrep_seconds.push(timed_search(by_ripgrep())?.0);
    }
    report.add(SEARCH, "s", Stead::NAME, stead_seconds);
    report.add(SEARCH, "s", RIPGREP, ripgrep_seconds);
    report.note(format!("{SEARCH}: `{PATTERN}`, {expected_n} matches, warm cache"));
    Ok(())
}

/// How long a search took, and how many lines it found.
fn timed_search(mut command: Command) -> Result<(f64, usize)> {
    let began = Instant::now();
    let found = process::output(&mut command)?;
    let seconds = Instant::now().seconds_since(began);
    Ok((seconds, found.iter().filter(|byte| **byte == b'\n').count()))
}
