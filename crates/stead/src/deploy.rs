//! `stead deploy`: a new release, or another plan, on every host of the fleet, or on none.
//!
//! ```text
//!   connect ──> claim all ──> ship and stage all ──> switch and gate, wave by wave
//!                   │                  │                         │         │
//!                   │                  │                         │         └──> commit all
//!                   └──────────────────┴─────────────────────────┴──> bring all back
//! ```
//!
//! Whatever goes wrong before the first commit brings back every host. What this process believes
//! is never needed for that: a host takes back by itself what nobody commits, and another operator
//! can go on by what the hosts hold.

mod compare;
mod gate;
mod hooks;
mod host;
mod migrate;
mod resume;
mod rollback;
mod rollout;
mod sent;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use stead_core::names::HostName;
use stead_fleet::Stage;
use stead_wire::rollout::About;
use tokio::task::JoinSet;

use crate::Context;
use crate::args::DeployArgs;
use crate::crash::Crash;
use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::{FleetFile, LocalFleet, Parts};
use crate::hosts;
use crate::interrupts::Interrupts;
use crate::secrets::Secrets;

use host::{Host, Lost};
use migrate::Migrations;
use rollout::Rollout;
use sent::Outbox;

pub(crate) use rollback::rollback;

pub(crate) async fn deploy(
    ctx: &mut Context,
    interrupts: &mut Interrupts,
    args: DeployArgs,
) -> Result<(), Failure> {
    let file = FleetFile::open(&args.file, &args.tier, ctx.screen.paint_notes)?;
    let file = file.narrowed(&args.scope)?;
    let crash = Arc::new(Crash::new(args.crash_at));
    let ended = match args.resume {
        true => resume::resume(ctx, interrupts, &file, &args, &crash).await,
        false => anew(ctx, interrupts, &file, &args, &crash).await,
    };
    if let Some(places_n) = crash.counted() {
        ctx.screen.note(&format!("places to die at: {places_n}"));
    }
    ended
}

async fn anew(
    ctx: &mut Context,
    interrupts: &mut Interrupts,
    file: &FleetFile,
    args: &DeployArgs,
    crash: &Arc<Crash>,
) -> Result<(), Failure> {
    file.check_files(Stage::NotBuilt)?;
    let key = file.signing_key()?;
    let fleets: Vec<_> =
        hosts::used(file).map(|host| LocalFleet { file, host: host.name().clone() }).collect();
    let parts = interrupts.or(build(ctx, &fleets)).await?;
    let secrets = interrupts.or(Secrets::read(file, fleets.iter().map(|it| &it.host))).await?;
    let secrets = Arc::new(secrets);
    let mut loaded = Vec::new();
    let mut by_host = BTreeMap::new();
    let outbox = Arc::new(Outbox::of_this_user());
    Arc::clone(&outbox).begin(file.fleet.name(), &parts);
    for (fleet, host) in fleets.iter().zip(all_with(file, crash, &outbox)?) {
        let own = fleet.parts().map(|(service, _, part)| fleet.key(service, part));
        let own: Vec<_> = own.collect();
        let digests = own.iter().map(|key| (key.clone(), parts[key].digest().clone()));
        let digests = digests.collect();
        let plan = fleet.plan(&digests, &secrets);
        by_host.insert(host.name.clone(), fleet.migrations(&digests, &secrets));
        let host = host.with(plan, Arc::clone(&parts), own);
        loaded.push(host.with_secrets(Arc::clone(&secrets)));
    }
    let pace = args.pace.over(file.fleet.rollout());
    let (hosts, lost) = interrupts.or(connect(ctx, loaded, pace.unreachable_max)).await?;
    let names: Vec<String> =
        hosts.iter().map(|host| &host.name).chain(lost.keys()).map(ToString::to_string).collect();
    hooks::before(ctx, interrupts, file, &names).await?;
    let path = &*args.file;
    let crash = Arc::clone(crash);
    let migrations = Migrations { file, path, parts, secrets, crash, pace: pace.clone(), by_host };
    let ended = match migrations.carry_out(ctx, interrupts, hosts).await {
        Err(failure) => Err(failure),
        Ok(hosts) => {
            let beside = |host: Host| host.beside(|now, next| file.beside(now, next));
            let hosts = hosts.into_iter().map(beside).collect();
            let about = about(what(file), names.clone(), path);
            let compares = args.pace.compares(file.fleet.rollout());
            let rollout = Rollout { hosts, lost, about, pace, key, compares, resumed: None };
            rollout.carry_out(ctx, interrupts).await
        }
    };
    let ended = ended.and_then(|hosts| tell_deployed(ctx, &hosts));
    hooks::after(ctx, interrupts, file, &names, &ended).await;
    ended
}

fn what(file: &FleetFile) -> String {
    match &file.tier {
        Some(tier) => format!("deploy of {tier}"),
        None => "deploy".to_owned(),
    }
}

/// Says where all of it is, which is everywhere.
fn tell_deployed(ctx: &mut Context, hosts: &[String]) -> Result<(), Failure> {
    ctx.screen.write(&format!("deployed: {}\n", hosts.join(", ")))
}

/// The hosts of a fleet on which something runs.
fn all(file: &FleetFile, crash: &Arc<Crash>) -> Result<Vec<Host>, Failure> {
    all_with(file, crash, &Arc::new(Outbox::of_this_user()))
}

/// The same, with what is sent to them.
fn all_with(
    file: &FleetFile,
    crash: &Arc<Crash>,
    outbox: &Arc<Outbox>,
) -> Result<Vec<Host>, Failure> {
    let kits = hosts::kits(file)?;
    let host = |host: &stead_fleet::Host| {
        let (way, kit, outbox) = (hosts::way(host), kits[&host.os()].clone(), Arc::clone(outbox));
        let name = host.name().clone();
        let rank = file.fleet.rank(&name);
        Ok(Host::new(name, way, kit, outbox, Arc::clone(crash)).ranked(rank))
    };
    hosts::used(file).map(host).collect()
}

/// Builds, reads and signs what is shipped, every part once for each system of hosts.
pub(crate) async fn build(
    ctx: &mut Context,
    fleets: &[LocalFleet<'_>],
) -> Result<Arc<Parts>, Failure> {
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
            if let Entry::Vacant(entry) = parts.entry(fleet.key(service, part)) {
                entry.insert(fleet.make_part(&mut ctx.screen, service, program, part).await?);
            }
        }
    }
    Ok(Arc::new(parts))
}

/// Hosts that are connected, and those that are not, with the reason.
type Connected = (Vec<Host>, BTreeMap<HostName, String>);

/// Connects to all of them but so many, or says of each why not.
async fn connect(
    ctx: &mut Context,
    hosts: Vec<Host>,
    unreachable_max: usize,
) -> Result<Connected, Failure> {
    let permits = hosts::permits();
    let mut connecting = JoinSet::new();
    for host in hosts {
        let permits = Arc::clone(&permits);
        connecting.spawn(async move {
            let _permit = permits.acquire().await;
            host.connect().await
        });
    }
    let mut hosts: BTreeMap<HostName, Host> = BTreeMap::new();
    let mut lost = BTreeMap::new();
    while let Some(connected) = connecting.join_next().await {
        match connected.expect("connecting does not panic") {
            Ok(host) => drop(hosts.insert(host.name.clone(), host)),
            Err(Lost { host, why }) => drop(lost.insert(host, why)),
        }
    }
    if lost.len() > unreachable_max || hosts.is_empty() {
        let lost = lost.into_iter().map(|(host, why)| (host.to_string(), why)).collect();
        return Err(FleetFailure::LostAll { lost }.into());
    }
    let hosts: Vec<Host> = hosts.into_values().collect();
    let names: Vec<String> = hosts.iter().map(|host| host.name.to_string()).collect();
    ctx.screen.note(&format!("connected: {}", names.join(", ")));
    let new = hosts.iter().filter(|host| host.were_put).map(|host| host.name.to_string());
    let new: Vec<String> = new.collect();
    if !new.is_empty() {
        ctx.screen.note(&format!("stead was brought to {}", new.join(", ")));
    }
    if !lost.is_empty() {
        let names: Vec<String> = lost.keys().map(ToString::to_string).collect();
        ctx.screen.note(&format!("left out, since they cannot be reached: {}", names.join(", ")));
    }
    Ok((hosts, lost))
}

fn about(what: String, hosts: Vec<String>, file: &Path) -> About {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let git = std::process::Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(folder.unwrap_or(Path::new(".")))
        .output();
    let commit = git.ok().filter(|output| output.status.success());
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let started_at = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    About { what, commit, started_at, hosts }
}
