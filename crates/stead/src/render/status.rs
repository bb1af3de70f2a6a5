//! The table of instances.

use std::time::Duration;

use jiff::Timestamp;
use stead_wire::api::{AgentStatus, InstanceStatus, Status};

use crate::render::quantity;
use crate::render::table::{self, Cell, Column, NOTHING, Side, short_digest};
use crate::screen::{Paint, Tone, show_controls};

const COLUMNS: [Column; 9] = [
    Column { heading: "NAME", side: Side::Left },
    Column { heading: "PHASE", side: Side::Left },
    Column { heading: "READY", side: Side::Left },
    Column { heading: "PID", side: Side::Right },
    Column { heading: "RESTARTS", side: Side::Right },
    Column { heading: "UP FOR", side: Side::Right },
    Column { heading: "MEMORY", side: Side::Right },
    Column { heading: "CPU", side: Side::Right },
    Column { heading: "RELEASE", side: Side::Left },
];

/// Instances that are named before one note.
const NAMES_SHOWN_MAX: usize = 3;

/// The whole status as lines: what runs here, the table, then the notes in full.
pub(crate) fn lines(status: &Status, now: Timestamp, paint: Paint, width: usize) -> Vec<String> {
    compose(status, now, paint, [width, usize::MAX])
}

/// The same with no line wider than `width`, to be drawn over.
pub(crate) fn lines_cut(
    status: &Status,
    now: Timestamp,
    paint: Paint,
    width: usize,
) -> Vec<String> {
    compose(status, now, paint, [width; 2])
}

fn compose(
    status: &Status,
    now: Timestamp,
    paint: Paint,
    [width, note_width]: [usize; 2],
) -> Vec<String> {
    let mut lines = vec![heading(status, paint, width)];
    let note = |name: &str, text: &str| note(name, text, paint, note_width);
    lines.extend(status.agent.troubles.iter().map(|trouble| note("agent", trouble)));
    lines.push(String::new());
    if status.instances.is_empty() {
        lines.push("no instances".into());
        return lines;
    }
    let rows: Vec<_> = status.instances.iter().map(|instance| row(instance, now)).collect();
    lines.extend(table::lines(COLUMNS, &rows, paint, width));
    let notes: Vec<String> =
        notes(status).iter().map(|(text, names)| note(&together(names), text)).collect();
    if !notes.is_empty() {
        lines.push(String::new());
        lines.extend(notes);
    }
    lines
}

/// The agent itself, as lines.
pub(crate) fn agent_lines(host: &str, agent: &AgentStatus, paint: Paint) -> Vec<String> {
    let fleet = agent.fleet.as_deref().unwrap_or("none");
    let facts = [
        ("host", host.to_owned()),
        ("version", agent.version.clone()),
        ("pid", agent.pid.to_string()),
        ("root", agent.root.clone()),
        ("fleet", fleet.into()),
        ("plan", agent.generation.to_string()),
    ];
    let line = |(name, fact): &(&str, String)| {
        format!("{} {}", paint.paint(Tone::Dim, &format!("{name:<8}")), show_controls(fact))
    };
    let troubles = agent.troubles.iter().map(|trouble| note("agent", trouble, paint, usize::MAX));
    facts.iter().map(line).chain(troubles).collect()
}

/// How a phase is coloured.
pub(crate) fn phase_tone(phase: &str) -> Tone {
    match phase {
        "up" => Tone::Good,
        "failed" => Tone::Bad,
        "waiting" => Tone::Warn,
        "down" => Tone::Dim,
        _ => Tone::Plain,
    }
}

/// How long the current run has lived.
pub(crate) fn age(instance: &InstanceStatus, now: Timestamp) -> Option<Duration> {
    let started_at: Timestamp = instance.started_at.as_ref()?.parse().ok()?;
    // A clock set back makes it young, not unknown.
    Some(Duration::try_from(now.duration_since(started_at)).unwrap_or(Duration::ZERO))
}

fn heading(status: &Status, paint: Paint, width: usize) -> String {
    let fleet = status.agent.fleet.as_deref().unwrap_or("no fleet");
    let rest = format!(" on {}", status.host);
    let up_n = status.instances.iter().filter(|instance| instance.phase == "up").count();
    let resting_n = status.instances.iter().filter(|instance| rests(instance)).count();
    let lasting_n = status.instances.len() - resting_n;
    let is_unready = |it: &&InstanceStatus| it.phase == "up" && it.ready == Some(false);
    let unready_n = status.instances.iter().filter(is_unready).count();
    let all = [
        (lasting_n > 0 || resting_n == 0).then(|| format!("{up_n} of {lasting_n} up")),
        (unready_n > 0).then(|| format!("{unready_n} not ready")),
        (resting_n > 0).then(|| format!("{resting_n} to run later")),
    ];
    let counts = format!(" · {}", all.into_iter().flatten().collect::<Vec<_>>().join(", "));
    let plain = format!("{fleet}{rest}{counts}");
    if plain.chars().count() > width {
        return table::cut(&plain, width);
    }
    format!("{}{rest}{}", paint.paint(Tone::Strong, fleet), paint.paint(Tone::Dim, &counts))
}

/// Whether it waits for its time, as it should.
fn rests(instance: &InstanceStatus) -> bool {
    instance.next_run_at.is_some() && matches!(instance.phase.as_str(), "down" | "failed")
}

/// How long it is until its next run.
fn next_in(instance: &InstanceStatus, now: Timestamp) -> Option<Duration> {
    let next: Timestamp = instance.next_run_at.as_ref()?.parse().ok()?;
    Some(Duration::try_from(next.duration_since(now)).unwrap_or(Duration::ZERO))
}

fn row(instance: &InstanceStatus, now: Timestamp) -> [Cell; 9] {
    let or_nothing = |fact: Option<String>| match fact {
        Some(fact) => Cell::plain(fact),
        None => Cell::new(Tone::Dim, NOTHING),
    };
    let is_up = instance.phase == "up";
    let ready = match instance.ready {
        _ if rests(instance) => Cell::new(Tone::Dim, NOTHING),
        Some(true) => Cell::new(Tone::Good, "yes"),
        Some(false) if is_up => Cell::new(Tone::Warn, "no"),
        Some(false) => Cell::new(Tone::Dim, "no"),
        None => Cell::new(Tone::Dim, NOTHING),
    };
    let lives = instance.pid.is_some();
    let up_for = age(instance, now).filter(|_| lives).map(quantity::duration);
    let next_in = next_in(instance, now).map(|time| format!("in {}", quantity::duration(time)));
    let restarts_tone = if instance.restarts == 0 { Tone::Dim } else { Tone::Warn };
    let release = instance.release.as_deref();
    [
        Cell::plain(show_controls(&instance.name)),
        Cell::new(phase_tone(&instance.phase), show_controls(&instance.phase)),
        ready,
        or_nothing(instance.pid.map(|pid| pid.to_string())),
        Cell::new(restarts_tone, instance.restarts.to_string()),
        or_nothing(up_for.or(next_in)),
        or_nothing(instance.memory_bytes.map(quantity::bytes)),
        or_nothing(instance.cpu_percent.map(|percent| format!("{percent:.1} %"))),
        or_nothing(release.map(short_digest)),
    ]
}

/// Every note once, with the instances it is about, in the order of the first of them.
fn notes(status: &Status) -> Vec<(String, Vec<&str>)> {
    let mut all: Vec<(String, Vec<&str>)> = Vec::new();
    for instance in &status.instances {
        let dropped = instance.log.dropped_bytes;
        let lost =
            (dropped > 0).then(|| format!("{} of its output were lost", quantity::bytes(dropped)));
        for text in instance.notes.iter().cloned().chain(lost) {
            match all.iter_mut().find(|(same, _)| *same == text) {
                Some((_, names)) => names.push(&instance.name),
                None => all.push((text, vec![&instance.name])),
            }
        }
    }
    all
}

/// Some names, and how many more there are.
fn together(names: &[&str]) -> String {
    let shown = names.len().min(NAMES_SHOWN_MAX);
    let more = names.len() - shown;
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", names[..shown].join(", "))
}

fn note(name: &str, text: &str, paint: Paint, width: usize) -> String {
    let name = table::cut(&format!("{}:", show_controls(name)), width);
    let room = width.saturating_sub(name.chars().count() + 1);
    let text = table::cut(&show_controls(text), room);
    format!("{} {text}", paint.paint(Tone::Warn, &name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    fn now() -> Timestamp {
        samples::NOW.parse().unwrap()
    }

    #[test]
    fn a_status_is_one_aligned_table_with_its_notes_below() {
        let mut status = samples::status();
        status.instances.push(samples::scheduled());
        let text = lines(&status, now(), Paint(false), 120).join("\n");
        insta::assert_snapshot!("status", text);
    }

    #[test]
    fn a_narrow_terminal_cuts_the_table_and_not_the_notes() {
        let text = lines(&samples::status(), now(), Paint(false), 40).join("\n");
        insta::assert_snapshot!("status_narrow", text);
    }

    #[test]
    fn colour_says_what_is_wrong() {
        let text = lines(&samples::status(), now(), Paint(true), 120).join("\n");
        insta::assert_snapshot!("status_colour", text.replace('\x1b', "ESC"));
    }

    #[test]
    fn the_agent_itself_is_shown() {
        let status = samples::status();
        let text = agent_lines(&status.host, &status.agent, Paint(false)).join("\n");
        insta::assert_snapshot!("agent_status", text);
    }
}
