//! `cargo xtask windows`: what is shipped for Windows, built, linted and run without Windows.
//!
//! All of it stays in a folder of its own below the target folder, so that builds for this
//! machine are not disturbed.

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
const PACKAGES: [&str; 2] = ["stead-core", "stead-wire"];

#[derive(clap::Subcommand)]
pub(crate) enum Windows {
    /// Build what is shipped, and say where it is
    Build(Selection),
    /// Let clippy look at what is shipped; a warning is an error
    Lint(Selection),
    /// Run a Windows program under Wine
    Run(Program),
}

#[derive(clap::Args)]
pub(crate) struct Selection {
    /// Only these packages
    #[arg(short, long = "package", value_name = "PACKAGE", default_values = PACKAGES)]
    packages: Vec<String>,
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
            say::result(toolchain::binaries()?.display());
            Ok(())
        }
        Windows::Lint(selection) => {
            let mut lint = Toolchain::ready()?.cargo(Chore::Lint)?;
            process::run(lint.args(selection.flags()).args(["--", "-D", "warnings"]))
        }
        Windows::Run(Program { program, arguments }) => {
            process::run(Prefix::open()?.command(program).args(arguments))
        }
    }
}

impl Selection {
    fn flags(&self) -> impl Iterator<Item = &str> {
        self.packages.iter().flat_map(|package| ["-p", package])
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
        assert_eq!(flags("build"), "-p stead-core -p stead-wire");
        assert_eq!(flags("build -p stead-proc"), "-p stead-proc");
        assert_eq!(flags("build -p a --package b"), "-p a -p b");
    }
}
