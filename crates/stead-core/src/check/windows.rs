//! What matters of hosts with Windows alone.

mod facts;
mod firewall;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::facts::{Facts, Holder};
use super::needs::Needs;
use super::{About, Finding};

pub(super) use self::facts::PREFIX;
pub use self::facts::{Windows, covers, is_known_account};
pub use self::firewall::lets_in;

/// The first Windows that Rust's standard library is for.
const MAJOR_MIN: u32 = 10;

/// The longest path that a program can use which does not ask for longer ones.
const PATH_LEN_MAX: usize = 259;

/// What stands between the root and a file of a release: `\releases\`, its digest, and `\`.
const RELEASE_LEN: usize = 10 + 64 + 1;

/// A file of a release that has folders of its own has a name of about this length.
const FILE_LEN: usize = 80;

/// The number by which Windows calls UTF-8.
const UTF_8: u32 = 65_001;

/// What only the host itself tells; nothing, where it has not told it.
fn windows(facts: &Facts) -> Windows {
    facts.windows.as_deref().cloned().unwrap_or_default()
}

pub(super) fn version(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let about = About { check: "version", reason: "stead's own programs are built for Windows 10" };
    let Some(version) = &facts.kernel else { return Vec::new() };
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    let Some(major) = major else {
        return Vec::from([about.warn(version.as_str(), "look whether it is Windows 10 or later")]);
    };
    let mend = "Windows 10, or Windows Server 2016, or later";
    let bad = (major < MAJOR_MIN).then(|| about.warn(format!("{version} is an earlier one"), mend));
    about.unless(bad, version.as_str())
}

pub(super) fn service(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let reason = "an agent that is no service may end with the login that has started it";
    let about = About { check: "service", reason };
    let Windows { is_administrator, may_make_services, .. } = windows(facts);
    let Some(may) = may_make_services else { return Vec::new() };
    let bad = (!may).then(|| {
        let why = if is_administrator { "" } else { ", and is no administrator" };
        let found = format!("{} may make no services{why}", facts.who());
        match needs.is_remote {
            true => {
                about.fail(found, "log in there as an administrator: `address` in the fleet file")
            }
            false => about.warn(found, "run stead as an administrator, for an agent at each boot"),
        }
    });
    about.unless(bad, format!("{} may make services", facts.who()))
}

pub(super) fn refused_port(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let reason = "Windows keeps ranges of ports for itself, and gives them to no program";
    let about = About { check: "refused-port", reason };
    let refused = windows(facts).refused_ports;
    let ports = needs.ports().filter(|port| refused.contains(&port.number));
    let bad: BTreeMap<u16, Finding> = ports
        .map(|port| {
            let found = format!("{}, which is for `{}`, is kept", port.number, port.instance);
            let look = "`netsh int ipv4 show excludedportrange tcp` there shows such ranges";
            (port.number, about.fail(found, format!("another port; {look}")))
        })
        .collect();
    match (bad.is_empty(), needs.ports().next().is_some()) {
        (true, true) => about.ok("no port is kept"),
        (true, false) => Vec::new(),
        (false, _) => bad.into_values().collect(),
    }
}

pub(super) fn drive(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let about = About { check: "drive", reason: "programs are written to it, and run from it" };
    let Some(at) = facts.mount_point.as_deref() else { return Vec::new() };
    let kind = windows(facts).drive.unwrap_or_default();
    let is_read_only = facts.mount_options.as_deref() == Some("ro");
    let other = "a `root` on a disk of the host";
    let bad = match kind.as_str() {
        _ if is_read_only => Some(about.fail(format!("`{at}` is read-only"), other)),
        "remote" => Some(about.warn(format!("`{at}` is of another host"), other)),
        "ram" => Some(about.warn(format!("`{at}` is memory, gone at a reboot"), other)),
        "removable" => Some(about.warn(format!("`{at}` can be taken out"), other)),
        _ => None,
    };
    about.unless(bad, format!("`{at}` is a disk of the host"))
}

pub(super) fn file_system(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let reason = "only NTFS and ReFS keep who may read a file, and secrets are in files";
    let about = About { check: "file-system", reason };
    let Some(kind) = facts.file_system.as_deref() else { return Vec::new() };
    let is_closed = matches!(kind, "NTFS" | "ReFS");
    about.unless((!is_closed).then(|| about.fail(kind, "a `root` on NTFS or ReFS")), kind)
}

pub(super) fn long_paths(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let reason =
        "without them a program opens no path of 260 characters or more; stead itself does";
    let about = About { check: "long-paths", reason };
    let Some(has) = windows(facts).has_long_paths else { return Vec::new() };
    let Some(root) = &facts.root else { return Vec::new() };
    let room = PATH_LEN_MAX.saturating_sub(root.encode_utf16().count() + RELEASE_LEN);
    let mend = "a shorter `root`; or set LongPathsEnabled to 1, in the registry below \
                HKLM\\SYSTEM\\CurrentControlSet\\Control\\FileSystem, for programs that ask for it";
    let found = format!("{room} characters are left for the names of files of a release");
    let bad = (!has && room < FILE_LEN).then(|| about.warn(found.as_str(), mend));
    about.unless(bad, if has { "they are on".into() } else { format!("they are off; {found}") })
}

pub(super) fn time_sync(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let about = About { check: "time-sync", reason: "a clock that nobody sets goes wrong" };
    let Some(is_synced) = facts.is_time_synced else { return Vec::new() };
    let mend = "`sc config w32time start= auto`, then `net start w32time` there";
    let bad = (!is_synced).then(|| about.warn("the service W32Time does not run", mend));
    about.unless(bad, "the service W32Time runs")
}

pub(super) fn ssh_server(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let reason = "without it nobody reaches the host after its next boot";
    let about = About { check: "ssh-server", reason };
    let Some(start) = windows(facts).ssh_server else { return Vec::new() };
    let found = format!("the service sshd starts: {start}");
    let mend = "`sc config sshd start= auto` there";
    about.unless((start != "auto").then(|| about.warn(found.as_str(), mend)), found)
}

pub(super) fn reboot(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let reason = "what is half installed is put in place then, and services are down meanwhile";
    let about = About { check: "reboot", reason };
    let Some(pending) = windows(facts).pending_reboot else { return Vec::new() };
    let bad = (pending != "no").then(|| {
        about
            .warn(format!("one is pending: {pending}"), "`shutdown /r /t 0` there, before a deploy")
    });
    about.unless(bad, "none is pending")
}

pub(super) fn firewall(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let reason = "others reach a service only by a port that a rule lets in";
    let about = About { check: "firewall", reason };
    let Windows { firewall, let_in, .. } = windows(facts);
    let Some(profiles) = firewall else { return Vec::new() };
    if profiles == "off" {
        return about.ok("it is off");
    }
    let is_open = |port: u16| {
        let mut own = facts.listeners.iter().filter(|it| it.holder == Holder::Own);
        own.any(|it| it.port == port && it.is_everywhere)
    };
    let shut: BTreeMap<u16, String> = needs
        .ports()
        .filter(|port| is_open(port.number) && !let_in.contains(&port.number))
        .map(|port| (port.number, format!("{}", port.instance)))
        .collect();
    let found = shut.iter().map(|(port, instance)| {
        about.warn(
            format!("it is on ({profiles}), and {port} of `{instance}`, at all addresses, is shut"),
            format!(
                "if others are to reach it: `netsh advfirewall firewall add rule name={instance} \
                 dir=in action=allow protocol=TCP localport={port}` there; or have it listen at \
                 127.0.0.1"
            ),
        )
    });
    let found: Vec<Finding> = found.collect();
    if found.is_empty() { about.ok(format!("it is on: {profiles}")) } else { found }
}

pub(super) fn defender(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let reason = "it looks into each file that is written, which makes deploys and services slow";
    let about = About { check: "defender", reason };
    let Windows { has_defender, is_excluded, .. } = windows(facts);
    let Some(root) = facts.root.as_deref() else { return Vec::new() };
    let bad = match (has_defender, is_excluded) {
        (None, _) | (Some(true), None) => return Vec::new(),
        (Some(false), _) => return about.ok("it does not run"),
        (Some(true), Some(true)) => None,
        (Some(true), Some(false)) => Some(about.warn(
            format!("it looks into everything below `{root}`"),
            format!("in PowerShell there: Add-MpPreference -ExclusionPath '{root}'"),
        )),
    };
    about.unless(bad, format!("it leaves out `{root}`"))
}

/// Never bad: which code page services write in is theirs to choose.
pub(super) fn code_page(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let reason = "programs that do not choose write their output in it";
    let about = About { check: "code-page", reason };
    match windows(facts).code_page {
        None => Vec::new(),
        Some(UTF_8) => about.ok("UTF-8"),
        Some(page) => about.ok(format!("{page}, which is not UTF-8")),
    }
}

#[cfg(test)]
mod tests;
