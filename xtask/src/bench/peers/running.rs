//! A supervisor that was started, and the duty to leave nothing of it behind.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;

use super::Bed;
use crate::bench::clock::wait_for;
use crate::bench::procfs::{Process, descendants};
use crate::{process, say};

pub(in crate::bench) struct Running {
    root: Process,
    /// Set when the supervisor is a child of this process and must be waited for.
    child: Option<Child>,
    /// Run in this order to end it, before the signal to its root.
    stop: Vec<Command>,
    signal: Signal,
    bed: Bed,
}

/// How long a supervisor may take to stop what it keeps and itself.
const STOP_LIMIT: Duration = Duration::from_secs(20);

impl Running {
    /// Starts a supervisor that stays in the foreground; `signal` ends it and what it keeps.
    pub(super) fn foreground(command: &mut Command, signal: Signal, bed: &Bed) -> Result<Self> {
        let line = process::shown(command);
        let (output, errors) = bed.log()?;
        let child = command
            .current_dir(&bed.folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        let pid = i32::try_from(child.id()).context("a pid does not fit")?;
        let root = Process::of(pid).with_context(|| format!("`{line}` ended at once"))?;
        Ok(Self { root, child: Some(child), stop: Vec::new(), signal, bed: bed.again() })
    }

    /// Takes on a supervisor that went to the background.
    pub(super) fn background(pid: i32, stop: Vec<Command>, bed: &Bed) -> Result<Self> {
        let root = Process::of(pid).with_context(|| format!("no supervisor has pid {pid}"))?;
        Ok(Self { root, child: None, stop, signal: Signal::TERM, bed: bed.again() })
    }

    /// Has `command` run before the supervisor gets its signal.
    pub(super) fn stopped_by(mut self, command: Command) -> Self {
        self.stop.push(command);
        self
    }

    pub(in crate::bench) fn bed(&self) -> &Bed {
        &self.bed
    }

    /// The probes that it keeps up at this moment.
    pub(in crate::bench) fn services(&self) -> Result<BTreeSet<Process>> {
        let pids: BTreeSet<i32> = self.bed.stamps()?.iter().map(|stamp| stamp.pid).collect();
        let is_probe = |process: &Process| process.executable().as_ref() == Some(&self.bed.probe);
        Ok(pids.into_iter().filter_map(Process::of).filter(is_probe).collect())
    }

    /// Its own processes: the root, all below it and the parents of services, without services.
    pub(in crate::bench) fn supervisors(&self) -> Result<BTreeSet<Process>> {
        let mut family = descendants(&[self.root], &self.bed.probe)?;
        let here = i32::try_from(std::process::id()).context("a pid does not fit")?;
        let parents = self.services()?.into_iter().filter_map(Process::parent);
        family.extend(parents.filter(|parent| parent.pid != here && parent.pid != 1));
        Ok(family)
    }

    fn end(&mut self) -> Result<()> {
        let supervisors = self.supervisors()?;
        for command in &mut self.stop {
            if let Err(error) = process::output(command) {
                say::progress(format_args!("{error:#}"));
            }
        }
        self.root.signal(self.signal);
        let all_gone = || -> Result<bool> {
            Ok(self.services()?.is_empty() && !supervisors.iter().any(|one| one.is_alive()))
        };
        let ended = wait_for("stop", STOP_LIMIT, || Ok(all_gone()?.then_some(())));
        if ended.is_err() {
            // Supervisors first, or they would start again what is killed below them.
            let services = self.services()?;
            supervisors.iter().chain(&services).for_each(|one| one.signal(Signal::KILL));
            self.services()?.iter().for_each(|one| one.signal(Signal::KILL));
        }
        match &mut self.child {
            Some(child) => child.wait().map(drop).context("cannot wait for a supervisor"),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            say::progress(format_args!("something may be left running: {error:#}"));
        }
    }
}

impl Bed {
    fn log(&self) -> Result<(File, File)> {
        let path: PathBuf = self.folder.join("supervisor.log");
        let file = File::create(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        let again = file.try_clone().context("cannot share a log")?;
        Ok((file, again))
    }

    fn again(&self) -> Self {
        let Self { folder, probe, instances_n } = self;
        Self { folder: folder.clone(), probe: probe.clone(), instances_n: *instances_n }
    }
}
