//! A rollout from the operator's side: what `stead_core::rollout::Operator` wants asked is asked,
//! and it is told what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stead_core::names::HostName;
use stead_core::rollout::{
    Answer, Begin, Ended, Errand, Operator as Engine, Pace, Part, Phase, RolloutId, Seat, Why,
    epoch_above, part,
};
use stead_release::sign::SigningKey;
use stead_wire::rollout::About;
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::Context;
use crate::deploy::host::{Host, Operator};
use crate::failure::{Failure, FleetFailure};
use crate::interrupts::Interrupts;
use crate::render::quantity;

/// Answers that may wait until they are looked at.
const ANSWERS_MAX: usize = 64;

/// Without anything to wait for it is looked again after so long.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How the hosts ended.
#[derive(Debug, Default, Eq, PartialEq)]
struct Ends {
    /// What kept it from being whole-new.
    why: String,
    new: Vec<String>,
    /// Each with how it is now.
    old: BTreeMap<String, String>,
    /// Nobody knows: they go back by themselves if they were switched.
    unknown: BTreeMap<String, String>,
}

/// Everything that a rollout begins with.
pub(super) struct Rollout {
    pub(super) hosts: Vec<Host>,
    /// Hosts that could not be connected and are left out, with the reason.
    pub(super) lost: BTreeMap<HostName, String>,
    pub(super) about: About,
    pub(super) pace: Pace,
    /// Signs the plans.
    pub(super) key: Option<SigningKey>,
    /// Fresh runs are held against those before.
    pub(super) compares: bool,
    /// The rollout that another operator had begun, if it is gone on with.
    pub(super) resumed: Option<RolloutId>,
}

/// A host, while one errand at a time is on its way to it.
struct Served {
    name: String,
    host: Arc<Mutex<Host>>,
    errand: Option<AbortHandle>,
}

type Answers = mpsc::Sender<(usize, u64, Answer)>;

/// A rollout that is being carried out.
struct Driven {
    engine: Engine,
    served: Vec<Served>,
    answers: Answers,
    told: Option<Phase>,
    /// The failure by which a host has stopped it.
    cause: Option<Failure>,
}

impl Rollout {
    /// Carries it out, and says the hosts that have the new: all of them, or it is a failure, which
    /// tells how every host has ended.
    pub(super) async fn carry_out(
        self,
        ctx: &mut Context,
        interrupts: &mut Interrupts,
    ) -> Result<Vec<String>, Failure> {
        let (answers, mut came) = mpsc::channel(ANSWERS_MAX);
        let mut driven = self.begin(answers);
        let began = Instant::now();
        let ends = loop {
            for errand in driven.engine.next(began.elapsed()) {
                driven.send(errand);
            }
            driven.tell_phase(ctx).await;
            if let Some(ends) = driven.engine.ends() {
                break ends;
            }
            let again_at = Instant::now() + LOOK_AGAIN_AFTER;
            let wake_at = driven.engine.deadline().map_or(again_at, |at| began + at);
            tokio::select! {
                Some((host, token, answer)) = came.recv() => {
                    driven.engine.heard(began.elapsed(), host, token, answer);
                    driven.note_cause().await;
                }
                () = interrupts.next() => driven.engine.interrupt(began.elapsed()),
                () = sleep_until(wake_at) => (),
            }
        };
        only_new(driven.end(ends)?)
    }

    fn begin(self, answers: Answers) -> Driven {
        let who = who();
        // Two operators that look at the same moment differ by chance alone.
        let seed = format!("{who} {} {}", std::process::id(), self.about.started_at);
        let digest = blake3::hash(seed.as_bytes());
        let chance = u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("8 bytes"));
        let seen = self.hosts.iter().filter_map(Host::seen);
        let epoch = epoch_above(seen.map(|seen| seen.epoch), chance);
        let begin = if self.resumed.is_some() { Begin::Resume } else { Begin::New };
        let new_id = || format!("r{epoch}").parse().expect("a letter and digits are a name");
        let id = self.resumed.unwrap_or_else(new_id);
        let commit_within = self.pace.commit_within;
        let (about, key, compares) = (self.about, self.key, self.compares);
        let operator = Arc::new(Operator { id, epoch, who, about, commit_within, key, compares });
        let mut seats: Vec<Seat> = Vec::new();
        let mut served = Vec::new();
        for mut host in self.hosts {
            let found = match (begin, host.seen()) {
                (Begin::Resume, Some(seen)) => part(seen, &operator.id),
                (Begin::New, _) | (Begin::Resume, None) => Part::None,
            };
            let name = host.name.to_string();
            seats.push(Seat { name: name.clone(), rank: host.rank, found: Ok(found) });
            host.operator = Some(Arc::clone(&operator));
            served.push(Served { name, host: Arc::new(Mutex::new(host)), errand: None });
        }
        // They come last, and are never asked anything.
        seats.extend(self.lost.into_iter().map(|(name, why)| Seat {
            name: name.to_string(),
            rank: 0,
            found: Err(why),
        }));
        let engine = Engine::new(begin, self.pace, seats);
        Driven { engine, served, answers, told: None, cause: None }
    }
}

impl Driven {
    /// Does an errand in the place of the one before it.
    fn send(&mut self, errand: Errand) {
        let served = &mut self.served[errand.host];
        if let Some(before) = served.errand.take() {
            before.abort();
        }
        let (host, answers) = (Arc::clone(&served.host), self.answers.clone());
        let task = tokio::spawn(async move {
            let answer = host.lock().await.carry_out(errand.order).await;
            // Nobody waits for it any more where the rollout has ended.
            let _ = answers.send((errand.host, errand.token, answer)).await;
        });
        served.errand = Some(task.abort_handle());
    }

    /// Says where the rollout is, when it has come somewhere.
    async fn tell_phase(&mut self, ctx: &mut Context) {
        let phase = self.engine.phase();
        if self.told == Some(phase) {
            return;
        }
        let was = self.told.replace(phase);
        match phase {
            Phase::Switching { wave } => {
                if was == Some(Phase::Staging) {
                    ctx.screen.note(&self.staged().await);
                }
                let hosts = self.engine.wave(wave).iter().map(|n| self.served[*n].name.as_str());
                let names: Vec<&str> = hosts.collect();
                if !names.is_empty() {
                    ctx.screen.note(&format!("switching {}", names.join(", ")));
                }
            }
            Phase::Committing => ctx.screen.note("committing"),
            Phase::Returning => {
                let why = self.why();
                ctx.screen.note(&format!("bringing all hosts back: {why}"));
            }
            Phase::Claiming | Phase::Confirming | Phase::Staging | Phase::Ended => (),
        }
    }

    /// What is told once all hosts can be switched.
    async fn staged(&self) -> String {
        let (mut sent, mut lacked) = (0, 0);
        for served in &self.served {
            let host = served.host.lock().await;
            (sent, lacked) = (sent + host.sent_len, lacked + host.lacked_len);
        }
        let [sent, lacked] = [sent, lacked].map(quantity::bytes);
        format!("every host has all that it needs: {sent} sent for {lacked}")
    }

    /// What keeps it from being whole-new, in words.
    fn why(&self) -> String {
        match self.engine.why() {
            None => "some hosts were left out".to_owned(),
            Some(Why::Interrupted) => Failure::Interrupted { hint: None }.whole(),
            Some(Why::Left) => LEFT.to_owned(),
            Some(Why::Host(n, why)) => {
                let why = self.cause.as_ref().map_or_else(|| why.clone(), Failure::whole);
                format!("host `{}` has stopped it: {why}", self.name(*n))
            }
        }
    }

    fn name(&self, n: usize) -> &str {
        self.engine.names().nth(n).unwrap_or_default()
    }

    /// Takes note of the failure by which a host has stopped it, before that host is asked more.
    async fn note_cause(&mut self) {
        if let (None, Some(Why::Host(n, _))) = (&self.cause, self.engine.why())
            && let Some(served) = self.served.get(*n)
        {
            self.cause = served.host.lock().await.failure.take();
        }
    }

    /// Why a host has stopped it, in full.
    fn failure_of(&mut self, n: usize, why: String) -> Failure {
        let source = self.cause.take().unwrap_or_else(|| FleetFailure::Gate { why }.into());
        let host = self.name(n).to_owned();
        FleetFailure::OnHost { host, source: Box::new(source) }.into()
    }

    fn end(mut self, ends: Vec<Ended>) -> Result<Ends, Failure> {
        for served in &mut self.served {
            if let Some(errand) = served.errand.take() {
                errand.abort();
            }
        }
        let is_old = |end: &Ended| matches!(end, Ended::Old(_));
        let is_whole_old = ends.iter().all(is_old);
        match self.engine.why().cloned() {
            Some(Why::Interrupted) if self.engine.is_untouched() || is_whole_old => {
                let hint = "all hosts are as they were";
                return Err(Failure::Interrupted { hint: Some(hint.into()) });
            }
            // Nothing was ever changed: the reason is all there is to tell.
            Some(Why::Host(n, why)) if self.engine.is_untouched() => {
                return Err(self.failure_of(n, why));
            }
            Some(Why::Host(..) | Why::Interrupted | Why::Left) | None => (),
        }
        let mut all = Ends { why: self.why(), ..Ends::default() };
        for (name, end) in self.engine.names().zip(ends) {
            let name = name.to_owned();
            match end {
                Ended::New => all.new.push(name),
                Ended::Old(how) => drop(all.old.insert(name, how)),
                Ended::Unknown(why) => drop(all.unknown.insert(name, why)),
            }
        }
        Ok(all)
    }
}

/// Why a rollout that nobody carried on is taken back.
const LEFT: &str = "its operator was gone before every host had all that it needs";

fn who() -> String {
    let name = |variable| std::env::var(variable).ok().filter(|name: &String| !name.is_empty());
    let user = name("USER").or_else(|| name("LOGNAME")).unwrap_or_else(|| "somebody".into());
    format!("{user}@{}", stead_proc::host_name())
}

/// Only whole-new is a success.
fn only_new(ends: Ends) -> Result<Vec<String>, Failure> {
    let Ends { why, new, old, unknown } = ends;
    if old.is_empty() && unknown.is_empty() {
        return Ok(new);
    }
    if new.is_empty() && unknown.is_empty() {
        return Err(FleetFailure::RolledBack { why, old }.into());
    }
    Err(FleetFailure::Split { why, new, old, unknown }.into())
}
