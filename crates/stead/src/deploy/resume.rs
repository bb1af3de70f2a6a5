//! Ending a rollout that its operator has left, by what the hosts hold of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use stead_core::rollout::{HostRollout, HostStage, RolloutId, is_split, unfinished};
use stead_wire::rollout::About;
use tokio::time::sleep;

use crate::Context;
use crate::args::DeployArgs;
use crate::crash::Crash;
use crate::deploy::host::Host;
use crate::deploy::rollout::Rollout;
use crate::deploy::{about, all, connect, tell_deployed};
use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::FleetFile;
use crate::interrupts::Interrupts;

/// How often to look whether an operator counts as gone.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) async fn resume(
    ctx: &mut Context,
    interrupts: &mut Interrupts,
    file: &FleetFile,
    args: &DeployArgs,
    crash: &Arc<Crash>,
) -> Result<(), Failure> {
    let (mut hosts, _) = interrupts.or(connect(ctx, all(file, crash)?, 0)).await?;
    let Some(id) = unfinished(seen(&hosts)) else { return nothing_left(ctx, &hosts) };
    if !args.take_over {
        interrupts.or(until_left(ctx, &mut hosts, &id)).await?;
    }
    // Its operator may have ended it while we waited.
    if unfinished(seen(&hosts)).as_ref() != Some(&id) {
        return ctx.screen.write("it has ended meanwhile: nothing to go on with\n");
    }
    let about = told(&hosts, &id).unwrap_or_else(|| {
        let names = hosts.iter().map(|host| host.name.to_string()).collect();
        about("deploy".into(), names, &args.file)
    });
    refuse_unknown(&hosts, &about)?;
    ctx.screen.note(&format!("taking over the {} of {} hosts", about.what, about.hosts.len()));
    hosts.retain(|host| about.hosts.contains(&host.name.to_string()));
    // What is gone on with was signed when it was staged.
    let (lost, key, resumed) = (BTreeMap::new(), None, Some(id));
    let pace = args.pace.over(file.fleet.rollout());
    let compares = args.pace.compares(file.fleet.rollout());
    let rollout = Rollout { hosts, lost, about, pace, key, compares, resumed };
    let hosts = rollout.carry_out(ctx, interrupts).await?;
    tell_deployed(ctx, &hosts)
}

/// No rollout is left to be ended; a fleet may be split all the same.
fn nothing_left(ctx: &mut Context, hosts: &[Host]) -> Result<(), Failure> {
    if !is_split(seen(hosts)) {
        return ctx.screen.write("there is nothing to go on with\n");
    }
    let has = |host: &Host| {
        let id = host.seen().and_then(|seen| seen.for_good.as_ref());
        let what = id.map_or_else(|| "no rollout".to_owned(), |id| format!("rollout {id}"));
        (host.name.to_string(), what)
    };
    Err(FleetFailure::Differ { hosts: hosts.iter().map(has).collect() }.into())
}

/// What hosts hold of rollouts.
fn seen(hosts: &[Host]) -> impl Iterator<Item = &HostRollout> + Clone {
    hosts.iter().filter_map(Host::seen)
}

fn stage<'a>(host: &'a Host, id: &RolloutId) -> Option<&'a HostStage> {
    let held = host.seen()?.held.as_ref()?;
    (held.id == *id).then_some(&held.stage)
}

/// What its operator had said of it.
fn told(hosts: &[Host], id: &RolloutId) -> Option<About> {
    hosts.iter().find_map(|host| {
        let seen = host.seen.as_ref()?;
        stage(host, id).and(seen.about.clone())
    })
}

/// Refuses a rollout with hosts that the fleet file does not name: they could not be ended.
fn refuse_unknown(hosts: &[Host], about: &About) -> Result<(), Failure> {
    let known: BTreeSet<String> = hosts.iter().map(|host| host.name.to_string()).collect();
    let unknown = about.hosts.iter().filter(|host| !known.contains(*host));
    let why = "the rollout was begun with it, and the fleet file does not name it".to_owned();
    let lost: BTreeMap<_, _> = unknown.map(|host| (host.clone(), why.clone())).collect();
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
            let who = host
                .seen()
                .and_then(|seen| Some(seen.held.as_ref()?.who.clone()))
                .unwrap_or_default();
            ctx.screen.note(&format!("waiting until {who} counts as gone; Ctrl-C leaves"));
            was_told = true;
        }
        sleep(LOOK_EVERY).await;
        for host in hosts.iter_mut() {
            host.look_again().await?;
        }
    }
}
