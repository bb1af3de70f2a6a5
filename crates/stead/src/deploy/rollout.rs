//! A rollout from the operator's side, from the claim to its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stead_core::rollout::{HostAskWhat, HostStage, Onward, RolloutId, epoch_above, waves};
use stead_wire::rollout::About;
use tokio::sync::watch;

use crate::Context;
use crate::args::Pace;
use crate::deploy::host::{self, Ended, Host, Operator, Work};
use crate::failure::{Failure, FleetFailure};
use crate::interrupts::Interrupts;
use crate::render::quantity;

/// Hosts are told at least this often that their operator is there: well within the time after
/// which they take a switch back.
const KEEP_EVERY: Duration = Duration::from_secs(2);

/// Why a rollout that nobody carried on is taken back.
const LEFT: &str = "its operator was gone before every host had all that it needs";

/// How the hosts ended.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Ends {
    /// What kept it from being whole-new.
    why: String,
    new: Vec<String>,
    /// Each with how it is now.
    old: Vec<(String, String)>,
    /// Nobody knows: they go back by themselves if they were switched.
    unknown: Vec<(String, String)>,
}

/// How a rollout begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Begin {
    New,
    /// Another operator had begun it.
    Resume(RolloutId, Onward),
}

pub(super) struct Rollout {
    pub(super) hosts: Vec<Host>,
    pub(super) about: About,
    pub(super) pace: Pace,
    pub(super) begin: Begin,
}

impl Rollout {
    pub(super) async fn carry_out(
        &mut self,
        ctx: &mut Context,
        interrupts: &mut Interrupts,
    ) -> Result<Ends, Failure> {
        let who = who();
        // Two operators that look at the same moment differ by chance alone.
        let seed = format!("{who} {} {}", std::process::id(), self.about.started_at);
        let chance = u64::from_le_bytes(
            blake3::hash(seed.as_bytes()).as_bytes()[..8].try_into().expect("8 bytes"),
        );
        let epoch = epoch_above(self.hosts.iter().map(Host::epoch), chance);
        let id = match &self.begin {
            Begin::New => format!("r{epoch}").parse().expect("a letter and digits are a name"),
            Begin::Resume(id, _) => id.clone(),
        };
        let operator = Arc::new(Operator { id, epoch, who });
        self.hosts.iter_mut().for_each(|host| host.operator = Some(Arc::clone(&operator)));
        let failure = match interrupts.or(self.until_commit(ctx)).await {
            Ok(()) => return Ok(self.commit(ctx).await),
            Err(failure) => failure,
        };
        let why = match &self.begin {
            Begin::Resume(_, Onward::Back) if is_left(&failure) => LEFT.to_owned(),
            Begin::Resume(..) | Begin::New => failure.whole(),
        };
        ctx.screen.note(&format!("bringing all hosts back: {why}"));
        let was_switched = self.hosts.iter().any(|host| host.was_switched);
        let ends = self.bring_back(&why).await;
        let is_whole_old = ends.unknown.is_empty() && ends.new.is_empty();
        match (is_whole_old, was_switched || self.begin != Begin::New) {
            // Nothing was ever changed: the reason is all there is to tell.
            (true, false) => Err(failure),
            (true, true) if matches!(failure, Failure::Interrupted { .. }) => {
                let hint = Some("all hosts are as they were".into());
                Err(Failure::Interrupted { hint })
            }
            _ => Ok(ends),
        }
    }

    /// Everything before the first commit.
    async fn until_commit(&mut self, ctx: &mut Context) -> Result<(), Failure> {
        let resume = self.begin != Begin::New;
        self.all(move |host| {
            let who = host.operator.as_ref().map(|it| it.who.clone()).unwrap_or_default();
            Box::pin(async move { host.ask(HostAskWhat::Claim { who, resume }).await })
        })
        .await?;
        match &self.begin {
            Begin::Resume(_, Onward::Back) => return Err(left()),
            Begin::Resume(_, Onward::On) => (),
            Begin::New => {
                let about = self.about.clone();
                let within = self.pace.commit_within;
                self.all(move |host| {
                    let about = about.clone();
                    Box::pin(async move { host.stage(about, within).await })
                })
                .await?;
                ctx.screen.note(&self.staged());
            }
        }
        let order: Vec<usize> = (0..self.hosts.len())
            .filter(|n| self.hosts[*n].was_at() != Some(&HostStage::Committed))
            .collect();
        for wave in waves(&order, self.pace.canary, self.pace.wave) {
            let names: Vec<_> = wave.iter().map(|n| self.hosts[*n].name.to_string()).collect();
            ctx.screen.note(&format!("switching {}", names.join(", ")));
            self.switch(wave).await?;
        }
        Ok(())
    }

    /// What is told once all hosts can be switched.
    fn staged(&self) -> String {
        let sum = |len: fn(&Host) -> u64| quantity::bytes(self.hosts.iter().map(len).sum());
        let (sent, lacked) = (sum(|host| host.sent_len), sum(|host| host.lacked_len));
        format!("every host has all that it needs: {sent} sent for {lacked}")
    }

    /// Does the same on all hosts at once.
    async fn all(&mut self, work: impl Fn(&mut Host) -> Work<'_> + Clone) -> Result<(), Failure> {
        let works = self.hosts.iter_mut().map(|host| {
            let name = host.name.to_string();
            let work = work(host);
            async move { work.await.map_err(|failure| (name, failure)) }
        });
        let done = host::join_all(works.collect()).await;
        first_of(done.into_iter().filter_map(Result::err).collect())
    }

    /// Switches the hosts of a wave and waits until each has passed its gate, for as long as the
    /// bake lasts; all others are told meanwhile that somebody is there.
    async fn switch(&mut self, wave: Vec<usize>) -> Result<(), Failure> {
        let (ready_within, bake) = (self.pace.ready_within, self.pace.bake);
        let mut works: Vec<Work<'_>> = Vec::new();
        let (done, still) = watch::channel(());
        for (n, host) in self.hosts.iter_mut().enumerate() {
            let still = still.clone();
            works.push(match wave.contains(&n) {
                true => Box::pin(async move {
                    let gated = host.switch(ready_within, bake, KEEP_EVERY).await;
                    drop(still);
                    gated
                }),
                false => {
                    drop(still);
                    Box::pin(host.keep_until(done.clone(), KEEP_EVERY))
                }
            });
        }
        drop(still);
        drop(done);
        let done = host::join_all(works).await;
        let failed = done
            .into_iter()
            .zip(&self.hosts)
            .filter_map(|(done, host)| Some((host.name.to_string(), done.err()?)));
        first_of(failed.collect())
    }

    /// The point of no return: from the first commit on there is no way but on.
    async fn commit(&mut self, ctx: &mut Context) -> Ends {
        ctx.screen.note("committing");
        let within = self.pace.commit_within / 2;
        let works = self.hosts.iter_mut().map(|host| async move {
            let name = host.name.to_string();
            (name, host.ask_until(HostAskWhat::Commit, within).await)
        });
        let why = "it was not committed everywhere".to_owned();
        let mut ends = Ends { why, ..Ends::default() };
        for (name, committed) in host::join_all(works.collect()).await {
            match committed {
                Ok(()) => ends.new.push(name),
                Err(Failure::Fleet(FleetFailure::Refused { why })) => {
                    ends.unknown.push((name, why.to_string()));
                }
                Err(failure) => ends.unknown.push((name, failure.whole())),
            }
        }
        ends
    }

    async fn bring_back(&mut self, why: &str) -> Ends {
        let (asked, within) = (self.pace.commit_within / 4, self.pace.ready_within);
        let works = self.hosts.iter_mut().map(|host| async move {
            let name = host.name.to_string();
            (name, host.go_back(why, asked, within).await)
        });
        let mut ends = Ends { why: why.to_owned(), ..Ends::default() };
        for (name, reverted) in host::join_all(works.collect()).await {
            match reverted {
                Ok(Ended::New) => ends.new.push(name),
                Ok(Ended::Old(how)) => ends.old.push((name, how)),
                Err(failure) => ends.unknown.push((name, failure.whole())),
            }
        }
        ends
    }
}

/// What ends a resumed rollout that is to go back.
fn left() -> Failure {
    FleetFailure::Gate { why: LEFT.into() }.into()
}

fn is_left(failure: &Failure) -> bool {
    matches!(failure, Failure::Fleet(FleetFailure::Gate { why }) if why == LEFT)
}

fn first_of(mut failed: Vec<(String, Failure)>) -> Result<(), Failure> {
    match failed.len() {
        0 => Ok(()),
        _ => {
            let (host, source) = failed.remove(0);
            Err(FleetFailure::OnHost { host, source: Box::new(source) }.into())
        }
    }
}

fn who() -> String {
    let name = |variable| std::env::var(variable).ok().filter(|name: &String| !name.is_empty());
    let user = name("USER").or_else(|| name("LOGNAME")).unwrap_or_else(|| "somebody".into());
    format!("{user}@{}", stead_proc::host_name())
}

/// Tells how every host has ended; only whole-new is a success.
pub(super) fn tell(ctx: &mut Context, ends: &Ends) -> Result<(), Failure> {
    if ends.old.is_empty() && ends.unknown.is_empty() {
        return ctx.screen.write(&format!("deployed: {}\n", ends.new.join(", ")));
    }
    let old: BTreeMap<_, _> = ends.old.iter().cloned().collect();
    let why = ends.why.clone();
    if ends.new.is_empty() && ends.unknown.is_empty() {
        return Err(FleetFailure::RolledBack { why, old }.into());
    }
    let unknown = ends.unknown.iter().cloned().collect();
    Err(FleetFailure::Split { why, new: ends.new.clone(), old, unknown }.into())
}

impl Ends {
    /// Hosts of a resumed rollout that hold nothing of it.
    pub(super) fn add_old(&mut self, hosts: impl IntoIterator<Item = String>, how: &str) {
        self.old.extend(hosts.into_iter().map(|host| (host, how.to_owned())));
    }
}
