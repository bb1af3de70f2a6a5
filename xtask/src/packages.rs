//! Debian packages that tests and benchmarks start: installed when this runs as root, named
//! when it does not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{process, say};

/// A package, the program (or a file by its full path) that proves it is there, and why it is
/// wanted.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    pub(crate) reason: &'static str,
}

/// While this file says 101, no package starts a daemon of its own.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Makes the packages present as far as this user may. What stays missing is said, not an error:
/// the tests that need it say SKIPPED.
pub(crate) fn ensure(packages: &[Package]) -> Result<()> {
    let missing = missing(packages);
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        say::progress(format_args!("package {} is wanted: {}", package.name, package.reason));
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    if !rustix::process::geteuid().is_root() || process::find("apt-get").is_none() {
        say::progress(format_args!("install with: apt-get install {}", names.join(" ")));
        return Ok(());
    }
    let _policy = NoDaemons::begin()?;
    process::run(apt().arg("update"))?;
    process::run(apt().args(["install", "--yes", "--no-install-recommends"]).args(names))
}

/// Makes the packages present, or fails: without them there is nothing to do.
pub(crate) fn require(packages: &[Package]) -> Result<()> {
    ensure(packages)?;
    let missing: Vec<_> = missing(packages).iter().map(|package| package.name).collect();
    if !missing.is_empty() {
        bail!("what is wanted is not installed: {}", missing.join(", "));
    }
    Ok(())
}

fn missing(packages: &[Package]) -> Vec<&Package> {
    packages.iter().filter(|package| process::find(package.program).is_none()).collect()
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["--quiet=2", "-o", "DPkg::Lock::Timeout=300"]);
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(std::process::Stdio::null());
    command
}

/// Forbids packages to start their daemons, until it is dropped. A policy that is there stays.
struct NoDaemons {
    written: bool,
}

impl NoDaemons {
    fn begin() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { written: false });
        }
        fs::write(POLICY, "#!/bin/sh\nexit 101\n")
            .with_context(|| format!("cannot write {POLICY}"))?;
        fs::set_permissions(POLICY, Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {POLICY} executable"))?;
        Ok(Self { written: true })
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if self.written
            && let Err(error) = fs::remove_file(POLICY)
        {
            say::progress(format_args!("remove {POLICY} by hand: {error}"));
        }
    }
}
