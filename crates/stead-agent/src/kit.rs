//! The kit: the keeper's program under its own digest, so that a build or an upgrade never changes
//! what a running agent starts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::layout::{Layout, make_folder};
use crate::store;

const PROGRAM_MODE: u32 = 0o755;

/// Puts the program into the kit unless it is there, and says where it is.
pub(crate) fn install(layout: &Layout, program: &Path) -> io::Result<PathBuf> {
    let bytes = fs::read(program)?;
    let folder = layout.kit(blake3::hash(&bytes).to_hex().as_str());
    make_folder(&folder, 0o711)?;
    let installed = folder.join("stead-keeper");
    if fs::read(&installed).ok().as_ref() != Some(&bytes) {
        store::replace(&installed, &bytes)?;
    }
    stead_proc::set_mode(&installed, PROGRAM_MODE)?;
    Ok(installed)
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
