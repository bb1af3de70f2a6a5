//! `stead history`: what ran when on each host, and who brought it there.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::Serialize;
use stead_wire::rollout::History;

use crate::Context;
use crate::args::HistoryArgs;
use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::FleetFile;
use crate::hosts;
use crate::render;

/// What a host has to tell.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Told {
    History(History),
    Lost { error: String },
}

pub(crate) async fn history(ctx: &mut Context, args: HistoryArgs) -> Result<(), Failure> {
    let file = FleetFile::open(&args.file, &args.tier, ctx.screen.paint_notes)?;
    if let Some(service) = args.service.as_ref() {
        file.known_service(service)?;
    }
    let mut told = BTreeMap::new();
    for (host, reached) in hosts::look(&file).await? {
        let one = match reached {
            Ok(reached) => {
                reached.client.get::<History>("/v1/history").await.map_err(|error| error.whole())
            }
            Err(error) => Err(error.to_string()),
        };
        let one = one.map(|history| of(history, args.service.as_deref()));
        told.insert(host.to_string(), one.map_or_else(|error| Told::Lost { error }, Told::History));
    }
    match args.json {
        true => ctx.screen.json(&told)?,
        false => {
            let (paint, width) = (ctx.screen.paint, ctx.screen.width());
            let histories = told.iter().filter_map(|(host, told)| match told {
                Told::History(history) => Some((host.as_str(), history)),
                Told::Lost { .. } => None,
            });
            let lines = render::history::lines(histories, &TimeZone::system(), paint, width);
            ctx.screen.write(&(lines.join("\n") + "\n"))?;
        }
    }
    let lost = told.into_iter().filter_map(|(host, told)| match told {
        Told::History(_) => None,
        Told::Lost { error } => Some((host, error)),
    });
    let lost: BTreeMap<_, _> = lost.collect();
    if lost.is_empty() { Ok(()) } else { Err(FleetFailure::LostAll { lost }.into()) }
}

/// What of a history is about one service: every entry that brought it another release, or any.
fn of(mut history: History, service: Option<&str>) -> History {
    if let Some(service) = service {
        history.entries.retain(|entry| entry.releases.contains_key(service));
    }
    history
}
