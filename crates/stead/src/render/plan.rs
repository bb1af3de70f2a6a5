//! What a plan would change.

use stead_core::names::ServiceName;
use stead_core::reconcile::{Change, FieldChange};

use crate::plan::{Changes, OnHost, Planned};
use crate::render::table::cut;
use crate::screen::{Paint, Tone, show_controls};

/// The longest value that is shown, in characters.
const VALUE_LEN_MAX: usize = 200;

/// The plan as lines: what the tier changes, then host by host.
pub(crate) fn lines(planned: &Planned, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    if !planned.tier.is_empty() {
        lines.push("the tier changes in the fleet file".to_owned());
        lines.extend(field_lines(&planned.tier, paint));
    }
    for (host, on_host) in &planned.hosts {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let title = format!("{} on {host}", paint.paint(Tone::Strong, &planned.fleet));
        match on_host {
            OnHost::Changes(changes) => {
                lines.push(format!("{title}: {}", counts(changes)));
                lines.extend(host_lines(changes, &planned.fleet, paint));
            }
            OnHost::Lost { error } => {
                lines.push(format!("{title}: {}", paint.paint(Tone::Bad, &show_controls(error))));
            }
        }
    }
    lines
}

/// Each instance of a host that changes, then what else is worth knowing.
fn host_lines(changes: &Changes, fleet: &str, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(running) = changes.running.as_ref().filter(|name| *name != fleet) {
        let by = changes.by;
        let refusal = format!("fleet `{running}` runs here now: `{by}` would refuse this one");
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

fn counts(changes: &Changes) -> String {
    let counts = [
        (changes.count(|change| matches!(change, Change::Add)), "to add"),
        (changes.count(|change| matches!(change, Change::Change(_))), "to change"),
        (changes.count(|change| matches!(change, Change::Remove)), "to remove"),
        (changes.count(|change| matches!(change, Change::Keep)), "unchanged"),
    ];
    let counts = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}"));
    let counts: Vec<String> = counts.collect();
    if counts.is_empty() { "no instances".into() } else { counts.join(", ") }
}

fn fields(change: &Change, paint: Paint) -> Vec<String> {
    field_lines(Changes::fields(change), paint)
}

pub(crate) fn field_lines(fields: &[FieldChange], paint: Paint) -> Vec<String> {
    let width = fields.iter().map(|field| field.field.chars().count()).max().unwrap_or(0);
    let show = |value: &str| show_controls(&cut(value, VALUE_LEN_MAX));
    let line = |field: &FieldChange| {
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
    let by = changes.by;
    if !changes.has_agent {
        lines.push(format!("no agent runs here; `{by}` starts one"));
    }
    if !changes.built_on_up.is_empty() {
        lines.push(format!("built by `{by}`, not by `plan`: {}", join(&changes.built_on_up)));
    }
    if !changes.signed_on_up.is_empty() {
        lines.push(format!("signed by `{by}`, not by `plan`: {}", join(&changes.signed_on_up)));
    }
    if !changes.unkept.is_empty() {
        lines.push(format!("not kept on this host: {}", changes.unkept.join("; ")));
    }
    if let Some(why) = &changes.refused {
        lines.push(format!("`{by}` will be refused: {why}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn changes(instances: &[(&str, Change)]) -> Changes {
        let name = |text: &str| text.parse::<ServiceName>().unwrap();
        let instances = instances.iter().cloned();
        Changes {
            by: "up",
            running: Some("shop".into()),
            generation: 3,
            has_agent: true,
            instances: instances.map(|(name, change)| (name.parse().unwrap(), change)).collect(),
            restarted: BTreeSet::new(),
            reloaded: BTreeSet::new(),
            without_gap: BTreeSet::new(),
            order: vec![name("db"), name("orders")],
            built_on_up: Vec::new(),
            signed_on_up: Vec::new(),
            unkept: Vec::new(),
            refused: None,
        }
    }

    fn planned(changes: Changes) -> Planned {
        let hosts = [("local".parse().unwrap(), OnHost::Changes(Box::new(changes)))];
        Planned { fleet: "shop".into(), tier: Vec::new(), hosts: hosts.into() }
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
        let mut planned = planned(changes);
        planned.tier.push(field("service.orders.count", "1", "11"));
        let error = "it cannot be reached: no route".into();
        planned.hosts.insert("vm1".parse().unwrap(), OnHost::Lost { error });
        insta::assert_snapshot!("plan", lines(&planned, Paint(false)).join("\n"));
    }

    #[test]
    fn a_plan_that_changes_nothing_says_so_in_a_line() {
        let changes = changes(&[("db.0", Change::Keep)]);
        assert_eq!(lines(&planned(changes), Paint(false)), ["shop on local: 1 unchanged"]);
    }

    #[test]
    fn another_fleet_at_the_root_is_told() {
        let mut changes = changes(&[("db.0", Change::Remove)]);
        changes.running = Some("bank".into());
        let lines = lines(&planned(changes), Paint(false));
        assert_eq!(lines[1], "fleet `bank` runs here now: `up` would refuse this one");
    }
}
