//! A value of today for everything that crosses between versions, with every field told. A new
//! field does not compile here until it has a value; then its sample is missing.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use stead_core::machine::{Goal, PhaseName, RunId};
use stead_core::plan::Plan;
use stead_core::rollout::{
    Held, HostAsk, HostAskWhat, HostMemory, HostRefusal, HostRollout, HostStage,
};
use stead_wire::api::{
    Act, ActWhat, Acted, AgentStatus, EndedRun, EventLine, Host, InstanceStatus, LogLine,
    LogStatus, PlanPut, PlanState, Refusal, Signed, Status, Why,
};
use stead_wire::front;
use stead_wire::journal::{BesideMemory, Event, Exit, Identity, Lane, Memory, Record, Rest};
use stead_wire::journal::{Stream, Timed};
use stead_wire::keeper::{Coming, LogCounts, Rejected, Reply, Report, Request};
use stead_wire::rollout::{
    About, History, HistoryEntry, Outcome, RolloutAsk, RolloutState, Staged,
};
use stead_wire::ship::{AgentMade, Installed, Offer, SecretOffer, Wanted};

use crate::events::events;
use crate::plans::{launch, plan, small_plan};

pub(crate) const DIGEST: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

pub(crate) fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A name, or another text that is checked when it is made.
pub(crate) fn name<T: std::str::FromStr>(text: &str) -> T {
    text.parse().ok().expect("it is one")
}

fn values<T: Serialize>(all: impl IntoIterator<Item = T>) -> Vec<Value> {
    let value = |one| serde_json::to_value(one).expect("what crosses always serializes");
    all.into_iter().map(value).collect()
}

/// By the name of the file with its samples.
pub(crate) fn all() -> Vec<(&'static str, Vec<Value>)> {
    vec![
        ("act", values(acts())),
        ("acted", values([Acted { done: texts(), refused: [pair()].into() }])),
        ("agent-made", values(made())),
        ("event-line", values([event_line()])),
        ("front-reply", values(front_replies())),
        ("front-request", values(front_requests())),
        ("history", values([history()])),
        ("host", values([Host { memory_bytes: 1, cpu_milli: 2, keeps: texts() }])),
        ("host-refusal", values(refusals())),
        ("journal", values(records())),
        ("keeper-reply", values(replies())),
        ("keeper-request", values(requests())),
        ("launch", values([launch()])),
        ("log-line", values([log_line()])),
        ("offer", values([Offer { folder: "releases".into(), manifest: json!([]) }])),
        ("plan", values([plan()])),
        ("plan-put", values([plan_put()])),
        ("plan-state", values([PlanState { generation: 3, plan: Some(small_plan()) }])),
        ("refusal", values([refusal()])),
        ("rollout-ask", values(asks())),
        ("rollout-memory", values([remembered()])),
        ("rollout-state", values(states())),
        ("secret-offer", values([secret()])),
        ("status", values([status()])),
        ("wanted", values([wanted()])),
        ("why", values([why()])),
    ]
}

fn texts() -> Vec<String> {
    vec!["one".into()]
}

fn pair() -> (String, String) {
    ("one".into(), "two".into())
}

fn acts() -> Vec<Act> {
    let whats = [
        ActWhat::Reload,
        ActWhat::Restart,
        ActWhat::Resume,
        ActWhat::Signal { signal: "HUP".into() },
        ActWhat::Start,
        ActWhat::Stop,
    ];
    whats.map(|what| Act { names: texts(), what }).into()
}

fn made() -> [AgentMade; 4] {
    let all = [Installed::Fresh, Installed::Later, Installed::Same, Installed::Upgraded];
    all.map(|installed| AgentMade { installed })
}

fn event_line() -> EventLine {
    EventLine { at: 5, instance: some("web.0"), event: Event::Started { run: 1, pid: 7 } }
}

fn log_line() -> LogLine {
    LogLine {
        instance: "web.0".into(),
        stream: Stream::Err,
        time_us: 5,
        line: "no".into(),
        dropped_before: 9,
    }
}

fn refusal() -> Refusal {
    Refusal { what: "no".into(), because: "it is so".into(), try_this: "another".into() }
}

fn signed() -> Signed {
    Signed { text: "{}".into(), key: "ed25519:00".into(), signature: "11".into() }
}

fn plan_put() -> PlanPut {
    PlanPut { replaces: 2, plan: small_plan(), signed: Some(signed()) }
}

fn secret() -> SecretOffer {
    let id = DIGEST.to_owned().try_into().expect("it is one");
    SecretOffer { fleet: name("shop"), name: name("token"), value: "hush".into(), id }
}

fn wanted() -> Wanted {
    Wanted { release: DIGEST.into(), contents: texts(), bases: [pair()].into() }
}

fn about() -> About {
    About { what: "deploy".into(), commit: some("c0ffee"), started_at: 5, hosts: texts() }
}

fn asks() -> Vec<RolloutAsk> {
    let whats = [
        HostAskWhat::Claim { who: "ann@desk".into(), resume: true },
        HostAskWhat::Stage,
        HostAskWhat::Switch,
        HostAskWhat::Keep,
        HostAskWhat::Commit,
        HostAskWhat::Revert { why: "a canary crashed".into() },
    ];
    let ask = |what: HostAskWhat| {
        let staged = (what == HostAskWhat::Stage).then(|| {
            let signed = Some(signed());
            Box::new(Staged {
                plan: small_plan(),
                about: about(),
                commit_within_ms: 120_000,
                signed,
            })
        });
        RolloutAsk { ask: HostAsk { epoch: 7, id: name("r7"), what }, staged }
    };
    whats.map(ask).into()
}

fn states() -> Vec<RolloutState> {
    let stages = [
        HostStage::Claimed,
        HostStage::Staged,
        HostStage::Switched,
        HostStage::Committed,
        HostStage::Reverted { why: "nobody committed it in time".into(), by_itself: true },
    ];
    let state = |stage| {
        let held = Some(Held { id: name("r7"), who: "ann@desk".into(), stage });
        let machine = HostRollout { epoch: 7, held, for_good: Some(name("r5")) };
        RolloutState { machine, about: Some(about()), alive: true }
    };
    stages.map(state).into()
}

/// A host that has just decided to switch: its memory holds all that it ever does.
fn remembered() -> HostMemory<Plan> {
    let claim = HostAskWhat::Claim { who: "ann@desk".into(), resume: false };
    let mut memory = HostMemory::default();
    for what in [claim, HostAskWhat::Stage, HostAskWhat::Switch] {
        let ask = HostAsk { epoch: 7, id: name("r7"), what };
        let taken = memory.take(&ask, Some(small_plan()), true, Plan::clone);
        memory = taken.expect("it is in order").0;
    }
    memory.machine.for_good = Some(name("r5"));
    memory
}

fn refusals() -> [HostRefusal; 4] {
    [
        HostRefusal::Busy { who: "ann@desk".into(), id: name("r7") },
        HostRefusal::OutOfOrder { stage: HostStage::Committed },
        HostRefusal::Stale { epoch: 9 },
        HostRefusal::Unclaimed,
    ]
}

fn history() -> History {
    let outcomes = [Outcome::Committed, Outcome::Put, Outcome::Reverted("it ended".into())];
    let entry = |outcome| HistoryEntry {
        n: 1,
        at: 5,
        who: "ann@desk".into(),
        what: "deploy".into(),
        outcome,
        fleet: "shop".into(),
        epoch: 7,
        commit: some("c0ffee"),
        plan_digest: DIGEST.into(),
        releases: [pair()].into(),
        before: DIGEST.into(),
        plan: Some(small_plan()),
    };
    History { entries: outcomes.map(entry).into(), is_unbroken: true }
}

fn status() -> Status {
    let agent = AgentStatus {
        version: "0.1.0".into(),
        pid: 3,
        root: "/var/lib/stead".into(),
        keeper: "/k".into(),
        fleet: some("shop"),
        generation: 3,
        troubles: texts(),
    };
    Status { host: "local".into(), agent, instances: vec![instance()] }
}

fn instance() -> InstanceStatus {
    InstanceStatus {
        name: "web.0".into(),
        service: "web".into(),
        index: 0,
        phase: "up".into(),
        ready: Some(true),
        pid: Some(7),
        run: 2,
        second_ports: true,
        restarts: 1,
        release: some(DIGEST),
        started_at: some("2026-01-01T00:00:00Z"),
        next_run_at: some("2026-01-01T00:00:00Z"),
        memory_bytes: Some(1),
        cpu_percent: Some(1.5),
        last_exit: Some(exit()),
        keeper_pid: Some(6),
        notes: texts(),
        rejected: some("it ended"),
        current: true,
        log: LogStatus { stored_bytes: 1, dropped_bytes: 2 },
    }
}

fn why() -> Why {
    Why {
        instance: instance(),
        because: "it runs".into(),
        events: vec![event_line()],
        last_runs: vec![EndedRun { run: 1, exit: exit() }],
        denials: texts(),
        last_output: vec![log_line()],
    }
}

fn exit() -> Exit {
    Exit {
        code: Some(3),
        signal: some("KILL"),
        reason: "exit code 3".into(),
        at: Some(5),
        life_ms: Some(9),
    }
}

fn records() -> Vec<Record> {
    let mut records: Vec<Record> =
        events().into_iter().map(|event| Record { at: 5, event, memory: None }).collect();
    let rests = [Rest::Down, Rest::Failed, Rest::Running, Rest::Restarting, Rest::Waiting];
    records.extend(rests.map(|rest| {
        let event = Event::Started { run: 2, pid: 7 };
        Record { at: 5, event, memory: Some(memory(rest)) }
    }));
    records
}

fn identity() -> Identity {
    Identity { boot: "b".into(), pid: 7, start_ticks: 11, stream_ends: Vec::new() }
}

fn memory(rest: Rest) -> Memory {
    let lane = Lane { slot: Some(1), second: true, ready: true };
    Memory {
        goal: Goal::Up,
        last_run: RunId(2),
        failures: 1,
        restarts: 1,
        rest,
        run_mark: Some(4),
        process: Some(identity()),
        last_exit: Some(exit()),
        timed: Some(timed()),
        run: Some(RunId(1)),
        lane,
        beside: Some(BesideMemory {
            run: RunId(2),
            coming: true,
            process: Some(identity()),
            lane,
            run_mark: Some(4),
        }),
    }
}

fn timed() -> Timed {
    Timed { done: 5, queued: true }
}

fn requests() -> Vec<Request> {
    vec![
        Request::Due { due: 5 },
        Request::HandOver,
        Request::Reload,
        Request::Missed { since: 5, until: 6 },
        Request::Report,
        Request::Ready { run: 2 },
        Request::Restart,
        Request::Resume,
        Request::Retire,
        Request::Signal { signal: name("HUP") },
        Request::Start,
        Request::Unhealthy { run: 2, why: "it is silent".into() },
        Request::Update { launch: Box::new(launch()) },
        Request::Upgrade { program: "/k".into() },
        Request::Want { goal: Goal::Up },
    ]
}

fn replies() -> Vec<Reply> {
    vec![
        Reply::Done,
        Reply::Refused { why: "no".into() },
        Reply::Report(Box::new(report())),
        Reply::Sockets { names: texts() },
    ]
}

fn report() -> Report {
    Report {
        wire: 1,
        version: "0.1.0".into(),
        keeper_pid: 6,
        instance: name("web.0"),
        launch_mark: 4,
        goal: Goal::Up,
        phase: PhaseName::Up,
        retiring: false,
        run: 1,
        pid: Some(7),
        restarts: 1,
        failures: 1,
        started_at: Some(5),
        next_start_at: Some(6),
        last_exit: Some(exit()),
        log: LogCounts { stored_bytes: 1, dropped_bytes: 2, stalled: some("full") },
        ready: Some(true),
        says: some("working"),
        second: true,
        coming: Some(Coming {
            run: 2,
            pid: Some(8),
            second: true,
            ready: true,
            launch_mark: 4,
            started_at: Some(5),
        }),
        going: Some(1),
        rejected: Some(Rejected { launch_mark: 4, why: "it ended".into() }),
        between_launches: true,
        unheld: texts(),
        timed: Some(timed()),
        holds_sockets: true,
    }
}

fn front_requests() -> [front::Request; 2] {
    let address = "127.0.0.1:8101".parse().expect("it is one");
    [front::Request::Report, front::Request::Set(front::Set { backends: vec![address] })]
}

fn front_replies() -> [front::Reply; 3] {
    let address = "127.0.0.1:8101".parse().expect("it is one");
    let backend = front::Backend { address, connections: 2 };
    let report = front::Report {
        backends: vec![backend.clone()],
        draining: vec![backend],
        waiting: 1,
        accepted: 2,
        refused: 3,
        joined: 4,
        cut: 5,
    };
    [front::Reply::Done, front::Reply::Refused { why: "no".into() }, front::Reply::Report(report)]
}

/// Milliseconds as plans have them.
pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
