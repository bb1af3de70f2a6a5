//! The table of what was brought to hosts.

use jiff::tz::TimeZone;
use stead_wire::rollout::{History, HistoryEntry, Outcome};

use crate::render::quantity;
use crate::render::table::{self, Cell, Column, NOTHING, Side, short_digest};
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

/// The entries of all hosts by time, then what is wrong with a history.
pub(crate) fn lines<'a>(
    histories: impl Iterator<Item = (&'a str, &'a History)>,
    zone: &TimeZone,
    paint: Paint,
    width: usize,
) -> Vec<String> {
    let mut rows: Vec<(u64, [Cell; 8])> = Vec::new();
    let mut notes = Vec::new();
    for (host, history) in histories {
        rows.extend(history.entries.iter().map(|entry| (entry.at, row(host, entry, zone))));
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
    lines
}

fn row(host: &str, entry: &HistoryEntry, zone: &TimeZone) -> [Cell; 8] {
    let or_nothing = |text: String| if text.is_empty() { NOTHING.to_owned() } else { text };
    let releases =
        entry.releases.iter().map(|(name, digest)| format!("{name} {}", short_digest(digest)));
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
        Cell::plain(or_nothing(short_digest(entry.commit.as_deref().unwrap_or("")))),
        Cell::plain(or_nothing(releases.join(", "))),
        Cell::new(tone, end),
    ]
}
