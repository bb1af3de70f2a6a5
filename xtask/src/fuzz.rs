//! `cargo xtask fuzz`: what comes from outside, in any shape, for a bounded time.
//!
//! libFuzzer, with the instrumentation of the stable compiler. What it has found so far stays below
//! `target`, so that the next run goes on from there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::workspace::{cargo, make, root, target};
use crate::{process, say};

const TARGETS: [&str; 4] = ["manifest", "patch", "store", "wire"];

/// Counts the edges that a run takes, and shows the fuzzer what is compared with what.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];

/// Named, so that what is run while building is not instrumented.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

#[derive(clap::Args)]
pub(crate) struct Fuzz {
    /// Only these targets
    #[arg(value_parser = TARGETS)]
    targets: Vec<String>,

    /// How long each target runs
    #[arg(long, default_value_t = 20)]
    seconds: u32,

    /// Plant a panic behind what each target looks at, and fail where it is not found
    #[arg(long)]
    control: bool,
}

/// What a target has come to.
struct Ran {
    target: String,
    executions: u64,
    edges: u64,
    /// The input that makes it fail, and what it said.
    failed: Option<(PathBuf, String)>,
}

pub(crate) fn run(fuzz: &Fuzz) -> Result<()> {
    let folder = target()?.join("fuzz");
    build(&folder)?;
    let is_meant =
        |target: &&&str| fuzz.targets.is_empty() || fuzz.targets.iter().any(|it| it == **target);
    let mut bad = Vec::new();
    say::result(format_args!("{:<10} {:>12} {:>7}  found", "target", "executions", "edges"));
    for target in TARGETS.iter().filter(is_meant) {
        let ran = fuzz_one(&folder, target, fuzz)?;
        let found = ran.failed.as_ref().map_or("nothing", |(_, said)| said);
        let Ran { target, executions, edges, .. } = &ran;
        say::result(format_args!("{target:<10} {executions:>12} {edges:>7}  {found}"));
        match (&ran.failed, fuzz.control) {
            (Some((at, _)), false) => bad.push(format!("`{target}` fails at {}", at.display())),
            (None, true) => bad.push(format!("`{target}` does not find the control")),
            (Some(_), true) | (None, false) => (),
        }
    }
    if !bad.is_empty() {
        bail!("{}", bad.join("; "));
    }
    say::progress(match fuzz.control {
        true => "every target finds a planted panic",
        false => "nothing was found",
    });
    Ok(())
}

fn build(folder: &Path) -> Result<()> {
    let mut build = cargo(&["build", "--release", "--locked", "--target", PLATFORM])?;
    build.current_dir(root().join("fuzz"));
    build.env("RUSTFLAGS", FLAGS.join(" ")).env("CARGO_TARGET_DIR", folder);
    process::run(&mut build)
}

fn fuzz_one(folder: &Path, target: &str, fuzz: &Fuzz) -> Result<Ran> {
    let kind = if fuzz.control { "control" } else { "corpus" };
    let [corpus, seeds, failures] =
        [kind, "seeds", "failures"].map(|part| folder.join(part).join(target));
    for place in [&corpus, &seeds, &failures] {
        make(place)?;
    }
    let mut command = Command::new(folder.join(PLATFORM).join("release").join(target));
    command.arg(format!("-max_total_time={}", fuzz.seconds));
    command.arg(format!("-artifact_prefix={}/", failures.display()));
    command.args(["-print_final_stats=1", "-timeout=10", "-rss_limit_mb=1024"]);
    command.arg(&corpus).arg(&seeds).stdin(Stdio::null()).env("STEAD_FUZZ_SEEDS", &seeds);
    if fuzz.control {
        command.env("STEAD_FUZZ_CONTROL", "1");
    }
    let output = command.output().with_context(|| format!("cannot start `{target}`"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let number = |marked: &str| {
        let line = text.lines().rev().find(|line| line.contains(marked))?;
        line.split(marked).nth(1)?.split_whitespace().next()?.parse().ok()
    };
    let said = || {
        let line = text.lines().skip_while(|line| !line.contains("panicked at")).nth(1);
        line.or_else(|| text.lines().find(|line| line.contains("ERROR"))).unwrap_or("").to_owned()
    };
    let input = text.lines().find_map(|line| line.split("Test unit written to ").nth(1));
    let failed = (!output.status.success())
        .then(|| (PathBuf::from(input.unwrap_or("an unknown place")), said()));
    Ok(Ran {
        target: target.to_owned(),
        executions: number("stat::number_of_executed_units:").unwrap_or(0),
        edges: number(" cov: ").unwrap_or(0),
        failed,
    })
}
