//! `stead rollback`: a service as it ran before, on all its hosts, by what they remember.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use stead_core::names::{InstanceName, ServiceName};
use stead_core::plan::{Digest, Plan, Spec};
use stead_release::secret::SECRETS;
use stead_wire::api::PlanState;
use stead_wire::rollout::{History, HistoryEntry, Outcome};
use stead_wire::ship;

use crate::Context;
use crate::args::RollbackArgs;
use crate::crash::Crash;
use crate::deploy::host::Host;
use crate::deploy::rollout::Rollout;
use crate::deploy::{about, all, connect, migrate, tell_deployed};
use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::{FleetFile, Part};
use crate::interrupts::Interrupts;

/// A host with what it runs and what it remembers.
struct Remembers {
    host: Host,
    plan: Plan,
    entries: Vec<HistoryEntry>,
}

/// An entry that every host has: hosts number their own, but a rollout has one epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Target {
    epoch: u64,
    /// Names it where it came without a rollout.
    n: u64,
    at: u64,
}

pub(crate) async fn rollback(
    ctx: &mut Context,
    interrupts: &mut Interrupts,
    args: RollbackArgs,
) -> Result<(), Failure> {
    let file = FleetFile::open(&args.file, &args.tier, ctx.screen.paint_notes)?;
    let service = file.known_service(&args.service)?;
    let hosts = all(&file, &Arc::new(Crash::default()))?;
    let on = service.on();
    let service = service.name();
    let hosts = hosts.into_iter().filter(|host| on.contains(&host.name)).collect();
    let (hosts, _) = interrupts.or(connect(ctx, hosts, 0)).await?;
    let mut remembering = Vec::new();
    for host in hosts {
        remembering.push(interrupts.or(remembers(host)).await?);
    }
    let target = match args.to {
        Some(n) => numbered(&remembering, n),
        None => before(&mut remembering, service).await?,
    };
    let target = target.ok_or_else(|| nothing_before(service))?;
    let (mut back, mut collected) = (Vec::new(), BTreeMap::new());
    for one in remembering {
        let (host, lacks) = interrupts.or(planned(one, target, service)).await?;
        collected.extend(lacks.map(|lacks| (host.name.to_string(), lacks)));
        back.push(host);
    }
    if !collected.is_empty() {
        let service = service.to_string();
        return Err(FleetFailure::Collected { service, hosts: collected }.into());
    }
    let names = back.iter().map(|host| host.name.to_string()).collect();
    let about = about(format!("rollback of {service}"), names, &args.file);
    let (lost, key, resumed) = (BTreeMap::new(), file.signing_key()?, None);
    let pace = args.pace.over(file.fleet.rollout());
    // Whatever the way back is like, it is wanted.
    let compares = false;
    let rollout = Rollout { hosts: back, lost, about, pace, key, compares, resumed };
    let hosts = rollout.carry_out(ctx, interrupts).await?;
    tell_deployed(ctx, &hosts)
}

async fn remembers(mut host: Host) -> Result<Remembers, Failure> {
    let state: PlanState = host.get("/v1/plan").await?;
    let plan = state.plan.ok_or_else(|| on(&host, "nothing runs there"))?;
    let mut entries = host.get::<History>("/v1/history").await?.entries;
    // A migration changes nothing that could come back, and is on one host alone.
    entries.retain(|entry| {
        !matches!(entry.outcome, Outcome::Reverted(_)) && !migrate::is_one(&entry.what)
    });
    Ok(Remembers { host, plan, entries })
}

/// The entry that the first host gives this number.
fn numbered(remembering: &[Remembers], n: u64) -> Option<Target> {
    let entry = remembering.first()?.entries.iter().find(|entry| entry.n == n)?;
    Some(Target { epoch: entry.epoch, n, at: entry.at })
}

/// The newest entry, of any host, by which the service ran otherwise there than it does now.
async fn before(
    remembering: &mut [Remembers],
    service: &ServiceName,
) -> Result<Option<Target>, Failure> {
    let mut newest: Option<Target> = None;
    for one in remembering {
        let now = specs(&one.plan, service);
        for entry in one.entries.iter().rev() {
            let then = one.host.past_plan(entry.n).await?;
            if then.is_some_and(|then| specs(&then, service) != now) {
                let target = Target { epoch: entry.epoch, n: entry.n, at: entry.at };
                newest = newest.filter(|newest| newest.at >= target.at).or(Some(target));
                break;
            }
        }
    }
    Ok(newest)
}

/// The host with the plan of now, but for the service, which is as it was then; and what it lacks
/// for that.
async fn planned(
    one: Remembers,
    target: Target,
    service: &ServiceName,
) -> Result<(Host, Option<String>), Failure> {
    let Remembers { mut host, plan, entries } = one;
    let is_meant = |entry: &&HistoryEntry| match target.epoch {
        0 => entry.epoch == 0 && entry.n == target.n,
        epoch => entry.epoch == epoch,
    };
    let n = entries.iter().rfind(is_meant).map(|entry| entry.n);
    let n = n.ok_or_else(|| on(&host, "it does not remember what is to come back"))?;
    let then = host.past_plan(n).await?;
    let then = then.ok_or_else(|| on(&host, "it does not remember what is to come back"))?;
    let then = then.lasting();
    let lacks = lacks(&mut host, &then, service).await?;
    let back = plan.with_service_of(&then, service);
    Ok((host.with(back, Arc::default(), Vec::new()), lacks))
}

/// The first thing that the service has in a plan and the host does not have any more.
async fn lacks(
    host: &mut Host,
    plan: &Plan,
    service: &ServiceName,
) -> Result<Option<String>, Failure> {
    let mut needed: BTreeSet<(&str, &str, &Digest)> = BTreeSet::new();
    for (_, spec) in plan.of_service(service) {
        let parts = [(Part::Files, &spec.release), (Part::Config, &spec.config)];
        let parts = parts
            .into_iter()
            .filter_map(|(part, digest)| Some((part.noun(), part.folder_name(), digest.as_ref()?)));
        needed.extend(parts);
        needed.extend(spec.secrets.values().map(|secret| ("secret", SECRETS, &secret.id)));
    }
    for (noun, folder, digest) in needed {
        let path = format!("{}{folder}/{}", ship::HAS, digest.as_str());
        if !host.get::<bool>(&path).await? {
            return Ok(Some(format!("its {noun} {} is not there any more", digest.short())));
        }
    }
    Ok(None)
}

fn specs<'a>(plan: &'a Plan, service: &ServiceName) -> Vec<(&'a InstanceName, &'a Spec)> {
    plan.of_service(service).filter(|(_, spec)| !spec.once).collect()
}

fn on(host: &Host, why: &str) -> Failure {
    let source = FleetFailure::Gate { why: why.to_owned() }.into();
    FleetFailure::OnHost { host: host.name.to_string(), source: Box::new(source) }.into()
}

fn nothing_before(service: &ServiceName) -> Failure {
    FleetFailure::Gate { why: format!("no host remembers `{service}` otherwise than it is") }.into()
}
