//! The suites of promises that are the same on every system: run here, and for Windows under Wine,
//! and put side by side in a table of the documents.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::across;
use super::toolchain::{Chore, Toolchain};
use super::wine::Prefix;
use crate::workspace::{cargo, root, scratch};
use crate::{process, say};

/// The packages and their test programs.
const SUITES: [(&str, &str); 2] = [("stead-keeper", "same_promises"), ("stead", "same_agent")];

/// Packages whose unit tests hold on Windows as well; what they show is no promise to users.
const UNITS: [&str; 5] = ["stead-host", "stead-local", "stead-proc", "stead-release", "stead-wire"];

/// What is promised of Windows alone, which has no row for Linux: packages and test programs.
const WINDOWS_ALONE: [(&str, &str); 3] =
    [("stead", "host_facts"), ("stead", "registry"), ("stead", "service_manager")];

/// What else the suites start.
const PROGRAMS: [&str; 3] = ["stead", "stead-keeper", "stead-probe"];

/// What Wine cannot show, fixed: nothing else may join it.
const NOT_SHOWN: &str = include_str!("../../../crates/stead-keeper/tests/not_shown_by_wine.txt");
const NOT_SHOWN_OF_WINDOWS: &str =
    include_str!("../../../crates/stead/tests/service_manager/not_shown_by_wine.txt");

const TABLE: &str = "docs/parity.md";

/// How a test went.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Went {
    Well,
    Badly,
    NotRun,
}

/// Tests by their names.
pub(super) type Results = BTreeMap<String, Went>;

/// Runs all of it, and compares the table with what came of it, or writes it.
pub(super) fn run(write: bool) -> Result<()> {
    let mut here = Results::new();
    let mut build = cargo(&["build", "--quiet"])?;
    process::run(build.args(PROGRAMS.iter().flat_map(|package| ["-p", package])))?;
    for (package, test) in SUITES {
        let mut command = cargo(&["test", "--quiet", "-p", package, "--test", test])?;
        command.args(["--", "--format=pretty"]);
        here.extend(results(&mut command, &format!("{test}-here"))?);
    }
    let under_wine = under_wine()?;
    let table = table(&here, &under_wine)?;
    let path = root().join(TABLE);
    if write {
        fs::write(&path, table).with_context(|| format!("cannot write {TABLE}"))?;
        say::progress(format_args!("wrote {TABLE}"));
        return Ok(());
    }
    let there = fs::read_to_string(&path).with_context(|| format!("cannot read {TABLE}"))?;
    if there != table {
        bail!("{TABLE} is not what the suites say: `cargo xtask windows test --write`");
    }
    let shown = under_wine.values().filter(|went| **went == Went::Well).count();
    say::result(format_args!("{shown} promises hold here and as a Windows build under Wine"));
    Ok(())
}

fn under_wine() -> Result<Results> {
    let toolchain = Toolchain::ready()?;
    let mut build = toolchain.cargo(Chore::Build)?;
    let programs_of = PROGRAMS.iter().chain(&across::PROGRAMS);
    build.args(programs_of.flat_map(|package| ["-p", package]));
    process::run(&mut build)?;
    let mut units = toolchain.cargo(Chore::BuildTests)?;
    units.args(UNITS.iter().flat_map(|package| ["-p", package])).arg("--lib");
    let units = programs(&mut units)?;
    let tests = |of: &[(&str, &str)]| -> Result<Vec<PathBuf>> {
        let mut built = Vec::new();
        for (package, test) in of {
            let mut build = toolchain.cargo(Chore::BuildTests)?;
            built.extend(programs(build.args(["-p", package, "--test", test]))?);
        }
        Ok(built)
    };
    let (suites, alone) = (tests(&SUITES)?, tests(&WINDOWS_ALONE)?);
    let prefix = Prefix::open()?;
    let in_wine = |program: &Path| -> Result<Results> {
        let mut command = prefix.command(program);
        command.arg("--test-threads=1").current_dir(root());
        let name = program.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        results(&mut command, &name)
    };
    for program in &units {
        let bad = in_wine(program)?.values().filter(|went| **went == Went::Badly).count();
        if bad > 0 {
            bail!("{bad} unit tests of {} fail under Wine", program.display());
        }
    }
    let mut all = Results::new();
    for program in &suites {
        all.extend(in_wine(program)?);
    }
    let mut of_windows = Results::new();
    for program in &alone {
        of_windows.extend(in_wine(program)?);
    }
    let shown = shown_of_windows(&of_windows)?;
    say::result(format_args!("{shown} promises of Windows alone hold under Wine"));
    across::run(&prefix)?;
    Ok(all)
}

/// How many promises of Windows alone hold; an error where anything but what is fixed was left
/// out.
fn shown_of_windows(results: &Results) -> Result<usize> {
    let fixed: Vec<&str> = not_shown(NOT_SHOWN_OF_WINDOWS).map(|(name, _)| name).collect();
    let all = |went: Went| results.iter().filter(move |(_, it)| **it == went);
    let left_out: Vec<&str> = all(Went::NotRun).map(|(name, _)| name.as_str()).collect();
    if left_out != fixed {
        bail!("what Wine cannot show of Windows alone is {fixed:?}, and {left_out:?} was left out");
    }
    match all(Went::Badly).count() {
        0 => Ok(all(Went::Well).count()),
        bad => bail!("{bad} promises of Windows alone do not hold under Wine"),
    }
}

/// Builds tests and says where they are.
pub(super) fn programs(build: &mut Command) -> Result<Vec<PathBuf>> {
    let lines = process::output(build.arg("--message-format=json").stderr(Stdio::inherit()))?;
    let messages = lines.split(|byte| *byte == b'\n');
    let built = messages.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let tests = built.filter(|message| message["profile"]["test"] == true);
    Ok(tests.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).collect())
}

/// Runs a test program and reads what it says. It writes to a file: what it leaves behind could
/// hold a pipe open.
pub(super) fn results(command: &mut Command, name: &str) -> Result<Results> {
    let path = scratch("xtask")?.join(format!("{name}.log"));
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    let line = process::shown(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    let said = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let said = String::from_utf8_lossy(&said);
    let results = read(&said);
    if !status.success() || results.is_empty() {
        bail!("`{line}` failed: {status}\n{said}");
    }
    Ok(results)
}

/// What a test program says of each test. Others may have written in between.
fn read(said: &str) -> Results {
    let mut results = Results::new();
    let mut open = None;
    for line in said.lines() {
        let begins = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "));
        let (name, end) = match (begins, &open) {
            (Some((name, end)), _) => (name.to_owned(), end),
            (None, Some(name)) => (String::clone(name), line),
            (None, None) => continue,
        };
        let went = match end.split(',').next().unwrap_or("").trim() {
            "ok" => Went::Well,
            "FAILED" => Went::Badly,
            "ignored" => Went::NotRun,
            // Its end comes on a line of its own.
            _ => {
                open = Some(name);
                continue;
            }
        };
        open = None;
        results.insert(name, went);
    }
    results
}

/// The rows of a list that Wine cannot show: what is promised, and what stands beside it.
fn not_shown(list: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(" | "))
}

/// The table, or which promise is not shown on both systems.
fn table(here: &Results, under_wine: &Results) -> Result<String> {
    let names: Vec<&str> = not_shown(NOT_SHOWN).map(|(name, _)| name).collect();
    for (name, went) in under_wine {
        let is_known = names.contains(&name.as_str());
        if (*went == Went::NotRun) != is_known {
            bail!("`{name}`: what Wine cannot show is fixed, and not what was left out");
        }
    }
    let shown = |results: &Results| -> Vec<String> {
        let well = results.iter().filter(|(_, went)| **went == Went::Well);
        well.map(|(name, _)| name.clone()).collect()
    };
    let (on_linux, on_windows) = (shown(here), shown(under_wine));
    if on_linux != on_windows {
        let alone = |one: &[String], other: &[String]| -> Vec<String> {
            one.iter().filter(|name| !other.contains(name)).cloned().collect()
        };
        let (linux, windows) = (alone(&on_linux, &on_windows), alone(&on_windows, &on_linux));
        bail!("shown on Linux alone: {linux:?}; on Windows alone: {windows:?}");
    }
    let mut text = String::from(HEAD);
    for name in &on_linux {
        writeln!(text, "| {} | shown | shown |", sentence(name))?;
    }
    for (name, linux) in not_shown(NOT_SHOWN) {
        writeln!(text, "| {} | {linux} | not shown |", sentence(name))?;
    }
    Ok(text)
}

/// The name of a test as what it claims.
fn sentence(name: &str) -> String {
    name.rsplit("::").next().unwrap_or(name).replace('_', " ")
}

const HEAD: &str = "# The same promises on both systems

Written by `cargo xtask windows test --write` from one suite, which runs natively on Linux and as a
Windows build under Wine 8; `cargo xtask test` fails when this table is not what it shows. What Wine
cannot show is a fixed list. A row whose name begins with `control` shows that a protection is
needed, by leaving it out. Wine tells programs of Ctrl-C alone, so a stop by Ctrl-Break is shown
there by the way that is taken where that is refused. `.github/workflows/windows.yml` runs the suite
on Windows itself, with the rows that Wine cannot show.

| promise | Linux | Windows (Wine) |
|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    fn some(pairs: &[(&str, Went)]) -> Results {
        pairs.iter().map(|(name, went)| ((*name).to_owned(), *went)).collect()
    }

    #[test]
    fn what_a_test_program_says_is_read_also_where_others_write_in_between() {
        let said = "running 4 tests\ntest a::x ... ok\ntest b ... error: no\n  because\nFAILED\n\
                    test c ... ignored, not under Wine\ntest d ... \nok\ntest result: ok. 1\n";
        let expected =
            [("a::x", Went::Well), ("b", Went::Badly), ("c", Went::NotRun), ("d", Went::Well)];
        assert_eq!(read(said), some(&expected));
    }

    #[test]
    fn nothing_joins_what_is_not_shown() {
        let left_out = |(name, _)| (name, Went::NotRun);
        let fixed: Vec<(&str, Went)> = not_shown(NOT_SHOWN).map(left_out).collect();
        let both = [("a::it_holds", Went::Well)];
        let wine = |more: &[(&str, Went)]| some(&[&both, fixed.as_slice(), more].concat());
        let text = table(&some(&both), &wine(&[])).expect("it is the same on both");
        assert!(text.contains("| it holds | shown | shown |"), "{text}");
        assert!(table(&some(&both), &wine(&[("a::new", Went::NotRun)])).is_err());
        assert!(table(&some(&both), &some(&[])).is_err(), "shown on Linux alone");
        let more = some(&[("a::it_holds", Went::Well), ("a::more", Went::Well)]);
        assert!(table(&more, &wine(&[])).is_err());

        let of_service: Vec<_> = not_shown(NOT_SHOWN_OF_WINDOWS).map(left_out).collect();
        let service = |more: &[(&str, Went)]| {
            shown_of_windows(&some(&[of_service.as_slice(), more].concat()))
        };
        assert_eq!(service(&both).expect("all that ran went well"), 1);
        assert!(service(&[("new", Went::NotRun)]).is_err());
        assert!(service(&[("new", Went::Badly)]).is_err());
        assert!(shown_of_windows(&some(&both)).is_err(), "what is fixed is left out");
    }
}
