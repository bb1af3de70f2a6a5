//! What differs between two moments of a service: hosts with the same answer under one heading.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use stead_core::names::ServiceName;
use stead_core::plan::Digest;
use stead_core::reconcile::Change;
use stead_release::release::{Held, PathChange};

use crate::diff::{Difference, FilesChange, Side, Told, shown};
use crate::plan::Changes;
use crate::render::plan::field_lines;
use crate::render::quantity;
use crate::render::table::{NOTHING, short_digest};
use crate::screen::{Paint, Tone, show_controls};

/// More paths are counted, not shown: nobody reads more on a terminal, and `--json` has them.
const PATHS_SHOWN_MAX: usize = 100;

/// What each host has to tell. Hosts that could not be asked are told of when the command ends.
pub(crate) fn lines(
    service: &ServiceName,
    told: &BTreeMap<String, Told>,
    zone: &TimeZone,
    paint: Paint,
) -> Vec<String> {
    let mut lines = Vec::new();
    let begin = |heading: String, lines: &mut Vec<String>| {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(heading);
    };
    for (hosts, difference) in together(told) {
        let hosts = hosts.join(", ");
        let title = format!("{} on {hosts}", paint.paint(Tone::Strong, service.as_str()));
        begin(format!("{title}: {}", summary(difference)), &mut lines);
        lines.extend(of_difference(difference, zone, paint));
    }
    for (host, one) in told {
        match one {
            Told::Difference(_) | Told::Lost { .. } => (),
            Told::Unknown { unknown, numbers } => {
                let what = format!("{host} has no entry {unknown}; there are: {}", shown(numbers));
                begin(paint.paint(Tone::Bad, &what), &mut lines);
            }
        }
    }
    lines
}

/// The hosts with the same difference. Each has its own clock, so moments are not compared.
fn together(told: &BTreeMap<String, Told>) -> Vec<(Vec<&str>, &Difference)> {
    let mut groups: Vec<(Vec<&str>, &Difference)> = Vec::new();
    for (host, one) in told {
        let difference = match one {
            Told::Difference(difference) => difference,
            Told::Lost { .. } | Told::Unknown { .. } => continue,
        };
        match groups.iter_mut().find(|(_, other)| timeless(other) == timeless(difference)) {
            Some((hosts, _)) => hosts.push(host),
            None => groups.push((vec![host], difference)),
        }
    }
    groups
}

fn timeless(difference: &Difference) -> Difference {
    let mut difference = difference.clone();
    difference.to.at = None;
    if let Some(from) = &mut difference.from {
        from.at = None;
    }
    difference
}

fn summary(difference: &Difference) -> String {
    if difference.from.is_none() {
        return "no entry has it otherwise than it is".into();
    }
    let count = |is_one: fn(&Change) -> bool| {
        difference.instances.values().filter(|change| is_one(change)).count()
    };
    let counts = [
        (count(|change| *change == Change::Add), "added"),
        (count(|change| matches!(change, Change::Change(_))), "changed"),
        (count(|change| *change == Change::Remove), "removed"),
        (count(|change| *change == Change::Keep), "the same"),
    ];
    let counts = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
    let counts: Vec<String> = counts.collect();
    if counts.is_empty() { "in neither".into() } else { counts.join(", ") }
}

fn of_difference(difference: &Difference, zone: &TimeZone, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(difference.from.as_ref().map(|from| format!("  from  {}", side(from, zone))));
    lines.push(format!("  to    {}", side(&difference.to, zone)));
    let is_changed = |change: &Change| *change != Change::Keep;
    let changed = difference.instances.iter().filter(|(_, change)| is_changed(change));
    for (name, change) in changed {
        let (tone, sign) = match change {
            Change::Add => (Tone::Good, '+'),
            Change::Change(_) => (Tone::Warn, '~'),
            Change::Keep => continue,
            Change::Remove => (Tone::Bad, '-'),
        };
        lines.push(paint.paint(tone, &format!("{sign} {name}")));
        lines.extend(field_lines(Changes::fields(change), paint));
    }
    lines.extend(difference.files.iter().flat_map(|files| files_lines(files, paint)));
    lines
}

/// Which entry it is, when it came, and from whom.
fn side(side: &Side, zone: &TimeZone) -> String {
    let mut parts = Vec::new();
    parts.push(match (side.n, side.is_now) {
        (Some(n), true) => format!("{n}, what runs now"),
        (Some(n), false) => n.to_string(),
        (None, _) => "what runs now, which no entry brought".to_owned(),
    });
    parts.extend(side.at.map(|at| quantity::moment(at, zone)));
    let texts = [&side.who, &side.what].into_iter().filter(|text| !text.is_empty());
    parts.extend(texts.map(|text| show_controls(text)));
    let commit = side.commit.as_deref().map(|commit| show_controls(&short_digest(commit)));
    parts.extend(commit.map(|commit| format!("commit {commit}")));
    let releases: Vec<&str> = side.releases.iter().map(Digest::short).collect();
    parts.push(match releases.is_empty() {
        true => format!("release {NOTHING}"),
        false => format!("release {}", releases.join(", ")),
    });
    parts.join("  ")
}

fn files_lines(files: &FilesChange, paint: Paint) -> Vec<String> {
    let (of, from, to) = (files.of, files.from.short(), files.to.short());
    let mut lines = vec![format!("  files of the {of}, {from} {} {to}", arrow(paint))];
    if let Some(why) = &files.unknown {
        lines.push(paint.paint(Tone::Warn, &format!("    not known: {}", show_controls(why))));
    }
    let shown = &files.paths[..files.paths.len().min(PATHS_SHOWN_MAX)];
    let width = shown.iter().map(|change| show_controls(&change.path).chars().count()).max();
    lines.extend(shown.iter().map(|change| path_line(change, width.unwrap_or(0), paint)));
    let more = files.paths.len() - shown.len();
    lines.extend((more > 0).then(|| format!("    and {more} more; `--json` has them all")));
    lines
}

fn path_line(change: &PathChange, width: usize, paint: Paint) -> String {
    let (tone, sign, what) = match (&change.from, &change.to) {
        (None, None) => (Tone::Plain, ' ', String::new()),
        (None, Some(to)) => (Tone::Good, '+', held(to)),
        (Some(from), None) => (Tone::Bad, '-', held(from)),
        (Some(from), Some(to)) => {
            (Tone::Warn, '~', format!("{} {} {}", held(from), arrow(paint), held(to)))
        }
    };
    let path = show_controls(&change.path);
    format!("    {}  {what}", paint.paint(tone, &format!("{sign} {path:<width$}")))
}

fn held(held: &Held) -> String {
    match held {
        Held::File { len, is_program: false } => quantity::bytes(*len),
        Held::File { len, is_program: true } => format!("{} (program)", quantity::bytes(*len)),
        Held::Folder => "folder".into(),
        Held::Link { to } => format!("link to {}", show_controls(to)),
    }
}

fn arrow(paint: Paint) -> String {
    paint.paint(Tone::Dim, "->")
}

#[cfg(test)]
mod tests {
    use super::*;
    use stead_core::reconcile::FieldChange;

    fn digest(c: &str) -> Digest {
        Digest::try_from(c.repeat(64)).unwrap()
    }

    fn side(n: u64, is_now: bool, release: &str) -> Side {
        Side {
            n: Some(n),
            is_now,
            at: Some(1_756_000_000_000 + n),
            who: "ann@desk".into(),
            what: "deploy".into(),
            commit: (n == 1).then(|| "0123456789abcdef".into()),
            releases: [digest(release)].into(),
        }
    }

    fn difference() -> Difference {
        let field = |field: &str, from: &str, to: &str| FieldChange {
            field: field.into(),
            from: from.into(),
            to: to.into(),
        };
        let file = |len, is_program| Some(Held::File { len, is_program });
        let path = |path: &str, from, to| PathChange { path: path.into(), from, to };
        let fields = vec![field("env.LEVEL", "warn", "debug"), field("release", "aaaa", "bbbb")];
        let paths = vec![
            path("gone", file(3, false), None),
            path("new\x1b[2J", None, Some(Held::Link { to: "server".into() })),
            path("server", file(2048, true), file(4096, true)),
        ];
        let unknown = Some("cccccccccccc: it is not on this host any more".into());
        Difference {
            from: Some(side(1, false, "a")),
            to: side(2, true, "b"),
            instances: [
                ("web.0".parse().unwrap(), Change::Change(fields)),
                ("web.1".parse().unwrap(), Change::Keep),
                ("web.2".parse().unwrap(), Change::Add),
            ]
            .into(),
            files: vec![
                FilesChange {
                    of: "release",
                    from: digest("a"),
                    to: digest("b"),
                    paths,
                    unknown: None,
                },
                FilesChange {
                    of: "configuration",
                    from: digest("c"),
                    to: digest("d"),
                    paths: Vec::new(),
                    unknown,
                },
            ],
        }
    }

    #[test]
    fn hosts_with_the_same_answer_are_under_one_heading_whatever_their_clocks() {
        let same = difference();
        let mut later = difference();
        later.to.at = later.to.at.map(|at| at + 7);
        let mut never = difference();
        (never.from, never.to.n) = (None, None);
        (never.instances, never.files) = (BTreeMap::new(), Vec::new());
        let told = [
            ("h0", Told::Difference(Box::new(same))),
            ("h1", Told::Difference(Box::new(never))),
            ("h2", Told::Difference(Box::new(later))),
            ("h3", Told::Lost { error: "no route".into() }),
            ("h4", Told::Unknown { unknown: 9, numbers: vec![1, 2] }),
        ];
        let told = told.map(|(host, told)| (host.to_owned(), told)).into();
        let lines = lines(&"web".parse().unwrap(), &told, &TimeZone::UTC, Paint(false));
        insta::assert_snapshot!("diff", lines.join("\n"));
    }

    #[test]
    fn paths_that_nobody_would_read_are_counted() {
        let path = |n| PathChange { path: format!("f{n}"), from: Some(Held::Folder), to: None };
        let files = FilesChange {
            of: "release",
            from: digest("a"),
            to: digest("b"),
            paths: (0..PATHS_SHOWN_MAX + 2).map(path).collect(),
            unknown: None,
        };
        let lines = files_lines(&files, Paint(false));
        assert_eq!(lines.len(), PATHS_SHOWN_MAX + 2);
        assert_eq!(lines.last().unwrap(), "    and 2 more; `--json` has them all");
    }
}
