//! The kit: stead's own programs under their digest, so that a build or an upgrade never changes
//! what a running agent starts.

use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::layout::{Layout, make_folder};
use crate::store;

const PROGRAM_MODE: u32 = 0o755;

/// The program of fronts, beside the keeper's; without it there are no fronts.
fn front() -> String {
    format!("stead-front{EXE_SUFFIX}")
}

/// Whether a kit has a program for fronts.
pub(crate) fn has_front(kit: &Path) -> bool {
    kit.join(front()).is_file()
}

/// Puts the programs into the kit unless they are there, and says where the keeper's is.
pub(crate) fn install(layout: &Layout, program: &Path) -> io::Result<PathBuf> {
    let keeper = fs::read(program)?;
    let front_program = fs::read(program.with_file_name(front())).ok();
    let mut digest = blake3::Hasher::new();
    digest.update(&keeper);
    digest.update(front_program.as_deref().unwrap_or_default());
    let folder = layout.kit(digest.finalize().to_hex().as_str());
    make_folder(&folder, 0o711)?;
    if let Some(bytes) = front_program {
        put(&folder.join(front()), &bytes)?;
    }
    let installed = folder.join(format!("stead-keeper{EXE_SUFFIX}"));
    put(&installed, &keeper)?;
    Ok(installed)
}

fn put(installed: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(installed).ok().as_deref() != Some(bytes) {
        store::replace(installed, bytes)?;
    }
    stead_proc::set_mode(installed, PROGRAM_MODE)
}

/// The folder of the kit that this keeper is part of.
pub(crate) fn folder(keeper: &Path) -> &Path {
    keeper.parent().expect("a keeper of the kit is in a folder")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempRoot;

    #[test]
    fn each_program_has_a_place_of_its_own_and_a_damaged_one_is_mended() {
        let root = TempRoot::new("kit");
        let layout = root.layout();
        let program = layout.root().join("keeper");
        fs::write(&program, "one").unwrap();
        let one = install(&layout, &program).unwrap();
        fs::write(&program, "two").unwrap();
        let two = install(&layout, &program).unwrap();
        assert_ne!(one, two);
        fs::write(&two, "torn").unwrap();
        assert_eq!(install(&layout, &program).unwrap(), two);
        assert_eq!(fs::read_to_string(two).unwrap(), "two");
        assert_eq!(fs::read_to_string(one).unwrap(), "one");
    }
}
