//! The kit of a host: stead's own programs, under the digest of all of them, so that an agent can
//! be replaced by another one and the one before be had again.

use std::env::consts::ARCH;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use stead_core::registry::memory::Change;
use stead_core::registry::{KeyPath, Raw, Value, ValueName};
use stead_fleet::Os;
use stead_host::registry;
use stead_release::lock::Putting;

use crate::agent;
use crate::failure::{Failure, FleetFailure};
use crate::root;

/// The files of programs that belong together, the first of which is `stead` itself.
fn files(os: Os) -> &'static [&'static str] {
    match os {
        Os::Linux => &["stead", "stead-keeper", "stead-front"],
        // There is no front for it yet.
        Os::Windows => &["stead.exe", "stead-keeper.exe"],
    }
}

/// The folder beside this very program that has kits for other systems, each in a folder of its
/// own; and the variable that names another.
const KITS: (&str, &str) = ("kits", "STEAD_KITS");

/// So much of the digest names a kit.
const DIGEST_LEN: usize = 16;

/// The programs themselves.
pub(crate) struct Kit {
    os: Os,
    digest: String,
    paths: Vec<PathBuf>,
    /// In the order of [`files`].
    programs: Vec<Vec<u8>>,
}

impl Kit {
    /// This very program and those beside it.
    pub(crate) fn own() -> Result<Self, Failure> {
        let at = |error: io::Error| failed("read the programs of stead", error);
        let own = std::env::current_exe().map_err(at)?;
        let keeper = agent::keeper_program()?;
        let beside = files(Os::here())[1..].iter().map(|name| keeper.with_file_name(name));
        Self::read(Os::here(), [own].into_iter().chain(beside).collect())
    }

    /// The programs for hosts of a system, on machines like this one.
    pub(crate) fn of(os: Os) -> Result<Self, Failure> {
        if os == Os::here() {
            return Self::own();
        }
        let (name, variable) = KITS;
        let told = std::env::var_os(variable).filter(|path| !path.is_empty());
        let beside = || Some(std::env::current_exe().ok()?.with_file_name(name));
        let kits = told.map(PathBuf::from).or_else(beside).unwrap_or_else(|| name.into());
        let folder = kits.join(format!("{}-{ARCH}", os.as_str()));
        let paths: Vec<_> = files(os).iter().map(|name| folder.join(name)).collect();
        match paths.iter().all(|path| path.is_file()) {
            true => Self::read(os, paths),
            false => Err(FleetFailure::NoKit { os, looked_at: folder }.into()),
        }
    }

    /// One of no programs.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        Self {
            os: Os::here(),
            digest: "0".repeat(DIGEST_LEN),
            paths: Vec::new(),
            programs: Vec::new(),
        }
    }

    fn read(os: Os, paths: Vec<PathBuf>) -> Result<Self, Failure> {
        let (mut digest, mut programs) = (blake3::Hasher::new(), Vec::new());
        for path in &paths {
            let bytes = fs::read(path).map_err(|error| {
                let why = format!("`{}`: {error}", path.display());
                failed("read the programs of stead", why)
            })?;
            digest.update(&bytes);
            programs.push(bytes);
        }
        let digest = digest.finalize().to_hex()[..DIGEST_LEN].to_owned();
        Ok(Self { os, digest, paths, programs })
    }

    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// The bytes of each program.
    pub(crate) fn programs(&self) -> &[Vec<u8>] {
        &self.programs
    }

    /// The name of each program's file there, and where it is here.
    pub(crate) fn files(&self) -> Vec<(&'static str, &Path)> {
        let names = files(self.os).iter().copied();
        names.zip(self.paths.iter().map(PathBuf::as_path)).collect()
    }

    /// Puts them below a root, where they are not yet.
    fn put(&self, places: &KitPlaces) -> Result<(), Failure> {
        let at = |error: io::Error| failed("copy the programs", error);
        let folder = places.folder.join(&self.digest);
        fs::create_dir_all(&folder).map_err(at)?;
        for (name, bytes) in files(Os::here()).iter().zip(&self.programs) {
            let path = folder.join(name);
            if fs::read(&path).ok().as_deref() == Some(bytes) {
                continue;
            }
            let new = folder.join(format!("{name}.new"));
            fs::write(&new, bytes).map_err(at)?;
            stead_proc::set_mode(&new, 0o755).map_err(at)?;
            fs::File::options()
                .append(true)
                .open(&new)
                .and_then(|file| file.sync_all())
                .map_err(at)?;
            fs::rename(&new, path).map_err(at)?;
        }
        Ok(())
    }
}

/// Sees to it that the kit of this very program is below a root, and says its name.
pub(crate) fn make_present(places: &KitPlaces) -> Result<String, Failure> {
    // One that runs from there was looked at when it came: to read it again would cost each deploy.
    if let Some(name) = places.own_name() {
        return Ok(name);
    }
    let kit = Kit::own()?;
    kit.put(places)?;
    Ok(kit.digest)
}

/// The key of the registry in which whoever logs in to a host with Windows notes, by marks, that a
/// root was found to be closed to others.
pub(crate) const MARKS: &str = r"HKCU\SOFTWARE\stead";

/// Puts this very program and those beside it below a root, if they are what was sent, and notes
/// that the root is closed to others, if that can be noted here.
pub(crate) fn put(root: &Path, sent: &str, mark: &str) -> Result<(), Failure> {
    let kit = Kit::own()?;
    if kit.digest != sent {
        return Err(failed("copy the programs", "they came damaged"));
    }
    let begun = root::make(root).and_then(|()| Putting::begin(root));
    let _putting = begun.map_err(|source| Failure::Root { root: root.into(), source })?;
    kit.put(&KitPlaces::below(root))?;
    if registry::HAS_REGISTRY {
        let at = |why: &dyn ToString| failed("note that the root is closed", why.to_string());
        let key = KeyPath::try_from(MARKS.to_owned()).map_err(|error| at(&error))?;
        let name = ValueName::try_from(mark.to_owned()).map_err(|error| at(&error))?;
        let value = Raw::from(&Value::Sz(root.to_string_lossy().into_owned()));
        registry::carry_out(&Change::Set(key, name, value)).map_err(|error| at(&error))?;
    }
    Ok(())
}

/// Where a host has its kits.
#[derive(Debug)]
pub(crate) struct KitPlaces {
    folder: PathBuf,
}

impl KitPlaces {
    pub(crate) fn below(root: &Path) -> Self {
        Self { folder: root.join("programs") }
    }

    /// The name of the kit that this very program is of, if that is one of these.
    fn own_name(&self) -> Option<String> {
        let own = std::env::current_exe().ok()?;
        let kit = own.parent()?;
        let is_here = kit.parent()? == stead_proc::one_path(&self.folder).ok()?;
        let name = kit.file_name()?.to_str()?;
        let is_digest = name.len() == DIGEST_LEN && name.bytes().all(|it| it.is_ascii_hexdigit());
        let is_whole = files(Os::here()).iter().all(|program| kit.join(program).is_file());
        (is_here && is_digest && is_whole).then(|| name.to_owned())
    }

    /// The program of the kit with this name.
    pub(crate) fn program(&self, kit: &Path) -> PathBuf {
        self.folder.join(kit).join(files(Os::here())[0])
    }

    /// What stands for the kit that the agent is of.
    pub(crate) fn current(&self) -> PathBuf {
        self.folder.join("current")
    }

    /// What stands for the kit of the agent before.
    pub(crate) fn previous(&self) -> PathBuf {
        self.folder.join("previous")
    }

    /// Which kit the agent is of, by its name.
    pub(crate) fn current_kit(&self) -> Option<PathBuf> {
        stead_proc::read_pointer(&self.current()).ok()
    }
}

/// Has a name stand for another kit, at once.
pub(crate) fn switch(name: &Path, to: &Path) -> Result<(), Failure> {
    let at = |error: io::Error| failed("switch the programs", error);
    stead_proc::set_pointer(name, &to.to_string_lossy()).map_err(at)
}

fn failed(step: &str, why: impl ToString) -> Failure {
    Failure::Install { step: step.to_owned(), why: why.to_string() }
}
