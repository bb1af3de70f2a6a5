//! `cargo stead ARGS`: the optimised `stead` of this workspace, as if it were installed.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::Binaries;

#[derive(clap::Args)]
pub(crate) struct Run {
    /// What `stead` gets
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Builds, then becomes `stead`: signals, streams and the exit code are its own.
pub(crate) fn run(run: &Run) -> Result<()> {
    let stead = Binaries::shipped()?.path("stead");
    let error = Command::new(&stead).args(&run.arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", stead.display()))
}
