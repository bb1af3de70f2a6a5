//! Whether runs serve: probing them, and what follows from the answers.

use stead_core::machine::PhaseName;
use stead_core::names::InstanceName;
use stead_core::units::Millis;
use stead_proc::NamedSocket;
use stead_wire::keeper::{Report, Request};

use super::Agent;
use crate::host::Wanted;
use crate::kept::{Keeper, Kept};
use crate::link;
use crate::message::Errand;
use crate::probe::{self, Probed, Probes, Target};

impl Agent {
    /// Sees to it that what runs by this report is probed, and nothing else.
    pub(super) fn look_at_runs(&mut self, name: &InstanceName) {
        let wanted = match self.wanted.get(name) {
            Some(Ok(wanted)) => Some(wanted),
            Some(Err(_)) | None => None,
        };
        let folder = self.layout.instance(name);
        let Some(kept) = self.kept.get_mut(name) else { return };
        let Some(report) = kept.report.as_deref() else { return };
        // What an instance is asked that runs by an old launch stays as it was.
        if let Some(wanted) = wanted.filter(|wanted| wanted.mark == report.launch_mark) {
            kept.probes = Some(wanted.probes.clone());
            kept.front_port = wanted.front_port;
        }
        let targets: Vec<Target> = runs(kept, report, wanted)
            .into_iter()
            .filter(|run| run.probes.is_asked())
            .map(|run| Target {
                instance: name.clone(),
                run: run.number,
                pid: run.pid,
                second: run.second,
                shares_ports: run.shares_ports,
                probes: run.probes.clone(),
                folder: folder.clone(),
                since_us: run.started_at_ms * 1000,
                keeper: self.keeper.clone(),
            })
            .collect();
        let comes = report.coming.as_ref().map(|coming| coming.run);
        kept.coming_said.take_if(|(run, _)| comes.is_some_and(|comes| comes != *run));
        let said = |run: u64| match &report.coming {
            Some(coming) if coming.run == run => coming.ready,
            Some(_) | None => report.run == run && report.ready == Some(true),
        };
        let same = |a: &Target, b: &Target| (a.run, a.pid, &a.probes) == (b.run, b.pid, &b.probes);
        kept.probing.retain(|probing| targets.iter().any(|it| same(it, &probing.target)));
        for target in targets {
            let run = target.run;
            if !kept.probing.iter().any(|probing| same(&target, &probing.target)) {
                kept.held_back = None;
                kept.probing.push(probe::start(target, self.messages.clone()));
            }
            for probing in kept.probing.iter().filter(|probing| probing.target.run == run) {
                probing.said_ready.send_replace(said(run));
            }
        }
        self.tell_ready(name);
    }

    /// Takes what the probes of a run amount to.
    pub(super) fn probed(&mut self, name: &InstanceName, run: u64, probed: Probed) {
        let Some(kept) = self.kept.get_mut(name) else { return };
        let Some(probing) = kept.probing.iter_mut().find(|it| it.target.run == run) else {
            return;
        };
        match probed {
            Probed::Ready { ready, last } => {
                probing.ready = Some(ready);
                let coming = kept.report.as_ref().and_then(|report| report.coming.as_ref());
                if coming.is_some_and(|coming| coming.run == run) {
                    kept.coming_said = (!ready).then(|| (run, last.clone()));
                }
                probing.last = Some(last);
                self.tell_ready(name);
            }
            Probed::Unhealthy { why } => {
                probing.last = Some(why.clone());
                let comes = kept.report.as_ref().and_then(|report| report.coming.as_ref());
                // One that is only coming is given up, which is no restart.
                let is_free = comes.is_some_and(|coming| coming.run == run);
                self.unhealthy(name, run, why, is_free);
            }
            Probed::Well => kept.held_back = None,
        }
    }

    fn unhealthy(&mut self, name: &InstanceName, run: u64, why: String, is_free: bool) {
        let now = Millis(stead_proc::boot_ms());
        let held_back =
            match is_free {
                true => None,
                false => self.damper.take(now).err().map(|_| {
                    format!("its restart is held back, since many were due at once: {why}")
                }),
            };
        let let_through = held_back.is_none();
        if let Some(kept) = self.kept.get_mut(name) {
            kept.held_back = held_back;
        }
        if let_through {
            self.log.say(&format!("`{name}`: run {run} does not serve: {why}"));
            self.errand(name, Request::Unhealthy { run, why }, Errand::Unhealthy);
        }
    }

    /// Tells a keeper that its coming run is ready, once it is.
    pub(super) fn tell_ready(&mut self, name: &InstanceName) {
        let wanted = match self.wanted.get(name) {
            Some(Ok(wanted)) => Some(wanted),
            Some(Err(_)) | None => None,
        };
        let Some(kept) = self.kept.get(name) else { return };
        let Some(coming) = kept.report.as_ref().and_then(|report| report.coming.as_ref()) else {
            return;
        };
        let (run, said) = (coming.run, Some(coming.ready));
        let probes = probes_of_coming(kept, coming.launch_mark, coming.second, wanted);
        let ready = probes.and_then(|probes| kept.ready_by(probes, run, said));
        if ready != Some(true) || kept.asked.ready == Some(run) {
            return;
        }
        if !self.front_has_turned(name, kept) {
            return;
        }
        if self.errand(name, Request::Ready { run }, Errand::Ready)
            && let Some(kept) = self.kept.get_mut(name)
        {
            kept.asked.ready = Some(run);
        }
    }

    /// Asks a keeper for duplicates of the sockets that must outlive it.
    pub(super) fn ask_for_sockets(&mut self, name: &InstanceName) {
        let folder = self.layout.instance(name);
        let Some(kept) = self.kept.get_mut(name) else { return };
        let holds = kept.report.as_ref().is_some_and(|report| report.holds_sockets);
        let Keeper::Alive { link, .. } = &kept.keeper else { return };
        if !holds {
            kept.sockets.clear();
            return;
        }
        // The launch decides what it holds.
        let marks = kept.report.as_ref().map(|report| {
            let coming = report.coming.as_ref().map_or(0, |coming| coming.launch_mark);
            (u64::from(report.launch_mark) << 32) | u64::from(coming)
        });
        let asked = marks.map(|marks| (link.number, marks));
        if kept.asked.sockets != asked {
            kept.asked.sockets = asked;
            link::ask_for_sockets(link.number, name.clone(), folder, self.messages.clone());
        }
    }

    pub(super) fn sockets_handed_over(
        &mut self,
        name: &InstanceName,
        number: u64,
        sockets: Vec<NamedSocket>,
    ) {
        let Some(kept) = self.kept.get_mut(name) else { return };
        if matches!(&kept.keeper, Keeper::Alive { link, .. } if link.number == number) {
            kept.sockets = sockets;
        }
    }
}

/// A run that is there, and what it is asked.
struct There<'a> {
    number: u64,
    pid: u32,
    second: bool,
    /// It comes up beside another run that has the same ports.
    shares_ports: bool,
    probes: &'a Probes,
    started_at_ms: u64,
}

/// The run that is up and the one that comes.
fn runs<'a>(kept: &'a Kept, report: &Report, wanted: Option<&'a Wanted>) -> Vec<There<'a>> {
    let mut runs = Vec::new();
    if report.phase == PhaseName::Up
        && let (Some(probes), Some(pid)) = (&kept.probes, report.pid)
    {
        let started_at_ms = report.started_at.unwrap_or(0);
        let second = report.second;
        let probes = &probes[usize::from(second)];
        let shares_ports = false;
        runs.push(There { number: report.run, pid, second, shares_ports, probes, started_at_ms });
    }
    if let Some(coming) = &report.coming
        && let Some(pid) = coming.pid
        && let Some(probes) = probes_of_coming(kept, coming.launch_mark, coming.second, wanted)
    {
        let started_at_ms = coming.started_at.unwrap_or(0);
        let second = coming.second;
        let shares_ports = second == report.second;
        let number = coming.run;
        runs.push(There { number, pid, second, shares_ports, probes, started_at_ms });
    }
    runs
}

/// What a coming run is asked: by the plan's launch, or by the one that the run before has.
fn probes_of_coming<'a>(
    kept: &'a Kept,
    mark: u32,
    second: bool,
    wanted: Option<&'a Wanted>,
) -> Option<&'a Probes> {
    let side = usize::from(second);
    match wanted {
        Some(wanted) if wanted.mark == mark => Some(&wanted.probes[side]),
        Some(_) | None => {
            let same = kept.report.as_ref().is_some_and(|report| report.launch_mark == mark);
            kept.probes.as_ref().filter(|_| same).map(|probes| &probes[side])
        }
    }
}
