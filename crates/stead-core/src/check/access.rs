//! Whether what is brought there may run: rights, accounts and ports.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::facts::{Facts, Holder, Listener, RootState, Sudo};
use super::needs::{Needs, System, list};
use super::{About, Finding, Mend};
use crate::names::ServiceName;

/// The first kernel that lets a process be held by something that is never another one.
const KERNEL_MIN: (u32, u32) = (5, 3);

/// Below it only the privileged may listen, where the kernel says nothing else.
const UNPRIVILEGED_PORT_FIRST: u64 = 1024;

pub(super) fn sudo(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let about = About { check: "sudo", reason: "the fleet file says `sudo = true` for it" };
    let bad = match facts.sudo {
        None | Some(Sudo::Unasked) => return Vec::new(),
        Some(Sudo::Refused) => Some(about.fail(
            format!("`sudo -n true` is refused to {}", facts.who()),
            format!("`visudo` there: {} ALL=(ALL) NOPASSWD: ALL", facts.who()),
        )),
        Some(Sudo::Works) => None,
    };
    about.unless(bad, "it asks for no password")
}

pub(super) fn system(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let reason = "stead brings its own programs, which are for one system and processor";
    let about = About { check: "system", reason };
    let (Some(system), Some(machine)) = (&facts.system, &facts.machine) else {
        let mend = needs.system.pick("`uname -s -m` there", "`systeminfo` there");
        return Vec::from([about.warn("it is not known", mend)]);
    };
    let found = format!("{system} on {machine}");
    let wanted = needs.system.name();
    let is_right = system == wanted && machine == needs.machine;
    let mend = needs.system.pick(
        format!("a host with Linux on {}, or deploy from such a machine", needs.machine),
        format!("a host with Windows on {}; stead has programs for no other", needs.machine),
    );
    about.unless((!is_right).then(|| about.fail(found.clone(), mend)), found)
}

pub(super) fn kernel(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let about = About { check: "kernel", reason: "older ones cannot hold on to a process" };
    let Some(kernel) = &facts.kernel else { return Vec::new() };
    let Some(version) = version(kernel) else {
        return Vec::from([about.warn(kernel.as_str(), "look whether it is 5.3 or later")]);
    };
    let bad = (version < KERNEL_MIN).then(|| {
        let (major, minor) = KERNEL_MIN;
        about.fail(kernel.as_str(), format!("a kernel from {major}.{minor} on"))
    });
    about.unless(bad, kernel.as_str())
}

/// `6.1.0-25-amd64` begins with two numbers.
fn version(kernel: &str) -> Option<(u32, u32)> {
    let mut numbers = kernel.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

pub(super) fn root(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let about = About { check: "root", reason: "all of stead's state there is below it" };
    let (Some(root), Some(state)) = (&facts.root, facts.root_state) else {
        return Vec::from([about.warn("it is not known", "look whether it may be written")]);
    };
    // Where it is to be, and whether it may, is not known before `sudo` works.
    if facts.is_to_be_root() && !facts.is_root() {
        return Vec::new();
    }
    let stands = facts.root_on.as_deref().unwrap_or("/");
    let who = facts.who();
    let mend = needs.system.pick(
        "`sudo = true`, or another `root`, for it in the fleet file",
        "log in there as an administrator, or another `root` for it in the fleet file",
    );
    let look =
        needs.system.pick(format!("`ls -ld {stands}` there"), format!("`dir {stands}` there"));
    let bad = match state {
        RootState::Absent => return about.ok(format!("`{root}` is made by the first deploy")),
        RootState::Writable => return about.ok(format!("`{root}` may be written")),
        RootState::Blocked => about.fail(format!("`{stands}` is no folder"), look),
        RootState::Closed => about.fail(format!("`{root}` may not be written by {who}"), mend),
        RootState::Forbidden => {
            about.fail(format!("{who} may not make `{root}` in `{stands}`"), mend)
        }
    };
    Vec::from([bad])
}

pub(super) fn user(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let about = About { check: "user", reason: "services run as the `user` that they name" };
    let mend = |name: &str| Missing {
        apply: Mend::User(name.into()),
        on_windows: format!("`net user {name} * /add` there, or `LocalService`"),
    };
    accounts(about, facts, needs.system, (&needs.users(), &facts.users_missing), mend)
}

pub(super) fn group(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let about = About { check: "group", reason: "services run in the `group` that they name" };
    let mend = |name: &str| Missing {
        apply: Mend::Group(name.into()),
        on_windows: format!("`net localgroup {name} /add` there"),
    };
    accounts(about, facts, needs.system, (&needs.groups(), &facts.groups_missing), mend)
}

/// How an account that is missing is made.
struct Missing {
    /// On Linux, also from afar.
    apply: Mend,
    /// By hand.
    on_windows: String,
}

fn accounts(
    about: About,
    facts: &Facts,
    system: System,
    (asked, missing): (&BTreeMap<&str, BTreeSet<&ServiceName>>, &BTreeSet<String>),
    mend: impl Fn(&str) -> Missing,
) -> Vec<Finding> {
    if asked.is_empty() {
        return Vec::new();
    }
    let own = facts.uid.map(|uid| format!("{uid}"));
    let is_own = |name: &str| {
        about.check == "user" && [facts.login.as_deref(), own.as_deref()].contains(&Some(name))
    };
    let bad = asked.iter().filter_map(|(name, by)| {
        if missing.contains(*name) {
            let found =
                format!("there is no {} `{name}`, which {} asks for", about.check, list(by));
            let Missing { apply, on_windows } = mend(name);
            // A number is no name that could be given to anybody.
            return Some(match (name.bytes().all(|byte| byte.is_ascii_digit()), system) {
                (true, _) => about.fail(found, format!("mend `{}`", about.check)),
                (false, System::Linux) => about.fail(found, format!("`{apply}`")).applied(apply),
                (false, System::Windows) => about.fail(found, on_windows),
            });
        }
        (!facts.is_to_be_root() && !is_own(name)).then(|| {
            let found = format!("{} may not let {} run as `{name}`", facts.who(), list(by));
            let mend = system.pick(
                "`sudo = true` for it in the fleet file, or log in there as root",
                "log in there as an administrator",
            );
            about.fail(found, mend)
        })
    });
    let bad: Vec<Finding> = bad.collect();
    if bad.is_empty() {
        about.ok(asked.keys().copied().collect::<Vec<_>>().join(", "))
    } else {
        bad
    }
}

pub(super) fn port(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let about = About { check: "port", reason: "no two programs can listen at the same port" };
    let mut by_port: BTreeMap<u16, String> = BTreeMap::new();
    for port in needs.ports() {
        by_port.entry(port.number).or_insert_with(|| format!("{}", port.instance));
    }
    if by_port.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (port, instance) in &by_port {
        let at_port = facts.listeners.iter().filter(|it| it.port == *port);
        // One that has it at all addresses says more than one that has it at one.
        let foreign = at_port.filter(|it| it.holder != Holder::Own);
        if let Some(listener) = foreign.max_by_key(|it| it.is_everywhere) {
            found.push(taken(about, listener, instance, needs.system));
        }
    }
    if found.is_empty() {
        let ports = by_port.keys().map(|port| format!("{port}"));
        return about.ok(format!("free: {}", ports.collect::<Vec<_>>().join(", ")));
    }
    found
}

/// What listens for all programs that speak HTTP by way of Windows itself.
const HTTP_SYS: &str = "System";

fn taken(about: About, listener: &Listener, instance: &str, system: System) -> Finding {
    let Listener { port, is_everywhere, holder, pid, program } = listener;
    let who = match holder {
        Holder::Other => format!("`{program}` (process {pid})"),
        Holder::Own | Holder::Unknown => "somebody whom this login may not see".into(),
    };
    let mend = match (holder, system) {
        (Holder::Other, System::Windows) if program == HTTP_SYS => format!(
            "`netsh http show servicestate` there tells for whom, or give `{instance}` another port"
        ),
        (Holder::Other, _) => {
            let end = system.pick(format!("kill {pid}"), format!("taskkill /f /pid {pid}"));
            format!("end that (`{end}` there), or give `{instance}` another port")
        }
        (Holder::Own | Holder::Unknown, System::Linux) => {
            format!("`ss -ltnp sport = :{port}` there, as root, tells who; or another port")
        }
        (Holder::Own | Holder::Unknown, System::Windows) => {
            "`netstat -ano -p tcp` there tells who; or another port".into()
        }
    };
    let found = format!("{who} listens at {port}, which is for `{instance}`");
    // At one address: the service may want another one. And who is not seen may be of ours.
    match *is_everywhere && *holder == Holder::Other {
        true => about.fail(found, mend),
        false => about.warn(found, mend),
    }
}

pub(super) fn low_port(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let about =
        About { check: "low-port", reason: "only the privileged may listen at such a port" };
    let start = facts.settings.unprivileged_port_start.unwrap_or(UNPRIVILEGED_PORT_FIRST);
    let low = needs.ports().filter(|port| u64::from(port.number) < start);
    let (may, may_not): (Vec<_>, Vec<_>) =
        low.partition(|it| facts.is_to_be_root() && it.may_be_low);
    let bad = may_not.iter().map(|port| {
        let mend = match facts.is_to_be_root() {
            true => "`listen`, or a `sandbox` that is on, lets it; or a higher port",
            false => "`sudo = true` for it in the fleet file, or a higher port",
        };
        let found = format!("`{}` wants {}, and {start} is the first", port.instance, port.number);
        about.fail(found, mend)
    });
    match (may.is_empty(), may_not.is_empty()) {
        (true, true) => Vec::new(),
        (false, true) => about.ok("stead lets services have them"),
        (true | false, false) => bad.collect(),
    }
}

pub(super) fn local_ports(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let reason =
        "the kernel may give such a port to a connection that goes out, before the service";
    let about = About { check: "local-ports", reason };
    let Some((from, to)) = facts.local_ports else { return Vec::new() };
    let ports: BTreeSet<u16> = needs.ports().map(|port| port.number).collect();
    if ports.is_empty() {
        return Vec::new();
    }
    let reserved = facts.reserved_ports.as_deref().unwrap_or("");
    let within = |port: &u16| (from..=to).contains(port) && !is_listed(reserved, *port);
    let within: Vec<String> =
        ports.iter().filter(|port| within(port)).map(|it| format!("{it}")).collect();
    let range = format!("{from} to {to}");
    let bad = (!within.is_empty()).then(|| {
        let old = [reserved].into_iter().filter(|it| !it.is_empty());
        let all = old.chain(within.iter().map(String::as_str)).collect::<Vec<_>>().join(",");
        about.warn(
            format!("{} of {range}, which are for connections", within.join(", ")),
            format!("a port outside, or `sysctl -w net.ipv4.ip_local_reserved_ports={all}`"),
        )
    });
    about.unless(bad, format!("no port is of {range}"))
}

/// Whether a list like `8100,9000-9010` has a port.
fn is_listed(list: &str, port: u16) -> bool {
    list.split(',').any(|part| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let ends = (from.trim().parse::<u16>(), to.trim().parse::<u16>());
        matches!(ends, (Ok(from), Ok(to)) if (from..=to).contains(&port))
    })
}
