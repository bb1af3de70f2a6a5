//! One host of a rollout, from the operator's side.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use stead_core::names::HostName;
use stead_core::plan::Plan;
use stead_core::rollout::{
    Answer, Gated, HostAsk, HostAskWhat, HostRollout, Order, RolloutId, part,
};
use stead_release::sign::SigningKey;
use stead_wire::api::{LogLine, PlanState, Signed, Status};
use stead_wire::rollout::{About, ROLLOUT_REFUSED, RolloutAsk, RolloutState, Staged};
use stead_wire::ship::{self, AgentMade, Offer, SecretOffer, Wanted};

use crate::client::{Client, encode};
use crate::crash::Crash;
use crate::deploy::compare::Compare;
use crate::deploy::gate::Gate;
use crate::deploy::sent::Outbox;
use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::{PartKey, Parts};
use crate::keys;
use crate::kit::Kit;
use crate::reach::{Purpose, Reached, Way, reach};
use crate::screen::show_controls;
use crate::secrets::Secrets;

/// An agent that is begun or upgraded may take this long.
const AGENT_WITHIN: Duration = Duration::from_secs(90);

/// A content gets there within this, and a second more for each MiB.
const CONTENT_WITHIN: Duration = Duration::from_secs(30);

/// What a host unpacks may take this long to be on its disk.
const RELEASE_WITHIN: Duration = Duration::from_secs(120);

/// So much is told of what an instance that has failed wrote last: lines, and characters of each.
const SAID_LINES_MAX: usize = 5;
const SAID_LEN_MAX: usize = 200;

/// Who carries out a rollout.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) id: RolloutId,
    pub(super) epoch: u64,
    pub(super) who: String,
    pub(super) about: About,
    /// A switch that is not committed for so long is taken back.
    pub(super) commit_within: Duration,
    pub(super) key: Option<SigningKey>,
    /// Fresh runs are held against those before.
    pub(super) compares: bool,
}

/// A host that could not be connected.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) host: HostName,
    pub(super) why: String,
}

/// A host and the way to it.
pub(super) struct Host {
    pub(super) name: HostName,
    pub(super) operator: Option<Arc<Operator>>,
    /// What it told of rollouts when it was connected.
    pub(super) seen: Option<RolloutState>,
    /// Where it comes among the others.
    pub(super) rank: usize,
    /// Why the last errand failed, if one did.
    pub(super) failure: Option<Failure>,
    gate: Option<Gate>,
    compare: Option<Compare>,
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
    /// What it ran when it was connected.
    now: Option<Plan>,
    /// What it is to run, unless it knows.
    plan: Option<Plan>,
    parts: Arc<Parts>,
    /// What of `parts` it needs.
    own: Vec<PartKey>,
    secrets: Arc<Secrets>,
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
            rank: 0,
            failure: None,
            gate: None,
            compare: None,
            were_put: false,
            way,
            kit,
            outbox,
            crash,
            sent_len: 0,
            lacked_len: 0,
            reached: None,
            now: None,
            plan: None,
            parts: Arc::default(),
            own: Vec::new(),
            secrets: Arc::default(),
        }
    }

    /// The same, with what it is to run and what it needs for that.
    pub(super) fn with(self, plan: Plan, parts: Arc<Parts>, own: Vec<PartKey>) -> Self {
        Self { plan: Some(plan), parts, own, ..self }
    }

    /// The same, with the values that its plan names.
    pub(super) fn with_secrets(self, secrets: Arc<Secrets>) -> Self {
        Self { secrets, ..self }
    }

    /// The same, with what becomes of its plan beside what it runs.
    pub(super) fn beside(self, beside: impl FnOnce(Option<&Plan>, Plan) -> Plan) -> Self {
        let plan = self.plan.map(|next| beside(self.now.as_ref(), next));
        Self { plan, ..self }
    }

    /// The same, at this place among the others.
    pub(super) fn ranked(self, rank: usize) -> Self {
        Self { rank, ..self }
    }

    /// Connects, has an agent of this version there, and looks.
    pub(super) async fn connect(mut self) -> Result<Self, Lost> {
        match self.look().await {
            Ok(()) => Ok(self),
            Err(failure) => Err(Lost { host: self.name, why: failure.whole() }),
        }
    }

    /// Looks at what it runs, and at what it holds of rollouts.
    pub(super) async fn look(&mut self) -> Result<(), Failure> {
        let client = self.client().await?;
        let nothing = serde_json::json!({});
        let made = client.post_within(ship::AGENT, &nothing, AGENT_WITHIN);
        let _: AgentMade = self.crash.around(made).await?;
        let state: PlanState = client.get("/v1/plan").await?;
        let running = state.plan.as_ref().filter(|plan| !plan.instances.is_empty());
        if let (Some(running), Some(plan)) = (running.map(|plan| &plan.fleet), &self.plan)
            && *running != plan.fleet
        {
            let (running, wanted) = (running.clone(), plan.fleet.clone());
            let root = client.root().to_owned();
            return Err(Failure::OtherFleet { running, wanted, root });
        }
        self.now = state.plan;
        self.seen = Some(client.get("/v1/rollout").await?);
        Ok(())
    }

    /// Looks again at what it holds of rollouts.
    pub(super) async fn look_again(&mut self) -> Result<(), Failure> {
        self.seen = Some(self.client().await?.get("/v1/rollout").await?);
        Ok(())
    }

    /// What it held when it was looked at.
    pub(super) fn seen(&self) -> Option<&HostRollout> {
        self.seen.as_ref().map(|seen| &seen.machine)
    }

    /// Asks something that changes nothing.
    pub(super) async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, Failure> {
        self.client().await?.get(path).await
    }

    /// The plan of an entry of its history, if it is still there.
    pub(super) async fn past_plan(&mut self, n: u64) -> Result<Option<Plan>, Failure> {
        self.client().await?.past_plan(n).await
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

    /// Does what the operator wants done here.
    pub(super) async fn carry_out(&mut self, order: Order) -> Answer {
        self.failure = None;
        let done = match order {
            Order::Claim { resume } => self.claim(resume).await,
            Order::Commit => self.ask(HostAskWhat::Commit).await,
            Order::Keep => self.ask(HostAskWhat::Keep).await,
            Order::Look | Order::LookBack => self.look_on().await,
            Order::Revert { why } => self.revert(why).await,
            Order::Stage => self.stage().await,
            Order::Switch => self.switch().await,
        };
        done.unwrap_or_else(|failure| {
            let answer = answer_of(&failure);
            if matches!(answer, Answer::Lost(_)) {
                self.reached = None;
            }
            self.failure = Some(failure);
            answer
        })
    }

    async fn claim(&mut self, resume: bool) -> Result<Answer, Failure> {
        let operator = self.operator.clone().expect("a rollout has its operator");
        self.ask(HostAskWhat::Claim { who: operator.who.clone(), resume }).await
    }

    /// Asks one thing of the host.
    async fn ask(&mut self, what: HostAskWhat) -> Result<Answer, Failure> {
        self.ask_with(what, None).await
    }

    async fn ask_with(
        &mut self,
        what: HostAskWhat,
        staged: Option<Box<Staged>>,
    ) -> Result<Answer, Failure> {
        let operator = self.operator.clone().expect("a rollout has its operator");
        let client = self.client().await?;
        let ask = HostAsk { epoch: operator.epoch, id: operator.id.clone(), what };
        let is_change = ask.what != HostAskWhat::Keep;
        let ask = RolloutAsk { ask, staged };
        let asking = client.post("/v1/rollout", &ask);
        let asked = if is_change { self.crash.around(asking).await } else { asking.await };
        let state: RolloutState = asked.map_err(refused)?;
        Ok(Answer::Taken(part(&state.machine, &operator.id)))
    }

    /// Switches, and takes note of what there was to see before.
    async fn switch(&mut self) -> Result<Answer, Failure> {
        let before: Status = self.get("/v1/status").await?;
        let was: PlanState = self.get("/v1/plan").await?;
        let taken = self.ask(HostAskWhat::Switch).await?;
        self.watch(was.plan.as_ref(), &before).await?;
        let compares = self.operator.as_ref().is_some_and(|operator| operator.compares);
        self.compare = compares.then(|| Compare::new(&before));
        Ok(taken)
    }

    /// Has the host take back what it holds of this rollout.
    async fn revert(&mut self, why: String) -> Result<Answer, Failure> {
        let taken = self.ask(HostAskWhat::Revert { why }).await?;
        let now: Status = self.get("/v1/status").await?;
        self.watch(None, &now).await?;
        self.compare = None;
        Ok(taken)
    }

    /// From here on its plan is what it is held against.
    async fn watch(&mut self, was: Option<&Plan>, before: &Status) -> Result<(), Failure> {
        let state: PlanState = self.get("/v1/plan").await?;
        self.gate = state.plan.map(|plan| Gate::new(&plan, was, Some(before)));
        Ok(())
    }

    async fn look_on(&mut self) -> Result<Answer, Failure> {
        let status: Status = self.get("/v1/status").await?;
        // Without a plan there is nothing that could fail.
        let gated = self.gate.as_mut().map_or(Gated::Passed, |gate| gate.look(&status));
        let client = self.client().await?;
        let gated = match (gated, &mut self.compare) {
            (Gated::Passed, Some(compare)) => {
                compare.look(&client, &status).await?.map_or(Gated::Passed, Gated::Failed)
            }
            (Gated::Failed(why), _) => {
                let failed = self.gate.as_ref().and_then(|gate| gate.failed.clone());
                Gated::Failed(why + &last_said(&client, failed).await)
            }
            (gated @ (Gated::Passed | Gated::Pending(_)), _) => gated,
        };
        Ok(Answer::Looked(gated))
    }

    /// Brings there all that the host lacks of what is shipped.
    pub(super) async fn ship(&mut self) -> Result<(), Failure> {
        let client = self.client().await?;
        let parts = Arc::clone(&self.parts);
        for key in &self.own.clone() {
            let release = parts.get(key).expect("it was read");
            let folder = key.part.folder_name().to_owned();
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
        Ok(())
    }

    /// Brings there what the host lacks, and the plan.
    async fn stage(&mut self) -> Result<Answer, Failure> {
        self.ship().await?;
        let client = self.client().await?;
        let plan = self.plan.clone().expect("what is staged was planned");
        self.bring_secrets(&client, &plan).await?;
        let operator = self.operator.clone().expect("a rollout has its operator");
        let (about, within) = (operator.about.clone(), operator.commit_within);
        let commit_within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let purpose = Signed::for_epoch(operator.epoch);
        let signed = operator.key.as_ref().map(|key| keys::signed(key, &purpose, &plan));
        let staged = Staged { plan, about, commit_within_ms, signed };
        self.ask_with(HostAskWhat::Stage, Some(Box::new(staged))).await
    }

    async fn bring_secrets(&self, client: &Client, plan: &Plan) -> Result<(), Failure> {
        let secrets = Arc::clone(&self.secrets);
        for (name, secret) in secrets.of(plan) {
            let offer = SecretOffer {
                fleet: plan.fleet.clone(),
                name: name.clone(),
                value: secret.value().to_owned(),
                id: secret.id().clone(),
            };
            let put = client.put(ship::SECRET, &offer);
            let _: serde_json::Value = self.crash.around(put).await?;
        }
        Ok(())
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
}

/// What an instance that has failed wrote last, as the end of a reason: to bring it back may take
/// its logs with it. Nothing, where that cannot be had.
async fn last_said(client: &Client, instance: Option<String>) -> String {
    let Some(instance) = instance else { return String::new() };
    let path = format!("/v1/logs?names={}&last={SAID_LINES_MAX}", encode(&instance));
    let mut said = Vec::new();
    if let Ok(mut lines) = client.lines(&path).await {
        while let Ok(Some(line)) = lines.next::<LogLine>().await {
            let line: String = line.line.chars().take(SAID_LEN_MAX).collect();
            said.push(show_controls(&line));
        }
    }
    if said.is_empty() { String::new() } else { format!("; it wrote: {}", said.join(" | ")) }
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

/// What an errand has come to that failed.
fn answer_of(failure: &Failure) -> Answer {
    if let Failure::Fleet(FleetFailure::Refused { why }) = failure {
        return Answer::Refused(why.clone());
    }
    // With such a status its agent is just being started, or its disk was full.
    let is_passing = matches!(
        failure,
        Failure::AgentLost { .. }
            | Failure::AgentSilent { .. }
            | Failure::Fleet(FleetFailure::Lost { .. })
            | Failure::AgentRefused { status: 500.. | 408, .. }
    );
    match is_passing {
        true => Answer::Lost(failure.whole()),
        false => Answer::Failed(failure.whole()),
    }
}
