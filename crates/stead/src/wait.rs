//! Waiting until instances are where they should be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use stead_wire::api::{InstanceStatus, Status};
use tokio::time::Instant;

use crate::client::Client;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::render::status::age;

/// How long a run must have lived to count as up: a program that fails does so at its start.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// So many restarts while we wait, and the next run has to wait: it will not get up by itself.
const RESTARTS_FAILING: u64 = 2;
/// How long others may take to show that they fail, too, once one of them does.
const FAILING_GRACE: Duration = Duration::from_secs(1);
/// How often the agent is asked.
pub(crate) const ASK_EVERY: Duration = Duration::from_millis(100);

/// Where instances should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Goal {
    Down,
    Up,
}

impl Goal {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up and ready",
        }
    }
}

/// What is waited for.
#[derive(Clone, Debug)]
pub(crate) struct Awaited {
    pub(crate) goal: Goal,
    /// These instances; all there are, if empty.
    pub(crate) names: BTreeSet<String>,
    /// Runs up to this one do not count as up.
    pub(crate) runs_before: BTreeMap<String, u64>,
    /// Restarts up to this one were before we waited.
    pub(crate) restarts_before: BTreeMap<String, u64>,
    /// Services whose runs may end well and are then not started again.
    pub(crate) may_end: BTreeSet<String>,
}

impl Awaited {
    pub(crate) fn new(
        goal: Goal,
        names: impl IntoIterator<Item = String>,
        before: &Status,
    ) -> Self {
        let restarts = before.instances.iter().map(|i| (i.name.clone(), i.restarts));
        Self {
            goal,
            names: names.into_iter().collect(),
            runs_before: BTreeMap::new(),
            restarts_before: restarts.collect(),
            may_end: BTreeSet::new(),
        }
    }

    /// Whether an instance that is down may stay so: its run has ended well.
    pub(crate) fn may_rest(&self, instance: &InstanceStatus) -> bool {
        let has_ended_well = instance.last_exit.as_ref().is_some_and(|exit| exit.is_success());
        has_ended_well && self.may_end.contains(&instance.service)
    }

    /// Asks some instances for runs that began after this status was taken.
    pub(crate) fn with_fresh_runs(
        mut self,
        before: &Status,
        is_one: impl Fn(&InstanceStatus) -> bool,
    ) -> Self {
        let asked = before.instances.iter().filter(|instance| is_one(instance));
        self.runs_before = asked.map(|i| (i.name.clone(), i.run)).collect();
        self
    }
}

/// Where an instance is on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    /// It will not get there by itself.
    Failing,
    Pending,
    Reached,
}

/// How waiting ended, but for interruption.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Waited {
    /// These will not get there by themselves.
    Failing(Vec<String>),
    Reached,
    /// These were not there in time.
    TooLate(Vec<String>),
}

/// Waits, showing what happens, until all is as awaited, or cannot be, or time is up.
pub(crate) async fn until(
    client: &Client,
    awaited: &Awaited,
    time: Duration,
    progress: &mut Progress<'_>,
) -> Result<Waited, Failure> {
    let deadline = Instant::now() + time;
    let mut failing_since = None;
    loop {
        let status: Status = client.get("/v1/status").await?;
        progress.show(&status)?;
        let sorted = sort(awaited, &status, Timestamp::now());
        let now = Instant::now();
        if !sorted.failing.is_empty() {
            let since = *failing_since.get_or_insert(now);
            if sorted.pending.is_empty() || now - since >= FAILING_GRACE || now >= deadline {
                return Ok(Waited::Failing(sorted.failing));
            }
        } else if sorted.pending.is_empty() {
            return Ok(Waited::Reached);
        } else if now >= deadline {
            return Ok(Waited::TooLate(sorted.pending));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Instances that are not where they should be.
#[derive(Debug, Default, Eq, PartialEq)]
struct Sorted {
    failing: Vec<String>,
    pending: Vec<String>,
}

fn sort(awaited: &Awaited, status: &Status, now: Timestamp) -> Sorted {
    let mut sorted = Sorted::default();
    let mut missing = awaited.names.clone();
    for instance in &status.instances {
        missing.remove(&instance.name);
        if !awaited.names.is_empty() && !awaited.names.contains(&instance.name) {
            continue;
        }
        match verdict(awaited, instance, now) {
            Verdict::Failing => sorted.failing.push(instance.name.clone()),
            Verdict::Pending => sorted.pending.push(instance.name.clone()),
            Verdict::Reached => (),
        }
    }
    match awaited.goal {
        // What is not there any more is down.
        Goal::Down => (),
        Goal::Up => sorted.pending.extend(missing),
    }
    sorted
}

fn verdict(awaited: &Awaited, instance: &InstanceStatus, now: Timestamp) -> Verdict {
    let before = |counts: &BTreeMap<String, u64>| counts.get(&instance.name).copied().unwrap_or(0);
    let restarts_n = instance.restarts.saturating_sub(before(&awaited.restarts_before));
    let is_fresh = instance.run > before(&awaited.runs_before);
    let is_settled = age(instance, now).is_some_and(|age| age >= SETTLED_AFTER);
    let reached = |is_so| if is_so { Verdict::Reached } else { Verdict::Pending };
    // One that has its times is where it should be once it waits for the next, unless a run of it
    // was asked for.
    let is_timed = instance.next_run_at.is_some();
    if is_timed && awaited.goal == Goal::Up && !awaited.runs_before.contains_key(&instance.name) {
        return Verdict::Reached;
    }
    match (awaited.goal, instance.phase.as_str()) {
        (Goal::Down, phase) => reached(matches!(phase, "down" | "failed")),
        (Goal::Up, "up") if instance.rejected.is_some() => Verdict::Failing,
        (Goal::Up, "up") => reached(is_fresh && is_settled && instance.ready == Some(true)),
        (Goal::Up, "down") => reached(is_fresh && (is_timed || awaited.may_rest(instance))),
        // One without a keeper could not even be begun with.
        (Goal::Up, "failed") if is_fresh || instance.keeper_pid.is_none() => Verdict::Failing,
        (Goal::Up, "waiting") if restarts_n >= RESTARTS_FAILING => Verdict::Failing,
        (Goal::Up, _) => Verdict::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn now() -> Timestamp {
        samples::NOW.parse().unwrap()
    }

    fn names(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    /// What is said of one instance that is so.
    fn check(awaited: &Awaited, change: impl Fn(&mut InstanceStatus)) -> Verdict {
        let mut instance = samples::up("orders", 0);
        change(&mut instance);
        verdict(awaited, &instance, now())
    }

    fn awaited(goal: Goal) -> Awaited {
        let mut before = samples::status();
        before.instances.clear();
        Awaited::new(goal, [], &before)
    }

    #[test]
    fn up_is_a_fresh_run_that_has_lived_for_a_while() {
        let mut up = awaited(Goal::Up);
        assert_eq!(check(&up, |_| ()), Verdict::Reached);
        assert_eq!(check(&up, |i| i.started_at = Some(samples::NOW.into())), Verdict::Pending);
        assert_eq!(check(&up, |i| i.ready = Some(false)), Verdict::Pending);
        assert_eq!(check(&up, |i| i.ready = None), Verdict::Pending);
        assert_eq!(check(&up, |i| i.rejected = Some("why".into())), Verdict::Failing);
        assert_eq!(check(&up, |i| i.phase = "starting".into()), Verdict::Pending);
        up.runs_before.insert("orders.0".into(), 4);
        assert_eq!(check(&up, |i| i.run = 4), Verdict::Pending);
        assert_eq!(check(&up, |i| i.run = 5), Verdict::Reached);
    }

    #[test]
    fn an_instance_that_ends_again_and_again_is_failing() {
        let mut up = awaited(Goal::Up);
        up.restarts_before.insert("orders.0".into(), 7);
        let waiting = |restarts| {
            move |i: &mut InstanceStatus| {
                i.phase = "waiting".into();
                i.restarts = restarts;
            }
        };
        assert_eq!(check(&up, waiting(8)), Verdict::Pending);
        assert_eq!(check(&up, waiting(9)), Verdict::Failing);
        assert_eq!(check(&up, |i| i.phase = "failed".into()), Verdict::Failing);
        let unstarted = |i: &mut InstanceStatus| {
            (i.phase, i.run, i.keeper_pid) = ("failed".into(), 0, None);
        };
        assert_eq!(check(&up, unstarted), Verdict::Failing);
    }

    #[test]
    fn a_run_that_may_end_counts_once_it_ended_well() {
        let mut up = awaited(Goal::Up);
        let ended = |code| {
            move |i: &mut InstanceStatus| {
                i.phase = "down".into();
                i.last_exit = Some(samples::exit(code));
            }
        };
        assert_eq!(check(&up, ended(0)), Verdict::Pending);
        up.may_end.insert("orders".into());
        assert_eq!(check(&up, ended(0)), Verdict::Reached);
        assert_eq!(check(&up, ended(1)), Verdict::Pending);
    }

    #[test]
    fn one_that_has_its_times_is_waited_for_only_if_a_run_was_asked_for() {
        let mut up = awaited(Goal::Up);
        let rests = |phase: &'static str, run| {
            move |i: &mut InstanceStatus| {
                (i.phase, i.run) = (phase.into(), run);
                i.next_run_at = Some(samples::NOW.into());
            }
        };
        assert_eq!(check(&up, rests("down", 0)), Verdict::Reached);
        assert_eq!(check(&up, rests("failed", 4)), Verdict::Reached);
        up.runs_before.insert("orders.0".into(), 4);
        assert_eq!(check(&up, rests("failed", 4)), Verdict::Pending);
        assert_eq!(check(&up, rests("failed", 5)), Verdict::Failing);
        assert_eq!(check(&up, rests("down", 5)), Verdict::Reached);
    }

    #[test]
    fn down_is_down_whatever_was_before() {
        let down = awaited(Goal::Down);
        for (phase, verdict) in [
            ("down", Verdict::Reached),
            ("failed", Verdict::Reached),
            ("stopping", Verdict::Pending),
            ("up", Verdict::Pending),
            ("waiting", Verdict::Pending),
        ] {
            assert_eq!(check(&down, |i| i.phase = phase.into()), verdict, "{phase}");
        }
    }

    #[test]
    fn every_instance_that_is_not_there_is_named() {
        let status = samples::status();
        let mut up = awaited(Goal::Up);
        up.names = ["db.0", "gone.0"].map(String::from).into();
        let check = |awaited: &Awaited, failing: &[&str], pending: &[&str]| {
            let sorted = sort(awaited, &status, now());
            assert_eq!((sorted.failing, sorted.pending), (names(failing), names(pending)));
        };
        check(&up, &[], &["gone.0"]);
        up.goal = Goal::Down;
        check(&up, &[], &["db.0"]);
        up.goal = Goal::Up;
        up.names.clear();
        check(&up, &["orders.1"], &["orders.0"]);
    }
}
