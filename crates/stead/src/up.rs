//! `stead up`: from a fleet file to a fleet that runs.

use std::collections::BTreeSet;
use std::time::Duration;

use stead_core::names::InstanceName;
use stead_core::plan::{Plan, When};
use stead_fleet::Stage;
use stead_release::lock::Putting;
use stead_wire::api::{Act, ActWhat, Acted, InstanceStatus, PlanPut, PlanState, Signed, Status};

use crate::Context;
use crate::act;
use crate::agent;
use crate::args::UpArgs;
use crate::client::Client;
use crate::failure::Failure;
use crate::fleet_file::{FleetFile, LocalFleet, Parts};
use crate::interrupts::Interrupts;
use crate::keys;
use crate::plan::{current, restarted, stored, without_gap};
use crate::progress::Progress;
use crate::render::quantity;
use crate::root;
use crate::secrets::Secrets;
use crate::show;
use crate::wait::{self, Awaited, Goal, Waited};

/// Longer than any ladder of stops; the agent itself gives up before.
const DOWN_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What `up` has put to the agent.
struct Applied {
    /// Nothing ran here before: what runs now is what this command started.
    is_ours: bool,
    awaited: Awaited,
}

pub(crate) async fn up(
    ctx: &mut Context,
    interrupts: &mut Interrupts,
    args: UpArgs,
) -> Result<(), Failure> {
    let file = FleetFile::open(&args.file, &args.tier, ctx.screen.paint_notes)?;
    file.refuse_remote()?;
    let local = file.local()?;
    let client = ctx.client()?;
    let parts = interrupts.or(prepare(ctx, &client, &local)).await?;
    let secrets = interrupts.or(Secrets::read(&file, std::iter::once(&local.host))).await?;
    let applied = interrupts.or(apply(ctx, &client, &local, &parts, &secrets)).await?;
    let stops_it = applied.is_ours && !args.detach;
    match attend(ctx, interrupts, &client, &applied, &args).await? {
        Attended::Detached | Attended::TakenDown => Ok(()),
        Attended::NotUp(waited) => act::settle(ctx, &client, waited, Goal::Up, args.wait).await,
        Attended::Interrupted { .. } if !stops_it => {
            let hint = "it goes on without; `stead status` shows it, `stead down` stops it";
            Err(Failure::Interrupted { hint: Some(hint.into()) })
        }
        Attended::Interrupted { was_up } => {
            act::down(ctx, interrupts, DOWN_WAIT).await?;
            let hint = Some("nothing of it is left running".into());
            if was_up { Ok(()) } else { Err(Failure::Interrupted { hint }) }
        }
    }
}

/// How an `up` ended that had applied its plan.
enum Attended {
    /// Everything is up, and was to be left alone then.
    Detached,
    Interrupted {
        was_up: bool,
    },
    NotUp(Waited),
    /// Somebody else has taken the fleet down.
    TakenDown,
}

/// Waits until everything is up, and then stays, unless told to detach.
async fn attend(
    ctx: &mut Context,
    interrupts: &mut Interrupts,
    client: &Client,
    applied: &Applied,
    args: &UpArgs,
) -> Result<Attended, Failure> {
    let mut progress = Progress::new(&mut ctx.screen);
    let ctrl_c = match (args.detach, applied.is_ours) {
        (true, _) => "Ctrl-C leaves, it goes on without",
        (false, true) => "Ctrl-C stops it",
        (false, false) => "Ctrl-C leaves it running, as it was before",
    };
    progress.set_footer(&format!("waiting; {ctrl_c}"));
    let waiting = wait::until(client, &applied.awaited, args.wait, &mut progress);
    match interrupts.or(waiting).await {
        Ok(Waited::Reached) if args.detach => {
            let status: Status = client.get("/v1/status").await?;
            progress.finish(&status)?;
            return Ok(Attended::Detached);
        }
        Ok(Waited::Reached) => progress.set_footer(&format!("everything is up; {ctrl_c}")),
        Ok(waited) => {
            progress.clear()?;
            return Ok(Attended::NotUp(waited));
        }
        Err(Failure::Interrupted { .. }) => {
            progress.clear()?;
            return Ok(Attended::Interrupted { was_up: false });
        }
        Err(other) => return Err(other),
    }
    match interrupts.or(show::watch(client, &mut progress)).await {
        Ok(()) => Ok(Attended::Detached),
        Err(Failure::Interrupted { .. }) => {
            progress.clear()?;
            Ok(Attended::Interrupted { was_up: true })
        }
        Err(Failure::AgentLost { .. } | Failure::AgentMissing { .. })
            if root::is_bare(client.root()) =>
        {
            progress.clear()?;
            progress.note("it was taken down elsewhere");
            Ok(Attended::TakenDown)
        }
        Err(other) => Err(other),
    }
}

/// Everything that can go wrong before anything is changed on the host: other fleets, the keeper
/// program, builds, files.
async fn prepare(
    ctx: &mut Context,
    client: &Client,
    local: &LocalFleet<'_>,
) -> Result<Parts, Failure> {
    let state = match current(client).await? {
        Some(state) => Some(state),
        None => {
            agent::keeper_program()?;
            // The fleet of an agent that has ended runs on under its keepers.
            stored(client.root())?
        }
    };
    state.map_or(Ok(()), |state| refuse_other(&state, local, client))?;
    local.file.check_files(Stage::NotBuilt)?;
    local.build(&mut ctx.screen).await?;
    local.file.check_files(Stage::Built)?;
    local.make_parts(&mut ctx.screen).await
}

/// Packs, sees to it that an agent runs, and hands it the plan.
async fn apply(
    ctx: &mut Context,
    client: &Client,
    local: &LocalFleet<'_>,
    parts: &Parts,
    secrets: &Secrets,
) -> Result<Applied, Failure> {
    let root = client.root();
    root::make(root).map_err(|source| Failure::Root { root: root.into(), source })?;
    // Until the plan is taken that names it, nothing that is packed, or there, may be collected.
    let putting = Putting::begin(root);
    let putting = putting.map_err(|source| Failure::Root { root: root.into(), source })?;
    for (service, part, release) in local.pack(parts, root)? {
        let (name, len) = (release.digest().short(), quantity::bytes(release.len_bytes()));
        ctx.screen.note(&format!("packed {} as {name} ({len})", part.shown(service)));
    }
    secrets.put(root)?;
    let state = match current(client).await? {
        Some(state) => state,
        None => {
            agent::start_own(client).await?;
            client.get("/v1/plan").await?
        }
    };
    refuse_other(&state, local, client)?;
    let before: Status = client.get("/v1/status").await?;
    let digests = parts.iter().map(|(part, release)| (part.clone(), release.digest().clone()));
    let plan = local.plan(&digests.collect(), secrets);
    let mut awaited =
        Awaited::new(Goal::Up, plan.instances.keys().map(ToString::to_string), &before);
    awaited.may_end = may_end(&plan);
    // What gets a fresh run must have one to count as up.
    let fresh = state.plan.as_ref().map(|now| restarted(now, &plan)).unwrap_or_default();
    let notes = state.plan.as_ref().map(|now| gaps(&fresh, &without_gap(now, &plan, &fresh)));
    let fresh: BTreeSet<String> = fresh.iter().map(ToString::to_string).collect();
    let before_runs = before.instances.iter().filter(|it| fresh.contains(&it.name));
    awaited.runs_before = before_runs.map(|it| (it.name.clone(), it.run)).collect();
    let replaces = state.generation;
    let signed = local
        .file
        .signing_key()?
        .map(|key| keys::signed(&key, &Signed::for_generation(replaces), &plan));
    let put = PlanPut { replaces, plan, signed };
    let _: PlanState = client.put("/v1/plan", &put).await?;
    drop(putting);
    notes.into_iter().flatten().for_each(|note| ctx.screen.note(&note));
    start_stopped(client, &before, &awaited, &scheduled(&put.plan)).await?;
    Ok(Applied { is_ours: before.instances.is_empty(), awaited })
}

/// Says of what gets a fresh run whether that is without a gap.
fn gaps(fresh: &BTreeSet<InstanceName>, without: &BTreeSet<InstanceName>) -> Vec<String> {
    let list = |names: Vec<&InstanceName>| {
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let kinds = [
        ("replaced without a gap", without.iter().collect::<Vec<_>>()),
        ("stopped and then started", fresh.difference(without).collect()),
    ];
    let told = kinds.into_iter().filter(|(_, names)| !names.is_empty());
    told.map(|(how, names)| format!("{how}: {}", list(names))).collect()
}

/// Starts what somebody had stopped, or what had failed for good: `up` is to be up.
/// What has its times goes on with them, without a run now.
async fn start_stopped(
    client: &Client,
    before: &Status,
    awaited: &Awaited,
    scheduled: &BTreeSet<String>,
) -> Result<(), Failure> {
    let rests = |instance: &&InstanceStatus| {
        awaited.names.contains(&instance.name)
            && instance.keeper_pid.is_some()
            && instance.next_run_at.is_none()
            && matches!(instance.phase.as_str(), "down" | "failed")
            && !awaited.may_rest(instance)
    };
    let stopped = before.instances.iter().filter(rests);
    let names = stopped.map(|instance| instance.name.clone());
    let (timed, lasting): (Vec<_>, Vec<_>) = names.partition(|name| scheduled.contains(name));
    for (names, what) in [(lasting, ActWhat::Start), (timed, ActWhat::Resume)] {
        if !names.is_empty() {
            // One that refuses is seen by waiting for it.
            let _: Acted = client.post("/v1/act", &Act { names, what }).await?;
        }
    }
    Ok(())
}

/// The instances that have their times.
fn scheduled(plan: &Plan) -> BTreeSet<String> {
    let timed = plan.instances.iter().filter(|(_, spec)| spec.schedule.is_some());
    timed.map(|(name, _)| name.to_string()).collect()
}

/// One root obeys one plan: another fleet's is not replaced.
fn refuse_other(state: &PlanState, local: &LocalFleet<'_>, client: &Client) -> Result<(), Failure> {
    let wanted = local.file.fleet.name();
    // A plan without instances is what is left of a fleet that was taken down.
    let holds = state.plan.as_ref().filter(|plan| !plan.instances.is_empty());
    match holds.map(|plan| &plan.fleet).filter(|running| *running != wanted) {
        None => Ok(()),
        Some(running) => Err(Failure::OtherFleet {
            running: running.clone(),
            wanted: wanted.clone(),
            root: client.root().into(),
        }),
    }
}

/// Services whose runs may end well without being followed by another.
fn may_end(plan: &Plan) -> BTreeSet<String> {
    // One that has its times is not awaited by its runs.
    let lasting = plan.instances.iter().filter(|(_, spec)| spec.schedule.is_none());
    let ends = lasting.filter(|(_, spec)| match spec.restart.when {
        When::Always => false,
        When::Failure | When::Never => true,
    });
    ends.map(|(name, _)| name.service().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_which_instances_have_a_gap() {
        let names = |text: &str| text.split_whitespace().map(|it| it.parse().unwrap()).collect();
        let (all, web) = (names("db.0 db.1 web.0"), names("web.0"));
        let told = ["replaced without a gap: web.0", "stopped and then started: db.0, db.1"];
        assert_eq!(gaps(&all, &web), told);
        assert_eq!(gaps(&web, &web), told[..1]);
        assert_eq!(gaps(&names(""), &names("")), [""; 0]);
    }

    #[test]
    fn a_host_takes_as_many_instances_as_a_fleet_file_may_put_on_it() {
        assert_eq!(stead_fleet::INSTANCES_PER_HOST_MAX as usize, stead_agent::INSTANCES_MAX);
    }
}
