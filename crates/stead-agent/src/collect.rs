//! Collecting what is old on a host: releases, configurations, secrets, contents that came for
//! nothing, programs of stead's own.
//!
//! What must stay is decided by `stead_core::keep`. What goes is renamed first, so that whatever
//! happens in between, no half of it stands under its name; what is left so is removed the next
//! time. Nothing is taken from who brings something at this moment: see [`Collecting`].

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use stead_core::keep::{GoesBy, Kept};
use stead_core::names::InstanceName;
use stead_core::plan::{Digest, Plan};
use stead_release::lock::Collecting;
use stead_wire::file;

use crate::hands::{LAUNCH_FORMAT, read_launch};
use crate::history;
use crate::kit;
use crate::layout::{Layout, remove_folder};
use crate::store::{self, Found};

/// What the name ends with of what is about to be removed.
const GONE: &str = ".gone";

/// Contents that have come are of use until their release is put together, and to a deploy that
/// was broken off and is begun anew: so long.
const INCOMING_AGE_MIN: Duration = Duration::from_secs(3600);

/// Programs that have come are of use to whoever brought them before a link leads to them.
const KIT_AGE_MIN: Duration = Duration::from_secs(3600);

/// Who brings something is mostly done at once.
const AGAIN_AFTER_PUT: Duration = Duration::from_secs(5);

/// A run that goes by an old launch may take long, and to look means to read the whole history.
const AGAIN_AFTER_RUN: Duration = Duration::from_secs(60);

/// So much of the digest names what was removed.
const NAME_LEN: usize = 12;

/// What to collect by.
#[derive(Debug)]
pub(crate) struct Collect {
    /// The plan of now, what is staged, the way back.
    pub(crate) plans: Vec<Plan>,
    /// The mark of the launch that all of an instance goes by, where it is one.
    pub(crate) settled: BTreeMap<InstanceName, u32>,
}

/// What was collected.
#[derive(Debug, Default)]
pub(crate) struct Collected {
    /// What it was, each with the beginning of its name.
    pub(crate) removed: Vec<String>,
    pub(crate) bytes: u64,
    /// There may be more once what is under way now has ended: when to look again.
    pub(crate) again_after: Option<Duration>,
}

/// Collects what nothing needs any more.
pub(crate) fn collect(layout: &Layout, keeper: &Path, job: &Collect) -> io::Result<Collected> {
    let folders = [Folder::Releases, Folder::Configs, Folder::Kits, Folder::Programs];
    for folder in folders {
        for left in listed(&folder.path(layout))?.filter(|path| is_gone(path)) {
            remove_folder(&left)?;
        }
    }
    let Some(lock) = Collecting::begin(layout.root())? else {
        return Ok(Collected { again_after: Some(AGAIN_AFTER_PUT), ..Collected::default() });
    };
    let runs = runs(layout, &job.settled)?;
    let is_settled = runs.iter().all(|run| run.is_settled);
    let again_after = (!is_settled).then_some(AGAIN_AFTER_RUN);
    let damaged_n = Cell::new(0);
    let kept = Kept::of(&job.plans, &runs, history::plans(layout, &damaged_n)?);
    if damaged_n.get() > 0 && !is_settled {
        // A run may go by what only a damaged entry names.
        return Ok(Collected { again_after, ..Collected::default() });
    }
    let mut gone = Gone::default();
    for (folder, kept) in [(Folder::Releases, &kept.releases), (Folder::Configs, &kept.configs)] {
        let is_kept = |digest: &Digest| kept.contains(digest);
        gone.take(folder, old_digests(&folder.path(layout), is_kept)?)?;
    }
    gone.take(Folder::Kits, old_kits(layout, keeper, &runs)?)?;
    gone.take(Folder::Programs, old_programs(&Folder::Programs.path(layout))?)?;
    gone.unlink("secret", old_digests(&layout.secrets(), |id| kept.secrets.contains(id))?)?;
    let incoming = listed(&layout.incoming())?.filter(|path| is_older(path, INCOMING_AGE_MIN));
    gone.unlink("content", incoming.collect())?;
    // What is out of its place is nobody's: it may take long to remove, and others may put.
    drop(lock);
    for folder in &gone.renamed {
        remove_folder(folder)?;
    }
    Ok(Collected { removed: gone.removed, bytes: gone.bytes, again_after })
}

/// A folder with folders that are removed as a whole.
#[derive(Clone, Copy, Debug)]
enum Folder {
    Configs,
    Kits,
    Programs,
    Releases,
}

impl Folder {
    fn path(self, layout: &Layout) -> PathBuf {
        match self {
            Self::Configs => layout.packed_configs(),
            Self::Kits => layout.kits(),
            Self::Programs => layout.programs(),
            Self::Releases => layout.releases(),
        }
    }

    /// What one of them is called.
    fn noun(self) -> &'static str {
        match self {
            Self::Configs => "configuration",
            Self::Kits | Self::Programs => "programs",
            Self::Releases => "release",
        }
    }
}

/// What was taken out of its place.
#[derive(Default)]
struct Gone {
    renamed: Vec<PathBuf>,
    removed: Vec<String>,
    bytes: u64,
}

impl Gone {
    /// Takes folders out of their places, beside them: to be moved into another folder, one would
    /// have to be open to writing. The disk has it before anything in them is removed.
    fn take(&mut self, folder: Folder, paths: Vec<PathBuf>) -> io::Result<()> {
        let Some(parent) = paths.first().and_then(|path| path.parent().map(Path::to_path_buf))
        else {
            return Ok(());
        };
        for path in paths {
            self.note(folder.noun(), &path)?;
            let mut name = path.file_name().unwrap_or_default().to_os_string();
            name.push(GONE);
            let renamed = path.with_file_name(name);
            fs::rename(&path, &renamed)?;
            self.renamed.push(renamed);
        }
        stead_proc::sync_folder(&parent)
    }

    /// Removes files: each is there or is not.
    fn unlink(&mut self, noun: &str, paths: Vec<PathBuf>) -> io::Result<()> {
        for path in paths {
            self.note(noun, &path)?;
            fs::remove_file(&path)?;
        }
        Ok(())
    }

    fn note(&mut self, noun: &str, path: &Path) -> io::Result<()> {
        self.bytes += len(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.removed.push(format!("{noun} {}", name.chars().take(NAME_LEN).collect::<String>()));
        Ok(())
    }
}

/// What the runs of each instance that has a folder go by.
fn runs(layout: &Layout, settled: &BTreeMap<InstanceName, u32>) -> io::Result<Vec<GoesBy>> {
    let (instances, _) = layout.list()?;
    Ok(instances.into_iter().map(|instance| goes_by(layout, instance, settled)).collect())
}

/// What its keeper said may be old: it is so only if the folder still says the same.
fn goes_by(
    layout: &Layout,
    instance: InstanceName,
    settled: &BTreeMap<InstanceName, u32>,
) -> GoesBy {
    let folder = layout.instance(&instance);
    let held = match read_launch(&folder) {
        Found::Whole(launch) => Some(launch),
        Found::Absent | Found::Damaged { .. } => None,
    };
    let mark = held.as_ref().map(file::mark);
    let is_settled = mark.is_some() && settled.get(&instance).copied() == mark;
    let next = match store::read(&folder.join("next.json"), LAUNCH_FORMAT) {
        Found::Whole(launch) if !is_settled => Some(launch),
        Found::Whole(_) | Found::Absent | Found::Damaged { .. } => None,
    };
    GoesBy { instance, launches: held.map(|it| *it).into_iter().chain(next).collect(), is_settled }
}

/// The files and folders with a digest for a name that are not kept.
fn old_digests(folder: &Path, is_kept: impl Fn(&Digest) -> bool) -> io::Result<Vec<PathBuf>> {
    let is_old = |path: &PathBuf| {
        let digest = Digest::try_from(name(path).to_owned());
        digest.is_ok_and(|digest| !is_kept(&digest))
    };
    Ok(listed(folder)?.filter(is_old).collect())
}

/// Programs of keepers and fronts but those of now, of before, and those that a launch names.
fn old_kits(layout: &Layout, keeper: &Path, runs: &[GoesBy]) -> io::Result<Vec<PathBuf>> {
    let launches = runs.iter().flat_map(|run| &run.launches);
    let texts: Vec<String> = launches.filter_map(|it| serde_json::to_string(it).ok()).collect();
    let is_named = |digest: &Digest| texts.iter().any(|text| text.contains(digest.as_str()));
    let mut old = old_digests(&layout.kits(), is_named)?;
    old.retain(|path| path != kit::folder(keeper) && is_older(path, KIT_AGE_MIN));
    old.sort_by_key(|path| std::cmp::Reverse(modified(path)));
    Ok(old.into_iter().skip(1).collect())
}

/// Programs of the agent and the relay but those that a name stands for; without one nobody knows
/// which these are.
fn old_programs(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let names = ["current", "previous"];
    let linked = names.map(|name| stead_proc::read_pointer(&folder.join(name)).ok());
    if linked[0].is_none() {
        return Ok(Vec::new());
    }
    let linked: BTreeSet<PathBuf> = linked.into_iter().flatten().collect();
    let is_kit = |path: &PathBuf| {
        let is_folder = fs::symlink_metadata(path).is_ok_and(|there| there.is_dir());
        is_folder && name(path).bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let all = listed(folder)?.filter(is_kit).filter(|path| is_older(path, KIT_AGE_MIN));
    Ok(all.filter(|path| !linked.contains(Path::new(name(path)))).collect())
}

/// Everything in a folder, if it is there, by name.
fn listed(folder: &Path) -> io::Result<impl Iterator<Item = PathBuf> + use<>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(entries.into_iter().collect::<BTreeSet<_>>().into_iter())
}

/// Empty for a name that is none of ours.
fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn is_gone(path: &Path) -> bool {
    name(path).ends_with(GONE)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).and_then(|there| there.modified()).ok()
}

/// Whether it was last changed so long ago; not, if the clock says that it is yet to come.
fn is_older(path: &Path, age: Duration) -> bool {
    let since = modified(path).and_then(|at| SystemTime::now().duration_since(at).ok());
    since.is_some_and(|since| since > age)
}

/// Bytes of a file, or of all files in a folder.
fn len(path: &Path) -> io::Result<u64> {
    let there = fs::symlink_metadata(path)?;
    if !there.is_dir() {
        return Ok(if there.is_file() { there.len() } else { 0 });
    }
    fs::read_dir(path)?.map(|entry| len(&entry?.path())).sum()
}

#[cfg(test)]
mod tests;
