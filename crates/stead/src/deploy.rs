//! `stead deploy`: a new release, or another plan, on every host of the fleet, or on none.
//!
//! ```text
//!   connect ──> claim all ──> ship and stage all ──> switch and gate, wave by wave ──> commit all
//!                   └───────────────┴────────────────────────┴──> bring all back
//! ```
//!
//! Whatever goes wrong before the first commit brings back every host. What this process believes
//! is never needed for that: a host takes back by itself what nobody commits.

mod gate;
mod host;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use stead_core::names::HostName;
use stead_core::rollout::{HostAskWhat, RolloutId, epoch_above, waves};
use stead_fleet::Stage;
use stead_wire::rollout::About;
use tokio::task::JoinSet;

use crate::Context;
use crate::args::DeployArgs;
use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::{FleetFile, LocalFleet, Parts};
use crate::hosts;
use crate::interrupts::Interrupts;
use crate::kit::Kit;

use host::{Host, Lost, Operator};

/// A switch that nobody commits is taken back by its host after this.
const COMMIT_WITHIN: Duration = Duration::from_secs(120);

/// Hosts are told this often that their operator is there.
const KEEP_EVERY: Duration = Duration::from_secs(5);

/// How the hosts ended.
#[derive(Debug, Default, Eq, PartialEq)]
struct Ends {
    /// What kept it from being whole-new.
    why: String,
    new: Vec<String>,
    /// With the reason, where one is known.
    old: Vec<(String, String)>,
    /// Nobody knows: they go back by themselves if they were switched.
    unknown: Vec<(String, String)>,
}

pub(crate) async fn deploy(
    ctx: &mut Context,
    interrupts: &mut Interrupts,
    args: DeployArgs,
) -> Result<(), Failure> {
    let file = FleetFile::open(&args.file, ctx.screen.paint_notes)?;
    file.check_files(Stage::NotBuilt)?;
    let fleets = fleets(&file);
    let parts = interrupts.or(build(ctx, &fleets)).await?;
    let hosts = interrupts.or(connect(&file, &fleets, &parts)).await?;
    let names: Vec<String> = hosts.iter().map(|host| host.name.to_string()).collect();
    ctx.screen.note(&format!("connected: {}", names.join(", ")));
    let new = hosts.iter().filter(|host| host.were_put).map(|host| host.name.to_string());
    let new: Vec<String> = new.collect();
    if !new.is_empty() {
        ctx.screen.note(&format!("stead was brought to {}", new.join(", ")));
    }
    let mut rollout = Rollout { hosts, about: about(names, &args), args };
    let ends = rollout.carry_out(ctx, interrupts).await?;
    tell(ctx, &ends)
}

/// The hosts that run something, each with what it is to run.
fn fleets(file: &FleetFile) -> Vec<LocalFleet<'_>> {
    hosts::used(file).map(|host| LocalFleet { file, host: host.name().clone() }).collect()
}

/// Builds and reads what is shipped. All hosts are of one system, so every part is read once.
async fn build(ctx: &mut Context, fleets: &[LocalFleet<'_>]) -> Result<Arc<Parts>, Failure> {
    let mut parts = Parts::new();
    let mut built = Default::default();
    for fleet in fleets {
        fleet.build_new(&mut ctx.screen, &mut built).await?;
    }
    if let Some(first) = fleets.first() {
        first.file.check_files(Stage::Built)?;
    }
    for fleet in fleets {
        for (service, program, part) in fleet.parts() {
            let key = (service.name().clone(), part);
            if let Entry::Vacant(entry) = parts.entry(key) {
                entry.insert(fleet.read_part(service, program, part)?);
            }
        }
    }
    Ok(Arc::new(parts))
}

async fn connect(
    file: &FleetFile,
    fleets: &[LocalFleet<'_>],
    parts: &Arc<Parts>,
) -> Result<Vec<Host>, Failure> {
    let (kit, permits) = (Arc::new(Kit::own()?), hosts::permits());
    let mut connecting = JoinSet::new();
    for fleet in fleets {
        let host = file.fleet.host(&fleet.host).expect("it is a host of the fleet");
        let way = hosts::way(host)?;
        let own = fleet.parts().map(|(service, _, part)| (service.name().clone(), part));
        let own: Vec<_> = own.collect();
        let digests = own.iter().map(|key| (key.clone(), parts[key].digest().clone()));
        let plan = fleet.plan(&digests.collect());
        let (kit, parts, permits) = (Arc::clone(&kit), Arc::clone(parts), Arc::clone(&permits));
        connecting.spawn(async move {
            let _permit = permits.acquire().await;
            Host::connect(way, kit, plan, parts, own).await
        });
    }
    let mut hosts: BTreeMap<HostName, Host> = BTreeMap::new();
    let mut lost = BTreeMap::new();
    while let Some(connected) = connecting.join_next().await {
        match connected.expect("connecting does not panic") {
            Ok(host) => drop(hosts.insert(host.name.clone(), host)),
            Err(Lost { host, why }) => drop(lost.insert(host.to_string(), why)),
        }
    }
    if lost.is_empty() {
        Ok(hosts.into_values().collect())
    } else {
        Err(FleetFailure::LostAll { lost }.into())
    }
}

fn about(hosts: Vec<String>, args: &DeployArgs) -> About {
    let folder = args.file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let git = std::process::Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(folder.unwrap_or(std::path::Path::new(".")))
        .output();
    let commit = git.ok().filter(|output| output.status.success());
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let started_at = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    About { what: "deploy".into(), commit, started_at, hosts }
}

/// A rollout, from the claim to its end.
struct Rollout {
    hosts: Vec<Host>,
    about: About,
    args: DeployArgs,
}

impl Rollout {
    async fn carry_out(
        &mut self,
        ctx: &mut Context,
        interrupts: &mut Interrupts,
    ) -> Result<Ends, Failure> {
        let chance = u64::from(std::process::id()) ^ self.about.started_at.wrapping_mul(0x9E37);
        let epoch = epoch_above(self.hosts.iter().map(|host| host.epoch), chance);
        let id: RolloutId = format!("r{epoch}").parse().expect("a letter and digits are a name");
        let operator = Arc::new(Operator { id, epoch, who: who() });
        self.hosts.iter_mut().for_each(|host| host.operator = Some(Arc::clone(&operator)));
        let began = interrupts.or(self.begin(ctx)).await;
        let Err(failure) = began else { return Ok(self.commit(ctx).await) };
        let why = failure.whole();
        ctx.screen.note(&format!("bringing all hosts back: {why}"));
        let was_switched = self.hosts.iter().any(|host| host.was_switched);
        let ends = self.bring_back(&why).await;
        match (ends.unknown.is_empty(), was_switched) {
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
    async fn begin(&mut self, ctx: &mut Context) -> Result<(), Failure> {
        let who = self.hosts.first().and_then(|it| it.operator.clone()).map(|it| it.who.clone());
        let claim = HostAskWhat::Claim { who: who.unwrap_or_default(), resume: false };
        self.all(move |host| {
            let claim = claim.clone();
            Box::pin(async move { host.ask(claim).await })
        })
        .await?;
        let about = self.about.clone();
        self.all(move |host| {
            let about = about.clone();
            Box::pin(async move { host.stage(about, COMMIT_WITHIN).await })
        })
        .await?;
        ctx.screen.note("every host has all that it needs");
        let order: Vec<usize> = (0..self.hosts.len()).collect();
        for wave in waves(&order, self.args.canary, self.args.wave) {
            let names: Vec<_> = wave.iter().map(|n| self.hosts[*n].name.to_string()).collect();
            ctx.screen.note(&format!("switching {}", names.join(", ")));
            self.switch(wave).await?;
        }
        Ok(())
    }

    /// Does the same on all hosts at once; fails with all that failed.
    async fn all(
        &mut self,
        work: impl Fn(&mut Host) -> host::Work<'_> + Clone,
    ) -> Result<(), Failure> {
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
        let (ready_within, bake) = (self.args.ready_within, self.args.bake);
        let mut works: Vec<host::Work<'_>> = Vec::new();
        let (done, still) = tokio::sync::watch::channel(());
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
        let works = self.hosts.iter_mut().map(|host| async move {
            let name = host.name.to_string();
            (name, host.ask_until(HostAskWhat::Commit, COMMIT_WITHIN / 2).await)
        });
        let why = "it was not committed everywhere".to_owned();
        let mut ends = Ends { why, ..Ends::default() };
        for (name, committed) in host::join_all(works.collect()).await {
            match committed {
                Ok(()) => ends.new.push(name),
                Err(failure @ Failure::AgentRefused { .. }) => {
                    ends.old.push((name, failure.because().join(": ")));
                }
                Err(failure) => ends.unknown.push((name, failure.whole())),
            }
        }
        ends
    }

    async fn bring_back(&mut self, why: &str) -> Ends {
        let within = self.args.ready_within;
        let works = self.hosts.iter_mut().map(|host| async move {
            let name = host.name.to_string();
            (name, host.go_back(why, COMMIT_WITHIN / 4, within).await)
        });
        let mut ends = Ends { why: why.to_owned(), ..Ends::default() };
        for (name, reverted) in host::join_all(works.collect()).await {
            match reverted {
                Ok(state) => ends.old.push((name, state)),
                Err(failure) => ends.unknown.push((name, failure.whole())),
            }
        }
        ends
    }
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
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", host.trim())
}

/// Tells how every host has ended; only whole-new is a success.
fn tell(ctx: &mut Context, ends: &Ends) -> Result<(), Failure> {
    if ends.old.is_empty() && ends.unknown.is_empty() {
        return ctx.screen.write(&format!("deployed: {}\n", ends.new.join(", ")));
    }
    let name = |(host, why): &(String, String)| (host.clone(), why.clone());
    let old: BTreeMap<_, _> = ends.old.iter().map(name).collect();
    if ends.new.is_empty() && ends.unknown.is_empty() {
        return Err(FleetFailure::RolledBack { why: ends.why.clone(), old }.into());
    }
    let unknown = ends.unknown.iter().map(name).collect();
    Err(FleetFailure::Split { why: ends.why.clone(), new: ends.new.clone(), old, unknown }.into())
}
