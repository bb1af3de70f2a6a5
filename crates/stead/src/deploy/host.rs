//! One host of a rollout, from the operator's side.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use stead_core::names::{HostName, ServiceName};
use stead_core::plan::Plan;
use stead_core::rollout::{Held, HostAsk, HostAskWhat, HostRefusal, HostStage, RolloutId};
use stead_wire::api::{PlanState, Status};
use stead_wire::rollout::{About, ROLLOUT_REFUSED, RolloutAsk, RolloutState, Staged};
use stead_wire::ship::{self, AgentMade, Offer, Wanted};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::client::Client;
use crate::crash::Crash;
use crate::deploy::gate::{self, Gate, Gated};
use crate::deploy::sent::Outbox;
use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::{Part, Parts};
use crate::kit::Kit;
use crate::reach::{Purpose, Reached, Way, reach};

/// An agent that is begun or upgraded may take this long.
const AGENT_WITHIN: Duration = Duration::from_secs(90);

/// A content gets there within this, and a second more for each MiB.
const CONTENT_WITHIN: Duration = Duration::from_secs(30);

/// What a host unpacks may take this long to be on its disk.
const RELEASE_WITHIN: Duration = Duration::from_secs(120);

/// How often a host that was switched is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The wait before a host that cannot be reached is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How a host is told of that has what it had.
const AS_IT_WAS: &str = "it is as it was";

/// Something that is done with a host.
pub(super) type Work<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// Who carries out a rollout.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) id: RolloutId,
    pub(super) epoch: u64,
    pub(super) who: String,
}

/// A host that could not be connected.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) host: HostName,
    pub(super) why: String,
}

/// What a host has after a rollout was taken back.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Ended {
    /// It had been committed there: that is for good.
    New,
    /// With how that is.
    Old(String),
}

/// A host and the way to it.
pub(super) struct Host {
    pub(super) name: HostName,
    pub(super) operator: Option<Arc<Operator>>,
    /// What it told of rollouts when it was connected.
    pub(super) seen: Option<RolloutState>,
    /// It may hold something of this rollout.
    pub(super) was_asked: bool,
    pub(super) was_switched: bool,
    /// The programs of stead were brought there.
    pub(super) were_put: bool,
    /// Bytes of contents that went there.
    pub(super) sent_len: u64,
    /// Bytes of the contents that it lacked.
    pub(super) lacked_len: u64,
    way: Way,
    kit: Arc<Kit>,
    outbox: Arc<Outbox>,
    crash: Arc<Crash>,
    reached: Option<Reached>,
    /// What it is to run, unless it knows.
    plan: Option<Plan>,
    parts: Arc<Parts>,
    /// What of `parts` it needs.
    own: Vec<(ServiceName, Part)>,
}

impl Host {
    pub(super) fn new(
        name: HostName,
        way: Way,
        kit: Arc<Kit>,
        outbox: Arc<Outbox>,
        crash: Arc<Crash>,
    ) -> Self {
        Self {
            name,
            operator: None,
            seen: None,
            was_asked: false,
            was_switched: false,
            were_put: false,
            way,
            kit,
            outbox,
            crash,
            sent_len: 0,
            lacked_len: 0,
            reached: None,
            plan: None,
            parts: Arc::default(),
            own: Vec::new(),
        }
    }

    /// The same, with what it is to run and what it needs for that.
    pub(super) fn with(self, plan: Plan, parts: Arc<Parts>, own: Vec<(ServiceName, Part)>) -> Self {
        Self { plan: Some(plan), parts, own, ..self }
    }

    /// Connects, has an agent of this version there, and looks.
    pub(super) async fn connect(mut self) -> Result<Self, Lost> {
        match self.look().await {
            Ok(()) => Ok(self),
            Err(failure) => Err(Lost { host: self.name, why: failure.whole() }),
        }
    }

    async fn look(&mut self) -> Result<(), Failure> {
        let client = self.client().await?;
        let nothing = serde_json::json!({});
        let made = client.post_within(ship::AGENT, &nothing, AGENT_WITHIN);
        let _: AgentMade = self.crash.around(made).await?;
        let state: PlanState = client.get("/v1/plan").await?;
        let running = state.plan.filter(|plan| !plan.instances.is_empty()).map(|plan| plan.fleet);
        if let (Some(running), Some(plan)) = (running, &self.plan)
            && running != plan.fleet
        {
            let (wanted, root) = (plan.fleet.clone(), client.root().to_owned());
            return Err(Failure::OtherFleet { running, wanted, root });
        }
        self.seen = Some(client.get("/v1/rollout").await?);
        Ok(())
    }

    /// Looks again at what it holds of rollouts.
    pub(super) async fn look_again(&mut self) -> Result<(), Failure> {
        self.seen = Some(self.client().await?.get("/v1/rollout").await?);
        Ok(())
    }

    /// The highest epoch that it had heard of.
    pub(super) fn epoch(&self) -> u64 {
        self.seen.as_ref().map_or(0, |seen| seen.epoch)
    }

    /// What it held when it was looked at.
    pub(super) fn held(&self) -> Option<&Held> {
        self.seen.as_ref()?.held.as_ref()
    }

    /// How far it was then in the rollout that is gone on with.
    pub(super) fn was_at(&self) -> Option<&HostStage> {
        let operator = self.operator.as_ref()?;
        self.held().filter(|held| held.id == operator.id).map(|held| &held.stage)
    }

    /// Asks something that changes nothing.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        self.client().await?.get(path).await
    }

    /// The way to the host, made anew where it has broken.
    async fn client(&mut self) -> Result<Client, Failure> {
        if let Some(reached) = self.reached.as_ref().filter(|reached| reached.client.is_open()) {
            return Ok(reached.client.clone());
        }
        self.reached = None;
        let reached = reach(&self.way, Purpose::Change, &self.kit).await;
        let reached = reached.map_err(|source| FleetFailure::Lost {
            host: self.name.to_string(),
            why: source.to_string(),
        })?;
        let client = reached.client.clone();
        self.were_put |= reached.were_put;
        self.reached = Some(reached);
        Ok(client)
    }

    /// Asks one thing of the host.
    pub(super) async fn ask(&mut self, what: HostAskWhat) -> Result<(), Failure> {
        self.ask_with(what, None).await
    }

    async fn ask_with(
        &mut self,
        what: HostAskWhat,
        staged: Option<Box<Staged>>,
    ) -> Result<(), Failure> {
        let operator = self.operator.clone().expect("a rollout has its operator");
        let client = self.client().await?;
        self.was_asked = true;
        let ask = HostAsk { epoch: operator.epoch, id: operator.id.clone(), what };
        let is_change = ask.what != HostAskWhat::Keep;
        let ask = RolloutAsk { ask, staged };
        let asking = client.post("/v1/rollout", &ask);
        let asked = if is_change { self.crash.around(asking).await } else { asking.await };
        asked.map(|_: RolloutState| ()).map_err(refused)
    }

    /// Asks again and again, until it was taken or refused, or the time is over.
    pub(super) async fn ask_until(
        &mut self,
        what: HostAskWhat,
        within: Duration,
    ) -> Result<(), Failure> {
        let until = Instant::now() + within;
        loop {
            match self.ask(what.clone()).await {
                Err(error) if is_passing(&error) && Instant::now() < until => {
                    self.reached = None;
                    sleep(AGAIN_AFTER).await;
                }
                ended => return ended,
            }
        }
    }

    /// Has the host take back what it holds of this rollout, and waits until it runs again what it
    /// ran; says how it is then. Asked for no longer than `asked_within`.
    pub(super) async fn go_back(
        &mut self,
        why: &str,
        asked_within: Duration,
        ready_within: Duration,
    ) -> Result<Ended, Failure> {
        let what = HostAskWhat::Revert { why: why.to_owned() };
        if !self.was_asked {
            return Ok(Ended::Old(AS_IT_WAS.into()));
        }
        match self.ask_until(what, asked_within).await {
            Ok(()) if self.was_switched => (),
            Ok(()) => return Ok(Ended::Old(AS_IT_WAS.into())),
            Err(Failure::Fleet(FleetFailure::Refused { why })) => return ended_by(why),
            Err(failure) => return Err(failure),
        }
        let client = self.client().await?;
        let state: PlanState = client.get("/v1/plan").await?;
        let Some(plan) = state.plan else { return Ok(Ended::Old(AS_IT_WAS.into())) };
        let mut gate = Gate::new(&plan, Some(&client.get("/v1/status").await?));
        let late = Instant::now() + ready_within;
        loop {
            match gate.look(&client.get("/v1/status").await?) {
                Gated::Passed => return Ok(Ended::Old(AS_IT_WAS.into())),
                Gated::Failed(why) => return Ok(Ended::Old(format!("{AS_IT_WAS}, but {why}"))),
                Gated::Pending(why) if Instant::now() >= late => {
                    let why = gate::late(&why, ready_within);
                    return Ok(Ended::Old(format!("{AS_IT_WAS}, but {why}")));
                }
                Gated::Pending(_) => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Brings there what the host lacks, and the plan.
    pub(super) async fn stage(&mut self, about: About, within: Duration) -> Result<(), Failure> {
        let client = self.client().await?;
        let parts = Arc::clone(&self.parts);
        for key in &self.own.clone() {
            let release = parts.get(key).expect("it was read");
            let folder = key.1.folder_name().to_owned();
            let offer = Offer { folder, manifest: release.manifest() };
            let wanted: Wanted = self.crash.around(client.post(ship::OFFER, &offer)).await?;
            if wanted.release != release.digest().as_str() {
                let why = "the host names the release otherwise";
                return Err(Failure::AgentAnswer { source: why.into() });
            }
            let contents = release.contents();
            for digest in &wanted.contents {
                let Some((path, len)) = contents.get(digest) else { continue };
                self.send(&client, digest, (path, *len), wanted.bases.get(digest)).await?;
            }
            let body = serde_json::to_vec(&offer).expect("API types always serialize");
            let put = client.put_bytes(ship::RELEASE, body.into(), RELEASE_WITHIN);
            let _: Wanted = self.crash.around(put).await?;
        }
        let commit_within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let plan = self.plan.clone().expect("what is staged was planned");
        let staged = Staged { plan, about, commit_within_ms };
        self.ask_with(HostAskWhat::Stage, Some(Box::new(staged))).await
    }

    /// Sends one content, against this base if it is known here.
    async fn send(
        &mut self,
        client: &Client,
        digest: &str,
        (path, len): (&Path, u64),
        base: Option<&String>,
    ) -> Result<(), Failure> {
        let sent = self.outbox.get(digest, path, base).await?;
        let base = sent.base.as_ref().map(|base| format!("/{base}")).unwrap_or_default();
        let path = format!("{}{digest}/{len}{base}", ship::CONTENT);
        let time = CONTENT_WITHIN + Duration::from_secs(sent.bytes.len() as u64 >> 20);
        let put = client.put_bytes(&path, sent.bytes.clone(), time);
        let _: serde_json::Value = self.crash.around(put).await?;
        self.sent_len += sent.bytes.len() as u64;
        self.lacked_len += len;
        Ok(())
    }

    /// Switches, and waits until everything on the host is as it should be and has been for the
    /// time of the bake.
    pub(super) async fn switch(
        &mut self,
        ready_within: Duration,
        bake: Duration,
        keep_every: Duration,
    ) -> Result<(), Failure> {
        let client = self.client().await?;
        let before: Status = client.get("/v1/status").await?;
        self.was_switched = true;
        self.ask(HostAskWhat::Switch).await?;
        let state: PlanState = self.get("/v1/plan").await?;
        let plan = state.plan.ok_or_else(|| no_plan(&self.name))?;
        let mut gate = Gate::new(&plan, Some(&before));
        let late = Instant::now() + ready_within;
        let (mut keep_at, mut passed_at) = (Instant::now() + keep_every, None);
        loop {
            let status: Status = self.client().await?.get("/v1/status").await?;
            match gate.look(&status) {
                Gated::Failed(why) => return Err(FleetFailure::Gate { why }.into()),
                Gated::Passed => drop(passed_at.get_or_insert_with(Instant::now)),
                Gated::Pending(why) if passed_at.is_none() && Instant::now() >= late => {
                    let why = gate::late(&why, ready_within);
                    return Err(FleetFailure::Gate { why }.into());
                }
                Gated::Pending(why) if passed_at.is_some() => {
                    return Err(FleetFailure::Gate { why }.into());
                }
                Gated::Pending(_) => (),
            }
            if passed_at.is_some_and(|at| at.elapsed() >= bake) {
                return Ok(());
            }
            if Instant::now() >= keep_at {
                self.ask(HostAskWhat::Keep).await?;
                keep_at = Instant::now() + keep_every;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Tells the host now and then that its operator is there, until nobody is left to hear that
    /// it need not be told any more.
    pub(super) async fn keep_until(
        &mut self,
        done: watch::Sender<()>,
        every: Duration,
    ) -> Result<(), Failure> {
        while timeout(every, done.closed()).await.is_err() {
            self.ask(HostAskWhat::Keep).await?;
        }
        Ok(())
    }
}

fn no_plan(host: &HostName) -> Failure {
    let why = format!("`{host}` was switched and has no plan");
    Failure::AgentAnswer { source: why.into() }
}

/// A refusal of the rollout in the words of the host's machine.
fn refused(failure: Failure) -> Failure {
    let Failure::AgentRefused { status: 409, refusal } = &failure else { return failure };
    if refusal.what != ROLLOUT_REFUSED {
        return failure;
    }
    let why = serde_json::from_str(&refusal.because);
    why.map_or(failure, |why| FleetFailure::Refused { why }.into())
}

/// What a host has that refuses to go back.
fn ended_by(why: HostRefusal) -> Result<Ended, Failure> {
    match why {
        HostRefusal::OutOfOrder { stage: HostStage::Committed } => Ok(Ended::New),
        // It holds nothing of this rollout.
        HostRefusal::OutOfOrder { .. } | HostRefusal::Busy { .. } | HostRefusal::Unclaimed => {
            Ok(Ended::Old(AS_IT_WAS.into()))
        }
        why @ HostRefusal::Stale { .. } => Err(FleetFailure::Refused { why }.into()),
    }
}

/// Whether it may be otherwise a moment later.
fn is_passing(failure: &Failure) -> bool {
    let is_lost = matches!(
        failure,
        Failure::AgentLost { .. }
            | Failure::AgentSilent { .. }
            | Failure::Fleet(FleetFailure::Lost { .. })
    );
    // Its agent is just being started, or its disk was full.
    is_lost || matches!(failure, Failure::AgentRefused { status: 500.. | 408, .. })
}

/// Does all of these at the same time.
pub(super) async fn join_all<T>(works: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut works: Vec<_> = works.into_iter().map(|work| (Box::pin(work), None)).collect();
    std::future::poll_fn(|context| {
        let mut is_done = true;
        for (work, done) in &mut works {
            if done.is_none() {
                match work.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *done = Some(value),
                    std::task::Poll::Pending => is_done = false,
                }
            }
        }
        if is_done { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    works.into_iter().map(|(_, done)| done.expect("all are done")).collect()
}
