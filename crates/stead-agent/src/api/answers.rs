//! What the routes do.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::thread;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde_json::Value;
use stead_core::capacity::{Capacity, Keeps};
use stead_core::denial::Denial;
use stead_core::machine::Goal;
use stead_core::names::InstanceName;
use stead_core::plan::Plan;
use stead_wire::api::{
    Act, ActWhat, Acted, EventLine, Host, LogLine, PlanPut, PlanState, Refusal, Signed, Status, Why,
};
use stead_wire::journal::{Event, Stream};
use stead_wire::keeper::Request;
use stead_wire::rollout::{History, ROLLOUT_REFUSED, RolloutAsk, RolloutState};
use tokio::time::{Instant, timeout, timeout_at};

use super::query::{Parameters, RawQuery, bad};
use super::refused::Refused;
use super::serve::Api;
use super::stream::{self, Lines};
use crate::events::{Reader, Wish};
use crate::logs::Query;
use crate::message::{Ask, PutRefused};
use crate::names::select;
use crate::rollout::RolloutRefused;
use crate::secrets;
use crate::status as told;
use crate::trust::{self, Offered};
use crate::why as reasons;

/// Keepers are given this long to say something fresh; those that do not are shown as silent.
const REFRESH_WITHIN: Duration = Duration::from_millis(500);

/// Keepers are asked for fresh reports no more often than this, however many look.
const REFRESH_EVERY: Duration = Duration::from_millis(100);

/// A keeper must have taken an act within this; what follows from it takes its own time.
const ACT_WITHIN: Duration = Duration::from_secs(5);

/// The most names in one act.
const NAMES_MAX: usize = 1000;

/// How often journals are looked at while somebody follows them.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// Events and lines that go with a reason.
const WHY_EVENTS: usize = 20;
const WHY_LINES: usize = 20;

/// Denials that are looked at for those of an instance, the newest: a program that is denied
/// something may try again for ever.
const DENIALS_MAX: usize = 1000;

type Raw = Result<Bytes, BytesRejection>;

pub(super) async fn status(State(api): State<Api>) -> Result<Json<Status>, Refused> {
    Ok(Json(fresh_status(&api).await?))
}

/// When keepers were asked for fresh reports, and who did not answer.
#[derive(Debug, Default)]
pub(super) struct Refreshed {
    at: Option<Instant>,
    silent: BTreeSet<String>,
}

async fn fresh_status(api: &Api) -> Result<Status, Refused> {
    let silent = refresh(api).await?;
    let snapshot = api.ask(|to| Ask::Snapshot { silent, to }).await?;
    let shared = api.0.clone();
    let status = move || told::status(&shared.own, snapshot, &shared.meter);
    tokio::task::spawn_blocking(status).await.map_err(|_| Refused::ending())
}

/// Has every keeper say a fresh report, all at a time; says whose did not.
async fn refresh(api: &Api) -> Result<BTreeSet<String>, Refused> {
    // Who asks meanwhile waits, and is told the same.
    let mut refreshed = api.0.refreshed.lock().await;
    if refreshed.at.is_some_and(|at| at.elapsed() < REFRESH_EVERY) {
        return Ok(refreshed.silent.clone());
    }
    let answers = api.ask(|to| Ask::Refresh { to }).await?;
    let deadline = Instant::now() + REFRESH_WITHIN;
    refreshed.silent.clear();
    for (name, answer) in answers {
        let is_silent = match answer {
            Err(_) => true,
            Ok(answer) => match timeout_at(deadline, answer).await {
                // The connection was lost meanwhile: the agent knows more of that.
                Ok(Ok(Ok(())) | Err(_)) => false,
                Ok(Ok(Err(_))) | Err(_) => true,
            },
        };
        if is_silent {
            refreshed.silent.insert(name);
        }
    }
    refreshed.at = Some(Instant::now());
    Ok(refreshed.silent.clone())
}

pub(super) async fn host(State(_): State<Api>) -> Result<Json<Host>, Refused> {
    let Capacity { memory, cpu, keeps } = crate::capacity();
    let Keeps { memory: by_memory, cpu: by_cpu, processes, io_weight } = keeps;
    let kept = [
        ("limits.memory", by_memory),
        ("limits.cpu", by_cpu),
        ("limits.processes", processes),
        ("limits.files", true),
        ("limits.io_weight", io_weight),
    ];
    let keeps = kept.into_iter().filter(|(_, kept)| *kept).map(|(name, _)| name.to_owned());
    Ok(Json(Host { memory_bytes: memory.0, cpu_milli: cpu.0, keeps: keeps.collect() }))
}

pub(super) async fn plan(State(api): State<Api>) -> Result<Json<PlanState>, Refused> {
    api.ask(|to| Ask::Plan { to }).await.map(Json)
}

pub(super) async fn put_plan(
    State(api): State<Api>,
    body: Raw,
) -> Result<Json<PlanState>, Refused> {
    let put: Box<PlanPut> = parse(body)?;
    let purpose = Signed::for_generation(put.replaces);
    must_be_whole(&api, &put.plan, put.signed.as_ref(), purpose).await?;
    let state = api.ask(|to| Ask::PutPlan { put, to }).await?;
    state.map(Json).map_err(|refused| match refused {
        PutRefused::Bad(refusal) => Refused::new(StatusCode::UNPROCESSABLE_ENTITY, refusal),
        PutRefused::NotStored(refusal) => Refused::new(StatusCode::INSUFFICIENT_STORAGE, refusal),
        PutRefused::Stale(refusal) => Refused::new(StatusCode::CONFLICT, refusal),
    })
}

/// Refuses a plan that is not signed as it must be here, or whose secrets are not here. All that is
/// in files: it is not for the thread that decides.
async fn must_be_whole(
    api: &Api,
    plan: &Plan,
    signed: Option<&Signed>,
    purpose: String,
) -> Result<(), Refused> {
    let state: PlanState = api.ask(|to| Ask::Plan { to }).await?;
    let (layout, plan, signed) = (api.0.layout.clone(), plan.clone(), signed.cloned());
    let looked = tokio::task::spawn_blocking(move || {
        let (signed, now_has) = (signed.as_ref(), state.plan.as_ref());
        let offered = Offered { plan: &plan, signed, purpose, now_has };
        trust::refuse(&layout, &offered).or_else(|| secrets::lacking(&layout, &plan))
    });
    let refusal = looked.await.unwrap_or_else(|error| {
        let (what, try_this) = ("the plan was not taken", "look at the log of the agent");
        let (what, try_this) = (what.to_owned(), try_this.to_owned());
        Some(Refusal { what, because: error.to_string(), try_this })
    });
    refusal.map_or(Ok(()), |refusal| Err(Refused::new(StatusCode::FORBIDDEN, refusal)))
}

pub(super) async fn rollout(State(api): State<Api>) -> Result<Json<RolloutState>, Refused> {
    api.ask(|to| Ask::RolloutState { to }).await.map(Json)
}

pub(super) async fn ask_rollout(
    State(api): State<Api>,
    body: Raw,
) -> Result<Json<RolloutState>, Refused> {
    let ask: Box<RolloutAsk> = parse(body)?;
    if let Some(staged) = &ask.staged {
        let purpose = Signed::for_epoch(ask.ask.epoch);
        must_be_whole(&api, &staged.plan, staged.signed.as_ref(), purpose).await?;
    }
    let state = api.ask(|to| Ask::Rollout { ask, to }).await?;
    state.map(Json).map_err(|refused| match refused {
        RolloutRefused::Bad(refusal) => Refused::new(StatusCode::UNPROCESSABLE_ENTITY, refusal),
        RolloutRefused::Conflict(why) => {
            let because = serde_json::to_string(&why).expect("API types always serialize");
            let try_this = "`stead deploy --resume` takes a rollout over that nobody carries on";
            Refused::of(StatusCode::CONFLICT, ROLLOUT_REFUSED, because, try_this)
        }
        RolloutRefused::GoingDown(refusal) => Refused::new(StatusCode::CONFLICT, refusal),
        RolloutRefused::NotStored(refusal) => {
            Refused::new(StatusCode::INSUFFICIENT_STORAGE, refusal)
        }
    })
}

pub(super) async fn history(
    State(api): State<Api>,
    query: RawQuery,
) -> Result<Json<History>, Refused> {
    let n = Parameters::parse(query, &["n"])?.number::<u64>("n")?;
    let layout = api.0.layout.clone();
    let read = tokio::task::spawn_blocking(move || crate::history::read(&layout, n)).await;
    let unread = |error: std::io::Error| {
        let (because, try_this) = (error.to_string(), "look at the disk of the host");
        Refused::of(StatusCode::INSUFFICIENT_STORAGE, "it cannot be read", because, try_this)
    };
    read.map_err(|_| Refused::ending())?.map(Json).map_err(unread)
}

fn parse<T: DeserializeOwned>(body: Raw) -> Result<T, Refused> {
    let body = body.map_err(|rejection| {
        let (status, because) = (rejection.status(), rejection.body_text());
        Refused::of(status, "the request was not read", because, "send a smaller body, as a whole")
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        // What is unknown here may be known to an agent of another version.
        let because = format!("{error}, for an agent of version {}", env!("CARGO_PKG_VERSION"));
        Refused::bad(because, "`/v1/openapi.json` describes what goes into the body")
    })
}

pub(super) async fn act(State(api): State<Api>, body: Raw) -> Result<Json<Acted>, Refused> {
    let act: Act = parse(body)?;
    if act.names.is_empty() || act.names.len() > NAMES_MAX {
        let because = format!("it names {} services and instances", act.names.len());
        return Err(Refused::bad(because, format!("name 1 to {NAMES_MAX} of them")));
    }
    let request = match act.what {
        ActWhat::Reload => Request::Reload,
        ActWhat::Restart => Request::Restart,
        ActWhat::Resume => Request::Resume,
        ActWhat::Signal { signal } => Request::Signal {
            signal: signal.parse().map_err(|error| Refused::bad(format!("{error}"), "use one"))?,
        },
        ActWhat::Start => Request::Start,
        ActWhat::Stop => Request::Want { goal: Goal::Down },
    };
    let passed = api.ask(|to| Ask::Act { names: act.names, request, to }).await?;
    let deadline = Instant::now() + ACT_WITHIN;
    let mut acted = Acted { done: Vec::new(), refused: BTreeMap::new() };
    for (name, answer) in passed {
        let result = match answer {
            Err(why) => Err(why),
            Ok(answer) => match timeout_at(deadline, answer).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err("its keeper was lost before it answered".into()),
                Err(_) => Err("its keeper does not answer; it may do it later".into()),
            },
        };
        match result {
            Ok(()) => acted.done.push(name),
            Err(why) => drop(acted.refused.insert(name, why)),
        }
    }
    Ok(Json(acted))
}

pub(super) async fn down(
    State(api): State<Api>,
    query: RawQuery,
) -> Result<Json<PlanState>, Refused> {
    let is_waiting = Parameters::parse(query, &["wait"])?.flag("wait", true)?;
    if is_waiting {
        let down = api.ask(|to| Ask::Down { to }).await?;
        let late = |refusal| Refused::new(StatusCode::GATEWAY_TIMEOUT, refusal);
        return down.map(Json).map_err(late);
    }
    let state = plan(State(api.clone())).await;
    // It goes on although nobody waits.
    let _ = timeout(Duration::ZERO, api.ask(|to| Ask::Down { to })).await;
    state
}

pub(super) async fn openapi() -> Json<Value> {
    Json(super::openapi())
}

/// The instances that these names stand for; all for no names. One that waits to be started has
/// said nothing yet, and is no mistake.
async fn named(api: &Api, names: &[String]) -> Result<Vec<InstanceName>, Refused> {
    let planned = api.ask(|to| Ask::Plan { to }).await?.plan;
    let mut known = api.0.layout.list().map(|(known, _)| known).unwrap_or_default();
    known.extend(planned.into_iter().flat_map(|plan| plan.instances.into_keys()));
    known.sort();
    known.dedup();
    if names.is_empty() {
        return Ok(known);
    }
    let selected = select(names, &known);
    match selected.unknown.first() {
        None => Ok(selected.instances),
        Some(unknown) => Err(not_found(&unknown.text)),
    }
}

fn not_found(name: &str) -> Refused {
    let because = format!("nothing of `{name}` is on this host");
    let try_this = "`stead status` shows what is";
    Refused::of(StatusCode::NOT_FOUND, "there is no such instance", because, try_this)
}

pub(super) async fn logs(State(api): State<Api>, query: RawQuery) -> Result<Response, Refused> {
    let known = ["name", "names", "since", "until", "grep", "stream", "follow", "last"];
    let query = Parameters::parse(query, &known)?;
    let stream = query.text("stream").map(|text| {
        let found = Stream::ALL.into_iter().find(|stream| stream.as_str() == text);
        found.ok_or_else(|| bad("stream", text, "write `out` or `err`"))
    });
    let follow = query.flag("follow", false)?;
    let instances = named(&api, &query.names()).await?;
    let with_folder = |name: InstanceName| {
        let folder = api.0.layout.instance(&name).join("log");
        (name, folder)
    };
    let checked = Query {
        instances: instances.into_iter().map(with_folder).collect(),
        since_us: query.moment_us("since")?,
        until_us: query.moment_us("until")?,
        pattern: query.text("grep").map(ToOwned::to_owned),
        stream: stream.transpose()?,
        follow,
        limit_last: query.number("last")?,
    }
    .check()
    .map_err(|error| {
        Refused::bad(error.to_string(), "write a regular expression like ripgrep's")
    })?;
    stream::lines(&api.0.streams, move |lines| {
        let ear = lines.ear();
        let mut sink = |line: LogLine| push(lines, &line, follow);
        // A log that cannot be read on ends here: what was read of it was sent.
        let _ = checked.run_while(&ear, &mut sink);
    })
}

/// Sends a line: at once to who follows, else with others.
fn push<T: serde::Serialize>(lines: &mut Lines, line: &T, at_once: bool) -> ControlFlow<()> {
    let pushed = lines.push(line).and_then(|()| if at_once { lines.flush() } else { Ok(()) });
    if pushed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

pub(super) async fn events(State(api): State<Api>, query: RawQuery) -> Result<Response, Refused> {
    let query = Parameters::parse(query, &["name", "names", "since", "limit", "follow"])?;
    let names = query.names();
    let instances = if names.is_empty() { None } else { Some(named(&api, &names).await?) };
    let wish = Wish { instances, since: query.moment_us("since")?.map(|us| us / 1000) };
    let limit = query.number("limit")?.unwrap_or(usize::MAX);
    let follow = query.flag("follow", false)?;
    let mut reader = Reader::new(api.0.layout.clone(), wish);
    stream::lines(&api.0.streams, move |lines| {
        let mut events = reader.read();
        events.drain(..events.len().saturating_sub(limit));
        loop {
            if events.iter().any(|event| push(lines, event, false).is_break()) {
                return;
            }
            if !follow || lines.flush().is_err() {
                return;
            }
            // Only while somebody listens, and on a thread of their own.
            thread::sleep(FOLLOW_EVERY);
            if !lines.is_heard() {
                return;
            }
            events = reader.read();
        }
    })
}

pub(super) async fn why(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Why>, Refused> {
    let status = fresh_status(&api).await?;
    let instance = status.instances.into_iter().find(|instance| instance.name == name);
    let instance = instance.ok_or_else(|| not_found(&name))?;
    let Ok(name) = name.parse::<InstanceName>() else { return Err(not_found(&name)) };
    let planned = api.ask(|to| Ask::Plan { to }).await?.plan;
    let has_times = planned
        .as_ref()
        .and_then(|plan| plan.instances.get(&name))
        .is_some_and(|spec| spec.schedule.is_some());
    let layout = api.0.layout.clone();
    let look = move || {
        let wish = Wish { instances: Some(vec![name.clone()]), since: None };
        let mut events = Reader::new(layout.clone(), wish).read();
        let because = reasons::because(&instance, &events);
        let last_output = last_output(&name, layout.instance(&name).join("log"), &events);
        let denials = reasons::denials(&events, &denied());
        let last_runs = if has_times { reasons::last_runs(&events) } else { Vec::new() };
        events.drain(..events.len().saturating_sub(WHY_EVENTS));
        Why { instance, because, events, last_runs, denials, last_output }
    };
    tokio::task::spawn_blocking(look).await.map(Json).map_err(|_| Refused::ending())
}

/// What the kernel has denied anybody; nothing where its log may not be read.
fn denied() -> Vec<Denial> {
    let is_one = |line: &str| Denial::parse(line).is_some();
    let lines = stead_proc::kernel_lines(DENIALS_MAX, is_one).unwrap_or_default();
    lines.iter().filter_map(|line| Denial::parse(line)).collect()
}

/// The last lines of the error stream up to the last end, else of either stream.
fn last_output(name: &InstanceName, log: std::path::PathBuf, events: &[EventLine]) -> Vec<LogLine> {
    let ended_at = events
        .iter()
        .rev()
        .find_map(|line| if let Event::Exited { .. } = line.event { Some(line.at) } else { None });
    // What was written last is stored a little after its writer has ended.
    let until_us = ended_at.map(|at| (at + 500) * 1000);
    for stream in [Some(Stream::Err), None] {
        let query = Query {
            instances: vec![(name.clone(), log.clone())],
            until_us,
            stream,
            limit_last: Some(WHY_LINES),
            ..Query::default()
        };
        let mut lines = Vec::new();
        let mut sink = |line| {
            lines.push(line);
            ControlFlow::Continue(())
        };
        // Without a pattern every query is good; a log that is not there has no lines.
        if let Ok(checked) = query.check() {
            let _ = checked.run(&mut sink);
        }
        if !lines.is_empty() {
            return lines;
        }
    }
    Vec::new()
}
