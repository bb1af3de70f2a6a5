//! House rules that neither rustfmt nor clippy knows. A test of this package runs them too.

use std::fmt::{self, Display};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::say;
use crate::workspace::root;

const FILE_LINES_MAX: usize = 600;
const LINE_CHARS_MAX: usize = 100;

/// What a reader may rely on finding in the root.
const EXPECTED: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "KNOWN_GAPS.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "STYLE.md",
];

/// Where a file may ask which system it is on.
const OS_CRATES: &[&str] = &[
    "crates/stead-host/",
    "crates/stead-local/",
    "crates/stead-probe/src/os/",
    "crates/stead-proc/",
    "examples/",
];

/// Where a test may be one that Wine cannot show; which those are is fixed elsewhere.
const NOT_UNDER_WINE: &[&str] =
    &["crates/stead-keeper/tests/same_promises/", "crates/stead/tests/service_manager/"];

const ASKS_OS: &str = "only stead-proc, stead-local, stead-host and examples ask for the OS";

/// Words that only ask which system it is when they stand inside a `cfg`.
const OS_WORDS: &[&str] = &["target_os", "target_family", "unix", "windows"];

/// Folders of one developer's machine, which mean nothing on another.
const MACHINE_FOLDERS: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];

const UNFINISHED: &str = concat!("TO", "DO");

/// Says every breach, and fails if there is one.
pub(crate) fn check() -> Result<()> {
    let breaches = breaches(&root())?;
    for breach in &breaches {
        say::result(breach);
    }
    if !breaches.is_empty() {
        bail!("tidy: {} breaches of the house rules", breaches.len());
    }
    Ok(())
}

#[derive(Debug, Eq, PartialEq)]
struct Breach {
    path: String,
    line_n: usize,
    rule: &'static str,
}

impl Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line_n, self.rule)
    }
}

/// Everything wrong in the workspace, in the order of its files.
fn breaches(root: &Path) -> Result<Vec<Breach>> {
    let mut breaches = Vec::new();
    for name in EXPECTED.iter().filter(|name| !root.join(name).is_file()) {
        breaches.push(Breach { path: (*name).to_owned(), line_n: 1, rule: "this file must exist" });
    }
    let mut paths = Vec::new();
    collect(root, "", &mut paths)?;
    paths.sort();
    for path in paths {
        let bytes = fs::read(root.join(&path)).with_context(|| format!("cannot read {path}"))?;
        // What is not text has no style.
        if let Ok(text) = str::from_utf8(&bytes) {
            breaches.extend(breaches_in(&path, text));
        }
    }
    Ok(breaches)
}

/// Gathers the files below `folder` by their path from the root; what others write is left out.
fn collect(root: &Path, folder: &str, paths: &mut Vec<String>) -> Result<()> {
    let entries =
        fs::read_dir(root.join(folder)).with_context(|| format!("cannot list `{folder}`"))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list `{folder}`"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let kind = entry.file_type().with_context(|| format!("cannot look at {path}"))?;
        if kind.is_dir() && !matches!(&*name, ".git" | "node_modules" | "target") {
            collect(root, &path, paths)?;
        } else if kind.is_file() && !matches!(&*name, ".git" | "Cargo.lock") {
            // In a second work tree `.git` is a file, which names a folder of this machine.
            paths.push(path);
        }
    }
    Ok(())
}

/// The rules for one file.
fn breaches_in(path: &str, text: &str) -> Vec<Breach> {
    let is_rust = path.ends_with(".rs");
    let mut found = Vec::new();
    if is_rust && text.lines().count() > FILE_LINES_MAX {
        found.push((FILE_LINES_MAX + 1, "a file has 600 lines at most: split it"));
    }
    if is_rust && !text.starts_with("//!") {
        found.push((1, "a module begins with `//!` and what it is for"));
    }
    for (line, line_n) in text.lines().zip(1..) {
        if MACHINE_FOLDERS.iter().any(|folder| line.contains(folder)) {
            found.push((line_n, "this folder exists on one machine only"));
        }
        if is_rust {
            found.extend(rust_rules(path, line).map(|rule| (line_n, rule)));
        }
    }
    let breach = |(line_n, rule)| Breach { path: path.to_owned(), line_n, rule };
    found.into_iter().map(breach).collect()
}

/// The rules for one line of Rust.
fn rust_rules(path: &str, line: &str) -> impl Iterator<Item = &'static str> {
    let in_tests = path.split('/').any(|folder| folder == "tests");
    let is_ignored = line.trim_start().starts_with("#[ignore");
    let may_be_left_out = NOT_UNDER_WINE.iter().any(|folder| path.starts_with(folder));
    let is_for_windows = may_be_left_out && line.contains("Wine");
    let may_ask_os = OS_CRATES.iter().any(|folder| path.starts_with(folder));
    let rules = [
        (line.chars().count() > LINE_CHARS_MAX, "a line has 100 characters at most"),
        (lacks_owner(line), "unfinished work names its owner: `(name)`"),
        (!may_ask_os && !in_tests && asks_os(line), ASKS_OS),
        (!is_for_windows && is_ignored, "a test that is not run is no test"),
        (
            in_tests && line.contains("sleep(") && !line.contains("// bounded poll"),
            "tests wait for what they want to see, in a `// bounded poll`",
        ),
    ];
    rules.into_iter().filter_map(|(broken, rule)| broken.then_some(rule))
}

fn lacks_owner(line: &str) -> bool {
    line.match_indices(UNFINISHED).any(|(at, word)| {
        let before = line[..at].chars().next_back();
        let inside_a_word = before.is_some_and(|char| char.is_alphanumeric() || char == '_');
        !inside_a_word && !line[at + word.len()..].starts_with('(')
    })
}

fn asks_os(line: &str) -> bool {
    let Some((_, condition)) = line.split_once("cfg") else { return false };
    let is_condition = ["(", "!(", "_attr("].iter().any(|open| condition.starts_with(open));
    is_condition && OS_WORDS.iter().any(|word| condition.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let breaches = breaches(&root()).expect("the workspace can be read");
        let lines: Vec<_> = breaches.iter().map(Breach::to_string).collect();
        assert!(lines.is_empty(), "\n{}", lines.join("\n"));
    }

    /// Spelt so that this file keeps the rule that it tests.
    const ASK: &str = concat!("cf", "g");

    fn rules(path: &str, text: &str) -> Vec<(usize, &'static str)> {
        breaches_in(path, text).into_iter().map(|breach| (breach.line_n, breach.rule)).collect()
    }

    fn breaks(path: &str, line: &str) -> bool {
        !rules(path, &format!("//! Doc.\n{line}\n")).is_empty()
    }

    #[test]
    fn each_rule_has_a_line_that_breaks_it_and_one_that_does_not() {
        let core = "crates/stead-core/src/lib.rs";
        let suite = "crates/stead/tests/up.rs";
        let (broken, kept) = (true, false);
        for (path, line, expected) in [
            (core, "x".repeat(101), broken),
            (core, "ä".repeat(100), kept),
            (core, format!("// {UNFINISHED}: later"), broken),
            (core, format!("// {UNFINISHED}(ann): later"), kept),
            (core, format!("#[{ASK}(not(windows))]"), broken),
            (core, format!("if {ASK}!(target_os = \"linux\") {{"), broken),
            (core, format!("#[{ASK}_attr(unix, path = \"a.rs\")]"), broken),
            (core, format!("#[{ASK}(test)]"), kept),
            (core, "use std::os::unix::fs::PermissionsExt;".to_owned(), kept),
            ("crates/stead-proc/src/lib.rs", format!("#[{ASK}(windows)]"), kept),
            (core, "    #[ignore]".to_owned(), broken),
            (suite, "thread::sleep(STEP);".to_owned(), broken),
            (suite, "thread::sleep(STEP); // bounded poll".to_owned(), kept),
            (core, "thread::sleep(STEP);".to_owned(), kept),
            ("README.md", format!("cd {}main", MACHINE_FOLDERS[0]), broken),
            ("README.md", "x".repeat(101), kept),
        ] {
            assert_eq!(breaks(path, &line), expected, "{path}: {line}");
        }
    }

    #[test]
    fn a_file_says_what_it_is_for_and_stays_short() {
        let doc = "a module begins with `//!` and what it is for";
        assert_eq!(rules("a.rs", "use std::fs;\n"), [(1, doc)]);
        let long = "//! Doc.\n".repeat(FILE_LINES_MAX + 1);
        assert_eq!(
            rules("a.rs", &long),
            [(FILE_LINES_MAX + 1, "a file has 600 lines at most: split it")]
        );
        assert_eq!(rules("a.toml", &long), []);
    }
}
