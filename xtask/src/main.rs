//! `cargo xtask`: the workspace's own chores. `cargo stead` is its `run`.
//!
//! It runs on Linux. Nothing that is shipped depends on it.

mod bench;
mod check;
mod dist;
mod fuzz;
mod generated;
mod packages;
mod process;
mod run;
mod say;
mod test;
mod tidy;
mod windows;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "The chores of the stead workspace")]
struct Xtask {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(clap::Subcommand)]
enum Chore {
    /// Measure stead side by side with others, in one run
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Everything that needs no test run: format, tidy, clippy, fresh documents
    Check,
    /// Build what is given to users, for both systems
    Dist,
    /// Try what comes from outside in any shape, for a bounded time
    Fuzz(fuzz::Fuzz),
    /// Write docs/openapi.json from the code, or compare it
    Openapi(generated::Freshness),
    /// Build both binaries optimised and run `stead`
    #[command(disable_help_flag = true)]
    Run(run::Run),
    /// Write docs/stead.schema.json from the code, or compare it
    Schema(generated::Freshness),
    /// Install what the tests need, build what they start, and run them
    Test(test::Test),
    /// Build and lint what is shipped for Windows, and run it under Wine
    #[command(subcommand)]
    Windows(windows::Windows),
}

fn main() -> ExitCode {
    match run(Xtask::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<()> {
    match chore {
        Chore::Bench(bench) => bench::run(&bench),
        Chore::Check => check::run(),
        Chore::Dist => dist::run(),
        Chore::Fuzz(fuzz) => fuzz::run(&fuzz),
        Chore::Openapi(freshness) => generated::OPENAPI.refresh(freshness),
        Chore::Run(run) => run::run(&run),
        Chore::Schema(freshness) => generated::SCHEMA.refresh(freshness),
        Chore::Test(test) => test::run(&test),
        Chore::Windows(windows) => windows::run(&windows),
    }
}
