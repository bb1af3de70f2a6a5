//! `cargo xtask check`: all that can be said about the code without running its tests.

use anyhow::Result;

use crate::workspace::cargo;
use crate::{generated, process, tidy};

pub(crate) fn run() -> Result<()> {
    process::run(&mut cargo(&["fmt", "--all", "--check"])?)?;
    tidy::check()?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    process::run(&mut cargo(&clippy)?)?;
    generated::check_all(None)
}
