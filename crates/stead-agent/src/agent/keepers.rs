//! The keepers' lives, as the agent sees them.

use stead_core::names::InstanceName;
use stead_wire::journal::Event;
use stead_wire::keeper::{Report, Request};
use tokio::time::Instant;

use super::{Agent, START_AGAIN_AFTER, Unstarted};
use crate::hands::{Job, Started, Warnings};
use crate::host::AllWanted;
use crate::kept::{Hearing, Keeper};
use crate::link::{self, Asker, Target};
use crate::message::{Errand, Said};

impl Agent {
    /// Takes note of a keeper that was started, or could not be.
    pub(super) fn keeper_started(&mut self, name: &InstanceName, started: Result<Started, String>) {
        let again_at = Instant::now() + START_AGAIN_AFTER;
        let has_folder = self.layout.instance(name).join("spec.json").exists();
        let started = match started {
            Ok(started) => started,
            Err(why) => {
                self.log.say(&format!("`{name}`: {why}"));
                if has_folder && let Some(kept) = self.kept.get_mut(name) {
                    kept.keeper = Keeper::Dead { start_at: again_at };
                    kept.trouble = Some(why);
                } else {
                    self.kept.remove(name);
                    self.unstarted.insert(name.clone(), Unstarted { why, again_at });
                }
                return;
            }
        };
        if let Some(damage) = started.damage {
            self.log.say(&format!("`{name}`: its damaged spec.json was written anew"));
            self.journal.note(damage);
        }
        self.unstarted.remove(name);
        let link = self.link(name, true);
        let Some(kept) = self.kept.get_mut(name) else { return };
        kept.release = started.release;
        kept.fifos = started.fifos;
        kept.warnings = started.warnings.unwrap_or(std::mem::take(&mut kept.warnings));
        kept.trouble = None;
        kept.asked.forget();
        kept.keeper = Keeper::Alive { child: Some(started.pid), link, hearing: Hearing::Waiting };
        // It may have ended before it was known here.
        self.reap_children();
    }

    /// Starts a link to the keeper of an instance.
    pub(super) fn link(&mut self, name: &InstanceName, is_child: bool) -> link::Link {
        self.links += 1;
        let target = Target {
            instance: name.clone(),
            folder: self.layout.instance(name),
            is_child,
            crash: self.crash,
        };
        link::start(self.links, target, self.messages.clone())
    }

    /// Takes what a link says. One that was given up is not listened to.
    pub(super) fn heard(&mut self, name: &InstanceName, number: u64, said: Said) {
        let Some(kept) = self.kept.get_mut(name) else { return };
        let Keeper::Alive { link, hearing, .. } = &mut kept.keeper else { return };
        if link.number != number {
            return;
        }
        match said {
            Said::Answered { result: Ok(()), .. } => (),
            Said::Answered { errand, result: Err(why) } => {
                let what = match errand {
                    Errand::Due => "to run at its time",
                    // Once it is connected again, or the plan changes, it is asked again.
                    Errand::Ready => "that its next run is ready",
                    Errand::Retire => "to end its instance",
                    Errand::Unhealthy => "to restart a run that does not serve",
                    Errand::Update => "its new spec",
                    Errand::Upgrade => "to become the new version",
                };
                kept.trouble = Some(format!("its keeper refused {what}: {why}"));
            }
            Said::Gone => self.keeper_ended(name),
            Said::Report(report) => {
                *hearing = Hearing::Heard;
                self.reported(name, report);
            }
            Said::Silent => *hearing = Hearing::Silent,
            Said::Unlinked { why } => {
                *hearing = Hearing::Waiting;
                kept.asked.forget();
                self.log.say(&format!("`{name}`: the connection to its keeper is lost: {why}"));
            }
        }
    }

    fn reported(&mut self, name: &InstanceName, report: Box<Report>) {
        let wanted = match self.wanted.get(name) {
            Some(Ok(wanted)) => Some(wanted),
            Some(Err(_)) | None => None,
        };
        let Some(kept) = self.kept.get_mut(name) else { return };
        if let Some(wanted) = wanted.filter(|wanted| wanted.mark == report.launch_mark) {
            kept.release.clone_from(&wanted.launch.release);
            kept.stop_timeout = wanted.launch.stop.timeout;
            kept.trouble = None;
            kept.asked.update = None;
        }
        let pid = report.keeper_pid;
        if kept.asked.upgrade != Some(pid) && runs_another(pid, &self.keeper) {
            kept.asked.upgrade = Some(pid);
            let program = self.keeper.to_string_lossy().into_owned();
            self.log.say(&format!("`{name}`: its keeper {pid} is told to become {program}"));
            if let Some(link) = kept.link() {
                let request = Request::Upgrade { program };
                // One that does not take it now is told by the next agent.
                let _ = link.ask(request, Asker::Agent(Errand::Upgrade));
            }
        }
        kept.report = Some(report);
        self.look_at_runs(name);
        self.ask_for_sockets(name);
    }

    /// Looks which of the agent's children have ended.
    pub(super) fn reap_children(&mut self) {
        let has_ended = |keeper: &Keeper| match keeper {
            Keeper::Alive { child: Some(pid), .. } => {
                stead_proc::reap(*pid).is_ok_and(|has_ended| has_ended)
            }
            Keeper::Alive { child: None, .. }
            | Keeper::Burying
            | Keeper::Dead { .. }
            | Keeper::Starting => false,
        };
        let ended: Vec<InstanceName> = self
            .kept
            .iter()
            .filter(|(_, kept)| has_ended(&kept.keeper))
            .map(|(name, _)| name.clone())
            .collect();
        for name in ended {
            if link::is_unlocked(&self.layout.instance(&name)) {
                self.keeper_ended(&name);
                continue;
            }
            // It has ended because another keeper has the folder already.
            let link = self.link(&name, false);
            if let Some(kept) = self.kept.get_mut(&name) {
                kept.keeper = Keeper::Alive { child: None, link, hearing: Hearing::Waiting };
            }
        }
    }

    /// A keeper is gone: because it was told to, or it is replaced.
    fn keeper_ended(&mut self, name: &InstanceName) {
        let stored = self.stored.as_ref();
        let leaving = stored.is_some_and(|it| !it.plan.instances.contains_key(name));
        let Some(kept) = self.kept.get_mut(name) else { return };
        let said_retiring = kept.report.as_ref().is_some_and(|report| report.retiring);
        if said_retiring || kept.asked.retire || leaving {
            kept.keeper = Keeper::Burying;
            return self.do_job(Job::Bury { instance: name.clone() });
        }
        self.keeper_lost(name);
    }

    fn keeper_lost(&mut self, name: &InstanceName) {
        let now = Instant::now();
        let Some(kept) = self.kept.get_mut(name) else { return };
        let last_heard = kept.report.as_ref().map(|report| report.keeper_pid);
        let pid = kept.keeper_pid().or(last_heard).unwrap_or(0);
        kept.keeper = Keeper::Dead { start_at: now + kept.deaths.note(now) };
        kept.asked.forget();
        self.log.say(&format!("`{name}`: its keeper {pid} is gone; another one follows"));
        self.journal.note(Event::KeeperLost { keeper_of: name.to_string(), pid });
    }

    /// Takes note of a folder that was removed, or kept because its instance was not retired.
    pub(super) fn buried(&mut self, name: &InstanceName, retired: bool) {
        if !retired {
            return self.keeper_lost(name);
        }
        self.log.say(&format!("`{name}` has left"));
        self.kept.remove(name);
    }

    /// Tells a keeper to end its instance and itself.
    pub(super) fn retire(&mut self, name: &InstanceName) {
        if self.errand(name, Request::Retire, Errand::Retire)
            && let Some(kept) = self.kept.get_mut(name)
        {
            kept.asked.retire = true;
        }
    }

    /// Begins to bring an instance to the launch that the plan wants: its account may be another,
    /// so the folders come first.
    pub(super) fn update(&mut self, name: &InstanceName) {
        let Some(Ok(wanted)) = self.wanted.get(name) else { return };
        let (mark, launch) = (wanted.mark, wanted.launch.clone());
        let ports = self.ports(name);
        let Some(kept) = self.kept.get_mut(name) else { return };
        // Without a link it waits for the keeper's next report.
        if kept.link().is_some() {
            let settled = kept.settled();
            kept.asked.update = Some(mark);
            self.do_job(Job::Prepare { instance: name.clone(), mark, launch, ports, settled });
        }
    }

    /// Hands a keeper the launch that its instance's folders are ready for now.
    pub(super) fn prepared(
        &mut self,
        name: &InstanceName,
        mark: u32,
        prepared: Result<Warnings, String>,
    ) {
        let Some(Ok(wanted)) = self.wanted.get(name) else { return };
        let launch = wanted.launch.clone();
        let Some(kept) = self.kept.get_mut(name) else { return };
        // The plan or the connection is another by now: then it is begun again.
        if wanted.mark != mark || kept.asked.update != Some(mark) {
            return;
        }
        match prepared {
            Ok(warnings) => kept.warnings = warnings,
            Err(why) => {
                self.log.say(&format!("`{name}` keeps its old spec: {why}"));
                let mend = "mend that, then `stead up` again";
                kept.trouble = Some(format!("it keeps its old spec: {why}; {mend}"));
                return;
            }
        }
        if !self.errand(name, Request::Update { launch }, Errand::Update)
            && let Some(kept) = self.kept.get_mut(name)
        {
            kept.asked.update = None;
        }
    }

    /// Asks a keeper for something; without a link that waits for its next report.
    pub(super) fn errand(&mut self, name: &InstanceName, request: Request, errand: Errand) -> bool {
        let link = self.kept.get(name).and_then(|kept| kept.link());
        link.is_some_and(|link| link.ask(request, Asker::Agent(errand)).is_ok())
    }

    /// Takes what accounts were found for the instances that had none.
    pub(super) fn resolved(&mut self, generation: u64, wanted: AllWanted) {
        if generation != self.generation() {
            return;
        }
        self.wanted = wanted;
        self.unstarted.clear();
    }
}

/// Whether a keeper runs another program than this one. One that cannot be looked at is left alone.
fn runs_another(pid: u32, program: &std::path::Path) -> bool {
    stead_proc::program_of(pid).is_ok_and(|running| running != program)
}
