//! What the API asks of the agent's state.

use std::collections::BTreeSet;

use stead_core::machine::PhaseName;
use stead_core::names::InstanceName;
use stead_core::reconcile::{Seen, unmet_need};
use stead_wire::keeper::Request;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Agent;
use crate::clock::wall_ms;
use crate::kept::{Hearing, Keeper, Kept};
use crate::link::Asker;
use crate::message::{Answer, Passed};
use crate::names::select;
use crate::view::{Facts, KeeperIs, Snapshot, View};

impl Agent {
    /// Every instance that the plan holds or that has a folder, by name.
    fn known(&self) -> Vec<InstanceName> {
        let planned = self.stored.iter().flat_map(|stored| stored.plan.instances.keys());
        let mut known: Vec<InstanceName> = planned.chain(self.kept.keys()).cloned().collect();
        known.sort();
        known.dedup();
        known
    }

    /// Passes a request on to the keepers of these services and instances.
    pub(super) fn pass_on(&self, names: &[String], request: &Request) -> Passed {
        let selected = select(names, &self.known());
        let mut passed: Passed =
            selected.unknown.into_iter().map(|name| (name.text, Err(name.why))).collect();
        for name in selected.instances {
            passed.insert(name.to_string(), self.pass_one(&name, request));
        }
        passed
    }

    fn pass_one(&self, name: &InstanceName, request: &Request) -> Result<Answer, String> {
        let no_keeper = || "it has no keeper yet; `stead why` tells what it waits for".to_owned();
        let kept = self.kept.get(name).ok_or_else(no_keeper)?;
        let link = kept.link().ok_or_else(|| match &kept.keeper {
            Keeper::Alive { hearing: Hearing::Silent, .. } => "its keeper does not answer".into(),
            Keeper::Alive { .. } => "its keeper is just starting; ask again".to_owned(),
            Keeper::Burying => "it has left".to_owned(),
            Keeper::Dead { .. } | Keeper::Starting => no_keeper(),
        })?;
        let (to, answer) = oneshot::channel();
        link.ask(request.clone(), Asker::Api(to))?;
        Ok(answer)
    }

    /// Asks every keeper that was heard of for a fresh report.
    pub(super) fn refresh(&self) -> Passed {
        let ask = |(name, kept): (&InstanceName, &Kept)| {
            let (to, answer) = oneshot::channel();
            let asked = kept.link()?.ask(Request::Report, Asker::Api(to));
            Some((name.to_string(), asked.map(|()| answer)))
        };
        self.kept.iter().filter_map(ask).collect()
    }

    /// Everything the agent knows, for status and reasons; `silent` are instances whose keepers
    /// have just been asked and did not answer.
    pub(super) fn snapshot(&self, silent: &BTreeSet<String>) -> Snapshot {
        let seen = self.seen();
        let mut troubles: Vec<String> = self.troubles.values().cloned().collect();
        if self.journal.lost() > 0 {
            let lost = self.journal.lost();
            troubles.push(format!("the disk is too slow: {lost} events are lost so far"));
        }
        Snapshot {
            generation: self.generation(),
            fleet: self.stored.as_ref().map(|stored| stored.plan.fleet.to_string()),
            troubles,
            views: self.known().iter().map(|name| self.view(name, &seen, silent)).collect(),
        }
    }

    fn view(&self, name: &InstanceName, seen: &Seen, silent: &BTreeSet<String>) -> View {
        let kept = self.kept.get(name);
        let spec = self.stored.as_ref().and_then(|stored| stored.plan.instances.get(name));
        let report = kept.and_then(|kept| kept.report.clone());
        let unstarted = self.unstarted.get(name);
        let now = Instant::now();
        let again_in = |at: Instant| at.saturating_duration_since(now);
        let unmet = self.stored.as_ref().zip(spec).filter(|_| kept.is_none());
        let unmet = unmet.and_then(|(stored, spec)| unmet_need(&stored.plan, seen, spec));
        let mut keeper = keeper_is(kept);
        if keeper == KeeperIs::Heard && silent.contains(&name.to_string()) {
            keeper = KeeperIs::Silent;
        }
        let facts = Facts {
            keeper,
            keeper_pid: kept.and_then(Kept::keeper_pid),
            report: report.as_deref(),
            leaving: spec.is_none() && self.stored.is_some(),
            unmet: unmet.map(|need| (need.clone(), self.phase_of_service(need))),
            unstarted: unstarted.map(|it| (it.why.as_str(), again_in(it.again_at))),
            trouble: kept.and_then(|kept| kept.trouble.as_deref()),
            warnings: kept.map_or(&[], |kept| &kept.warnings),
            not_ready: kept.and_then(not_ready),
            coming_said: kept.and_then(|kept| Some(kept.coming_said.as_ref()?.1.as_str())),
            held_back: kept.and_then(|kept| kept.held_back.as_deref()),
            unwanted: self.wanted.get(name).and_then(|wanted| wanted.as_ref().err()),
            now: wall_ms(),
        };
        let release =
            kept.map_or(spec.and_then(|spec| spec.release.as_ref()), |kept| kept.release.as_ref());
        let mark = match self.wanted.get(name) {
            Some(Ok(wanted)) => Some(wanted.mark),
            Some(Err(_)) | None => None,
        };
        // What an earlier plan asked for is over.
        let rejected = report.as_ref().and_then(|report| report.rejected.as_ref());
        let rejected = rejected.filter(|rejected| Some(rejected.launch_mark) == mark);
        let rejected = rejected.map(|rejected| rejected.why.clone());
        let runs_by = report.as_ref().map(|report| report.launch_mark);
        let is_asked = kept.is_some_and(|kept| kept.asked.update.is_some());
        View {
            rejected,
            current: mark.is_some() && runs_by == mark && !is_asked,
            phase: facts.phase(),
            keeper_pid: facts.keeper_pid,
            ready: kept.map_or(Some(false), Kept::ready),
            next: kept.and_then(|kept| kept.next).map(|next| next.at),
            release: release.map(|digest| digest.as_str().to_owned()),
            notes: facts.notes(),
            name: name.clone(),
            report,
        }
    }

    /// The phase of the first instance of a service that is not up.
    fn phase_of_service(&self, service: &stead_core::names::ServiceName) -> PhaseName {
        let instances = self.known().into_iter().filter(|name| name.service() == service);
        let phase = |name: InstanceName| {
            let report = self.kept.get(&name).and_then(|kept| kept.report.as_ref());
            report.map_or(PhaseName::Down, |report| report.phase)
        };
        instances.map(phase).find(|phase| *phase != PhaseName::Up).unwrap_or(PhaseName::Up)
    }
}

/// What the ready probe of a run that is up said last, if that is no.
fn not_ready(kept: &Kept) -> Option<&str> {
    let run = kept.report.as_ref().filter(|report| report.phase == PhaseName::Up)?.run;
    let probing = kept.probing.iter().find(|probing| probing.target.run == run)?;
    probing.last.as_deref().filter(|_| probing.ready == Some(false))
}

fn keeper_is(kept: Option<&Kept>) -> KeeperIs {
    match kept.map(|kept| (&kept.keeper, &kept.report)) {
        None => KeeperIs::Absent,
        Some((Keeper::Alive { hearing: Hearing::Heard, .. }, _)) => KeeperIs::Heard,
        Some((Keeper::Alive { hearing: Hearing::Silent, .. }, _)) => KeeperIs::Silent,
        Some((Keeper::Alive { hearing: Hearing::Waiting, .. } | Keeper::Starting, _)) => {
            KeeperIs::Starting
        }
        Some((Keeper::Burying, _)) => KeeperIs::Leaving,
        Some((Keeper::Dead { .. }, _)) => KeeperIs::Lost,
    }
}
