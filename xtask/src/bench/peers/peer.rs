//! What a supervisor is to a benchmark.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Running;
use crate::bench::clock::Instant;
use crate::workspace::make;

/// How the probe is told where to write, when it can have no argument.
pub(in crate::bench) const RUNS: &str = "BENCH_RUNS";

/// A life this long counts as a success for all of them: runit waits a second after a shorter
/// one, and so do others.
pub(in crate::bench) const STABLE_AFTER: Duration = Duration::from_millis(1200);

/// One supervisor.
pub(in crate::bench) trait Peer {
    fn name(&self) -> &'static str;

    /// How it was set up, for the report.
    fn terms(&self) -> &'static str;

    /// What is not there that it needs.
    fn missing(&self) -> Option<String>;

    /// Whether it is only there to show how fast a restart can be.
    fn only_restarts(&self) -> bool {
        false
    }

    /// Starts it, with all services of the bed; returns without waiting for them.
    fn start(&self, bed: &Bed) -> Result<Running>;
}

/// A fresh folder with what one supervisor is to keep up.
pub(in crate::bench) struct Bed {
    pub(in crate::bench) folder: PathBuf,
    pub(in crate::bench) probe: PathBuf,
    pub(in crate::bench) instances_n: usize,
}

/// The start (or, of a flood, the end too) of a service, in its own words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::bench) struct Stamp {
    pub(in crate::bench) pid: i32,
    pub(in crate::bench) at: Instant,
}

impl Bed {
    pub(in crate::bench) fn make(
        folder: PathBuf,
        probe: &Path,
        instances_n: usize,
    ) -> Result<Self> {
        make(&folder)?;
        Ok(Self { folder, probe: probe.to_path_buf(), instances_n })
    }

    /// The file that the probes write to.
    pub(in crate::bench) fn runs(&self) -> PathBuf {
        self.folder.join("runs")
    }

    /// Everything written there so far, whole lines only.
    pub(in crate::bench) fn stamps(&self) -> Result<Vec<Stamp>> {
        let runs = self.runs();
        if !runs.exists() {
            return Ok(Vec::new());
        }
        let text =
            fs::read_to_string(&runs).with_context(|| format!("cannot read {}", runs.display()))?;
        Ok(text.split_inclusive('\n').filter_map(Stamp::parse).collect())
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        make(path.parent().expect("the name is below the folder"))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    pub(super) fn write_script(&self, name: &str, text: &str) -> Result<()> {
        let path = self.write(name, text)?;
        fs::set_permissions(&path, Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {} executable", path.display()))
    }

    /// A service folder per instance, as runit and s6 read them, each with the same `run`.
    pub(super) fn write_service_folders(&self) -> Result<PathBuf> {
        let (probe, runs) = (self.probe.display(), self.runs());
        for n in 0..self.instances_n {
            let script = format!("#!/bin/sh\nexec {probe} {}\n", runs.display());
            self.write_script(&format!("services/probe-{n}/run"), &script)?;
        }
        Ok(self.folder.join("services"))
    }
}

impl Stamp {
    fn parse(line: &str) -> Option<Self> {
        let (pid, at) = line.strip_suffix('\n')?.split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, at: Instant(at.parse().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_whole_is_not_read_yet() {
        let stamp = Stamp { pid: 12, at: Instant(345) };
        assert_eq!(Stamp::parse("12 345\n"), Some(stamp));
        assert_eq!(Stamp::parse("12 34"), None);
        assert_eq!(Stamp::parse("12\n"), None);
    }
}
