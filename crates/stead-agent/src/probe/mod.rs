//! Probing one run, as a task: it asks again and again and tells the agent what the answers amount
//! to. A probe that hangs, or floods, holds up and harms nothing but itself.
//!
//! What a run is asked is told apart: until its start-up probe has passed it is asked nothing else;
//! then `ready` and `live` are asked side by side, and only once where they ask the same.

mod exec;
mod http;
mod log;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use stead_core::names::InstanceName;
use stead_core::plan::{Check, Probe, Spec, Startup};
use stead_core::probe::Tally;
use stead_core::template::{Places, Template};
use stead_core::units::show_duration;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use self::exec::Exec;
use self::http::Http;
use self::log::LogWatch;
use crate::message::Message;

/// A run that has just begun is asked sooner than `every` says, at growing intervals from this on:
/// nobody should wait a second to learn that it took a tenth of one.
const EAGER_FIRST: Duration = Duration::from_millis(10);

/// What a run is asked, with every place filled in.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Probes {
    pub(crate) startup: Option<Startup>,
    pub(crate) ready: Option<Probe>,
    pub(crate) live: Option<Probe>,
}

impl Probes {
    /// Those of a spec. A run on the second side has the port right above each.
    pub(crate) fn of(spec: &Spec, places: &Places<'_>, second: bool) -> Self {
        let check = |check: &Check| match check {
            Check::Exec(argv) => {
                let fill = |text: &Template| Template::literal(&text.fill(places));
                Check::Exec(argv.iter().map(fill).collect())
            }
            Check::Http { path, port } => {
                Check::Http { path: path.clone(), port: port.saturating_add(u16::from(second)) }
            }
            Check::Log { text } => Check::Log { text: text.clone() },
            Check::Notify => Check::Notify,
            Check::Tcp { port } => Check::Tcp { port: port.saturating_add(u16::from(second)) },
        };
        let probe = |probe: &Probe| Probe { check: check(&probe.check), ..probe.clone() };
        Self {
            startup: spec
                .startup
                .as_ref()
                .map(|startup| Startup { probe: probe(&startup.probe), within: startup.within }),
            ready: spec.ready.as_ref().map(probe).or_else(|| of_front(spec, second)),
            live: spec.live.as_ref().map(probe),
        }
    }

    /// Whether anything is for the agent to ask.
    pub(crate) fn is_asked(&self) -> bool {
        let probes = self.ready.iter().chain(&self.live);
        self.startup.is_some() || probes.into_iter().any(|probe| is_asked(&probe.check))
    }
}

/// Behind a front, a run is ready at the earliest when it takes connections.
fn of_front(spec: &Spec, second: bool) -> Option<Probe> {
    let port = spec.ports.get(&spec.fronted.as_ref()?.port)?;
    Some(Probe {
        check: Check::Tcp { port: port.saturating_add(u16::from(second)) },
        every: FRONTED_EVERY,
        timeout: FRONTED_EVERY,
        failures: 3,
        successes: 1,
    })
}

/// How often a run behind a front is asked that has no ready probe of its own.
const FRONTED_EVERY: Duration = Duration::from_secs(1);

/// What a probe is to be told of the run it asks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    pub(crate) instance: InstanceName,
    pub(crate) run: u64,
    /// Its main process.
    pub(crate) pid: u32,
    /// It has the second of two ports of each name.
    pub(crate) second: bool,
    /// Another run has the same ports: an answer may be the other one's.
    pub(crate) shares_ports: bool,
    pub(crate) probes: Probes,
    /// Where its output is, and from when on it is the run's, microseconds since 1970-01-01 UTC.
    pub(crate) folder: PathBuf,
    pub(crate) since_us: u64,
    /// The keeper's program, which runs what `exec` says in the run's place.
    pub(crate) keeper: PathBuf,
}

/// What the answers amount to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Probed {
    /// It may get work, or may not; with what the last probe said.
    Ready { ready: bool, last: String },
    /// It must be restarted: why.
    Unhealthy { why: String },
    /// It need not any more: its live probe has passed again.
    Well,
}

/// The agent's hold on the probing of one run. Dropping it ends that.
#[derive(Debug)]
pub(crate) struct Probing {
    pub(crate) target: Target,
    /// What the answers amount to so far.
    pub(crate) ready: Option<bool>,
    /// What the last new verdict came with, or the last answer that was no good.
    pub(crate) last: Option<String>,
    /// The run says itself that it has come up.
    pub(crate) said_ready: watch::Sender<bool>,
    task: AbortHandle,
}

impl Drop for Probing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts to probe a run.
pub(crate) fn start(target: Target, to: mpsc::Sender<Message>) -> Probing {
    let (said_ready, words) = watch::channel(false);
    let asking = Asking { target: target.clone(), to, words };
    let task = tokio::spawn(asking.run()).abort_handle();
    Probing { target, ready: None, last: None, said_ready, task }
}

/// Whether the agent asks this itself.
fn is_asked(check: &Check) -> bool {
    match check {
        Check::Exec(_) | Check::Http { .. } | Check::Log { .. } | Check::Tcp { .. } => true,
        Check::Notify => false,
    }
}

struct Asking {
    target: Target,
    to: mpsc::Sender<Message>,
    words: watch::Receiver<bool>,
}

/// What the answers of one probe are for.
#[derive(Clone, Copy)]
struct For {
    ready: bool,
    live: bool,
}

impl Asking {
    async fn run(mut self) {
        if let Some(startup) = self.target.probes.startup.clone()
            && let Err(why) = self.come_up(&startup).await
        {
            return self.tell(Probed::Unhealthy { why }).await;
        }
        self.tell_come_up().await;
        let [ready, live] = [&self.target.probes.ready, &self.target.probes.live]
            .map(|probe| probe.clone().filter(|probe| is_asked(&probe.check)));
        match (ready, live) {
            (Some(ready), Some(live)) if is_same_question(&ready, &live) => {
                // Each verdict by its own thresholds, of the same answers.
                self.watch(ready, Some(live), For { ready: true, live: true }).await;
            }
            (ready, live) => {
                tokio::join!(
                    self.watch_if(ready, For { ready: true, live: false }),
                    self.watch_if(live, For { ready: false, live: true }),
                );
            }
        }
    }

    /// With a start-up probe and no ready probe to ask, what has come up is ready.
    async fn tell_come_up(&mut self) {
        let Probes { startup, ready, .. } = &self.target.probes;
        let asked = ready.as_ref().is_some_and(|ready| is_asked(&ready.check));
        if startup.is_none() || asked {
            return;
        }
        if ready.is_some() && self.words.wait_for(|said| *said).await.is_err() {
            return;
        }
        self.tell(Probed::Ready { ready: true, last: "it has come up".to_owned() }).await;
    }

    async fn tell(&self, probed: Probed) {
        let (instance, run) = (self.target.instance.clone(), self.target.run);
        // The agent is gone only when everything ends.
        let _ = self.to.send(Message::Probed { instance, run, probed }).await;
    }

    /// Waits until the run has come up, or has taken too long.
    async fn come_up(&mut self, startup: &Startup) -> Result<(), String> {
        let deadline = Instant::now() + startup.within;
        let within = show_duration(startup.within);
        let late = |last: &str| format!("it has not come up within {within}: {last}");
        if startup.probe.check == Check::Notify {
            let said = timeout(startup.within, self.words.wait_for(|said| *said)).await;
            return match said {
                Ok(_) => Ok(()),
                Err(_) => Err(late("it has not said READY=1")),
            };
        }
        let probe = &startup.probe;
        let mut asker = Asker::new(&self.target, &probe.check);
        let mut tally = Tally::default();
        let mut pace = Pace::eager(probe.every);
        loop {
            let answer = asker.ask(probe.timeout).await;
            let passed = answer.is_ok();
            if tally.note(passed, probe.failures, probe.successes) == Some(true) {
                return Ok(());
            }
            let next = pace.next(passed);
            if next >= deadline {
                sleep_until(deadline).await;
                return Err(late(&answer.err().unwrap_or_default()));
            }
            sleep_until(next).await;
        }
    }

    async fn watch_if(&self, probe: Option<Probe>, what: For) {
        if let Some(probe) = probe {
            self.watch(probe, None, what).await;
        }
    }

    /// Asks for ever; `live` is the same question with thresholds of its own.
    async fn watch(&self, probe: Probe, live: Option<Probe>, what: For) {
        let mut asker = Asker::new(&self.target, &probe.check);
        let (mut ready_tally, mut live_tally) = (Tally::default(), Tally::passed());
        // Until the live probe has passed once there is nothing to lose by its failing: without a
        // start-up probe, that is what a slow start looks like.
        let mut was_alive = self.target.probes.startup.is_some();
        let mut pace =
            if what.ready { Pace::eager(probe.every) } else { Pace::steady(probe.every) };
        let mut told = String::new();
        let mut told_unhealthy = false;
        loop {
            let answer = asker.ask(probe.timeout).await;
            let passed = answer.is_ok();
            let last = match answer {
                Ok(said) | Err(said) => said,
            };
            if what.ready {
                let verdict = ready_tally.note(passed, probe.failures, probe.successes);
                // Why it is not ready may change while it is not: a port that refuses, then a 503.
                let still_not = ready_tally.verdict() == Some(false) && !passed && last != told;
                if let Some(ready) = verdict.or(still_not.then_some(false)) {
                    told.clone_from(&last);
                    self.tell(Probed::Ready { ready, last: last.clone() }).await;
                }
            }
            if what.live {
                let limits = live.as_ref().unwrap_or(&probe);
                was_alive |= passed;
                if was_alive && live_tally.note(passed, limits.failures, 1) == Some(false) {
                    let times = limits.failures;
                    let why = format!("its live probe failed {times} times in a row: {last}");
                    self.tell(Probed::Unhealthy { why }).await;
                    told_unhealthy = true;
                    // The agent may hold the restart back for a while; then it is asked again.
                    live_tally = Tally::passed();
                } else if passed && std::mem::take(&mut told_unhealthy) {
                    self.tell(Probed::Well).await;
                }
            }
            sleep_until(pace.next(passed)).await;
        }
    }
}

fn is_same_question(a: &Probe, b: &Probe) -> bool {
    (&a.check, a.every, a.timeout) == (&b.check, b.every, b.timeout)
}

/// When the next question is due.
struct Pace {
    every: Duration,
    /// The interval while nothing has passed yet.
    eager: Option<Duration>,
    due: Instant,
}

impl Pace {
    fn eager(every: Duration) -> Self {
        Self { every, eager: Some(EAGER_FIRST.min(every)), due: Instant::now() }
    }

    fn steady(every: Duration) -> Self {
        Self { every, eager: None, due: Instant::now() }
    }

    /// From the time the last one was due on, so that slow answers do not make the pace slower;
    /// what was missed is left out. The first regular one comes at a time of its own, so that the
    /// probes of many instances do not come in step.
    fn next(&mut self, passed: bool) -> Instant {
        let now = Instant::now();
        let wait = match self.eager {
            Some(wait) if !passed && wait < self.every => {
                self.eager = Some(wait * 3 / 2);
                wait
            }
            Some(_) => {
                self.eager = None;
                let share = f64::from(stead_proc::random()) / f64::from(u32::MAX);
                self.due = now;
                in_company(self.every.mul_f64(0.5 + share / 2.0), self.every)
            }
            None => self.every,
        };
        self.due += wait;
        if self.due < now {
            self.due = now + wait;
        }
        self.due
    }
}

/// A wait that ends when those of other probes do, as far as a fraction of the pace goes: to wake
/// once for several of them costs less than to wake for each.
fn in_company(wait: Duration, every: Duration) -> Duration {
    let together = (every / TOGETHER).as_millis().max(1);
    let now = u128::from(stead_proc::boot_ms());
    let due = (now + wait.as_millis()).next_multiple_of(together);
    Duration::from_millis(u64::try_from(due - now).unwrap_or(u64::MAX))
}

/// Into so many parts the time between two questions is divided; at each end of one, probes ask.
const TOGETHER: u32 = 20;

/// Asks one question again and again.
enum Asker {
    Exec(Exec),
    Http(Http),
    Log(LogWatch),
    /// Nobody answers: the run says it by itself.
    Nothing,
    Tcp(SocketAddr),
}

impl Asker {
    fn new(target: &Target, check: &Check) -> Self {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        match check {
            Check::Exec(argv) => Self::Exec(Exec::new(target, argv)),
            Check::Http { path, port } => {
                let owner = target.shares_ports.then_some(target.pid);
                Self::Http(Http::new(address(*port), path, owner))
            }
            Check::Log { text } => Self::Log(LogWatch::new(target, text)),
            Check::Notify => Self::Nothing,
            Check::Tcp { port } => Self::Tcp(address(*port)),
        }
    }

    /// What was answered, or why that is no good answer.
    async fn ask(&mut self, wait_max: Duration) -> Result<String, String> {
        let asked = async {
            match self {
                Self::Exec(exec) => exec.ask(wait_max).await,
                Self::Http(http) => http.ask().await,
                Self::Log(log) => log.ask().await,
                Self::Nothing => Err("it has said nothing".to_owned()),
                Self::Tcp(address) => match tokio::net::TcpStream::connect(*address).await {
                    Ok(_) => Ok(format!("{address} takes connections")),
                    Err(error) => Err(format!("{address}: {error}")),
                },
            }
        };
        match timeout(wait_max, asked).await {
            Ok(answer) => answer,
            Err(_) => {
                self.give_up();
                Err(format!("no answer within {}", show_duration(wait_max)))
            }
        }
    }

    /// Forgets what an answer that never came has left behind.
    fn give_up(&mut self) {
        match self {
            Self::Http(http) => http.close(),
            Self::Exec(_) | Self::Log(_) | Self::Nothing | Self::Tcp(_) => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn probes_that_begin_together_do_not_stay_in_step_and_each_keeps_its_pace() {
        let every = Duration::from_secs(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let began = Instant::now();
            let mut firsts = BTreeSet::new();
            for _ in 0..200 {
                let mut pace = Pace::eager(every);
                let first = pace.next(true);
                let wait = first - began;
                // What it takes to get here counts, too.
                assert!(wait >= every * 2 / 5 && wait <= every * 3 / 2, "{wait:?}");
                assert_eq!(pace.next(true) - first, every);
                firsts.insert(wait.as_millis() / 10);
            }
            // Half of the time between two questions has so many parts at whose ends they ask.
            assert!(firsts.len() > TOGETHER as usize / 4, "{firsts:?}");
        });
    }

    #[test]
    fn what_has_not_passed_yet_is_asked_sooner_and_then_at_its_pace() {
        let every = Duration::from_millis(100);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut pace = Pace::eager(every);
            let mut due = vec![pace.due];
            due.extend((0..9).map(|_| pace.next(false)));
            let waits: Vec<Duration> = due.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert_eq!(waits[0], EAGER_FIRST);
            assert!(waits[..5].windows(2).all(|pair| pair[0] < pair[1]), "{waits:?}");
            assert!(waits.iter().all(|wait| *wait <= every), "{waits:?}");
        });
    }
}
