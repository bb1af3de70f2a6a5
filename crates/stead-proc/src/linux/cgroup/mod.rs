//! The cgroup v2 of a run, where the hierarchy is there and may be written, or systemd lets us have
//! a part of it.

mod ceilings;
mod scope;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub use self::scope::host_ends;
use crate::ceilings::{Ceilings, Hits, Keepable};

/// The folder below which an instance's runs have their cgroups.
#[derive(Debug)]
pub struct CgroupHome {
    folder: PathBuf,
    /// It is systemd's: it goes by itself.
    is_scope: bool,
}

/// The mode of a cgroup that was killed, so that every later owner knows: kernels from 6.14 on
/// count the kills of a cgroup, and kill at once what is cloned right into one that was ever killed
/// (seen with 6.18).
const SPENT: u32 = 0o500;

/// One run's cgroup.
#[derive(Debug)]
pub struct Cgroup {
    folder: PathBuf,
    held: File,
}

impl CgroupHome {
    /// Makes the home of an owner's folder, or says why there can be none: below this process's own
    /// cgroup, or, under systemd, as a scope, which this process enters.
    ///
    /// What shares a cgroup is killed together, so the name holds what no two folders on a host
    /// have in common: device and inode.
    pub fn make(owner: &Path) -> io::Result<Self> {
        let meta = owner.metadata()?;
        let name = owner.file_name().and_then(|name| name.to_str()).unwrap_or("instance");
        let name = format!("stead-{name}-{:x}-{:x}", meta.dev(), meta.ino());
        let none = || io::Error::other("there is no cgroup v2");
        let manager = scope::manager();
        let folder = match manager {
            Some(manager) => scope::join(manager, &name, &v2_mount().ok_or_else(none)?)?,
            None => own_cgroup().ok_or_else(none)?.join(name),
        };
        fs::create_dir_all(&folder)?;
        // Without cgroup.kill (kernels before 5.14) it is no better than the other way.
        if !folder.join("cgroup.kill").exists() {
            return Err(io::Error::other("its cgroups have no `cgroup.kill`"));
        }
        Ok(Self { folder, is_scope: manager.is_some() })
    }

    /// What runs can be held to. Asked for the first time, it makes that so.
    pub fn keepable(&self) -> Keepable {
        if let Some(parent) = self.folder.parent().filter(|_| !self.is_scope) {
            ceilings::enable(parent);
        }
        ceilings::enable(&self.folder)
    }

    /// Whether runs were ever held to anything.
    pub fn is_limited(&self) -> bool {
        ceilings::enabled(&self.folder) != Keepable::default()
    }

    /// The cgroup for a run that is about to begin, in a slot that no living run has.
    ///
    /// The slots are used again: making a cgroup for each run would cost every restart; but one
    /// that was killed is made anew.
    pub fn begin(&self, slot: u64) -> io::Result<Cgroup> {
        let cgroup = self.run(slot)?;
        if cgroup.held.metadata()?.mode() & 0o777 != SPENT {
            return Ok(cgroup);
        }
        remove_below(&cgroup.folder);
        self.run(slot)
    }

    /// The cgroup of the run in this slot as it is, made if it is not there.
    pub fn run(&self, slot: u64) -> io::Result<Cgroup> {
        let folder = self.folder.join(format!("run-{slot}"));
        let held = match File::open(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir(&folder)?;
                File::open(&folder)?
            }
            opened => opened?,
        };
        Ok(Cgroup { folder, held })
    }

    /// Removes the home with its cgroups, if nothing is left in them.
    pub fn remove(&self) {
        if !self.is_scope {
            remove_below(&self.folder);
        }
    }
}

/// The folder of the cgroup v2 this process is in.
fn own_cgroup() -> Option<PathBuf> {
    let mount = v2_mount()?;
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // A keeper that replaces another may stand inside a home already: the root of all is safe.
    let path =
        path.split("/stead-").next().filter(|path| !path.starts_with("stead-")).unwrap_or("");
    Some(mount.join(path))
}

fn v2_mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let is_v2 = |line: &&str| line.split(' ').nth(2) == Some("cgroup2");
    Some(PathBuf::from(mounts.lines().find(is_v2)?.split(' ').nth(1)?))
}

/// What runs of this process's user can be held to on this host, whoever keeps them.
pub fn keepable() -> Keepable {
    let Some(mount) = v2_mount() else { return Keepable::default() };
    match scope::manager() {
        Some(manager) => {
            let folder = scope::manager_cgroup(manager, &mount);
            let list = fs::read_to_string(folder.join("cgroup.controllers"));
            Keepable::of_list(&list.unwrap_or_default())
        }
        None => own_cgroup().map_or_else(Keepable::default, |folder| ceilings::enable(&folder)),
    }
}

impl Cgroup {
    /// Holds what is in it to these from now on.
    pub fn hold_to(&self, ceilings: &Ceilings) -> io::Result<()> {
        ceilings.apply(&self.folder)
    }

    /// How often what is or was in it came up against its ceilings.
    pub fn hits(&self) -> Hits {
        ceilings::hits(&self.folder)
    }

    /// The run's cgroup that a process is in, if it is in one that a [`CgroupHome`] made.
    pub fn of_process(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let folder = v2_mount()?.join(path);
        let is_run = folder.file_name()?.to_str()?.starts_with("run-");
        let held = File::open(&folder).ok().filter(|_| is_run)?;
        Some(Self { folder, held })
    }

    /// Every process in it or below it.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        let mut found = Vec::new();
        collect_pids(&self.folder, &mut found)?;
        Ok(found)
    }

    /// Whether nothing in it or below it is alive.
    pub fn is_empty(&self) -> bool {
        let events = fs::read_to_string(self.folder.join("cgroup.events")).unwrap_or_default();
        // A cgroup that is gone is empty.
        !events.lines().any(|line| line == "populated 1")
    }

    /// Kills everything in it and below it at once.
    pub fn kill(&self) -> io::Result<()> {
        // We made it, so we may; if not, killing counts more.
        let _ = self.held.set_permissions(Permissions::from_mode(SPENT));
        OpenOptions::new().write(true).open(self.folder.join("cgroup.kill"))?.write_all(b"1")
    }
}

impl AsFd for Cgroup {
    /// The folder, for a process to begin in.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.held.as_fd()
    }
}

fn collect_pids(folder: &Path, found: &mut Vec<u32>) -> io::Result<()> {
    let text = match fs::read_to_string(folder.join("cgroup.procs")) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
    for below in subfolders(folder) {
        collect_pids(&below, found)?;
    }
    Ok(())
}

fn remove_below(folder: &Path) {
    for below in subfolders(folder) {
        remove_below(&below);
    }
    let _ = fs::remove_dir(folder);
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
