//! Whether the disk below the root is fit for releases, data and logs.

use alloc::format;
use alloc::vec::Vec;

use super::facts::Facts;
use super::needs::Needs;
use super::{About, Finding};
use crate::capacity::show_bytes;

/// Files that stead has for each instance, with some for its logs.
const INODES_PER_INSTANCE: u64 = 64;

/// Files of releases and of stead itself, in any case.
const INODES_OWN: u64 = 1000;

pub(super) fn disk_space(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let about = About { check: "disk-space", reason: "releases, data and logs go there" };
    let at = facts.mount_point.as_deref().unwrap_or("the disk");
    let Some(free) = facts.disk_free_bytes else {
        let mend = needs.system.pick("`df` there", "`fsutil volume diskfree` there");
        return Vec::from([about.warn("it is not known", mend)]);
    };
    let logs = needs.sum(|spec| Some(spec.log.keep.0));
    let release = needs.release_bytes;
    let found = format!("{} are free at `{at}`", show_bytes(free));
    let mend = format!("make room at `{at}`, or a `root` elsewhere");
    let bad = if free < release {
        let found = format!("{found}, and what is brought is {}", show_bytes(release));
        Some(about.fail(found, mend))
    } else if free < release.saturating_add(logs) {
        let found = format!("{found}, and logs alone may become {}", show_bytes(logs));
        Some(about.warn(found, format!("{mend}; or a smaller `log.keep`")))
    } else {
        None
    };
    about.unless(bad, found)
}

pub(super) fn inodes(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let about = About { check: "inodes", reason: "a disk without any left takes no more files" };
    let Some((all, free)) = facts.inodes else { return Vec::new() };
    if all == 0 {
        return about.ok("they are not counted");
    }
    let instances_n = u64::try_from(needs.plan.instances.len()).unwrap_or(u64::MAX);
    let needed = instances_n.saturating_mul(INODES_PER_INSTANCE).saturating_add(INODES_OWN);
    let mend = "remove what has many small files (`df -i` there), or a `root` elsewhere";
    let found = format!("{free} of {all} are free");
    let bad = if free < needed {
        Some(about.fail(format!("{found}, and some {needed} are needed"), mend))
    } else if free < all / 20 {
        Some(about.warn(found.clone(), mend))
    } else {
        None
    };
    about.unless(bad, found)
}

fn has_option(facts: &Facts, option: &str) -> bool {
    facts.mount_options.as_deref().is_some_and(|all| all.split(',').any(|one| one == option))
}

pub(super) fn mount(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let about = About { check: "mount", reason: "programs are written to it, and run from it" };
    let (Some(options), Some(at)) = (&facts.mount_options, &facts.mount_point) else {
        return Vec::new();
    };
    let remount = |option| format!("`mount -o remount,{option} {at}` there, and in /etc/fstab");
    let bad = if has_option(facts, "ro") {
        Some(about.fail(format!("`{at}` is read-only"), remount("rw")))
    } else if has_option(facts, "noexec") {
        let mend = format!("{}; or a `root` elsewhere", remount("exec"));
        Some(about.fail(format!("`{at}` lets no program run (noexec)"), mend))
    } else {
        None
    };
    about.unless(bad, format!("`{at}`: {options}"))
}

pub(super) fn access_times(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let reason = "else each reading of a file is followed by a write";
    let about = About { check: "access-times", reason };
    let Some(at) = facts.mount_point.as_ref().filter(|_| facts.mount_options.is_some()) else {
        return Vec::new();
    };
    let is_kept = !has_option(facts, "noatime") && !has_option(facts, "relatime");
    let mend = format!("`mount -o remount,noatime {at}` there, and in /etc/fstab");
    let bad = is_kept.then(|| about.warn(format!("`{at}` notes every access"), mend));
    about.unless(bad, format!("`{at}` does not note every access"))
}

pub(super) fn file_system(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let reason = "ext4 and XFS are what most data is kept on";
    let about = About { check: "file-system", reason };
    let Some(kind) = facts.file_system.as_deref() else { return Vec::new() };
    let bad = match kind {
        "ext4" | "xfs" => None,
        "ramfs" | "tmpfs" => {
            Some(about.warn(format!("{kind}: what is there is gone at a reboot"), "another `root`"))
        }
        _ => Some(about.warn(kind, "a `root` on ext4 or XFS, for services that keep data")),
    };
    about.unless(bad, kind)
}

pub(super) fn disk(facts: &Facts, _: &Needs) -> Vec<Finding> {
    let reason = "a disk that turns is slow where many files are written";
    let about = About { check: "disk", reason };
    let Some(is_rotational) = facts.is_rotational else { return Vec::new() };
    let mend = "a `root` on an SSD; a virtual disk may only say that it turns";
    about.unless(is_rotational.then(|| about.warn("it says that it turns", mend)), "an SSD")
}
