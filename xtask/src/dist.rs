//! `cargo xtask dist`: what is given to users: for each system a folder with its programs, and in
//! it those for hosts of the other.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::windows;
use crate::workspace::{self, Binaries};
use crate::{say, workspace::make};

/// The name of the folder of kits beside `stead`, where it looks for them.
const KITS: &str = "kits";

/// The programs of one system.
struct System {
    name: &'static str,
    folder: PathBuf,
    files: &'static [&'static str],
}

/// Builds all of it, and says where it is.
pub(crate) fn run() -> Result<()> {
    let linux = Binaries::shipped()?.path("");
    let systems = [
        System {
            name: "linux-x86_64",
            folder: linux,
            files: &["stead", "stead-keeper", "stead-front"],
        },
        System {
            name: "windows-x86_64",
            folder: windows::shipped()?,
            files: &["stead.exe", "stead-keeper.exe"],
        },
    ];
    let above = workspace::target()?.join("dist");
    for folder in lay_out(&systems, &above)? {
        say::result(folder.display());
    }
    Ok(())
}

/// Makes a folder for each system, in place of what was there.
fn lay_out(systems: &[System], above: &Path) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for system in systems {
        let folder = above.join(format!("stead-{}-{}", env!("CARGO_PKG_VERSION"), system.name));
        if folder.exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        copy(system, &folder)?;
        for other in systems.iter().filter(|other| other.name != system.name) {
            copy(other, &folder.join(KITS).join(other.name))?;
        }
        made.push(folder);
    }
    Ok(made)
}

fn copy(system: &System, to: &Path) -> Result<()> {
    make(to)?;
    for file in system.files {
        let from = system.folder.join(file);
        fs::copy(&from, to.join(file))
            .with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_system_has_its_programs_and_the_kits_of_others() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let systems = ["a-1", "b-2"].map(|name| {
            let own = folder.path().join(name);
            fs::create_dir(&own).expect("a folder can be made");
            fs::write(own.join("stead"), name).expect("a file can be written");
            System { name, folder: own, files: &["stead"] }
        });
        let above = folder.path().join("dist");
        for _ in 0..2 {
            for (made, [own, other]) in lay_out(&systems, &above)
                .expect("all is there")
                .iter()
                .zip([["a-1", "b-2"], ["b-2", "a-1"]])
            {
                let read = |path: PathBuf| fs::read_to_string(path).expect("it was copied");
                assert!(made.to_string_lossy().ends_with(own));
                assert_eq!(read(made.join("stead")), own);
                assert_eq!(read(made.join(KITS).join(other).join("stead")), other);
                assert!(!made.join(KITS).join(own).exists());
                fs::write(made.join("old"), "").expect("a file can be written");
            }
        }
        assert!(lay_out(&systems, &above).is_ok_and(|made| !made[0].join("old").exists()));
        fs::remove_file(folder.path().join("b-2/stead")).expect("it is there");
        assert!(lay_out(&systems, &above).is_err(), "a program that is lacking is told");
    }
}
