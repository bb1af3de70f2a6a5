//! `stead check`: whether hosts are fit for what is to run on them. Needs nothing of stead there,
//! and changes nothing but what `--apply` names.

mod elf;
mod host;
mod needs;
mod pe;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use stead_core::check::{Facts, Finding, Level, Mend, Needs, worst};
use stead_core::names::HostName;
use stead_fleet::{Os, Stage};
use tokio::task::JoinSet;

use crate::Context;
use crate::args::CheckArgs;
use crate::failure::{ByHost, Failure, FleetFailure};
use crate::fleet_file::{FleetFile, LocalFleet};
use crate::hosts;
use crate::kit::Kit;
use crate::reach::Way;
use crate::render;
use crate::screen::show_controls;

/// What was found on every host.
#[derive(Debug, Serialize)]
pub(crate) struct Checked {
    pub(crate) fleet: String,
    pub(crate) hosts: BTreeMap<HostName, OnHost>,
}

/// What was found on one.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum OnHost {
    Found {
        findings: Vec<Finding>,
        facts: Box<Facts>,
    },
    /// Nothing, for this reason.
    Lost {
        error: String,
    },
}

/// A host, with the way to it and what is needed of it.
#[derive(Clone)]
struct Asked {
    host: HostName,
    way: Way,
    kit: Arc<Kit>,
    needs: Arc<Needs>,
}

pub(crate) async fn check(ctx: &mut Context, args: CheckArgs) -> Result<(), Failure> {
    let file = FleetFile::open(&args.file, &args.tier, ctx.screen.paint_notes)?;
    let file = file.narrowed(&args.scope)?;
    file.check_files(Stage::NotBuilt)?;
    let kits = hosts::kits(&file)?;
    let (mut asked, mut looked) = (Vec::new(), needs::Looked::new());
    for host in hosts::used(&file) {
        let kit = Arc::clone(&kits[&host.os()]);
        let (host, way) = (host.name().clone(), hosts::way(host));
        let local = LocalFleet { file: &file, host: host.clone() };
        let needs = Arc::new(needs::of(&local, &way, &kit, &mut looked).await?);
        asked.push(Asked { host, way, kit, needs });
    }
    let mut hosts = look(&asked).await;
    let mut unmended = ByHost::new();
    if args.apply {
        let (again, left) = apply(ctx, &asked, &hosts).await;
        hosts.extend(look(&again).await);
        unmended = left;
    }
    let checked = Checked { fleet: file.fleet.name().to_string(), hosts };
    match args.json {
        true => ctx.screen.json(&checked)?,
        false => {
            let width = ctx.screen.width();
            let lines = render::check::lines(&checked, args.all, ctx.screen.paint, width);
            ctx.screen.write(&format!("{}\n", lines.join("\n")))?;
        }
    }
    verdict(&checked, unmended)
}

/// Asks all of these hosts.
async fn look(asked: &[Asked]) -> BTreeMap<HostName, OnHost> {
    let permits = hosts::permits();
    let mut looking = JoinSet::new();
    for Asked { host, way, kit, needs } in asked.iter().cloned() {
        let permits = Arc::clone(&permits);
        looking.spawn(async move {
            let _permit = permits.acquire().await;
            let on_host = match host::facts(&way, &kit, &needs).await {
                Ok(facts) => OnHost::Found {
                    findings: stead_core::check::check(&facts, &needs),
                    facts: Box::new(facts),
                },
                Err(error) => OnHost::Lost { error: error.to_string() },
            };
            (host, on_host)
        });
    }
    looking.join_all().await.into_iter().collect()
}

/// Mends what is safe to, and names it before and after. Says which hosts are to be looked at
/// again, and what is left of others.
async fn apply(
    ctx: &mut Context,
    asked: &[Asked],
    hosts: &BTreeMap<HostName, OnHost>,
) -> (Vec<Asked>, ByHost) {
    let (permits, mut mending) = (hosts::permits(), JoinSet::new());
    let mut unmended = ByHost::new();
    for one in asked {
        let (host, Some(OnHost::Found { findings, facts })) = (&one.host, hosts.get(&one.host))
        else {
            continue;
        };
        if one.way.os == Os::Windows {
            ctx.screen.note(&format!("{host}: on Windows nothing is mended from afar yet"));
            continue;
        }
        let mends: BTreeSet<Mend> = findings.iter().filter_map(|it| it.apply.clone()).collect();
        if mends.is_empty() {
            continue;
        }
        if !facts.is_root() {
            let why = "only root may mend there: log in as root, or set `sudo = true`";
            unmended.insert(host.to_string(), why.into());
            continue;
        }
        for mend in &mends {
            ctx.screen.note(&format!("{host}: {mend}"));
        }
        let (one, permits) = (one.clone(), Arc::clone(&permits));
        mending.spawn(async move {
            let _permit = permits.acquire().await;
            let how = host::mend(&one.way, &mends).await;
            (one, how)
        });
    }
    let mut again = Vec::new();
    for (one, how) in mending.join_all().await {
        let how = how.unwrap_or_else(|error| Vec::from([(None, Err(error.to_string()))]));
        for (mend, how) in how {
            let mend = mend.map_or_else(|| "mends".to_owned(), |mend| mend.to_string());
            let told = match how {
                Ok(()) => format!("{mend}: done"),
                Err(why) => {
                    let told = format!("{mend}: not done: {why}");
                    let all = unmended.entry(one.host.to_string()).or_default();
                    all.push_str(if all.is_empty() { "" } else { "; " });
                    all.push_str(&told);
                    told
                }
            };
            ctx.screen.note(&show_controls(&format!("{}: {told}", one.host)));
        }
        again.push(one);
    }
    (again, unmended)
}

/// Whether it ends well.
fn verdict(checked: &Checked, unmended: ByHost) -> Result<(), Failure> {
    let (mut unfit, mut lost) = (ByHost::new(), ByHost::new());
    for (host, on_host) in &checked.hosts {
        match on_host {
            OnHost::Found { findings, .. } if worst(findings) == Level::Fail => {
                let failed = findings.iter().filter(|finding| finding.level == Level::Fail);
                let failed: BTreeSet<&str> = failed.map(|finding| finding.check).collect();
                let failed = failed.into_iter().collect::<Vec<_>>().join(", ");
                unfit.insert(host.to_string(), failed);
            }
            OnHost::Found { .. } => {}
            OnHost::Lost { error } => drop(lost.insert(host.to_string(), error.clone())),
        }
    }
    match (unfit.is_empty(), lost.is_empty(), unmended.is_empty()) {
        (false, _, _) => Err(FleetFailure::Unfit { unfit, lost, unmended }.into()),
        (true, false, _) => Err(FleetFailure::LostAll { lost }.into()),
        (true, true, false) => Err(FleetFailure::Unmended { hosts: unmended }.into()),
        (true, true, true) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::ColorChoice;
    use crate::screen::Screen;
    use stead_core::check::System;
    use stead_core::plan::Plan;
    use stead_fleet::Address;

    #[tokio::test]
    async fn only_root_mends_and_what_needs_no_mend_is_left_alone() {
        let host: HostName = "vm1".parse().unwrap();
        let instances = BTreeMap::new();
        let plan = Plan { fleet: "shop".parse().unwrap(), host: host.clone(), instances };
        let needs = Needs {
            plan,
            system: System::Linux,
            machine: "x86_64",
            is_remote: false,
            release_bytes: 0,
            programs: Vec::new(),
            signatures: Vec::new(),
        };
        let way = Way { address: Address::Local, os: Os::here(), root: None, sudo: false };
        let kit = Arc::new(Kit::empty());
        let asked = [Asked { host: host.clone(), way, kit, needs: Arc::new(needs) }];
        let mut ctx = Context { root: None, screen: Screen::new(ColorChoice::Never) };
        for (uid, somaxconn, refused_n) in [(1000, 128, 1), (1000, 4096, 0), (0, 4096, 0)] {
            let text = format!("uid={uid}\nnet.core.somaxconn={somaxconn}\n");
            let facts = Facts::parse(text.as_bytes());
            let findings = stead_core::check::check(&facts, &asked[0].needs);
            let found = OnHost::Found { findings, facts: Box::new(facts) };
            let hosts = [(host.clone(), found)].into();
            let (again, unmended) = apply(&mut ctx, &asked, &hosts).await;
            assert!(again.is_empty());
            assert_eq!(unmended.len(), refused_n, "{text}");
            assert!(unmended.values().all(|why| why.contains("only root may mend")));
        }
    }
}
