//! What a host could do better: its clock, its kernel's settings, what guards it.

use alloc::format;
use alloc::vec::Vec;

use super::facts::{Facts, Offset};
use super::needs::Needs;
use super::{About, Finding, Mend};

/// Clocks that differ by more make logs of several hosts hard to put side by side.
const OFFSET_WARN_MS: u64 = 100;

/// Clocks that differ by more make times of rollouts, certificates and tokens wrong.
const OFFSET_FAIL_MS: u64 = 5000;

/// Connections that wait at a port until they are accepted: as newer kernels have it.
const SOMAXCONN_MIN: u64 = 4096;

/// Maps of memory that a process may have: as kernels have it by themselves.
const MAP_COUNT_MIN: u64 = 65_530;

/// Processes and threads of a host: as kernels have it by themselves on small ones.
const PID_MAX_MIN: u64 = 32_768;

/// Files that all processes together may hold open.
const FILE_MAX_MIN: u64 = 100_000;

pub(super) fn clock(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let reason = "logs, certificates and tokens go by the clock";
    let about = About { check: "clock", reason };
    let Some(Offset { ms, within_ms }) = facts.offset else {
        let mend = needs.system.pick("`date` there", "`w32tm /query /status` there");
        return Vec::from([about.warn("it is not known", mend)]);
    };
    let surely = ms.unsigned_abs().saturating_sub(within_ms);
    let side = if ms < 0 { "behind" } else { "ahead" };
    let off = ms.unsigned_abs();
    let found = format!("it is {off} ms {side} of this machine's, give or take {within_ms} ms");
    let mend = needs.system.pick(
        "`chronyc makestep`, or a restart of what sets the clock there; or look at this one",
        "`w32tm /resync /force` there, as an administrator; or look at this one",
    );
    let bad = if surely > OFFSET_FAIL_MS {
        Some(about.fail(found.clone(), mend))
    } else if surely > OFFSET_WARN_MS {
        Some(about.warn(found.clone(), mend))
    } else {
        None
    };
    about.unless(bad, found)
}

pub(super) fn time_sync(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let about = About { check: "time-sync", reason: "a clock that nobody sets goes wrong" };
    let Some(is_synced) = facts.is_time_synced else { return Vec::new() };
    let found = "nobody is seen to set the clock";
    let bad = (!is_synced).then(|| match facts.has_timedatectl {
        true => about.warn(found, format!("`{}`", Mend::TimeSync)).applied(Mend::TimeSync),
        false => about.warn(found, "install chrony there"),
    });
    about.unless(bad, "the clock is set from elsewhere")
}

pub(super) fn systemd(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let reason = "it starts the agent at boot, where that is installed";
    let about = About { check: "systemd", reason };
    let mend = "a line for `stead agent run` in what starts programs at boot there";
    match &facts.systemd {
        Some(version) => about.ok(version.as_str()),
        None => Vec::from([about.warn("it does not run there", mend)]),
    }
}

pub(super) fn selinux(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let about = About { check: "selinux", reason: "what its policy does not know may be denied" };
    let is_enforcing = facts.selinux.as_deref() == Some("Enforcing");
    let mend = "if a service fails, `stead why` tells what SELinux denied it";
    let bad = is_enforcing.then(|| about.warn("it enforces its policy", mend));
    about.unless(bad, "it enforces nothing")
}

pub(super) fn hugepages(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let reason = "given to all, they make memory grow and some answers late";
    let about = About { check: "hugepages", reason };
    let Some(given) = facts.hugepages.as_deref() else { return Vec::new() };
    let mend = "`echo madvise > /sys/kernel/mm/transparent_hugepage/enabled` there";
    let bad = (given == "always").then(|| about.warn("transparent ones are given to all", mend));
    about.unless(bad, given)
}

/// A setting that may be too low.
struct Setting {
    key: &'static str,
    about: About,
    there: Option<u64>,
    min: u64,
}

pub(super) fn kernel_settings(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let processes = needs.sum(|spec| spec.limits.processes.map(u64::from));
    let setting = |key, check, reason, there, min| {
        let about = About { check, reason };
        Setting { key, about, there, min }
    };
    let there = &facts.settings;
    let settings = [
        setting(
            "net.core.somaxconn",
            "somaxconn",
            "more connections than that cannot wait to be accepted",
            there.somaxconn,
            SOMAXCONN_MIN,
        ),
        setting(
            "vm.max_map_count",
            "map-count",
            "databases and virtual machines for languages map much memory",
            there.max_map_count,
            MAP_COUNT_MIN,
        ),
        setting(
            "kernel.pid_max",
            "pid-max",
            "the host has no more processes and threads",
            there.pid_max,
            processes.max(PID_MAX_MIN),
        ),
        setting(
            "fs.file-max",
            "file-max",
            "all processes together may hold no more files open",
            there.file_max,
            FILE_MAX_MIN,
        ),
    ];
    settings.into_iter().flat_map(low).collect()
}

fn low(setting: Setting) -> Vec<Finding> {
    let Setting { key, about, there, min } = setting;
    let Some(there) = there else { return Vec::new() };
    let bad = (there < min).then(|| {
        let mend = Mend::Sysctl { key, value: min };
        let found = format!("{key} is {there}, less than {min}");
        about.warn(found, format!("`{mend}`")).applied(mend)
    });
    about.unless(bad, format!("{key} is {there}"))
}
