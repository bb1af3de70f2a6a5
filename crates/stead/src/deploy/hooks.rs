//! Commands of the operator around a deploy.

use crate::Context;
use crate::exit::Exit;
use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::{FleetFile, run_command};
use crate::interrupts::Interrupts;
use crate::screen::Tone;

/// Runs what is to be run before anything is changed; unless it ends with 0, nothing is.
pub(super) async fn before(
    ctx: &mut Context,
    interrupts: &mut Interrupts,
    file: &FleetFile,
    hosts: &[String],
) -> Result<(), Failure> {
    let Some(command) = &file.fleet.hooks().before else { return Ok(()) };
    let failed = interrupts.or(hook(ctx, file, "before", command, hosts, None)).await?;
    match failed {
        None => Ok(()),
        Some(why) => Err(FleetFailure::Hook { command: command.clone(), why }.into()),
    }
}

/// Runs what is to be run once a deploy has ended, however it has. What has become of the fleet
/// stays so: if the command fails, that is said.
pub(super) async fn after(
    ctx: &mut Context,
    interrupts: &mut Interrupts,
    file: &FleetFile,
    hosts: &[String],
    ended: &Result<(), Failure>,
) {
    let Some(command) = &file.fleet.hooks().after else { return };
    let outcome = outcome(ended);
    let ran = interrupts.or(hook(ctx, file, "after", command, hosts, Some(outcome))).await;
    let why = match ran {
        Ok(None) => return,
        Ok(Some(why)) => why,
        Err(failure) => failure.whole(),
    };
    ctx.screen.note(&format!("`{command}` failed ({why}); the hosts are as told"));
}

/// How a deploy has ended, in a word.
fn outcome(ended: &Result<(), Failure>) -> &'static str {
    match ended.as_ref().map_err(Failure::exit) {
        Ok(()) => "deployed",
        Err(Exit::Split) => "split",
        Err(Exit::Interrupted) => "interrupted",
        Err(Exit::NotReady) => "brought-back",
        Err(Exit::Bug | Exit::Done | Exit::BadFleetFile | Exit::Refused | Exit::Unreachable)
        | Err(Exit::Usage) => "refused",
    }
}

/// Runs a command; says why it failed, if it did.
async fn hook(
    ctx: &mut Context,
    file: &FleetFile,
    when: &str,
    command: &str,
    hosts: &[String],
    outcome: Option<&str>,
) -> Result<Option<String>, Failure> {
    let name = ctx.screen.paint_notes.paint(Tone::Strong, when);
    ctx.screen.note(&format!("{name} {command}"));
    let hosts = hosts.join(" ");
    let env = [
        ("STEAD_FLEET", Some(file.fleet.name().as_str())),
        ("STEAD_TIER", file.tier.as_ref().map(|tier| tier.as_str())),
        ("STEAD_HOSTS", Some(&*hosts)),
        ("STEAD_OUTCOME", outcome),
    ];
    let env = env.into_iter().filter_map(|(name, value)| Some((name, value?)));
    Ok(match run_command(command, file.folder(), env).await {
        Ok(status) if status.success() => None,
        Ok(status) => Some(status.to_string()),
        Err(error) => Some(error.to_string()),
    })
}
