//! A compiler for Windows: the active one where it has Windows' standard library, else Debian's,
//! which builds that library from its sources.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::packages::{self, Package};
use crate::{process, say, workspace};

pub(super) const TARGET: &str = "x86_64-pc-windows-gnu";

pub(crate) const MINGW: Package = Package {
    name: "gcc-mingw-w64-x86-64-win32",
    program: "x86_64-w64-mingw32-gcc",
    reason: "links programs for Windows, and compiles what is in C",
};

/// By their full names: what PATH finds first is rustup's.
const CARGO: &str = "/usr/bin/cargo";
const CLIPPY: &str = "/usr/bin/cargo-clippy";
const RUSTC: &str = "/usr/bin/rustc";

/// What builds the standard library too.
const PACKAGES: &[Package] = &[
    MINGW,
    Package { name: "rustc-web", program: RUSTC, reason: "compiles for Windows" },
    Package { name: "cargo-web", program: CARGO, reason: "starts that compiler" },
    Package {
        name: "rust-web-src",
        program: "/usr/lib/rustlib/src/rust/library/std/Cargo.toml",
        reason: "is the standard library for Windows, as sources",
    },
    Package { name: "rust-web-clippy", program: CLIPPY, reason: "lints for Windows" },
];

/// With both ways to panic: each profile has its own.
const STD: &str = "-Zbuild-std=std,panic_abort,test";

/// What `cargo xtask` was started with, which names another toolchain.
const FOREIGN: [&str; 4] = ["LD_LIBRARY_PATH", "RUSTDOC", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Chore {
    Build,
    /// Build tests and run none: they run under Wine.
    BuildTests,
    Lint,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Toolchain {
    /// What builds the rest of the workspace.
    Active,
    /// From packages of the system.
    Debian,
}

impl Toolchain {
    /// Finds out which one to use, and installs what it lacks.
    pub(super) fn ready() -> Result<Self> {
        let sysroot = process::output(
            Command::new("rustc").args(["--print", "sysroot"]).current_dir(workspace::root()),
        )?;
        let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot).trim_end());
        if has_std(&sysroot) {
            packages::require(&[MINGW])?;
            return Ok(Self::Active);
        }
        say::progress(format_args!(
            "Debian's compiler it is: the active one lacks what `rustup target add {TARGET}` brings"
        ));
        packages::require(PACKAGES)?;
        Ok(Self::Debian)
    }

    /// `cargo` that does this for Windows; packages are still to be named.
    pub(super) fn cargo(self, chore: Chore) -> Result<Command> {
        let mut command = match self {
            Self::Active => workspace::cargo(&[match chore {
                Chore::Build => "build",
                Chore::BuildTests => "test",
                Chore::Lint => "clippy",
            }])?,
            Self::Debian => debian(chore),
        };
        if chore == Chore::BuildTests {
            command.arg("--no-run");
        }
        command.args(["--target", TARGET]).env("CARGO_TARGET_DIR", folder()?);
        Ok(command)
    }
}

/// Where all that is made for Windows is.
pub(super) fn folder() -> Result<PathBuf> {
    Ok(workspace::target()?.join("windows"))
}

/// Where `Chore::Build` leaves programs.
pub(super) fn binaries(release: bool) -> Result<PathBuf> {
    Ok(folder()?.join(TARGET).join(if release { "release" } else { "debug" }))
}

fn debian(chore: Chore) -> Command {
    let mut command = match chore {
        Chore::Build | Chore::BuildTests => Command::new(CARGO),
        // Cargo would look for its subcommand in the user's home first, where rustup's is.
        Chore::Lint => Command::new(CLIPPY),
    };
    command.arg(match chore {
        Chore::Build => "build",
        Chore::BuildTests => "test",
        Chore::Lint => "clippy",
    });
    for name in FOREIGN {
        command.env_remove(name);
    }
    // A stable compiler builds its own library only when it is told that it may.
    command.env("RUSTC_BOOTSTRAP", "1").env("CARGO", CARGO).env("RUSTC", RUSTC);
    command.arg(STD).current_dir(workspace::root());
    command
}

fn has_std(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_compiler_with_the_library_of_windows_is_told_from_one_without() {
        let sysroot = tempfile::tempdir().expect("a folder can be made");
        assert!(!has_std(sysroot.path()));
        // A target that was removed leaves its folder behind.
        let rustlib = sysroot.path().join("lib/rustlib").join(TARGET);
        fs::create_dir_all(&rustlib).expect("a folder can be made");
        assert!(!has_std(sysroot.path()));
        fs::create_dir(rustlib.join("lib")).expect("a folder can be made");
        assert!(has_std(sysroot.path()));
    }

    #[test]
    fn every_chore_of_every_toolchain_builds_for_windows_in_a_folder_of_its_own() {
        for (toolchain, chore) in [
            (Toolchain::Active, Chore::Build),
            (Toolchain::Active, Chore::Lint),
            (Toolchain::Debian, Chore::Build),
            (Toolchain::Debian, Chore::Lint),
        ] {
            let command = toolchain.cargo(chore).expect("the target folder can be told");
            let line = process::shown(&command);
            assert!(line.contains("--target x86_64-pc-windows-gnu"), "{line}");
            let folder = command.get_envs().find(|(name, _)| *name == "CARGO_TARGET_DIR");
            let folder = folder.and_then(|(_, value)| value).expect("it is set");
            assert!(Path::new(folder).ends_with("windows"), "{folder:?}");
        }
    }

    #[test]
    fn nothing_of_rustup_reaches_debians_cargo() {
        for chore in [Chore::Build, Chore::Lint] {
            let command = debian(chore);
            assert!(Path::new(command.get_program()).starts_with("/usr/bin"), "{command:?}");
            let env: Vec<_> = command.get_envs().collect();
            for name in FOREIGN {
                assert!(env.contains(&(name.as_ref(), None)), "{name} stays");
            }
            for (name, program) in [("CARGO", CARGO), ("RUSTC", RUSTC)] {
                assert!(env.contains(&(name.as_ref(), Some(program.as_ref()))), "{name} stays");
            }
        }
    }
}
