//! The task that owns the agent's state: everything it learns comes as a message, and after each
//! it does what brings the host closer to its plan.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use stead_core::capacity::Capacity;
use stead_core::names::InstanceName;
use stead_core::probe::Damper;
use stead_core::reconcile::{Seen, SeenInstance, Step, reconcile};
use stead_wire::api::PlanState;
use stead_wire::journal::Event;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Ended;
use crate::agent_log::AgentLog;
use crate::crash::Crash;
use crate::front::FrontLink;
use crate::hands::{Done, Job, Settled, Start};
use crate::host::AllWanted;
use crate::journal::Journal;
use crate::kept::{Keeper, Kept};
use crate::layout::Layout;
use crate::message::{Ask, Message};
use crate::plan_change::{Change, Down};
use crate::rollout::Rollout;
use crate::store::Stored;

mod adopt;
mod asks;
mod collecting;
pub(crate) mod fronts;
mod health;
mod keepers;
pub(crate) mod times;

/// Messages taken before the host is looked at again.
const MESSAGES_AT_ONCE: usize = 256;

/// An instance that could not be started is tried again after this.
pub(crate) const START_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Accounts that are not there are looked for again after this.
const RESOLVE_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// What a trouble with the registry concerns.
const REGISTRY: &str = "registry.json";

/// How an agent ends that has nothing left to look after.
const ALL_DOWN: Ended = Ended::Down { left: Vec::new() };

/// The state of the agent. One task has it.
pub(crate) struct Agent {
    pub(crate) layout: Layout,
    pub(crate) host: String,
    pub(crate) until_down: bool,
    /// The most instances that a plan may hold.
    pub(crate) instances_max: usize,
    pub(crate) capacity: Capacity,
    /// The keeper that instances are given, inside the kit.
    pub(crate) keeper: PathBuf,
    pub(crate) crash: Crash,
    pub(crate) hands: mpsc::Sender<Job>,
    pub(crate) journal: Journal,
    pub(crate) log: AgentLog,
    /// For the links to speak to the agent.
    pub(crate) messages: Sender<Message>,
    /// `None`: no plan yet, or none that can be read. Then nothing is stopped.
    pub(crate) stored: Option<Stored>,
    pub(crate) wanted: AllWanted,
    pub(crate) resolve_at: Option<Instant>,
    pub(crate) kept: BTreeMap<InstanceName, Kept>,
    pub(crate) unstarted: BTreeMap<InstanceName, Unstarted>,
    /// The plan that is being written.
    pub(crate) change: Option<Change>,
    pub(crate) down: Option<Down>,
    pub(crate) rollout: Rollout,
    /// When to collect what is old, if there may be something.
    pub(crate) collect_at: Option<Instant>,
    pub(crate) ended: Option<Ended>,
    pub(crate) links: u64,
    /// The fronts of the plan.
    pub(crate) fronts: BTreeMap<InstanceName, FrontLink>,
    /// Holds restarts back that live probes ask for, when many do.
    pub(crate) damper: Damper,
    /// What is wrong with the agent itself, by what it concerns.
    pub(crate) troubles: BTreeMap<String, String>,
}

/// An instance of the plan that could not be given a folder and a keeper.
#[derive(Debug)]
pub(crate) struct Unstarted {
    pub(crate) why: String,
    pub(crate) again_at: Instant,
}

/// An agent that had nothing to do for so long gives back the memory that its work has left.
const TRIM_AFTER: Duration = Duration::from_millis(500);

impl Agent {
    /// Works until it is told to end by [`Message`]s; `ends` resolves when a signal says so.
    pub(crate) async fn run(
        &mut self,
        messages: &mut Receiver<Message>,
        mut ends: impl Future<Output = ()> + Unpin,
    ) -> Ended {
        let mut trimmed = false;
        loop {
            let wake_at = self.carry_on(Instant::now());
            if let Some(ended) = self.ended.take() {
                return ended;
            }
            let message = tokio::select! {
                message = messages.recv() => message,
                () = sleep_until(wake_at) => None,
                () = tokio::time::sleep(TRIM_AFTER), if !trimmed => {
                    stead_proc::trim_memory();
                    stead_proc::trim_code();
                    trimmed = true;
                    None
                }
                () = &mut ends => return Ended::Signalled,
            };
            trimmed &= message.is_none();
            let mut next = message;
            for _ in 0..MESSAGES_AT_ONCE {
                let Some(message) = next else { break };
                self.take(message);
                next = messages.try_recv().ok();
            }
            if let Some(message) = next {
                self.take(message);
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Ask(Ask::Act { names, request, to }) => {
                drop(to.send(self.pass_on(&names, &request)));
            }
            Message::Ask(Ask::Down { to }) => self.go_down(to),
            Message::Ask(Ask::Plan { to }) => drop(to.send(self.plan_state())),
            Message::Ask(Ask::PutPlan { put, to }) => self.put_plan(*put, to),
            Message::Ask(Ask::Refresh { to }) => drop(to.send(self.refresh())),
            Message::Ask(Ask::Rollout { ask, to }) => self.rollout_asked(*ask, to),
            Message::Ask(Ask::RolloutState { to }) => {
                drop(to.send(self.rollout.state(Instant::now())));
            }
            Message::Ask(Ask::Snapshot { silent, to }) => drop(to.send(self.snapshot(&silent))),
            Message::ChildEnded => self.reap_children(),
            Message::Done(Done::Applied { stored, wanted, settled }) => {
                self.settled(settled);
                self.applied(*stored, wanted);
            }
            Message::Done(Done::Buried { instance, retired, settled }) => {
                self.settled(settled);
                self.buried(&instance, retired);
            }
            Message::Done(Done::Collected(collected)) => self.collected(collected),
            Message::Done(Done::Prepared { instance, mark, prepared }) => {
                self.prepared(&instance, mark, prepared);
            }
            Message::Done(Done::Recorded { error }) => {
                self.log.say(&format!("the history could not be written: {error}"));
            }
            Message::Done(Done::Remembered { next, stored }) => self.remembered(*next, stored),
            Message::Done(Done::Resolved { generation, wanted }) => {
                self.resolved(generation, wanted);
            }
            Message::Done(Done::Started { instance, started }) => {
                self.keeper_started(&instance, started);
            }
            Message::Fronted { front, backends } => self.fronted(&front, backends),
            Message::Link { instance, link, said } => self.heard(&instance, link, said),
            Message::Probed { instance, run, probed } => self.probed(&instance, run, probed),
            Message::Sockets { instance, link, sockets } => {
                self.sockets_handed_over(&instance, link, sockets);
            }
        }
    }

    /// Answers who asks while the agent ends, until nobody is served any more: what is told is
    /// still so, but nothing more is done.
    pub(crate) async fn answer_last(
        &mut self,
        messages: &mut Receiver<Message>,
        mut serving: JoinHandle<()>,
        ended: &Ended,
    ) {
        loop {
            let message = tokio::select! {
                _ = &mut serving => return,
                message = messages.recv() => message,
            };
            match message {
                Some(Message::Ask(Ask::Down { to })) if *ended == ALL_DOWN => {
                    drop(to.send(Ok(self.plan_state())));
                }
                Some(Message::Ask(Ask::Plan { to })) => drop(to.send(self.plan_state())),
                Some(Message::Ask(Ask::Refresh { to })) => drop(to.send(BTreeMap::new())),
                Some(Message::Ask(Ask::RolloutState { to })) => {
                    drop(to.send(self.rollout.state(Instant::now())));
                }
                Some(Message::Ask(Ask::Snapshot { silent, to })) => {
                    drop(to.send(self.snapshot(&silent)));
                }
                // Who asked sees by the dropped answer that the agent ends.
                Some(
                    Message::Ask(
                        Ask::Act { .. }
                        | Ask::Down { .. }
                        | Ask::PutPlan { .. }
                        | Ask::Rollout { .. },
                    )
                    | Message::ChildEnded
                    | Message::Done(_)
                    | Message::Fronted { .. }
                    | Message::Link { .. }
                    | Message::Probed { .. }
                    | Message::Sockets { .. },
                )
                | None => (),
            }
        }
    }

    /// Does what is due now; returns when to look again if nothing happens before.
    fn carry_on(&mut self, now: Instant) -> Option<Instant> {
        self.apply_down();
        self.look_at_rollout(now);
        if self.resolve_at.is_some_and(|at| at <= now) {
            self.resolve_at = None;
            if let Some(stored) = &self.stored {
                self.do_job(Job::Resolve(Box::new(stored.clone())));
            }
        }
        // An account that is missing may be there later, also for what runs on by its old spec.
        if self.resolve_at.is_none() && self.wanted.values().any(Result::is_err) {
            self.resolve_at = Some(now + RESOLVE_AGAIN_AFTER);
        }
        let seen = self.seen();
        for step in self.steps(&seen) {
            match step {
                Step::Retire { instance } => self.retire(&instance),
                Step::StartKeeper { instance } => self.start_keeper(&instance, now),
                Step::Update { instance } => self.update(&instance),
            }
        }
        self.look_at_fronts();
        self.look_at_what_is_old(now);
        self.finish_down(now);
        let time_comes = self.look_at_times(now);
        self.wake_at(now).into_iter().chain(time_comes).min()
    }

    /// Without a plan that can be read only the keepers are kept: nothing is stopped by mistake.
    fn steps(&self, seen: &Seen) -> Vec<Step> {
        match &self.stored {
            Some(stored) => reconcile(&stored.plan, seen),
            None => {
                let dead = self.kept.iter();
                let dead = dead.filter(|(_, kept)| matches!(kept.keeper, Keeper::Dead { .. }));
                dead.map(|(name, _)| Step::StartKeeper { instance: name.clone() }).collect()
            }
        }
    }

    /// What the reconciler is to see.
    pub(crate) fn seen(&self) -> Seen {
        let seen = |(name, kept): (&InstanceName, &Kept)| {
            let mark = match self.wanted.get(name) {
                Some(Ok(wanted)) => Some(wanted.mark),
                Some(Err(_)) | None => None,
            };
            let seen = SeenInstance { needs: kept.needs.clone(), keeper: kept.seen(mark) };
            (name.clone(), seen)
        };
        self.kept.iter().map(seen).collect()
    }

    fn start_keeper(&mut self, name: &InstanceName, now: Instant) {
        let wanted = match self.wanted.get(name) {
            Some(Ok(wanted)) => Some(wanted.launch.clone()),
            // A keeper that was there goes on with the launch it had.
            Some(Err(_)) if self.kept.contains_key(name) => None,
            Some(Err(why)) => {
                let why = why.clone();
                let again_at = *self.resolve_at.get_or_insert(now + RESOLVE_AGAIN_AFTER);
                self.unstarted.insert(name.clone(), Unstarted { why, again_at });
                return;
            }
            None => None,
        };
        if self.unstarted.get(name).is_some_and(|unstarted| now < unstarted.again_at) {
            return;
        }
        self.unstarted.remove(name);
        match self.kept.get_mut(name) {
            Some(kept) => match kept.keeper {
                Keeper::Dead { start_at } if start_at <= now => kept.keeper = Keeper::Starting,
                Keeper::Dead { .. } | Keeper::Alive { .. } | Keeper::Burying | Keeper::Starting => {
                    return;
                }
            },
            None => {
                let spec = self.stored.as_ref().and_then(|it| it.plan.instances.get(name));
                let Some(spec) = spec else { return };
                let kept = Kept::starting(spec.needs.clone(), spec.stop.timeout);
                self.kept.insert(name.clone(), kept);
            }
        }
        // Without duplicates of its own the keeper opens what it needs anew.
        let sockets = self.kept.get(name).map(Kept::duplicates).unwrap_or_default();
        let (instance, ports) = (name.clone(), self.ports(name));
        self.do_job(Job::Start(Box::new(Start { instance, wanted, ports, sockets })));
    }

    /// The ports that the plan gives an instance.
    pub(crate) fn ports(&self, name: &InstanceName) -> BTreeMap<String, u16> {
        let spec = self.stored.as_ref().and_then(|stored| stored.plan.instances.get(name));
        spec.map(|spec| spec.ports.clone()).unwrap_or_default()
    }

    pub(crate) fn do_job(&mut self, job: Job) {
        // The thread ends only after the agent, unless it panicked: then nothing can be kept.
        self.hands.send(job).expect("the thread that touches the disk has ended");
    }

    /// When something is due that no message tells.
    fn wake_at(&self, now: Instant) -> Option<Instant> {
        let dead = self.kept.values().filter_map(|kept| match &kept.keeper {
            Keeper::Dead { start_at } => Some(*start_at),
            Keeper::Alive { .. } | Keeper::Burying | Keeper::Starting => None,
        });
        let unstarted = self.unstarted.values().map(|unstarted| unstarted.again_at);
        let down = self.down.as_ref().map(|down| down.deadline);
        let rollout = self.rollout.wake_at();
        let again = self.resolve_at.into_iter().chain(self.collect_at);
        let all = dead.chain(unstarted).chain(down).chain(again).chain(rollout);
        // What was due and is not done waits for a message, such as that of a need that is met.
        all.filter(|at| *at > now).min()
    }

    pub(crate) fn generation(&self) -> u64 {
        self.stored.as_ref().map_or(0, |stored| stored.generation)
    }

    pub(crate) fn plan_state(&self) -> PlanState {
        let plan = self.stored.as_ref().map(|stored| stored.plan.clone());
        PlanState { generation: self.generation(), plan }
    }

    /// Takes note of whether the registry is as the services have it.
    pub(crate) fn settled(&mut self, settled: Settled) {
        match settled {
            Ok(()) => drop(self.troubles.remove(REGISTRY)),
            Err(why) => {
                self.log.say(&why);
                self.troubles
                    .insert(REGISTRY.into(), format!("{why}; the next change tries again"));
            }
        }
    }

    /// Writes to the agent's log and journal that something was damaged, and shows it as a trouble.
    pub(crate) fn note_damage(&mut self, file: &str, bytes: u64, what: &str, trouble: String) {
        self.log.say(&trouble);
        let (file, what) = (file.to_owned(), what.to_owned());
        self.journal.note(Event::Damaged { file: file.clone(), bytes, what });
        self.troubles.insert(file, trouble);
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
