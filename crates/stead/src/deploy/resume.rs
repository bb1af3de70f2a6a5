//! Ending a rollout that its operator has left, by what the hosts hold of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use stead_core::rollout::{Held, HostStage, Onward, RolloutId, onward, unfinished};
use stead_wire::rollout::About;
use tokio::time::sleep;

use crate::Context;
use crate::args::DeployArgs;
use crate::crash::Crash;
use crate::deploy::host::Host;
use crate::deploy::rollout::{Begin, Rollout, tell};
use crate::deploy::{about, all, connect};
use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::FleetFile;
use crate::interrupts::Interrupts;

/// How often to look whether an operator counts as gone.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How a host is told of that takes no part any more.
const NOTHING: &str = "it holds nothing of the rollout";

pub(super) async fn resume(
    ctx: &mut Context,
    interrupts: &mut Interrupts,
    file: &FleetFile,
    args: &DeployArgs,
    crash: &Arc<Crash>,
) -> Result<(), Failure> {
    let mut hosts = interrupts.or(connect(ctx, all(file, crash)?)).await?;
    let Some(id) = unfinished(&held(&hosts)) else {
        return ctx.screen.write("there is nothing to go on with\n");
    };
    if !args.take_over {
        interrupts.or(until_left(ctx, &mut hosts, &id)).await?;
    }
    // Its operator may have ended it while we waited.
    if unfinished(&held(&hosts)).as_ref() != Some(&id) {
        return ctx.screen.write("it has ended meanwhile: nothing to go on with\n");
    }
    let about = told(&hosts, &id).unwrap_or_else(|| {
        let names = hosts.iter().map(|host| host.name.to_string()).collect();
        about("deploy".into(), names, &args.file)
    });
    refuse_unknown(&hosts, &about)?;
    let to = onward(stages(&hosts, &id, &about));
    let verb = match to {
        Onward::On => "going on with",
        Onward::Back => "bringing back",
    };
    ctx.screen.note(&format!("{verb} the {} of {} hosts", about.what, about.hosts.len()));
    let (mut taking, others): (Vec<_>, Vec<_>) = hosts
        .into_iter()
        .partition(|host| stage(host, &id).is_some_and(|stage| takes_part(stage, to)));
    for host in &mut taking {
        host.was_asked = true;
        host.was_switched = stage(host, &id) == Some(&HostStage::Switched);
    }
    let others = others.iter().filter(|host| about.hosts.contains(&host.name.to_string()));
    let others: Vec<String> = others.map(|host| host.name.to_string()).collect();
    let begin = Begin::Resume(id, to);
    let mut rollout = Rollout { hosts: taking, about, pace: args.pace.clone(), begin };
    let mut ends = rollout.carry_out(ctx, interrupts).await?;
    ends.add_old(others, NOTHING);
    tell(ctx, &ends)
}

fn held(hosts: &[Host]) -> Vec<Held> {
    hosts.iter().filter_map(Host::held).cloned().collect()
}

fn stage<'a>(host: &'a Host, id: &RolloutId) -> Option<&'a HostStage> {
    host.held().filter(|held| held.id == *id).map(|held| &held.stage)
}

/// Whether there is anything to do with a host at this stage.
fn takes_part(stage: &HostStage, to: Onward) -> bool {
    match (stage, to) {
        // It was told to go back, and may not be switched any more.
        (HostStage::Reverted { by_itself: false, .. } | HostStage::Claimed, Onward::On) => false,
        (HostStage::Reverted { .. } | HostStage::Claimed, _) => true,
        (HostStage::Staged | HostStage::Switched | HostStage::Committed, _) => true,
    }
}

/// What its operator had said of it.
fn told(hosts: &[Host], id: &RolloutId) -> Option<About> {
    hosts.iter().find_map(|host| {
        let seen = host.seen.as_ref()?;
        stage(host, id).and(seen.about.clone())
    })
}

/// The stages of all hosts that it was begun with.
fn stages<'a>(
    hosts: &'a [Host],
    id: &'a RolloutId,
    about: &'a About,
) -> impl Iterator<Item = Option<&'a HostStage>> + Clone {
    let takes_part = |host: &&Host| about.hosts.contains(&host.name.to_string());
    hosts.iter().filter(takes_part).map(move |host| stage(host, id))
}

/// Refuses a rollout with hosts that the fleet file does not name: they could not be ended.
fn refuse_unknown(hosts: &[Host], about: &About) -> Result<(), Failure> {
    let known: BTreeSet<String> = hosts.iter().map(|host| host.name.to_string()).collect();
    let unknown = about.hosts.iter().filter(|host| !known.contains(*host));
    let why = "the rollout was begun with it, and the fleet file does not name it".to_owned();
    let lost: std::collections::BTreeMap<_, _> =
        unknown.map(|host| (host.clone(), why.clone())).collect();
    if lost.is_empty() { Ok(()) } else { Err(FleetFailure::LostAll { lost }.into()) }
}

/// Waits until the operator before counts as gone on every host.
async fn until_left(ctx: &mut Context, hosts: &mut [Host], id: &RolloutId) -> Result<(), Failure> {
    let mut was_told = false;
    loop {
        let is_alive = |host: &Host| {
            let stage = stage(host, id);
            let is_open = stage.is_some_and(|stage| {
                matches!(stage, HostStage::Claimed | HostStage::Staged | HostStage::Switched)
            });
            is_open && host.seen.as_ref().is_some_and(|seen| seen.alive)
        };
        let Some(host) = hosts.iter().find(|host| is_alive(host)) else { return Ok(()) };
        if !was_told {
            let who = host.held().map(|held| held.who.clone()).unwrap_or_default();
            ctx.screen.note(&format!("waiting until {who} counts as gone; Ctrl-C leaves"));
            was_told = true;
        }
        sleep(LOOK_EVERY).await;
        for host in hosts.iter_mut() {
            host.look_again().await?;
        }
    }
}
