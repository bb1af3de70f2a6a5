//! Where the workspace is, and the binaries built from it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// The folder with the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().expect("the package is a folder of the workspace").to_path_buf()
}

/// The folder cargo builds into, absolute.
pub(crate) fn target() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR") {
        // Cargo reads a relative one from where the user stands.
        Some(folder) => std::path::absolute(folder).context("cannot tell the current folder"),
        None => Ok(root().join("target")),
    }
}

/// `cargo` in the workspace's root, building where this run's user wants it.
pub(crate) fn cargo(arguments: &[&str]) -> Result<Command> {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    if env::var_os("CARGO_TARGET_DIR").is_some() {
        command.env("CARGO_TARGET_DIR", target()?);
    }
    Ok(command)
}

/// Optimised binaries of the workspace, in one folder.
pub(crate) struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    /// Builds what is shipped.
    pub(crate) fn shipped() -> Result<Self> {
        Self::build(&["-p", "stead", "-p", "stead-keeper", "-p", "stead-front"])
    }

    /// Builds what is shipped, and the service that the tests keep.
    pub(crate) fn tested() -> Result<Self> {
        let all = ["-p", "stead", "-p", "stead-keeper", "-p", "stead-front", "-p", "stead-probe"];
        Self::build(&all)
    }

    /// Builds the front, and both ends of its benchmark.
    pub(crate) fn front() -> Result<Self> {
        Self::build(&[
            "-p",
            "stead-front",
            "-p",
            "xtask",
            "--bin",
            "stead-front",
            "--bin",
            "bench-load",
        ])
    }

    /// Builds the small programs that the benchmarks start.
    pub(crate) fn probes() -> Result<Self> {
        Self::build(&["-p", "xtask", "--bin", "bench-probe", "--bin", "bench-floor"])
    }

    /// Builds them static: they run on any Linux whatever its C library, and a keeper that needs no
    /// relocation at its start shares all but a few of its pages with the others. The target is
    /// named so that the flags do not reach build scripts, nor what else is built here.
    fn build(selection: &[&str]) -> Result<Self> {
        let host = host()?;
        let flags = format!(
            "target.{host}.rustflags = \
             ['-C', 'target-feature=+crt-static', '-C', 'relocation-model=static']"
        );
        let mut build = cargo(&["build", "--release", "--target", &host, "--config", &flags])?;
        process::run(build.args(selection))?;
        Ok(Self { folder: target()?.join(host).join("release") })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// The name of this machine's kind, as cargo has it.
fn host() -> Result<String> {
    let version = process::output(&mut cargo(&["--version", "--verbose"])?)?;
    let version = String::from_utf8_lossy(&version);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("cargo does not say what machine this is")?.to_owned())
}

/// A folder of this program's own below the target folder, made if it is not there.
pub(crate) fn scratch(name: &str) -> Result<PathBuf> {
    let folder = target()?.join(name);
    make(&folder)?;
    Ok(folder)
}

/// Makes a folder and those above it.
pub(crate) fn make(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}
