//! `cargo xtask windows`: what is shipped for Windows, built, linted and run without Windows.
//!
//! All of it stays in a folder of its own below the target folder, so that builds for this
//! machine are not disturbed.

mod across;
mod suite;
mod toolchain;
mod wine;

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;

use crate::{process, say};
use toolchain::{Chore, Toolchain};

pub(crate) use toolchain::MINGW;
use wine::Prefix;

/// What is shipped for Windows.
const PACKAGES: [&str; 11] = [
    "stead",
    "stead-agent",
    "stead-core",
    "stead-fleet",
    "stead-host",
    "stead-keeper",
    "stead-local",
    "stead-probe",
    "stead-proc",
    "stead-release",
    "stead-wire",
];

#[derive(clap::Subcommand)]
pub(crate) enum Windows {
    /// Build what is shipped, and say where it is
    Build(Selection),
    /// Let clippy look at what is shipped; a warning is an error
    Lint(Selection),
    /// Run a Windows program under Wine
    Run(Program),
    /// Run the promises that are the same on both systems, here and under Wine
    Test(Table),
}

#[derive(clap::Args)]
pub(crate) struct Selection {
    /// Only these packages
    #[arg(short, long = "package", value_name = "PACKAGE", default_values = PACKAGES)]
    packages: Vec<String>,
    /// Optimise, as for users
    #[arg(long)]
    release: bool,
}

#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Table {
    /// Write docs/parity.md from what they show, instead of comparing it
    #[arg(long)]
    write: bool,
}

#[derive(clap::Args)]
pub(crate) struct Program {
    /// Where it is
    program: PathBuf,
    /// What it gets
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(windows: &Windows) -> Result<()> {
    match windows {
        Windows::Build(selection) => {
            let toolchain = Toolchain::ready()?;
            process::run(toolchain.cargo(Chore::Build)?.args(selection.flags()))?;
            say::result(toolchain::binaries(selection.release)?.display());
            Ok(())
        }
        Windows::Lint(selection) => {
            let mut lint = Toolchain::ready()?.cargo(Chore::Lint)?;
            process::run(lint.args(selection.flags()).args(["--", "-D", "warnings"]))
        }
        Windows::Test(Table { write }) => suite::run(*write),
        Windows::Run(Program { program, arguments }) => {
            process::run(Prefix::open()?.command(program).args(arguments))
        }
    }
}

/// Why nothing can be tried for Windows, if so: what is lacking is installed first.
pub(crate) fn missing() -> Option<String> {
    let ready = Toolchain::ready().and_then(|_| wine::ready());
    ready.err().map(|why| format!("{why:#}"))
}

/// Builds what is given to users, optimised, and says where it is.
pub(crate) fn shipped() -> Result<PathBuf> {
    let mut build = Toolchain::ready()?.cargo(Chore::Build)?;
    process::run(build.args(["-p", "stead", "-p", "stead-keeper", "--release"]))?;
    toolchain::binaries(true)
}

/// What `cargo xtask test` tries for Windows.
pub(crate) fn try_all() -> Result<()> {
    let packages = PACKAGES.iter().map(|package| (*package).to_owned()).collect();
    run(&Windows::Lint(Selection { packages, release: false }))?;
    suite::run(false)
}

impl Selection {
    fn flags(&self) -> impl Iterator<Item = &str> {
        let optimised = self.release.then_some("--release");
        self.packages.iter().flat_map(|package| ["-p", package]).chain(optimised)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        selection: Selection,
    }

    fn flags(line: &str) -> String {
        let line = Line::try_parse_from(line.split(' ')).expect("the line is as documented");
        line.selection.flags().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn packages_that_are_named_stand_for_what_is_shipped() {
        let all: Vec<String> = PACKAGES.iter().map(|package| format!("-p {package}")).collect();
        assert_eq!(flags("build"), all.join(" "));
        assert_eq!(flags("build -p stead-proc"), "-p stead-proc");
        assert_eq!(flags("build -p a --package b --release"), "-p a -p b --release");
    }
}
