//! `stead agent install`: the agent as a service of the host, from the boot on, and its upgrade.

use std::io;
use std::path::Path;
use std::time::Duration;

use stead_core::signal::Signal;
use stead_host::AgentService;
use stead_release::lock::Putting;
use stead_wire::api::Status;
use stead_wire::ship::Installed;
use tokio::time::{Instant, sleep};

use crate::Context;
use crate::agent::{self, Lasts};
use crate::client::Client;
use crate::failure::Failure;
use crate::kit::{self, KitPlaces, switch};
use crate::root;

/// A fresh agent that has not answered within this is taken back.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where everything is.
struct Places {
    service: AgentService,
    kits: KitPlaces,
}

fn failed(step: &str, why: impl ToString) -> Failure {
    Failure::Install { step: step.to_owned(), why: why.to_string() }
}

impl Places {
    fn find(root: &Path) -> Result<Self, Failure> {
        Ok(Self { service: AgentService::find(root)?, kits: KitPlaces::below(root) })
    }

    /// Has the service start a kit from its next start on; says which of its settings the system
    /// does not know.
    fn turn_to(&self, kit: &Path) -> Result<Vec<&'static str>, Failure> {
        switch(&self.kits.current(), kit)?;
        let current = self.kits.program(Path::new("current"));
        Ok(self.service.put(&self.kits.program(kit), &current)?)
    }
}

/// Makes the agent a service from the boot on; where it is one already, it becomes this version.
pub(crate) async fn install(ctx: &mut Context) -> Result<(), Failure> {
    let client = ctx.client()?;
    let places = Places::find(client.root())?;
    let made = as_service(&places, &client).await?;
    let mut text = match made.installed {
        Installed::Upgraded => format!("the agent was upgraded to {}; services ran on\n", made.kit),
        Installed::Fresh | Installed::Later | Installed::Same => {
            let (name, place) = places.service.described();
            format!("the agent runs as {name}, from the boot on\n  {place}\n")
        }
    };
    if !made.unknown.is_empty() {
        text.push_str(&format!("  not known to this system: {}\n", made.unknown.join(", ")));
    }
    ctx.screen.write(&text)
}

/// Sees to it that an agent of this version looks after a root, unless a later one does: as a
/// service where the host's service manager can be asked, else as a process of its own.
pub(crate) async fn make_current(client: &Client) -> Result<Installed, Failure> {
    if let Ok(status) = client.get::<Status>("/v1/status").await
        && is_later(&status.agent.version, env!("CARGO_PKG_VERSION"))
    {
        return Ok(Installed::Later);
    }
    match AgentService::is_at_hand() {
        true => Ok(as_service(&Places::find(client.root())?, client).await?.installed),
        false => as_process(client).await,
    }
}

/// Whether one version follows another: by numbers, part by part.
fn is_later(one: &str, other: &str) -> bool {
    let numbers = |version: &str| {
        let parts = version.split(['.', '-', '+']).map_while(|part| part.parse::<u64>().ok());
        parts.collect::<Vec<_>>()
    };
    numbers(one) > numbers(other)
}

/// Programs may be old that are there already: they stay until a link leads to them.
fn putting(root: &Path) -> Result<Putting, Failure> {
    let began = root::make(root).and_then(|()| Putting::begin(root));
    began.map_err(|source| Failure::Root { root: root.into(), source })
}

/// What has become of an agent as a service.
struct Made {
    installed: Installed,
    /// The name of the kit that it is of.
    kit: String,
    /// Settings of the service that the system does not know.
    unknown: Vec<&'static str>,
}

async fn as_service(places: &Places, client: &Client) -> Result<Made, Failure> {
    places.service.may_change()?;
    let had_service = places.service.is_installed()?;
    let _putting = putting(client.root())?;
    let kit = kit::make_present(&places.kits)?;
    let before = places.kits.current_kit();
    let is_same = before.as_deref() == Some(Path::new(&kit));
    // Whichever is there has the root, and the service's would end for its sake.
    if !places.service.runs() {
        end_unmanaged(client).await?;
    }
    if let Some(before) = before.filter(|_| had_service && !is_same) {
        let unknown = upgrade(places, client, &before, Path::new(&kit)).await?;
        return Ok(Made { installed: Installed::Upgraded, kit, unknown });
    }
    let unknown = places.turn_to(Path::new(&kit))?;
    places.service.begin()?;
    answers(client).await?;
    let installed = if had_service { Installed::Same } else { Installed::Fresh };
    Ok(Made { installed, kit, unknown })
}

async fn as_process(client: &Client) -> Result<Installed, Failure> {
    let places = KitPlaces::below(client.root());
    let _putting = putting(client.root())?;
    let kit = kit::make_present(&places)?;
    let kit = Path::new(&kit);
    let before = places.current_kit();
    let is_same = before.as_deref() == Some(kit);
    let is_there = match client.get::<Status>("/v1/status").await {
        Ok(_) if is_same => return Ok(Installed::Same),
        Ok(_) => true,
        Err(Failure::AgentMissing { .. }) => false,
        Err(other) => return Err(other),
    };
    if let Some(before) = before.as_deref().filter(|_| !is_same) {
        switch(&places.previous(), before)?;
    }
    switch(&places.current(), kit)?;
    if is_there {
        end_unmanaged(client).await?;
    }
    let begun = agent::start(client, &places.program(kit), Lasts::Always).await;
    let Err(error) = begun else {
        return Ok(if is_there { Installed::Upgraded } else { Installed::Fresh });
    };
    let Some(before) = before.filter(|_| is_there && !is_same) else { return Err(error) };
    end_unmanaged(client).await?;
    switch(&places.current(), &before)?;
    agent::start(client, &places.program(&before), Lasts::Always).await?;
    Err(failed("start the new agent; the one of before is back", error.because().join(": ")))
}

/// Takes the agent out of the service manager. Services and keepers run on.
pub(crate) fn uninstall(ctx: &mut Context) -> Result<(), Failure> {
    let client = ctx.client()?;
    let places = Places::find(client.root())?;
    places.service.may_change()?;
    if !places.service.is_installed()? {
        return ctx.screen.write("the agent is not installed\n");
    }
    places.service.remove()?;
    ctx.screen.write(
        "the agent has ended and does not start at boot; what it kept runs on\n  \
         try `stead up` for an agent that is no service, or `stead agent install` again\n",
    )
}

/// Goes back to the programs of before, unless that was called off. Called by the programs of
/// before.
pub(crate) fn revert(ctx: &mut Context) -> Result<(), Failure> {
    let client = ctx.client()?;
    let places = Places::find(client.root())?;
    if !places.service.wait_for_revert() {
        return Ok(());
    }
    let previous = stead_proc::read_pointer(&places.kits.previous());
    let previous = previous.map_err(|error| failed("find the programs of before", error))?;
    places.turn_to(&previous)?;
    Ok(places.service.restart_soon()?)
}

/// How `stead agent status` calls the way it starts; `None` where no service manager tells.
pub(crate) fn starts_at_boot(root: &Path) -> Option<bool> {
    Some(AgentService::find(root).ok()?.starts_at_boot())
}

async fn upgrade(
    places: &Places,
    client: &Client,
    before: &Path,
    kit: &Path,
) -> Result<Vec<&'static str>, Failure> {
    switch(&places.kits.previous(), before)?;
    places.service.revert_later(&places.kits.program(before))?;
    let begun = async {
        let unknown = places.turn_to(kit)?;
        places.service.restart()?;
        answers(client).await.map(|()| unknown)
    };
    let begun = begun.await;
    if begun.is_err() {
        places.turn_to(before)?;
        places.service.restart()?;
    }
    places.service.call_off_revert()?;
    begun.map_err(|error| {
        failed("start the new agent; the one of before is back", error.because().join(": "))
    })
}

/// Ends an agent that somebody has started by hand; its keepers and services run on.
async fn end_unmanaged(client: &Client) -> Result<(), Failure> {
    let pid = match client.get::<Status>("/v1/status").await {
        Ok(status) => status.agent.pid,
        Err(Failure::AgentMissing { .. }) => return Ok(()),
        Err(other) => return Err(other),
    };
    let at = |error: io::Error| failed("end the agent that is there", error);
    let Some(process) = stead_proc::Process::open_any(pid).map_err(at)? else { return Ok(()) };
    // An earlier one without a console cannot be told, and it may be killed at any moment.
    let told = process.signal(Signal::Term).or_else(|_| process.signal(Signal::Kill));
    told.map_err(at)?;
    let until = Instant::now() + ANSWERS_WITHIN;
    while stead_proc::start_ticks(pid).map_err(at)?.is_some() {
        if Instant::now() >= until {
            return Err(failed("end the agent that is there", format!("pid {pid} does not end")));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn answers(client: &Client) -> Result<(), Failure> {
    let until = Instant::now() + ANSWERS_WITHIN;
    loop {
        match client.get::<Status>("/v1/status").await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= until => return Err(error),
            Err(_) => sleep(LOOK_EVERY).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_later_by_its_numbers() {
        for (one, other, is_so) in [
            ("0.1.0", "0.1.0", false),
            ("0.1.1", "0.1.0", true),
            ("0.10.0", "0.9.9", true),
            ("1.0.0", "0.9.9", true),
            ("0.1.0", "0.1.1", false),
            ("", "0.1.0", false),
        ] {
            assert_eq!(is_later(one, other), is_so, "{one} after {other}");
        }
    }
}
