//! The kit of a host: stead's own programs, under the digest of all of them, so that an agent can
//! be replaced by another one and the one before be had again.

use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::agent;
use crate::failure::Failure;

/// Programs that belong together, without what their files' names end with here.
const PROGRAMS: [&str; 3] = ["stead", "stead-keeper", "stead-front"];

/// The files of these programs that there are for this system.
fn files() -> impl Iterator<Item = String> {
    let there = PROGRAMS.len() - usize::from(!stead_proc::HAS_FRONT);
    PROGRAMS.into_iter().take(there).map(|name| format!("{name}{EXE_SUFFIX}"))
}

/// So much of the digest names a kit.
const DIGEST_LEN: usize = 16;

/// The programs themselves.
pub(crate) struct Kit {
    digest: String,
    /// In the order of [`PROGRAMS`].
    programs: Vec<Vec<u8>>,
}

impl Kit {
    /// This very program and those beside it.
    pub(crate) fn own() -> Result<Self, Failure> {
        let at = |error: io::Error| failed("read the programs of stead", error);
        let own = std::env::current_exe().map_err(at)?;
        let keeper = agent::keeper_program()?;
        Self::read(&own, &keeper)
    }

    fn read(own: &Path, keeper: &Path) -> Result<Self, Failure> {
        let (mut digest, mut programs) = (blake3::Hasher::new(), Vec::new());
        for (n, name) in files().enumerate() {
            let from = if n == 0 { own.into() } else { keeper.with_file_name(name) };
            let bytes = fs::read(&from).map_err(|error| {
                let why = format!("`{}`: {error}", from.display());
                failed("read the programs of stead", why)
            })?;
            digest.update(&bytes);
            programs.push(bytes);
        }
        let digest = digest.finalize().to_hex()[..DIGEST_LEN].to_owned();
        Ok(Self { digest, programs })
    }

    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// The bytes of each program, in the order of [`PROGRAMS`].
    pub(crate) fn programs(&self) -> &[Vec<u8>] {
        &self.programs
    }

    /// Puts them below a root, where they are not yet.
    fn put(&self, places: &KitPlaces) -> Result<(), Failure> {
        let at = |error: io::Error| failed("copy the programs", error);
        let folder = places.folder.join(&self.digest);
        fs::create_dir_all(&folder).map_err(at)?;
        for (name, bytes) in files().zip(&self.programs) {
            let path = folder.join(&name);
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
        let is_whole = files().all(|program| kit.join(program).is_file());
        (is_here && is_digest && is_whole).then(|| name.to_owned())
    }

    /// The program of the kit with this name.
    pub(crate) fn program(&self, kit: &Path) -> PathBuf {
        self.folder.join(kit).join(format!("{}{EXE_SUFFIX}", PROGRAMS[0]))
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
