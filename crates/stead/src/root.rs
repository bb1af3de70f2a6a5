//! The root: the folder that holds all state of one agent.

use std::io;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Services run as other users and must pass through to their release; they need not look around.
pub(crate) const PASS_THROUGH: u32 = 0o711;
/// Only the agent and its keepers.
pub(crate) const CLOSED: u32 = 0o700;

/// The folder of all state: as told, by the environment, or by default. It need not exist.
pub(crate) fn find(told: Option<&Path>) -> Result<PathBuf, Failure> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root = match told.map(PathBuf::from).or_else(|| set("STEAD_ROOT")) {
        Some(root) => root,
        None => stead_proc::state_folder().ok_or(Failure::NoRoot)?.join("stead"),
    };
    // The agent works in `/`, so a relative root must become whole here.
    std::path::absolute(&root).map_err(|source| Failure::Root { root, source })
}

/// Makes the root, if it is not there; an error where it may hold what others have put there.
pub(crate) fn make(root: &Path) -> io::Result<()> {
    make_folder(root, PASS_THROUGH)?;
    stead_host::take_root(root)
}

/// Makes a folder of this mode, and those above it, if it is not there.
pub(crate) fn make_folder(folder: &Path, mode: u32) -> io::Result<()> {
    if !folder.is_dir() {
        stead_proc::make_folders(folder, mode)?;
        stead_proc::set_mode(folder, mode)?;
    }
    Ok(())
}

/// Whether no instance is left below a root: an agent that ended after that has done its work.
pub(crate) fn is_bare(root: &Path) -> bool {
    std::fs::read_dir(root.join("instances")).is_ok_and(|mut folders| folders.next().is_none())
}
