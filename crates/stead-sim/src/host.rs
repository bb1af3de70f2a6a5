//! A host: a disk that stays, an agent that does not, and what runs.
//!
//! The agent's order of writing and acting is that of `stead-agent`: what was decided is durable
//! before a plan is put by it, one change at a time.

use std::collections::VecDeque;

use stead_core::names::RolloutId;
use stead_core::rollout::{
    Gated, Held, HostAsk, HostDo, HostMemory, HostRefusal, HostRollout, HostStage, Part, part,
};

use crate::plan::{Broken, Kind};
use crate::{Ms, Version};

const ALIVE_FOR: Ms = 30_000;
const AGAIN_AFTER: Ms = 1000;

/// A release is ready, or has crashed often enough, so long after it was begun.
const START: Ms = 400;

/// Where an answer goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyTo {
    pub(crate) operator: usize,
    pub(crate) token: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum Request {
    See,
    Look,
    Ask { ask: HostAsk, staged: Option<Version> },
}

#[derive(Clone, Debug)]
pub(crate) enum Response {
    Seen(HostRollout),
    Looked(Gated),
    Taken(Part),
    Refused(HostRefusal),
    NotStored,
}

#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) memory: HostMemory<Version>,
    pub(crate) plan: Version,
    pub(crate) agent: Option<Agent>,
    /// Counts agents: what one before had under way comes to nothing.
    pub(crate) incarnation: u64,
    pub(crate) is_on: bool,
    pub(crate) is_cut: bool,
    pub(crate) is_disk_full: bool,
    /// By version.
    pub(crate) kinds: Vec<Kind>,
    pub(crate) broken: Option<Broken>,
    /// What answers.
    serving: Option<Version>,
    /// What was begun last, and when.
    begun: (Version, Ms),
}

#[derive(Debug)]
pub(crate) struct Agent {
    memory: HostMemory<Version>,
    heard_at: Ms,
    job: Option<Job>,
    waiting: VecDeque<(HostAsk, Option<Version>, ReplyTo)>,
    again_at: Option<Ms>,
    is_plan_new: bool,
}

/// Who has asked for it, about which rollout.
type Asker = (ReplyTo, RolloutId);

/// Something on its way to the disk.
#[derive(Debug)]
enum Job {
    Remember(HostMemory<Version>, Option<Asker>),
    Put(Version, Option<Asker>),
}

/// What a host says and has done, for the world to carry on.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub(crate) replies: Vec<(ReplyTo, Response)>,
    /// A stage that is durable now, with the epoch it was reached under.
    pub(crate) reached: Vec<(u64, Held)>,
}

impl Host {
    pub(crate) fn new(kinds: Vec<Kind>, broken: Option<Broken>) -> Self {
        let mut host = Self {
            memory: HostMemory::default(),
            plan: 0,
            agent: None,
            incarnation: 0,
            is_on: true,
            is_cut: false,
            is_disk_full: false,
            kinds,
            broken,
            serving: Some(0),
            begun: (0, 0),
        };
        host.begin_agent(0);
        host
    }

    pub(crate) fn begin_agent(&mut self, now: Ms) {
        self.incarnation += 1;
        self.agent = Some(Agent {
            memory: self.memory.clone(),
            heard_at: now,
            job: None,
            waiting: VecDeque::new(),
            again_at: None,
            is_plan_new: true,
        });
        self.run_plan(now);
    }

    /// The agent dies; what it was writing is on the disk, or is not.
    pub(crate) fn end_agent(&mut self, is_written: bool) {
        let job = self.agent.take().and_then(|agent| agent.job);
        match job.filter(|_| is_written && !self.is_disk_full) {
            Some(Job::Remember(next, _)) if self.broken != Some(Broken::Durable) => {
                self.memory = next;
            }
            Some(Job::Put(version, _)) => self.plan = version,
            Some(Job::Remember(..)) | None => (),
        }
    }

    pub(crate) fn lose_power(&mut self, is_written: bool) {
        self.end_agent(is_written);
        (self.is_on, self.serving) = (false, None);
    }

    pub(crate) fn boot(&mut self, now: Ms) {
        self.is_on = true;
        self.begun = (self.plan, now);
        self.begin_agent(now);
    }

    fn run_plan(&mut self, now: Ms) {
        self.settle(now);
        if self.begun.0 != self.plan {
            self.begun = (self.plan, now);
        }
    }

    /// What has become of what was begun. One that does not get ready never takes the place of
    /// the one before.
    fn settle(&mut self, now: Ms) {
        let (version, at) = self.begun;
        let is_time = self.is_on && at + START <= now;
        match self.kinds[version as usize] {
            Kind::Good if is_time => self.serving = Some(version),
            Kind::FailsAfter(after) if is_time => {
                self.serving = (now < at + START + after).then_some(version);
            }
            Kind::Good | Kind::FailsAfter(_) | Kind::NeverReady | Kind::Crashes => (),
        }
    }

    pub(crate) fn serving(&mut self, now: Ms) -> Option<Version> {
        self.settle(now);
        self.serving
    }

    fn gate(&mut self, now: Ms) -> Gated {
        self.settle(now);
        let (version, at) = self.begun;
        let is_time = at + START <= now;
        match self.kinds[version as usize] {
            _ if version != self.plan => Gated::Pending("it goes by its old plan".into()),
            Kind::Crashes | Kind::FailsAfter(_) if is_time && self.serving != Some(version) => {
                Gated::Failed("it ended 2 times".into())
            }
            _ if self.serving == Some(version) => Gated::Passed,
            Kind::Good | Kind::NeverReady | Kind::Crashes | Kind::FailsAfter(_) => {
                Gated::Pending("it is not ready".into())
            }
        }
    }

    /// Takes a request; `None` if nobody is there.
    pub(crate) fn asked(&mut self, request: Request, to: ReplyTo, now: Ms) -> Option<Out> {
        self.agent.as_ref()?;
        let mut out = Out::default();
        match request {
            Request::See => {
                let machine = self.agent.as_ref()?.memory.machine.clone();
                out.replies.push((to, Response::Seen(machine)));
            }
            Request::Look => out.replies.push((to, Response::Looked(self.gate(now)))),
            Request::Ask { ask, staged } => self.take(ask, staged, to, now, &mut out),
        }
        Some(out)
    }

    fn take(
        &mut self,
        mut ask: HostAsk,
        staged: Option<Version>,
        to: ReplyTo,
        now: Ms,
        out: &mut Out,
    ) {
        let (plan, broken) = (self.plan, self.broken);
        let Some(agent) = &mut self.agent else { return };
        if agent.job.is_some() {
            return agent.waiting.push_back((ask, staged, to));
        }
        if broken == Some(Broken::Fence) {
            ask.epoch = ask.epoch.max(agent.memory.machine.epoch);
        }
        let alive = now < agent.heard_at + ALIVE_FOR;
        let (mut next, what) = match agent.memory.take(&ask, staged, alive, |_| plan) {
            Ok(taken) => taken,
            Err(refusal) => return out.replies.push((to, Response::Refused(refusal))),
        };
        if broken == Some(Broken::ToldStays)
            && let Some(held) = &mut next.machine.held
            && let HostStage::Reverted { by_itself, .. } = &mut held.stage
        {
            *by_itself = true;
        }
        agent.heard_at = now;
        if next == agent.memory && what != HostDo::PutStaged && next.pending().is_none() {
            let taken = Response::Taken(part(&next.machine, &ask.id));
            return out.replies.push((to, taken));
        }
        agent.job = Some(Job::Remember(next, Some((to, ask.id))));
    }

    /// The disk has taken what was under way, or has not.
    pub(crate) fn job_done(&mut self, now: Ms) -> Out {
        let mut out = Out::default();
        let Some(agent) = &mut self.agent else { return out };
        let Some(job) = agent.job.take() else { return out };
        let to = match &job {
            Job::Remember(_, to) | Job::Put(_, to) => to.as_ref().map(|(to, _)| *to),
        };
        if self.is_disk_full {
            agent.again_at = Some(now + AGAIN_AFTER);
            out.replies.extend(to.map(|to| (to, Response::NotStored)));
            return out;
        }
        match job {
            Job::Remember(next, to) => {
                let held = next.machine.held.clone();
                if held != agent.memory.machine.held {
                    out.reached.extend(held.map(|held| (next.machine.epoch, held)));
                }
                if self.broken != Some(Broken::Durable) {
                    self.memory = next.clone();
                }
                agent.memory = next;
                match agent.memory.pending() {
                    Some(version) if *version != self.plan => {
                        agent.job = Some(Job::Put(*version, to));
                    }
                    Some(_) | None => self.put(to, &mut out),
                }
            }
            Job::Put(version, to) => {
                self.plan = version;
                agent.is_plan_new = true;
                self.run_plan(now);
                self.put(to, &mut out);
            }
        }
        out
    }

    /// What is to be there is there.
    fn put(&mut self, to: Option<Asker>, out: &mut Out) {
        let Some(agent) = &mut self.agent else { return };
        let reply = to.map(|(to, id)| (to, Response::Taken(part(&agent.memory.machine, &id))));
        out.replies.extend(reply);
        if agent.memory.pending().is_some() {
            agent.job = Some(Job::Remember(agent.memory.settle(), None));
        }
    }

    /// Does what is due without being asked, then takes the asks that have waited.
    pub(crate) fn look(&mut self, now: Ms, commit_within: Ms, out: &mut Out) {
        let plan = self.plan;
        let Some(agent) = self.agent.as_mut().filter(|agent| agent.job.is_none()) else { return };
        if agent.again_at.is_none_or(|at| at <= now) {
            agent.again_at = None;
            let is_late = agent.memory.is_switched() && agent.heard_at + commit_within <= now;
            if agent.is_plan_new && agent.memory.is_overtaken(Some(&plan)) {
                return agent.job = Some(Job::Remember(agent.memory.leave(), None));
            }
            agent.is_plan_new = false;
            if is_late && self.broken != Some(Broken::SelfRevert) {
                return agent.job = Some(Job::Remember(agent.memory.expire(), None));
            }
            if agent.memory.pending().is_some() {
                return agent.job = Some(Job::Remember(agent.memory.clone(), None));
            }
        }
        while let Some(agent) = self.agent.as_mut().filter(|agent| agent.job.is_none())
            && let Some((ask, staged, to)) = agent.waiting.pop_front()
        {
            self.take(ask, staged, to, now, out);
        }
    }

    /// When to look again, if nobody asks.
    pub(crate) fn wake_at(&self, commit_within: Ms) -> Option<Ms> {
        let agent = self.agent.as_ref().filter(|agent| agent.job.is_none())?;
        let may_expire = agent.memory.is_switched() && self.broken != Some(Broken::SelfRevert);
        let deadline = may_expire.then_some(agent.heard_at + commit_within);
        agent.again_at.or(deadline)
    }

    pub(crate) fn is_writing(&self) -> bool {
        self.agent.as_ref().is_some_and(|agent| agent.job.is_some())
    }

    /// It is there, and has nothing to do unless somebody asks.
    pub(crate) fn is_idle(&self, commit_within: Ms) -> bool {
        let is_there = self.is_on && self.agent.is_some();
        is_there && !self.is_writing() && self.wake_at(commit_within).is_none()
    }
}
