//! What the targets share.

pub mod seeds;

use std::path::PathBuf;

/// A panic on purpose, to see that a target finds one: a target calls it where its input came far.
pub fn control() {
    if std::env::var_os("STEAD_FUZZ_CONTROL").is_some() {
        panic!("the control was found");
    }
}

/// A folder of this process's own.
pub fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("stead-fuzz-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the folder for temporary files can be written to");
    folder
}
