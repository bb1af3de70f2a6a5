//! What can only be seen across services: needs, ports, numbers.

use std::collections::{BTreeMap, BTreeSet};

use stead_core::names::{HostName, ServiceName};
use stead_core::order::{Needs, start_order};

use crate::assemble::Written;
use crate::problem::Problem;
use crate::read::{At, Named, Reader, Span};

/// The most instances on one host.
pub const INSTANCES_PER_HOST_MAX: u32 = 1000;

/// A few names of many.
pub(crate) fn some_of(names: &[&str]) -> String {
    const SHOWN_MAX: usize = 8;
    let shown: Vec<_> = names.iter().take(SHOWN_MAX).map(|name| format!("`{name}`")).collect();
    match names.len().checked_sub(SHOWN_MAX) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Says which names of a list come twice.
pub(crate) fn told_once<'a, T>(
    path: &str,
    list: &'a [At<T>],
    name: impl Fn(&'a T) -> &'a str,
    reader: &mut Reader<'_>,
) {
    let mut first: BTreeMap<&str, &Span> = BTreeMap::new();
    for item in list {
        let text = name(&item.value);
        match first.get(text) {
            Some(span) => {
                let what = format!("`{text}` comes twice in `{path}`");
                let because = "once says it all";
                let problem = Problem::new(item.span.clone(), what, because, "remove one of them");
                reader.push(problem.seen_at((*span).clone(), "here first"));
            }
            None => drop(first.insert(text, &item.span)),
        }
    }
}

fn needs_of<'a>(written: &Written<'a>) -> &'a [At<ServiceName>] {
    written.raw.needs.value().map_or(&[], |list| &list.items)
}

/// Checks that what is needed exists, and that no service needs itself by any way.
pub(crate) fn needs(
    services: &[Written<'_>],
    names: &BTreeSet<&ServiceName>,
    reader: &mut Reader<'_>,
) {
    for written in services {
        let service = &written.name.value;
        let list = needs_of(written);
        told_once(&format!("service.{service}.needs"), list, ServiceName::as_str, reader);
        let others = names.iter().filter(|name| **name != service).map(|name| name.as_str());
        let others: Vec<_> = others.collect();
        for need in list.iter().filter(|need| !names.contains(&need.value)) {
            let what = format!("`{}` is not a service of the file", need.value);
            let because = match others.as_slice() {
                [] => "the file has no other service".to_owned(),
                _ => format!("besides `{service}` the file has {}", some_of(&others)),
            };
            let try_this = match reader.nearest(need.value.as_str(), others.iter().copied()) {
                Some(near) => format!("`\"{near}\"`"),
                None => format!("`[service.{}]`, or leave it out", need.value),
            };
            reader.push(Problem::new(need.span.clone(), what, because, try_this));
        }
    }
    lasting(services, reader);
    cycles(services, reader);
}

/// Says who needs a service that is never ready, since it runs now and then.
fn lasting(services: &[Written<'_>], reader: &mut Reader<'_>) {
    for need in services.iter().flat_map(needs_of) {
        let needed = services.iter().find(|written| written.name.value == need.value);
        if let Some(span) = needed.and_then(|needed| needed.raw.schedule.at()).map(|at| &at.span) {
            let what = format!("`{}` cannot be waited for", need.value);
            let because = "it has a `schedule`: it runs now and then, and is never ready";
            let problem = Problem::new(need.span.clone(), what, because, "leave it out");
            reader.push(problem.seen_at(span.clone(), "its times"));
        }
    }
}

fn cycles(services: &[Written<'_>], reader: &mut Reader<'_>) {
    let wanted = |written: &Written<'_>| {
        let needs = needs_of(written).iter().map(|need| need.value.clone()).collect();
        (written.name.value.clone(), needs)
    };
    let mut open: Needs = services.iter().map(wanted).collect();
    while let Err(cycle) = start_order(&open) {
        let ring = cycle.0;
        let follows = |n: usize| &ring[(n + 1) % ring.len()];
        let span = |n: usize| {
            let written = services.iter().find(|written| written.name.value == ring[n])?;
            let need = needs_of(written).iter().find(|need| need.value == *follows(n))?;
            Some(need.span.clone())
        };
        let links: Vec<(usize, Span)> =
            (0..ring.len()).filter_map(|n| Some((n, span(n)?))).collect();
        let (last, rest) = links.split_last().expect("a ring has a need");
        let tell = |n: usize| format!("`{}` needs `{}`", ring[n], follows(n));
        let problem = if rest.is_empty() {
            let what = format!("service `{}` needs itself", ring[0]);
            let because = "what is needed is started before, and nothing comes before itself";
            Problem::new(last.1.clone(), what, because, "leave it out")
        } else {
            let chain: Vec<_> =
                ring.iter().chain([&ring[0]]).map(|name| format!("`{name}`")).collect();
            let what = "services need each other in a ring";
            let because = format!("{}: none could be started first", chain.join(" needs "));
            let problem = Problem::new(last.1.clone(), what, because, "leave one need out");
            links.iter().fold(problem, |problem, (n, at)| problem.seen_at(at.clone(), tell(*n)))
        };
        reader.push(problem);
        for service in &ring {
            open.insert(service.clone(), Vec::new());
        }
    }
}

/// The ports that one name stands for on each host of its service.
struct Range<'a> {
    service: &'a ServiceName,
    name: &'a str,
    span: &'a Span,
    on: &'a [HostName],
    first: u32,
    last: u32,
}

/// What the port of a front is called among those of its service.
const FRONT: &str = "front";

/// Checks that no service is called as the front or the migration of another is.
pub(crate) fn brought_along(services: &[Written<'_>], reader: &mut Reader<'_>) {
    let name = |written: &Written<'_>| written.name.value.clone();
    for written in services {
        let has = [
            ("front", "has a front", !written.raw.front.is_absent()),
            ("migrate", "has a migration", !written.raw.migrate.is_absent()),
        ];
        for (end, seen, _) in has.into_iter().filter(|(_, _, has)| *has) {
            let taken = format!("{}-{end}", written.name.value);
            let clash = services.iter().find(|other| name(other).as_str() == taken);
            if let Some(other) = clash {
                let what = format!("service `{taken}` is called as what stead brings along");
                let because = format!("`{}` {seen}, and it is called that", written.name.value);
                let problem = Problem::new(other.name.span.clone(), what, because, "another name");
                reader.push(problem.seen_at(written.name.span.clone(), seen));
            }
        }
    }
}

/// Checks that every instance gets ports of its own, and that there are such ports.
pub(crate) fn ports(services: &[Written<'_>], reader: &mut Reader<'_>) {
    let mut ranges = Vec::new();
    for written in services {
        let entries = written.raw.port.value().map_or(&[][..], |Named(entries)| entries);
        let count = written.raw.count.value().map_or(1, |count| count.0);
        // Behind a front each instance has two.
        let count = if written.raw.front.is_absent() { count } else { 2 * count };
        if let Some(front) = written.raw.front.value()
            && let Some(At { span, value }) = front.port.at()
        {
            let (first, last) = (value.0, value.0);
            let service = &written.name.value;
            ranges.push(Range { service, name: FRONT, span, on: &written.on, first, last });
        }
        for entry in entries {
            let Some(At { span, value }) = &entry.value else { continue };
            let (first, last) = (value.0, value.0 + count - 1);
            let (service, name) = (&written.name.value, entry.key.value.0.as_str());
            if last > u32::from(u16::MAX) {
                let what = format!("`service.{service}.port.{name}` has too few ports above it");
                let because = format!(
                    "instance n gets the number plus n: `{service}.{}` would get {last}",
                    count - 1
                );
                let try_this = format!("`port.{name} = {}` or less", 65_536 - count);
                reader.push(Problem::new(span.clone(), what, because, try_this));
            }
            ranges.push(Range { service, name, span, on: &written.on, first, last });
        }
    }
    let free = ranges.iter().map(|range| range.last).max().unwrap_or(0) + 1;
    let mut by_host: BTreeMap<&HostName, Vec<&Range<'_>>> = BTreeMap::new();
    for range in &ranges {
        for host in range.on {
            by_host.entry(host).or_default().push(range);
        }
    }
    for (host, mut ranges) in by_host {
        ranges.sort_by_key(|range| range.first);
        let mut widest: Option<&Range<'_>> = None;
        for range in &ranges {
            if let Some(other) = widest.filter(|other| range.first <= other.last) {
                reader.push(clash(host, other, range, free));
            }
            if widest.is_none_or(|other| other.last < range.last) {
                widest = Some(range);
            }
        }
    }
}

/// Two ranges that meet at the first port of `b`; the one further down the file is to be changed.
fn clash(host: &HostName, a: &Range<'_>, b: &Range<'_>, free: u32) -> Problem {
    let shared = b.first;
    let (early, late) = if a.span.start <= b.span.start { (a, b) } else { (b, a) };
    let instance = |range: &Range<'_>| format!("{}.{}", range.service, shared - range.first);
    let what = format!(
        "`service.{}.port.{}` clashes with `service.{}.port.{}`",
        late.service, late.name, early.service, early.name
    );
    let because = if early.service == late.service && instance(early) == instance(late) {
        format!("`{}` would get port {shared} twice", instance(late))
    } else {
        let [early, late] = [early, late].map(instance);
        format!("on host `{host}` both `{early}` and `{late}` would get port {shared}")
    };
    let width = late.last - late.first;
    let try_this = match free + width <= u32::from(u16::MAX) {
        true => format!("`port.{} = {free}`", late.name),
        false => "a port that is free".to_owned(),
    };
    let takes = match early.first == early.last {
        true => format!("takes {}", early.first),
        false => format!("takes {} to {}", early.first, early.last),
    };
    Problem::new(late.span.clone(), what, because, try_this).seen_at(early.span.clone(), takes)
}

/// Checks that no host gets more instances than an agent is made for.
pub(crate) fn instances(services: &[Written<'_>], reader: &mut Reader<'_>) {
    let mut by_host: BTreeMap<&HostName, u32> = BTreeMap::new();
    for written in services {
        let count = written.raw.count.at();
        for host in &written.on {
            let sum = by_host.entry(host).or_default();
            let before = *sum;
            *sum += count.map_or(1, |count| count.value.0);
            if before <= INSTANCES_PER_HOST_MAX && *sum > INSTANCES_PER_HOST_MAX {
                let what = "a host gets too many instances";
                let name = &written.name.value;
                let because = format!(
                    "with `{name}` host `{host}` has {sum}, and may have {INSTANCES_PER_HOST_MAX}"
                );
                let span = count.map_or(&written.name.span, |count| &count.span).clone();
                reader.push(Problem::new(span, what, because, "a smaller `count`, or more hosts"));
            }
        }
    }
}
