//! Migrations: what all hosts share is brought to what a new release needs, once for the fleet.
//!
//! A migration is a rollout of its own to a single host: what that runs stays as it is, but for one
//! instance more, which runs once. So it is fenced, gated, signed and remembered like any other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stead_core::names::{HostName, ServiceName};
use stead_core::order::{Needs, start_order};
use stead_core::plan::{Plan, Spec};
use stead_core::rollout::{Pace, Wave};
use stead_fleet::Migration;
use stead_wire::rollout::{History, Outcome};
use tokio::task::JoinSet;

use crate::Context;
use crate::crash::Crash;
use crate::deploy::host::Host;
use crate::deploy::rollout::Rollout;
use crate::deploy::{about, all, connect};
use crate::failure::Failure;
use crate::fleet_file::{FleetFile, PartKey, Parts};
use crate::hosts;
use crate::interrupts::Interrupts;
use crate::secrets::Secrets;

/// How long a migration may take, if the fleet file does not say.
const WITHIN: Duration = Duration::from_secs(600);

/// So many migrations of before are looked at, of each host.
const LOOKED_AT_MAX: usize = 5;

/// How a rollout that is a migration begins to say what it is.
const WHAT: &str = "migration of ";

/// Whether a rollout that says this of itself is a migration.
pub(super) fn is_one(what: &str) -> bool {
    what.starts_with(WHAT)
}

/// What migrations are made of.
pub(super) struct Migrations<'a> {
    pub(super) file: &'a FleetFile,
    /// How the fleet file is called.
    pub(super) path: &'a std::path::Path,
    pub(super) parts: Arc<Parts>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) crash: Arc<Crash>,
    pub(super) pace: Pace,
    /// Of each host, those of its services.
    pub(super) by_host: BTreeMap<HostName, Vec<Migration>>,
}

/// A migration that is to be done, and where.
struct Due {
    host: HostName,
    migration: Migration,
}

impl Migrations<'_> {
    /// Does those that no host remembers, each on the first host of its service. Before the first
    /// one every host is given all that it will need, so that little is left that can fail after.
    pub(super) async fn carry_out(
        &self,
        ctx: &mut Context,
        interrupts: &mut Interrupts,
        mut reached: Vec<Host>,
    ) -> Result<Vec<Host>, Failure> {
        let due = interrupts.or(self.due(ctx, &mut reached)).await?;
        if due.is_empty() {
            return Ok(reached);
        }
        let mut reached = interrupts.or(ship(reached)).await?;
        for due in due {
            self.one(ctx, interrupts, &due).await?;
            let host = reached.iter_mut().find(|host| host.name == due.host);
            interrupts.or(host.expect("it was reached").look()).await?;
        }
        Ok(reached)
    }

    /// Those that are to be done, what others need first.
    async fn due(&self, ctx: &mut Context, reached: &mut [Host]) -> Result<Vec<Due>, Failure> {
        let fleet = &self.file.fleet;
        let needs = fleet.services().map(|it| (it.name().clone(), it.needs().to_vec()));
        let order = start_order(&needs.collect::<Needs>());
        let order = order.expect("a parsed fleet has no cycle of needs");
        let mut due = Vec::new();
        for service in order {
            let on = |host: &Host| self.of(&host.name, &service).is_some();
            let Some(first) = reached.iter().filter(|host| on(host)).min_by_key(|it| it.rank)
            else {
                continue;
            };
            let host = first.name.clone();
            let migration = self.of(&host, &service).expect("the host was found by it").clone();
            let mut done_on = None;
            for host in reached.iter_mut().filter(|host| on(host)) {
                if remembers(host, &migration).await? {
                    done_on = Some(host.name.clone());
                    break;
                }
            }
            match done_on {
                Some(host) => ctx.screen.note(&format!("{service} was migrated before, on {host}")),
                None => due.push(Due { host, migration }),
            }
        }
        Ok(due)
    }

    fn of(&self, host: &HostName, service: &ServiceName) -> Option<&Migration> {
        self.by_host.get(host)?.iter().find(|migration| migration.service == *service)
    }

    async fn one(
        &self,
        ctx: &mut Context,
        interrupts: &mut Interrupts,
        due: &Due,
    ) -> Result<(), Failure> {
        let Due { host: name, migration } = due;
        ctx.screen.note(&format!("migrating {} on {name}", migration.service));
        let host = all(self.file, &self.crash)?.into_iter().find(|host| host.name == *name);
        let fleet = self.file.fleet.name().clone();
        let instances = [(migration.instance.clone(), migration.spec.clone())].into();
        let plan = Plan { fleet, host: name.clone(), instances };
        let os = self.file.fleet.host(name).map(stead_fleet::Host::os);
        let of_service = |key: &&PartKey| key.service == migration.service && Some(key.os) == os;
        let own = self.parts.keys().filter(of_service).cloned().collect();
        let host = host.expect("the fleet has it").with(plan, Arc::clone(&self.parts), own);
        let host = host.with_secrets(Arc::clone(&self.secrets));
        let (hosts, _) = interrupts.or(connect(ctx, vec![host], 0)).await?;
        let hosts = hosts.into_iter().map(|host| host.beside(with)).collect();
        let what = format!("{WHAT}{}", migration.service);
        let rollout = Rollout {
            hosts,
            lost: BTreeMap::new(),
            about: about(what, vec![name.to_string()], self.path),
            pace: self.pace(),
            key: self.file.signing_key()?,
            compares: false,
            resumed: None,
        };
        rollout.carry_out(ctx, interrupts).await?;
        Ok(())
    }

    fn pace(&self) -> Pace {
        Pace {
            canary: 0,
            wave: Wave::Percent(100),
            bake: Duration::ZERO,
            ready_within: self.file.fleet.rollout().migrate_within.unwrap_or(WITHIN),
            ..self.pace.clone()
        }
    }
}

/// What a host runs, and the migration beside.
fn with(now: Option<&Plan>, migration: Plan) -> Plan {
    let now = now.map(|now| now.instances.clone()).unwrap_or_default();
    let instances = now.into_iter().chain(migration.instances).collect();
    Plan { instances, ..migration }
}

/// Whether a host remembers that it has done this migration.
async fn remembers(host: &mut Host, migration: &Migration) -> Result<bool, Failure> {
    let history: History = host.get("/v1/history").await?;
    let what = format!("{WHAT}{}", migration.service);
    let done = history
        .entries
        .iter()
        .rev()
        .filter(|entry| entry.what == what && entry.outcome == Outcome::Committed);
    let numbers: Vec<u64> = done.take(LOOKED_AT_MAX).map(|entry| entry.n).collect();
    for n in numbers {
        let plan = host.past_plan(n).await?;
        let spec: Option<&Spec> =
            plan.as_ref().and_then(|it| it.instances.get(&migration.instance));
        if spec == Some(&migration.spec) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Brings to all hosts what they lack.
async fn ship(reached: Vec<Host>) -> Result<Vec<Host>, Failure> {
    let permits = hosts::permits();
    let mut shipping = JoinSet::new();
    for (n, mut host) in reached.into_iter().enumerate() {
        let permits = Arc::clone(&permits);
        shipping.spawn(async move {
            let _permit = permits.acquire().await;
            let shipped = host.ship().await;
            shipped.map(|()| (n, host))
        });
    }
    let mut reached = BTreeMap::new();
    while let Some(shipped) = shipping.join_next().await {
        let (n, host) = shipped.expect("shipping does not panic")?;
        reached.insert(n, host);
    }
    Ok(reached.into_values().collect())
}
