//! A release: an immutable set of files, named by the digest of what is in it.
//!
//! ```text
//! digest = BLAKE3("stead-release/1", then per entry, by path: kind, path, mode, len, content)
//! ```
//!
//! Texts are hashed with their length before them, so two sets of files never look alike. Paths
//! are UTF-8 with `/` between their parts, so that the same files have the same name on every
//! system. Packing is: read and hash; if that release is not there, copy under a temporary name,
//! hash again while copying, sync, rename.

mod differ;
mod disk;
mod links;
mod manifest;
mod names;

pub use differ::{Held, PathChange};

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use stead_core::plan::Digest;

use disk::{Disk, Modes};
use links::link_stays_within;

/// The most files, folders and links a release may hold.
pub const ENTRIES_MAX: usize = 100_000;
/// The most folders one in another.
pub const DEPTH_MAX: usize = 64;
/// How old a half-packed release is before it counts as left behind.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

const FORMAT: &str = "stead-release/1";
const MODE_PROGRAM: u32 = 0o555;
const MODE_FILE: u32 = 0o444;
const COPY_LEN: usize = 128 << 10;

/// Why files cannot become a release.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error("`{0}` changed while it was packed")]
    Changed(PathBuf),
    #[error("two files would both be `{0}`")]
    Clash(String),
    #[error("the link `{}` leads out of what is packed, to `{}`", link.display(), to.display())]
    LinkOut { link: PathBuf, to: PathBuf },
    #[error("`{0}` is not there")]
    Missing(PathBuf),
    #[error("`{path}` cannot stand on this system: {why}")]
    Name { path: String, why: String },
    #[error("the name of `{0}` is not UTF-8")]
    NameEncoding(PathBuf),
    #[error("`{0}` cannot be read")]
    Read(PathBuf, #[source] io::Error),
    #[error("`{0}` is no file, folder or link")]
    Special(PathBuf),
    #[error("more than {DEPTH_MAX} folders one in another at `{0}`")]
    TooDeep(PathBuf),
    #[error("more than {ENTRIES_MAX} files")]
    TooMany,
    #[error("`{0}` cannot be written")]
    Write(PathBuf, #[source] io::Error),
}

impl PackError {
    /// Whether what the fleet file names is at fault, not the place it should go to.
    pub fn is_about_the_files(&self) -> bool {
        match self {
            Self::Changed(_)
            | Self::Clash(_)
            | Self::LinkOut { .. }
            | Self::Missing(_)
            | Self::Name { .. }
            | Self::NameEncoding(_)
            | Self::Read(..)
            | Self::Special(_)
            | Self::TooDeep(_)
            | Self::TooMany => true,
            Self::Write(..) => false,
        }
    }

    /// What may help; `field` is the one of the fleet file that names the files.
    pub fn try_this(&self, field: &str) -> Option<String> {
        let text = match self {
            Self::Changed(_) => "do it again once nothing writes there".into(),
            Self::Clash(_) => "give one of them another name, or put both into folders".into(),
            Self::LinkOut { .. } => {
                format!("name what it leads to in `{field}`, or make it a relative link")
            }
            Self::Missing(_) => format!(
                "build it first or say how with `build`; a path in `{field}` starts from the \
                 fleet file's folder"
            ),
            Self::Name { .. } | Self::NameEncoding(_) => "give it a plain name".into(),
            Self::Special(_) | Self::TooDeep(_) | Self::TooMany => {
                format!("name less in `{field}`")
            }
            Self::Read(..) | Self::Write(..) => return None,
        };
        Some(text)
    }
}

/// One entry of a release, by its path in it.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Entry {
    File { from: PathBuf, mode: u32, len: u64, digest: blake3::Hash },
    Folder,
    Link { to: String },
}

/// A file or folder that is to be in a release.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    pub path: PathBuf,
    /// What it is called in the release: one plain part of a path.
    pub name: String,
}

/// What a release holds, read from the files it is made of.
#[derive(Debug)]
pub struct Release {
    entries: BTreeMap<String, Entry>,
    digest: Digest,
}

impl Release {
    /// Reads these files, and folders with everything in them.
    pub fn read(sources: &[Source]) -> Result<Self, PackError> {
        let mut reader = Reader::new(Disk::HERE.modes());
        for Source { path, name } in sources {
            if reader.entries.contains_key(name) {
                return Err(PackError::Clash(name.clone()));
            }
            // What is named is meant, also when it is a link: it is followed.
            let kind = fs::metadata(path).map_err(|error| read_error(path, error))?;
            reader.take(path, name.clone(), &kind, 0)?;
        }
        let digest = name_of(&reader.entries);
        Ok(Self { entries: reader.entries, digest })
    }

    /// Reads what stands in a folder.
    pub fn of_folder(folder: &Path) -> Result<Self, PackError> {
        Self::of_folder_on(Disk::HERE, folder)
    }

    fn of_folder_on(disk: Disk, folder: &Path) -> Result<Self, PackError> {
        let mut reader = Reader::new(disk.modes_of_release(folder));
        reader.take_all(folder, None, 0)?;
        Ok(Self { digest: name_of(&reader.entries), entries: reader.entries })
    }

    /// Whether what stands in a folder is the release of this digest, content for content.
    pub fn stands(folder: &Path, digest: &Digest) -> Result<bool, PackError> {
        Self::stands_on(Disk::HERE, folder, digest)
    }

    fn stands_on(disk: Disk, folder: &Path, digest: &Digest) -> Result<bool, PackError> {
        let there = Self::of_folder_on(disk, folder)?;
        // Two modes may be read as one; they must be exact here.
        Ok(there.digest == *digest && there.is_at(disk, folder))
    }

    /// The same with the contents of other files in the place of these, by their paths in it.
    /// What is a program stays one.
    pub fn with_contents(mut self, others: &BTreeMap<String, PathBuf>) -> Result<Self, PackError> {
        let mut reader = Reader::new(Disk::HERE.modes());
        for (path, other) in others {
            let kind = fs::metadata(other).map_err(|error| read_error(other, error))?;
            let mut entry = reader.read_file(other, path, &kind)?;
            match (&mut entry, self.entries.get(path)) {
                (Entry::File { mode, .. }, Some(Entry::File { mode: before, .. })) => {
                    *mode = *before;
                }
                (Entry::File { .. } | Entry::Folder | Entry::Link { .. }, _) => {
                    return Err(PackError::Missing(path.into()));
                }
            }
            self.entries.insert(path.clone(), entry);
        }
        self.digest = name_of(&self.entries);
        Ok(self)
    }

    /// The digest that names it.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Bytes of all its files.
    pub fn len_bytes(&self) -> u64 {
        let len = |entry: &Entry| match entry {
            Entry::File { len, .. } => *len,
            Entry::Folder | Entry::Link { .. } => 0,
        };
        self.entries.values().map(len).sum()
    }

    /// Whether it stands in this folder under its digest.
    pub fn is_in(&self, releases: &Path) -> bool {
        self.is_at(Disk::HERE, &releases.join(self.digest.as_str()))
    }

    /// Refuses what cannot stand on this system with the names that it has.
    pub(crate) fn takes_names(&self) -> Result<(), PackError> {
        Disk::HERE.takes_names(self)
    }

    /// Puts it into this folder under its digest, whole or not at all; `false` if it was there.
    pub fn pack(&self, releases: &Path) -> Result<bool, PackError> {
        self.put_into(Disk::HERE, releases, Files::Copied)
    }

    /// As [`Release::pack`], of files that are on the disk already, are what their digests say, and
    /// are nobody else's: nothing is copied that need not be.
    pub(crate) fn pack_own(&self, releases: &Path) -> Result<bool, PackError> {
        self.put_into(Disk::HERE, releases, Files::Taken)
    }

    /// Puts it into a folder of any name, which is made. One that is there and holds it stays; one
    /// that holds something else is not touched.
    pub fn pack_as_folder(&self, folder: &Path) -> Result<(), PackError> {
        let at = |error| PackError::Write(folder.into(), error);
        if folder.exists() {
            return match Self::of_folder(folder)?.digest() == self.digest() {
                true => Ok(()),
                false => Err(at(io::ErrorKind::AlreadyExists.into())),
            };
        }
        Disk::HERE.takes_names(self)?;
        let temporary = folder.with_extension(format!("tmp-{}", std::process::id()));
        remove_folder(&temporary);
        let filled = self.fill(&temporary, Files::Copied);
        // It is its owner's to remove.
        open_folders(&temporary, 0);
        let put = filled.and_then(|()| fs::rename(&temporary, folder).map_err(at));
        put.inspect_err(|_| remove_folder(&temporary))
    }

    fn put_into(&self, disk: Disk, releases: &Path, files: Files) -> Result<bool, PackError> {
        let place = releases.join(self.digest.as_str());
        if self.is_at(disk, &place) {
            return Ok(false);
        }
        disk.takes_names(self)?;
        sweep_leftovers(disk, releases);
        let name = format!("{}.tmp-{}", self.digest.as_str(), std::process::id());
        let temporary = releases.join(name);
        let packed = self.pack_as(disk, &temporary, &place, files);
        if packed.is_err() {
            remove_folder(&temporary);
        }
        packed.map(|()| true)
    }

    fn pack_as(
        &self,
        disk: Disk,
        temporary: &Path,
        place: &Path,
        files: Files,
    ) -> Result<(), PackError> {
        remove_folder(temporary);
        self.fill(temporary, files)?;
        // Another `stead` may have packed the same in the meantime.
        if self.is_at(disk, place) {
            remove_folder(temporary);
            return Ok(());
        }
        disk.put_list(self, place)?;
        let spoiled = temporary.with_extension(format!("tmp-{}-spoiled", std::process::id()));
        // Somebody has written to a release: put it aside, for a release is what its name says.
        let was_there = fs::rename(place, &spoiled).is_ok();
        fs::rename(temporary, place).map_err(|error| PackError::Write(place.into(), error))?;
        if was_there {
            remove_folder(&spoiled);
        }
        place.parent().map_or(Ok(()), sync_folder)
    }

    /// Whether every entry stands there with its kind, mode and length, and nothing else does.
    fn is_at(&self, disk: Disk, place: &Path) -> bool {
        let stands = |(path, entry): (&String, &Entry)| {
            let path = place.join(path);
            let Ok(there) = fs::symlink_metadata(&path) else { return false };
            match entry {
                Entry::File { mode, len, .. } => {
                    there.is_file() && there.len() == *len && disk.has_mode(&there, *mode)
                }
                Entry::Folder => there.is_dir(),
                Entry::Link { to } => {
                    stead_proc::read_link(&path).is_ok_and(|link| link == Path::new(to))
                }
            }
        };
        self.entries.iter().all(stands)
            && count(place, 0).is_ok_and(|n| n == self.entries.len())
            && disk.has_list(self, place)
    }

    fn fill(&self, temporary: &Path, files: Files) -> Result<(), PackError> {
        let write_error = |path: &Path, error| PackError::Write(path.into(), error);
        let make = |path: &Path| {
            stead_proc::make_open_folder(path).map_err(|error| write_error(path, error))
        };
        make(temporary)?;
        let mut folders = vec![temporary.to_path_buf()];
        let mut chunk = vec![0; COPY_LEN];
        let mut taken = BTreeSet::new();
        // A folder's path sorts before those in it, so each is made before it is filled.
        for (path, entry) in &self.entries {
            let to = temporary.join(path);
            match entry {
                Entry::File { from, mode, digest, .. } => {
                    // Each can be had in one place only.
                    let is_own = files == Files::Taken && taken.insert(from);
                    if is_own && take_file(from, &to, *mode).is_ok() {
                        continue;
                    }
                    if copy_file(from, &to, *mode, &mut chunk)? != *digest {
                        return Err(PackError::Changed(from.clone()));
                    }
                }
                Entry::Folder => {
                    make(&to)?;
                    folders.push(to);
                }
                Entry::Link { to: target } => {
                    stead_proc::make_link(target, &to, self.leads_to_folder(path))
                        .map_err(|error| write_error(&to, error))?;
                }
            }
        }
        for folder in folders.iter().rev() {
            sync_folder(folder)?;
            stead_proc::set_mode(folder, MODE_PROGRAM)
                .map_err(|error| write_error(folder, error))?;
        }
        Ok(())
    }
}

/// How the files of a release get into its folder.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Files {
    /// They stay where they are, and are looked at on the way.
    Copied,
    Taken,
}

struct Reader {
    entries: BTreeMap<String, Entry>,
    modes: Modes,
    chunk: Vec<u8>,
}

impl Reader {
    fn new(modes: Modes) -> Self {
        Self { entries: BTreeMap::new(), modes, chunk: vec![0; COPY_LEN] }
    }

    fn take(
        &mut self,
        from: &Path,
        name: String,
        kind: &fs::Metadata,
        depth: usize,
    ) -> Result<(), PackError> {
        if depth > DEPTH_MAX {
            return Err(PackError::TooDeep(from.into()));
        }
        if self.entries.len() >= ENTRIES_MAX {
            return Err(PackError::TooMany);
        }
        if kind.is_file() {
            let entry = self.read_file(from, &name, kind)?;
            self.entries.insert(name, entry);
        } else if kind.is_symlink() {
            let entry = links::read_link(from, depth)?;
            self.entries.insert(name, entry);
        } else if kind.is_dir() {
            self.entries.insert(name.clone(), Entry::Folder);
            self.take_all(from, Some(&name), depth + 1)?;
        } else {
            return Err(PackError::Special(from.into()));
        }
        Ok(())
    }

    /// Everything in a folder, which has this name in the release, or is it.
    fn take_all(&mut self, from: &Path, name: Option<&str>, depth: usize) -> Result<(), PackError> {
        for item in fs::read_dir(from).map_err(|error| read_error(from, error))? {
            let item = item.map_err(|error| read_error(from, error))?;
            let path = item.path();
            let kind = item.metadata().map_err(|error| read_error(&path, error))?;
            let own = utf8(&item.file_name(), &path)?;
            let name = name.map_or_else(|| own.clone(), |name| format!("{name}/{own}"));
            self.take(&path, name, &kind, depth)?;
        }
        Ok(())
    }

    fn read_file(
        &mut self,
        from: &Path,
        name: &str,
        kind: &fs::Metadata,
    ) -> Result<Entry, PackError> {
        let mut file = File::open(from).map_err(|error| read_error(from, error))?;
        let mut hasher = blake3::Hasher::new();
        let mut len = 0;
        let mut mode = self.modes.mode(name, kind, b"");
        loop {
            let n = read_some(&mut file, &mut self.chunk, from)?;
            if n == 0 {
                break;
            }
            if len == 0 {
                mode = self.modes.mode(name, kind, &self.chunk[..n]);
            }
            hasher.update(&self.chunk[..n]);
            len += n as u64;
        }
        Ok(Entry::File { from: from.into(), mode, len, digest: hasher.finalize() })
    }
}

/// Has a file that is on the disk stand in another place, too.
fn take_file(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    fs::hard_link(from, to)?;
    stead_proc::set_mode_durably(to, mode).inspect_err(|_| drop(fs::remove_file(to)))
}

fn copy_file(
    from: &Path,
    to: &Path,
    mode: u32,
    chunk: &mut [u8],
) -> Result<blake3::Hash, PackError> {
    let write_error = |error| PackError::Write(to.into(), error);
    let mut source = File::open(from).map_err(|error| read_error(from, error))?;
    let mut target = stead_proc::create_file(to).map_err(write_error)?;
    let mut hasher = blake3::Hasher::new();
    loop {
        let n = read_some(&mut source, chunk, from)?;
        if n == 0 {
            break;
        }
        hasher.update(&chunk[..n]);
        target.write_all(&chunk[..n]).map_err(write_error)?;
    }
    // The mode is set on the open file, so no umask takes from it.
    stead_proc::set_file_mode(&target, mode).map_err(write_error)?;
    target.sync_all().map_err(write_error)?;
    Ok(hasher.finalize())
}

fn read_some(file: &mut File, chunk: &mut [u8], path: &Path) -> Result<usize, PackError> {
    loop {
        match file.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            other => return other.map_err(|error| read_error(path, error)),
        }
    }
}

fn read_error(path: &Path, error: io::Error) -> PackError {
    let is_missing = error.kind() == io::ErrorKind::NotFound;
    if is_missing { PackError::Missing(path.into()) } else { PackError::Read(path.into(), error) }
}

fn utf8(name: &std::ffi::OsStr, path: &Path) -> Result<String, PackError> {
    name.to_str().map(String::from).ok_or_else(|| PackError::NameEncoding(path.into()))
}

fn name_of(entries: &BTreeMap<String, Entry>) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let mut text = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    text(FORMAT.as_bytes());
    for (path, entry) in entries {
        match entry {
            Entry::File { mode, len, digest, .. } => {
                text(b"file");
                text(path.as_bytes());
                text(&mode.to_le_bytes());
                text(&len.to_le_bytes());
                text(digest.as_bytes());
            }
            Entry::Folder => {
                text(b"folder");
                text(path.as_bytes());
            }
            Entry::Link { to } => {
                text(b"link");
                text(path.as_bytes());
                text(to.as_bytes());
            }
        }
    }
    let hex = hasher.finalize().to_hex().to_string();
    Digest::try_from(hex).expect("a BLAKE3 hash in hexadecimal is a digest")
}

/// Entries below a folder.
fn count(folder: &Path, depth: usize) -> io::Result<usize> {
    let mut n = 0;
    for item in fs::read_dir(folder)? {
        let item = item?;
        n += 1;
        if item.file_type()?.is_dir() && depth <= DEPTH_MAX {
            n += count(&item.path(), depth + 1)?;
        }
    }
    Ok(n)
}

fn sync_folder(folder: &Path) -> Result<(), PackError> {
    stead_proc::sync_folder(folder).map_err(|error| PackError::Write(folder.into(), error))
}

/// Removes what a `stead` that was killed left half-packed. Failing to is no harm.
fn sweep_leftovers(disk: Disk, releases: &Path) {
    let Ok(items) = fs::read_dir(releases) else { return };
    for item in items.flatten() {
        let is_temporary = item.file_name().to_string_lossy().contains(".tmp-");
        let age = item.metadata().and_then(|there| there.modified()).ok();
        let age = age.and_then(|modified| SystemTime::now().duration_since(modified).ok());
        if age.is_none_or(|age| age <= LEFTOVER_AGE) {
            continue;
        }
        if is_temporary {
            remove_folder(&item.path());
        } else if disk.is_lone_list(&item.path()) {
            let _ = fs::remove_file(item.path());
        }
    }
}

/// Removes a folder and all in it, also what may not be written to. Failing to is no harm: what
/// has a temporary name is nobody's release.
fn remove_folder(folder: &Path) {
    open_folders(folder, 0);
    let _ = fs::remove_dir_all(folder);
}

fn open_folders(folder: &Path, depth: usize) {
    let _ = stead_proc::set_mode(folder, 0o755);
    let Ok(items) = fs::read_dir(folder) else { return };
    for item in items.flatten() {
        if item.file_type().is_ok_and(|kind| kind.is_dir()) && depth <= DEPTH_MAX {
            open_folders(&item.path(), depth + 1);
        }
    }
}

#[cfg(test)]
mod tests;
