//! Acting on instances: start, stop, restart, signal, down.

use std::convert::Infallible;
use std::time::Duration;

use stead_core::signal::Signal;
use stead_wire::api::{Act, ActWhat, Acted, Status};

use crate::Context;
use crate::args::{ActArgs, ReloadArgs, SignalArgs};
use crate::client::Client;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::names;
use crate::progress::Progress;
use crate::render::event::plural;
use crate::root;
use crate::show;
use crate::wait::{self, Awaited, Goal, Waited};

/// An act whose effect can be waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    Restart,
    Start,
    Stop,
}

/// Starts, stops or restarts, and waits until it is so.
pub(crate) async fn turn(ctx: &mut Context, turn: Turn, args: ActArgs) -> Result<(), Failure> {
    let client = ctx.client()?;
    let before: Status = client.get("/v1/status").await?;
    let what = match turn {
        Turn::Restart => ActWhat::Restart,
        Turn::Start => ActWhat::Start,
        Turn::Stop => ActWhat::Stop,
    };
    let acted = act(&client, &before, &args.names, what).await?;
    if args.wait.is_zero() || acted.done.is_empty() {
        return told(ctx, turn, acted);
    }
    let names = acted.done.iter().cloned();
    let awaited = match turn {
        Turn::Restart => Awaited::new(Goal::Up, names, &before).with_fresh_runs(&before, |_| true),
        Turn::Start => Awaited::new(Goal::Up, names, &before)
            .with_fresh_runs(&before, |it| matches!(it.phase.as_str(), "down" | "failed")),
        Turn::Stop => Awaited::new(Goal::Down, names, &before),
    };
    let mut progress = Progress::new(&mut ctx.screen).of(acted.done.iter().cloned());
    progress.set_footer("Ctrl-C leaves; it goes on without");
    let waited = wait::until(&client, &awaited, args.wait, &mut progress).await?;
    progress.clear()?;
    settle(ctx, &client, waited, awaited.goal, args.wait).await?;
    told(ctx, turn, acted)
}

/// Sends a signal to the main process of each instance.
pub(crate) async fn signal(ctx: &mut Context, args: SignalArgs) -> Result<(), Failure> {
    let client = ctx.client()?;
    let before: Status = client.get("/v1/status").await?;
    let signal = Signal::name(args.signal).to_owned();
    let acted = act(&client, &before, &args.names, ActWhat::Signal { signal }).await?;
    ctx.screen.note(&format!("{} to {}", args.signal, list(&acted.done)));
    refused(acted)
}

/// Tells the run of each instance to read its configuration again.
pub(crate) async fn reload(ctx: &mut Context, args: ReloadArgs) -> Result<(), Failure> {
    let client = ctx.client()?;
    let before: Status = client.get("/v1/status").await?;
    let acted = act(&client, &before, &args.names, ActWhat::Reload).await?;
    if !acted.done.is_empty() {
        ctx.screen.note(&format!("told to reload: {}", list(&acted.done)));
    }
    refused(acted)
}

/// Stops everything and waits for it. An interrupt leaves; it goes on without.
pub(crate) async fn down(
    ctx: &mut Context,
    interrupts: &mut Interrupts,
    time: Duration,
) -> Result<(), Failure> {
    let client = ctx.client()?;
    let before: Status = client.get("/v1/status").await?;
    if time.is_zero() {
        let nothing = serde_json::json!({});
        let _: serde_json::Value = client.post("/v1/down?wait=false", &nothing).await?;
        return Ok(());
    }
    match interrupts.or(go_down(ctx, &client, time)).await {
        Ok(Waited::Reached) => {
            let instances_n = plural(before.instances.len() as u64, "instance", "instances");
            ctx.screen.note(&format!("down: {instances_n}"));
            Ok(())
        }
        Ok(waited) => settle(ctx, &client, waited, Goal::Down, time).await,
        Err(Failure::Interrupted { .. }) => {
            let hint = "it goes on stopping in the background; `stead status` shows how far it is";
            Err(Failure::Interrupted { hint: Some(hint.into()) })
        }
        Err(other) => Err(other),
    }
}

/// The agent answers once everything is down; meanwhile its status is shown.
async fn go_down(ctx: &mut Context, client: &Client, time: Duration) -> Result<Waited, Failure> {
    let mut progress = Progress::new(&mut ctx.screen);
    progress.set_footer("stopping; Ctrl-C leaves, it goes on without");
    let nothing = serde_json::json!({});
    let down = client.post_within::<_, serde_json::Value>("/v1/down", &nothing, time);
    let asked = tokio::select! {
        asked = down => asked.map(|_| ()),
        shown = show_until_gone(client, &mut progress) => match shown {
            Ok(never) => match never {},
            Err(failure) => Err(failure),
        },
    };
    match asked {
        Ok(()) => {
            progress.clear()?;
            Ok(Waited::Reached)
        }
        // An agent that was to live until all is down may be gone before it has said so.
        Err(Failure::AgentLost { .. } | Failure::AgentMissing { .. })
            if root::is_bare(client.root()) =>
        {
            progress.clear()?;
            Ok(Waited::Reached)
        }
        // In time or not, by the agent's measure or by ours: who is left says its status.
        Err(Failure::AgentSilent { .. } | Failure::AgentRefused { status: 504, .. }) => {
            progress.clear()?;
            let status: Status = client.get("/v1/status").await?;
            let left = status.instances.into_iter().map(|instance| instance.name);
            Ok(Waited::TooLate(left.collect()))
        }
        Err(other) => Err(other),
    }
}

/// Shows the status while there is one; only output that cannot be written ends it.
async fn show_until_gone(
    client: &Client,
    progress: &mut Progress<'_>,
) -> Result<Infallible, Failure> {
    loop {
        if let Ok(status) = client.get::<Status>("/v1/status").await {
            progress.show(&status)?;
        }
        tokio::time::sleep(wait::ASK_EVERY).await;
    }
}

/// Turns how waiting ended into how the command ends, showing why of what is not there.
pub(crate) async fn settle(
    ctx: &mut Context,
    client: &Client,
    waited: Waited,
    goal: Goal,
    time: Duration,
) -> Result<(), Failure> {
    let (names, why) = match waited {
        Waited::Reached => return Ok(()),
        Waited::Failing(names) => (names, "it fails again and again".to_owned()),
        Waited::TooLate(names) => {
            (names, format!("it took longer than {}", stead_core::units::show_duration(time)))
        }
    };
    show::explain(ctx, client, &names).await;
    Err(Failure::NotThere { goal: goal.as_str(), names, why })
}

async fn act(
    client: &Client,
    before: &Status,
    typed: &[String],
    what: ActWhat,
) -> Result<Acted, Failure> {
    // Names are looked up here, so that an unknown one is answered before anything is done.
    let names = names::instances(before, typed)?;
    client.post("/v1/act", &Act { names, what }).await
}

fn told(ctx: &mut Context, turn: Turn, acted: Acted) -> Result<(), Failure> {
    let word = match turn {
        Turn::Restart => "restarted",
        Turn::Start => "started",
        Turn::Stop => "stopped",
    };
    if !acted.done.is_empty() {
        ctx.screen.note(&format!("{word} {}", list(&acted.done)));
    }
    refused(acted)
}

fn refused(acted: Acted) -> Result<(), Failure> {
    match acted.refused.is_empty() {
        true => Ok(()),
        false => Err(Failure::ActRefused { refused: acted.refused }),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
