//! What a plan would change.

use stead_core::names::ServiceName;
use stead_core::reconcile::Change;

use crate::plan::Changes;
use crate::render::table::cut;
use crate::screen::{Paint, Tone, show_controls};

/// The longest value that is shown, in characters.
const VALUE_LEN_MAX: usize = 200;

/// The plan as lines: a summary, each instance that changes, then what else is worth knowing.
pub(crate) fn lines(changes: &Changes, paint: Paint) -> Vec<String> {
    let mut lines = vec![summary(changes, paint)];
    if let Some(running) = changes.running.as_ref().filter(|name| **name != changes.fleet) {
        let refusal = format!("fleet `{running}` runs here now: `up` would refuse this one");
        lines.push(paint.paint(Tone::Warn, &refusal));
    }
    let changing = changes.instances.iter().filter(|(_, change)| **change != Change::Keep);
    let width = changing.clone().map(|(name, _)| name.to_string().len()).max().unwrap_or(0);
    for (n, (name, change)) in changing.enumerate() {
        if n == 0 {
            lines.push(String::new());
        }
        let (tone, sign, what) = match change {
            Change::Add => (Tone::Good, '+', "add"),
            Change::Change(_) if changes.without_gap.contains(name) => {
                (Tone::Warn, '~', "change: replaced without a gap, with")
            }
            Change::Change(_) if changes.restarted.contains(name) => {
                (Tone::Warn, '~', "change: stopped and then started, with")
            }
            Change::Change(_) if changes.reloaded.contains(name) => {
                (Tone::Warn, '~', "change: told to reload, with")
            }
            Change::Change(_) => (Tone::Warn, '~', "change: taken up without a restart"),
            Change::Keep => continue,
            Change::Remove => (Tone::Bad, '-', "remove: stopped; its data stays"),
        };
        lines.push(format!("{}  {what}", paint.paint(tone, &format!("{sign} {name:<width$}"))));
        lines.extend(fields(change, paint));
    }
    let footer = footer(changes);
    if !footer.is_empty() {
        lines.push(String::new());
        lines.extend(footer);
    }
    lines
}

fn summary(changes: &Changes, paint: Paint) -> String {
    let counts = [
        (changes.count(|change| matches!(change, Change::Add)), "to add"),
        (changes.count(|change| matches!(change, Change::Change(_))), "to change"),
        (changes.count(|change| matches!(change, Change::Remove)), "to remove"),
        (changes.count(|change| matches!(change, Change::Keep)), "unchanged"),
    ];
    let counts = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
    let counts: Vec<String> = counts.collect();
    let counts = if counts.is_empty() { "no instances".into() } else { counts.join(", ") };
    format!("{} on {}: {counts}", paint.paint(Tone::Strong, &changes.fleet), changes.host)
}

fn fields(change: &Change, paint: Paint) -> Vec<String> {
    let fields = Changes::fields(change);
    let width = fields.iter().map(|field| field.field.chars().count()).max().unwrap_or(0);
    let show = |value: &str| show_controls(&cut(value, VALUE_LEN_MAX));
    let line = |field: &stead_core::reconcile::FieldChange| {
        let name = format!("{:<width$}", show_controls(&field.field));
        let arrow = paint.paint(Tone::Dim, "->");
        format!("    {name}  {} {arrow} {}", show(&field.from), show(&field.to))
    };
    fields.iter().map(line).collect()
}

fn footer(changes: &Changes) -> Vec<String> {
    let join = |names: &[ServiceName]| {
        names.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ")
    };
    let mut lines = Vec::new();
    let comes = changes.count(|change| *change == Change::Add) + changes.restarted.len();
    if changes.order.len() > 1 && comes > 0 {
        lines.push(format!("started in this order: {}", join(&changes.order)));
    }
    if !changes.has_agent {
        lines.push("no agent runs here; `up` starts one".into());
    }
    if !changes.built_on_up.is_empty() {
        lines.push(format!("built by `up`, not by `plan`: {}", join(&changes.built_on_up)));
    }
    if !changes.unkept.is_empty() {
        lines.push(format!("not kept on this host: {}", changes.unkept.join("; ")));
    }
    if let Some(why) = &changes.refused {
        lines.push(format!("`up` will be refused: {why}"));
    }
    if !changes.not_looked_at.is_empty() {
        let hosts = changes.not_looked_at.join(", ");
        lines.push(format!("not looked at, for SSH is not there yet: {hosts}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use stead_core::reconcile::FieldChange;

    fn changes(instances: &[(&str, Change)]) -> Changes {
        let name = |text: &str| text.parse::<ServiceName>().unwrap();
        let instances = instances.iter().cloned();
        Changes {
            fleet: "shop".into(),
            host: "local".into(),
            running: Some("shop".into()),
            generation: 3,
            has_agent: true,
            instances: instances.map(|(name, change)| (name.parse().unwrap(), change)).collect(),
            restarted: BTreeSet::new(),
            reloaded: BTreeSet::new(),
            without_gap: BTreeSet::new(),
            order: vec![name("db"), name("orders")],
            built_on_up: Vec::new(),
            unkept: Vec::new(),
            refused: None,
            not_looked_at: Vec::new(),
        }
    }

    fn field(field: &str, from: &str, to: &str) -> FieldChange {
        FieldChange { field: field.into(), from: from.into(), to: to.into() }
    }

    #[test]
    fn every_kind_of_change_is_told_with_its_reasons() {
        let mut changes = changes(&[
            ("db.0", Change::Keep),
            ("gateway.0", Change::Remove),
            (
                "orders.0",
                Change::Change(vec![
                    field("run", "./orders", "./orders --fast"),
                    field("env.TOKEN", "a\x1b[2J", "b"),
                    field("release", "0123456789ab", "built on up"),
                ]),
            ),
            ("orders.1", Change::Change(vec![field("limits.memory", "(none)", "256MiB")])),
            ("orders.10", Change::Add),
            ("proxy.0", Change::Change(vec![field("config", "0123456789ab", "ba9876543210")])),
            ("web.0", Change::Change(vec![field("env.A", "1", "2")])),
        ]);
        changes.reloaded.insert("proxy.0".parse().unwrap());
        changes.restarted = ["orders.0", "web.0"].map(|name| name.parse().unwrap()).into();
        changes.without_gap.insert("web.0".parse().unwrap());
        changes.built_on_up = vec!["orders".parse().unwrap()];
        changes.unkept.push("`limits.cpu` of orders".into());
        changes.refused = Some("this host cannot keep `limits.memory` of `db`".into());
        changes.has_agent = false;
        changes.not_looked_at.push("win1".into());
        insta::assert_snapshot!("plan", lines(&changes, Paint(false)).join("\n"));
    }

    #[test]
    fn a_plan_that_changes_nothing_says_so_in_a_line() {
        let changes = changes(&[("db.0", Change::Keep)]);
        assert_eq!(lines(&changes, Paint(false)), ["shop on local: 1 unchanged"]);
    }

    #[test]
    fn another_fleet_at_the_root_is_told() {
        let mut changes = changes(&[("db.0", Change::Remove)]);
        changes.running = Some("bank".into());
        let lines = lines(&changes, Paint(false));
        assert_eq!(lines[1], "fleet `bank` runs here now: `up` would refuse this one");
    }
}
