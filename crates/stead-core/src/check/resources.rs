//! Whether the host has what instances need together.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;

use super::facts::Facts;
use super::needs::{Needs, System, list};
use super::{About, Finding, Mend};
use crate::capacity::{Capacity, Keeps, show_bytes};
use crate::units::{Bytes, MilliCpu};

/// Files that an agent holds open for each instance, and for everything else.
const AGENT_FILES_PER_INSTANCE: u64 = 3;
const AGENT_FILES_OWN: u64 = 256;

/// What jobs of Windows hold processes to, whoever makes them.
const JOBS: Keeps = Keeps { memory: true, cpu: true, processes: true, io_weight: false };

/// What an agent there could keep. Only root may make cgroups; a container with one of its own
/// for another user is not known of.
fn has(facts: &Facts, system: System) -> Option<Capacity> {
    let may = facts.is_to_be_root() && may_make_cgroups(facts);
    let controllers = facts.cgroup.as_deref().filter(|_| may).unwrap_or("");
    let keeps = |name| controllers.split_whitespace().any(|one| one == name);
    let cgroups = Keeps {
        memory: keeps("memory"),
        cpu: keeps("cpu"),
        processes: keeps("pids"),
        io_weight: keeps("io"),
    };
    let keeps = system.pick(cgroups, JOBS);
    let cpu = MilliCpu(facts.cores?.saturating_mul(1000));
    Some(Capacity { memory: Bytes(facts.memory_bytes?), cpu, keeps })
}

/// What is writable for root is not known before `sudo` works.
fn may_make_cgroups(facts: &Facts) -> bool {
    facts.is_cgroup_writable || !facts.is_root()
}

pub(super) fn capacity(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let about = About { check: "capacity", reason: "a host refuses what it cannot keep" };
    let Some(has) = has(facts, needs.system) else {
        let mend = needs.system.pick("`nproc` and `free` there", "`systeminfo` there");
        return Vec::from([about.warn("it is not known", mend)]);
    };
    let bad = has.refuse(&needs.plan).map(|much| about.fail(much.because, much.try_this));
    about.unless(bad, format!("{} cores, {}", has.cpu, show_bytes(has.memory.0)))
}

pub(super) fn memory(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let reason = needs.system.pick(
        "where all use what they may, the kernel ends some of them",
        "where all use what they may, some ask for memory in vain",
    );
    let about = About { check: "memory", reason };
    let Some(memory) = facts.memory_bytes else { return Vec::new() };
    let limits = needs.sum(|spec| spec.limits.memory.map(|Bytes(bytes)| bytes));
    let found = format!("the host has {}", show_bytes(memory));
    let bad = (limits > memory).then(|| {
        let found = format!("`limits.memory` are {} together, {found}", show_bytes(limits));
        about.warn(found, "smaller limits, fewer instances, or a larger host")
    });
    about.unless(bad, found)
}

pub(super) fn files(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let about = About { check: "files", reason: "the kernel gives a process no more open files" };
    let asking = needs.plan.instances.iter();
    let asking = asking.filter_map(|(name, spec)| Some((spec.limits.files?, name.service())));
    let Some(most) = asking.clone().map(|(files, _)| files).max() else { return Vec::new() };
    let by: BTreeSet<_> = asking.filter(|(files, _)| *files == most).map(|(_, it)| it).collect();
    let asked = format!("`limits.files` of {} is {most}", list(&by));
    let bad = match (facts.settings.nr_open, facts.files_hard) {
        (Some(nr_open), _) if most > nr_open => {
            let mend = Mend::Sysctl { key: "fs.nr_open", value: most };
            let found = format!("{asked}, fs.nr_open is {nr_open}");
            Some(about.fail(found, format!("`{mend}`")).applied(mend))
        }
        // Root may raise its own limit.
        (_, Some(hard)) if most > hard && !facts.is_to_be_root() => Some(about.fail(
            format!("{asked}, and {} may have {hard}", facts.who()),
            format!("in /etc/security/limits.conf there: {} hard nofile {most}", facts.who()),
        )),
        (_, _) => None,
    };
    about.unless(bad, asked)
}

pub(super) fn agent_files(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let reason = "an agent holds some files open for each instance, and refuses more than it can";
    let about = About { check: "agent-files", reason };
    let Some(hard) = facts.files_hard else { return Vec::new() };
    let instances_n = u64::try_from(needs.plan.instances.len()).unwrap_or(u64::MAX);
    let needed = instances_n.saturating_mul(AGENT_FILES_PER_INSTANCE);
    let needed = needed.saturating_add(AGENT_FILES_OWN);
    // A unit of systemd has limits of its own.
    let is_installed = facts.is_to_be_root() && facts.systemd.is_some();
    let bad = (hard < needed && !is_installed).then(|| {
        about.fail(
            format!(
                "{instances_n} instances need {needed} files, and {} may have {hard}",
                facts.who()
            ),
            format!("in /etc/security/limits.conf there: {} hard nofile {needed}", facts.who()),
        )
    });
    about.unless(bad, format!("{hard} may be open"))
}

pub(super) fn cgroup(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let reason = "with it, limits are kept, and no process of a service can hide from its end";
    let about = About { check: "cgroup", reason };
    let bad = match &facts.cgroup {
        None => Some(about.warn(
            "cgroup v2 is not mounted",
            "boot with `systemd.unified_cgroup_hierarchy=1`, or another system",
        )),
        Some(_) if !facts.is_to_be_root() || !may_make_cgroups(facts) => Some(about.warn(
            format!("{} may not make any", facts.who()),
            "`sudo = true` for it in the fleet file, or log in there as root",
        )),
        Some(_) => None,
    };
    about.unless(bad, format!("v2 with {}", facts.cgroup.as_deref().unwrap_or("nothing")))
}
