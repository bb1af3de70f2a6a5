//! `stead plan`: what `up` or `deploy` would change on each host, and why. Reads only.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use serde::Serialize;
use stead_core::capacity::{Capacity, Keeps};
use stead_core::launch::{HostSide, Launch, LaunchChange, config_place, launch, launch_change};
use stead_core::names::{HostName, InstanceName, ServiceName};
use stead_core::order::{Needs, start_order};
use stead_core::plan::{Digest, Plan, Spec};
use stead_core::reconcile::{Change, FieldChange, changes};
use stead_core::template::Places;
use stead_core::units::{Bytes, MilliCpu};
use stead_fleet::{Address, Host, Stage};
use stead_wire::api::{self, PlanState};
use stead_wire::file;

use crate::Context;
use crate::args::PlanArgs;
use crate::client::Client;
use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::{Digests, FleetFile, LocalFleet, Part};
use crate::hosts;
use crate::reach::{ReachError, Reached};
use crate::render;
use crate::secrets::Secrets;
use crate::sign::{self, Kept};
use stead_release::release::PackError;

const PLAN_FORMAT: &str = "stead-plan/1";

/// Everything a plan would change.
#[derive(Debug, Serialize)]
pub(crate) struct Planned {
    pub(crate) fleet: String,
    /// What the tier changes in the fleet file.
    pub(crate) tier: Vec<FieldChange>,
    pub(crate) hosts: BTreeMap<HostName, OnHost>,
}

/// What there is to say of one host.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum OnHost {
    Changes(Box<Changes>),
    /// It was not looked at, for this reason.
    Lost {
        error: String,
    },
}

/// Everything a plan would change on one host.
#[derive(Debug, Serialize)]
pub(crate) struct Changes {
    /// The command that brings it there.
    pub(crate) by: &'static str,
    /// The fleet that runs here now, and the number of its plan; 0 if there is none.
    pub(crate) running: Option<String>,
    pub(crate) generation: u64,
    /// Whether an agent is there to keep it; the command starts one.
    pub(crate) has_agent: bool,
    pub(crate) instances: BTreeMap<InstanceName, Change>,
    /// Those of them whose change is taken up only by a fresh run.
    pub(crate) restarted: BTreeSet<InstanceName>,
    /// Those of them whose fresh run is ready before the old one ends; the others have a gap.
    pub(crate) without_gap: BTreeSet<InstanceName>,
    /// Those of them that are told to read their configuration again.
    pub(crate) reloaded: BTreeSet<InstanceName>,
    /// Services in the order they are started; stopped the other way round.
    pub(crate) order: Vec<ServiceName>,
    /// Services whose files are not there and are built by the command.
    pub(crate) built_on_up: Vec<ServiceName>,
    /// Services whose files are there and are signed by the command.
    pub(crate) signed_on_up: Vec<ServiceName>,
    /// Limits that this host cannot keep and need not.
    pub(crate) unkept: Vec<String>,
    /// Why this host does not take it.
    pub(crate) refused: Option<String>,
}

/// A host as it is now.
struct Seen {
    state: PlanState,
    has_agent: bool,
    /// `None` is not known.
    capacity: Option<Capacity>,
    by: &'static str,
}

pub(crate) async fn plan(ctx: &mut Context, args: PlanArgs) -> Result<(), Failure> {
    let file = FleetFile::open(&args.file, &args.tier, ctx.screen.paint_notes)?;
    let file = file.narrowed(&args.scope)?;
    file.check_files(Stage::NotBuilt)?;
    let secrets = Secrets::read(&file, hosts::used(&file).map(Host::name)).await?;
    let (here, there): (Vec<&Host>, Vec<&Host>) =
        hosts::used(&file).partition(|host| *host.address() == Address::Local);
    let mut planned = BTreeMap::new();
    for host in here {
        let seen = seen_here(&ctx.client()?).await?;
        planned.insert(host.name().clone(), Ok(seen));
    }
    if !there.is_empty() {
        for (host, reached) in hosts::look(&file).await? {
            if let Entry::Vacant(entry) = planned.entry(host) {
                entry.insert(seen_there(reached).await);
            }
        }
    }
    let mut hosts = BTreeMap::new();
    for (host, seen) in planned {
        let local = LocalFleet { file: &file, host: host.clone() };
        let (digests, unmade) = digests(&local)?;
        let on_host = match seen {
            Ok(seen) => {
                let next = file.beside(seen.state.plan.as_ref(), local.plan(&digests, &secrets));
                OnHost::Changes(Box::new(compare(&seen, &next, unmade)))
            }
            Err(error) => OnHost::Lost { error },
        };
        hosts.insert(host, on_host);
    }
    let (fleet, tier) = (file.fleet.name().to_string(), file.tier_changes());
    show(ctx, &Planned { fleet, tier, hosts }, args.json)
}

fn show(ctx: &mut Context, planned: &Planned, json: bool) -> Result<(), Failure> {
    match json {
        true => ctx.screen.json(planned)?,
        false => {
            let lines = render::plan::lines(planned, ctx.screen.paint);
            ctx.screen.write(&format!("{}\n", lines.join("\n")))?;
        }
    }
    let lost = planned.hosts.iter().filter_map(|(host, on_host)| match on_host {
        OnHost::Changes(_) => None,
        OnHost::Lost { error } => Some((host.to_string(), error.clone())),
    });
    let lost: BTreeMap<_, _> = lost.collect();
    if lost.is_empty() { Ok(()) } else { Err(FleetFailure::LostAll { lost }.into()) }
}

/// What runs on this machine.
async fn seen_here(client: &Client) -> Result<Seen, Failure> {
    let asked = current(client).await?;
    let has_agent = asked.is_some();
    // Without an agent its fleet runs on under its keepers.
    let now = asked.map_or_else(|| stored(client.root()), |state| Ok(Some(state)))?;
    let state = now.unwrap_or(NOTHING);
    Ok(Seen { state, has_agent, capacity: Some(stead_agent::capacity()), by: "up" })
}

/// What runs on another one, or why that is not known.
async fn seen_there(reached: Result<Reached, ReachError>) -> Result<Seen, String> {
    let by = "deploy";
    let reached = match reached {
        Err(ReachError::Bare) => {
            return Ok(Seen { state: NOTHING, has_agent: false, capacity: None, by });
        }
        reached => reached.map_err(|error| error.to_string())?,
    };
    let state = reached.client.get("/v1/plan").await.map_err(|failure| failure.whole())?;
    let host: api::Host = reached.client.get("/v1/host").await.map_err(|it| it.whole())?;
    Ok(Seen { state, has_agent: true, capacity: Some(capacity(&host)), by })
}

const NOTHING: PlanState = PlanState { generation: 0, plan: None };

fn capacity(host: &api::Host) -> Capacity {
    let keeps = |name: &str| host.keeps.iter().any(|kept| kept == name);
    Capacity {
        memory: Bytes(host.memory_bytes),
        cpu: MilliCpu(host.cpu_milli),
        keeps: Keeps {
            memory: keeps("limits.memory"),
            cpu: keeps("limits.cpu"),
            processes: keeps("limits.processes"),
            io_weight: keeps("limits.io_weight"),
        },
    }
}

/// The plan of the agent that runs at the root; `None` if there is no agent.
pub(crate) async fn current(client: &Client) -> Result<Option<PlanState>, Failure> {
    match client.get("/v1/plan").await {
        Ok(state) => Ok(Some(state)),
        Err(Failure::AgentMissing { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// The plan that the last agent left at a root; `None` if none did or nobody can tell: the next
/// agent says then what is wrong with it.
pub(crate) fn stored(root: &Path) -> Result<Option<PlanState>, Failure> {
    match std::fs::read(root.join("plan.json")) {
        Ok(bytes) => Ok(file::decode(PLAN_FORMAT, &bytes).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Failure::Root { root: root.into(), source }),
    }
}

/// Services of which something that is packed is yet to be made.
#[derive(Debug, Default)]
struct Unmade {
    built: Vec<ServiceName>,
    signed: Vec<ServiceName>,
}

/// The digests of the files as they are now; a zero one for what is yet to be made.
fn digests(local: &LocalFleet<'_>) -> Result<(Digests, Unmade), Failure> {
    let (mut digests, mut unmade) = (Digests::new(), Unmade::default());
    let zero = || Digest::try_from("0".repeat(64)).expect("64 zeros are hexadecimal digits");
    for (service, program, part) in local.parts() {
        let made = match (local.read_part(service, program, part), part) {
            (Ok(release), Part::Config) => Ok(Kept::Signed(release)),
            (Ok(release), Part::Files) => sign::kept(local, (service, program), release),
            (Err(error), _) => Err(error),
        };
        let (digest, list) = match made {
            Ok(Kept::Signed(release)) => (release.digest().clone(), None),
            Ok(Kept::Unsigned) => (zero(), Some(&mut unmade.signed)),
            Err(Failure::Pack { source: PackError::Missing(_), .. })
                if program.build().is_some() =>
            {
                (zero(), Some(&mut unmade.built))
            }
            Err(other) => return Err(other),
        };
        if let Some(list) = list.filter(|list| !list.contains(service.name())) {
            list.push(service.name().clone());
        }
        digests.insert(local.key(service, part), digest);
    }
    Ok((digests, unmade))
}

fn compare(seen: &Seen, next: &Plan, unmade: Unmade) -> Changes {
    let Unmade { built: built_on_up, signed: signed_on_up } = unmade;
    let now = &seen.state;
    let mut instances = changes(now.plan.as_ref(), next, stead_fleet::diff);
    for (name, change) in &mut instances {
        if let Change::Change(fields) = change
            && (built_on_up.contains(name.service()) || signed_on_up.contains(name.service()))
        {
            let is_zero = |field: &&mut FieldChange| field.to.bytes().all(|digit| digit == b'0');
            let packed = fields.iter_mut().filter(|it| matches!(&*it.field, "release" | "config"));
            // A configuration is never signed.
            let is_built =
                |field: &str| field == "config" || !signed_on_up.contains(name.service());
            for field in packed.filter(is_zero) {
                let made = if is_built(&field.field) { "built" } else { "signed" };
                field.to = format!("{made} on {}", seen.by);
            }
        }
    }
    let running = now.plan.as_ref().filter(|plan| !plan.instances.is_empty());
    let restarted = running.map(|plan| restarted(plan, next)).unwrap_or_default();
    let refused = seen.capacity.and_then(|capacity| capacity.refuse(next));
    Changes {
        by: seen.by,
        running: running.map(|plan| plan.fleet.to_string()),
        without_gap: running.map(|now| without_gap(now, next, &restarted)).unwrap_or_default(),
        reloaded: running.map(|now| changed(now, next, LaunchChange::Reload)).unwrap_or_default(),
        restarted,
        generation: now.generation,
        has_agent: seen.has_agent,
        order: order(next),
        built_on_up,
        signed_on_up,
        unkept: seen.capacity.map(|capacity| capacity.unkept(next)).unwrap_or_default(),
        refused: refused.map(|too_much| too_much.because),
        instances,
    }
}

/// The instances of both plans that would be launched in another way.
pub(crate) fn restarted(now: &Plan, next: &Plan) -> BTreeSet<InstanceName> {
    changed(now, next, LaunchChange::FreshRun)
}

/// The instances whose change is of this kind.
fn changed(now: &Plan, next: &Plan, kind: LaunchChange) -> BTreeSet<InstanceName> {
    let both =
        now.instances.iter().filter_map(|(name, old)| Some((name, old, next.instances.get(name)?)));
    // A run of its own time is left to end; the next one goes by the plan.
    let lasting = both.filter(|(_, _, new)| new.schedule.is_none());
    let changed = lasting.filter(|(name, old, new)| {
        let (old, old_host) = launched(name, old);
        let (new, new_host) = launched(name, new);
        let change = match old_host == new_host {
            true => launch_change(&old, &new),
            false => LaunchChange::FreshRun,
        };
        change == kind
    });
    changed.map(|(name, _, _)| name.clone()).collect()
}

/// Those of the restarted instances whose keepers let two runs overlap.
pub(crate) fn without_gap(
    now: &Plan,
    next: &Plan,
    restarted: &BTreeSet<InstanceName>,
) -> BTreeSet<InstanceName> {
    let overlaps = |plan: &Plan, name| {
        plan.instances.get(name).is_some_and(|spec: &Spec| spec.replace.overlap)
    };
    let both = restarted.iter().filter(|name| overlaps(now, name) && overlaps(next, name));
    both.cloned().collect()
}

/// What of a spec enters its launch: with the same places on every host, and with the fields that
/// the host's own side is made of.
fn launched<'a>(
    name: &InstanceName,
    spec: &'a Spec,
) -> (Launch, ([&'a Option<String>; 2], &'a [String])) {
    let config = config_place("/c", spec);
    let places = Places {
        config: &config,
        kit: "/k",
        ports: &BTreeMap::new(),
        data: "{data}",
        release: "{release}",
        tmp: "{tmp}",
    };
    let env = BTreeMap::new();
    let host = HostSide { places, account: None, env, isolates: true, secrets: "/s" };
    (launch(name, spec, host), ([&spec.user, &spec.group], &spec.inherit))
}

fn order(plan: &Plan) -> Vec<ServiceName> {
    let needs =
        plan.instances.iter().map(|(name, spec)| (name.service().clone(), spec.needs.clone()));
    start_order(&needs.collect::<Needs>()).expect("a parsed fleet has no cycle of needs")
}

impl Changes {
    pub(crate) fn count(&self, is_one: impl Fn(&Change) -> bool) -> usize {
        self.instances.values().filter(|change| is_one(change)).count()
    }

    pub(crate) fn fields(change: &Change) -> &[FieldChange] {
        match change {
            Change::Change(fields) => fields,
            Change::Add | Change::Keep | Change::Remove => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stead_fleet::Fleet;

    fn plan(body: &str) -> Plan {
        let text = format!("name = \"shop\"\n[service.a]\nrun = [\"/bin/a\"]\n{body}");
        let fleet = Fleet::parse(&text);
        let fleet = fleet.unwrap_or_else(|bad| panic!("{}", bad.render("", &text, false)));
        fleet.plan(&fleet.local_host().unwrap(), &BTreeMap::new(), &BTreeMap::new())
    }

    #[test]
    fn only_what_a_run_is_given_restarts_it() {
        let cases = [
            ("", "", false),
            ("", "env.A = 1", true),
            ("", "inherit = [\"TOKEN\"]", true),
            ("", "user = \"nobody\"", true),
            ("", "group = \"daemon\"", true),
            ("", "umask = \"077\"", true),
            ("", "log.keep = \"1GiB\"", false),
            ("", "restart = \"never\"", false),
            ("", "stop.timeout = \"1s\"", false),
            ("", "limits.memory = \"256MiB\"", true),
            ("port.http = 1", "port.http = 2", false),
            ("port.http = 1", "port.http = 1\nready = { tcp = true }", false),
            ("port.http = 1", "port.http = 1\nlive = { tcp = true }", false),
        ];
        for (old, new, is_restarted) in cases {
            let found = restarted(&plan(old), &plan(new));
            assert_eq!(!found.is_empty(), is_restarted, "{old:?} / {new:?}");
        }
        let (listens, b) = ("port.http = 8100\nlisten.http = \"127.0.0.1\"", "env.A = 1");
        for (old, new, is_without) in [
            ("", b.to_owned(), false),
            (listens, format!("{listens}\n{b}"), true),
            (listens, b.to_owned(), false),
            ("", listens.to_owned(), false),
            ("replace.overlap = true", format!("replace.overlap = true\n{b}"), true),
        ] {
            let (now, next) = (plan(old), plan(&new));
            let restarted = restarted(&now, &next);
            assert!(!restarted.is_empty(), "{old:?} / {new:?}");
            let found = without_gap(&now, &next, &restarted);
            assert_eq!(!found.is_empty(), is_without, "{old:?} / {new:?}");
        }
        let b = "\n[service.b]\nrun = [\"/bin/b\"]";
        assert!(restarted(&plan(b), &plan(&format!("needs = [\"b\"]{b}"))).is_empty());
    }
}
