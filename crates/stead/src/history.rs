//! `stead history`: what ran when on each host, and who brought it there.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde::Serialize;
use stead_wire::rollout::{History, HistoryEntry, Outcome};

use crate::Context;
use crate::args::HistoryArgs;
use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::FleetFile;
use crate::hosts;
use crate::render::quantity;
use crate::render::table::{self, Cell, Column, Side};
use crate::screen::{Paint, Tone, show_controls};

const COLUMNS: [Column; 8] = [
    Column { heading: "HOST", side: Side::Left },
    Column { heading: "N", side: Side::Right },
    Column { heading: "WHEN", side: Side::Left },
    Column { heading: "WHO", side: Side::Left },
    Column { heading: "WHAT", side: Side::Left },
    Column { heading: "COMMIT", side: Side::Left },
    Column { heading: "RELEASES", side: Side::Left },
    Column { heading: "END", side: Side::Left },
];

/// Digits of a digest that are shown.
const DIGEST_LEN_SHOWN: usize = 12;

/// What stands where there is nothing to say.
const NOTHING: &str = "-";

/// What a host has to tell.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Told {
    History(History),
    Lost { error: String },
}

pub(crate) async fn history(ctx: &mut Context, args: HistoryArgs) -> Result<(), Failure> {
    let file = FleetFile::open(&args.file, ctx.screen.paint_notes)?;
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
            ctx.screen.write(&text(&told, paint, width))?;
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

fn text(told: &BTreeMap<String, Told>, paint: Paint, width: usize) -> String {
    let histories = told.iter().filter_map(|(host, told)| match told {
        Told::History(history) => Some((host, history)),
        Told::Lost { .. } => None,
    });
    let mut rows: Vec<(u64, [Cell; 8])> = Vec::new();
    let mut notes = Vec::new();
    let zone = TimeZone::system();
    for (host, history) in histories {
        rows.extend(history.entries.iter().map(|entry| (entry.at, row(host, entry, &zone))));
        if !history.is_unbroken {
            let note = format!("{host}: entries were changed, or taken out");
            notes.push(paint.paint(Tone::Bad, &note));
        }
    }
    rows.sort_by_key(|(at, _)| *at);
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    let mut lines = match rows.is_empty() {
        true => vec!["nothing was brought to these hosts yet".to_owned()],
        false => table::lines(COLUMNS, &rows, paint, width),
    };
    lines.extend(notes);
    lines.join("\n") + "\n"
}

fn row(host: &str, entry: &HistoryEntry, zone: &TimeZone) -> [Cell; 8] {
    let short = |digest: &str| digest.chars().take(DIGEST_LEN_SHOWN).collect::<String>();
    let or_nothing = |text: String| if text.is_empty() { NOTHING.to_owned() } else { text };
    let releases = entry.releases.iter().map(|(name, digest)| format!("{name} {}", short(digest)));
    let releases: Vec<String> = releases.collect();
    let (tone, end) = match &entry.outcome {
        Outcome::Committed => (Tone::Good, "committed".to_owned()),
        Outcome::Put => (Tone::Plain, "put".to_owned()),
        Outcome::Reverted(why) => (Tone::Bad, format!("reverted: {}", show_controls(why))),
    };
    [
        Cell::plain(host),
        Cell::plain(entry.n.to_string()),
        Cell::plain(quantity::moment(entry.at, zone)),
        Cell::plain(or_nothing(show_controls(&entry.who))),
        Cell::plain(show_controls(&entry.what)),
        Cell::plain(or_nothing(short(entry.commit.as_deref().unwrap_or("")))),
        Cell::plain(or_nothing(releases.join(", "))),
        Cell::new(tone, end),
    ]
}
