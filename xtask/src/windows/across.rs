//! Tests of this machine's programs with a Windows at the other end, which runs under Wine.

use anyhow::{Result, bail};

use super::suite::{Went, programs, results};
use super::toolchain;
use super::wine::Prefix;
use crate::packages::{self, Package};
use crate::{process, say, workspace};

/// What the tests bring to Windows, beside stead itself.
pub(super) const PROGRAMS: [&str; 3] = ["shop-gateway", "shop-orders", "shop-risk"];

/// The package and its test program.
const TEST: (&str, &str) = ("stead", "onto_windows");

/// Both ends of a way by SFTP, as a server of SSH has it.
const SFTP: [Package; 2] = [
    Package { name: "openssh-client", program: "sftp", reason: "brings programs to Windows" },
    Package {
        name: "openssh-sftp-server",
        program: "/usr/lib/openssh/sftp-server",
        reason: "is what an SSH server on Windows has for files",
    },
];

/// Runs them. What they bring is built already.
pub(super) fn run(prefix: &Prefix) -> Result<()> {
    packages::require(&SFTP)?;
    // Hosts of this very system are brought the whole kit.
    let kit = ["build", "--quiet", "-p", "stead", "-p", "stead-keeper", "-p", "stead-front"];
    process::run(&mut workspace::cargo(&kit)?)?;
    let (package, test) = TEST;
    let mut build = workspace::cargo(&["test", "--quiet", "--no-run", "-p", package])?;
    let programs = programs(build.args(["--test", test]))?;
    let [program] = programs.as_slice() else { bail!("`{test}` is one program") };
    let mut command = prefix.beside(program);
    command.args(["--format=pretty", "--test-threads=1"]);
    command.current_dir(workspace::root().join("crates").join(package));
    command.env("STEAD_WINDOWS_PROGRAMS", toolchain::binaries(false)?);
    let all = results(&mut command, test)?;
    let well = all.values().filter(|went| **went == Went::Well).count();
    if well < all.len() {
        bail!("{} of `{test}` were not run", all.len() - well);
    }
    say::progress(format_args!("{well} tests of `{test}` passed"));
    Ok(())
}
