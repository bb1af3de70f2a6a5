//! What is deployed: the shop's orders with its line tables, and versions of it that differ by as
//! little as a day's work on it would.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::say;
use crate::workspace::{make, root, scratch};

/// The file that differs from version to version, and what of it does: a limit, a message, and
/// one more thing that is answered.
const CHANGED: &str = "orders/src/api.rs";
const CHANGES: [(&str, &str); 3] = [
    ("const EVENTS_MAX: u32 = 1_000;", "const EVENTS_MAX: u32 = 1_000 + VERSION;"),
    (
        "\"this idempotency key belongs to another order\"",
        "\"another order has this key: VERSION\"",
    ),
    (".route(\"/events\", get(get_events))", ADDED),
];
const ADDED: &str = ".route(\"/events\", get(get_events))
        .route(\"/version\", get(|| async { \"VERSION\" }))";

/// As programs are built that are to be looked into when they crash.
const PROFILE: &str = "[profile.release]\ndebug = \"line-tables-only\"\nopt-level = \"s\"\n";

pub(super) struct Payload {
    folder: PathBuf,
    len: u64,
}

impl Payload {
    /// Builds the first version, and so many that follow it.
    pub(super) fn build(changes_n: usize) -> Result<Self> {
        let folder = scratch("bench/ship")?;
        let source = folder.join("source");
        copy_sources(&source)?;
        let mut payload = Self { folder, len: 0 };
        for version in 0..=changes_n {
            say::progress(format_args!("building version {version} of the program"));
            change(&source.join(CHANGED), version)?;
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--release", "-p", "shop-orders"]);
            build.current_dir(&source).env("CARGO_TARGET_DIR", payload.folder.join("target"));
            process::run(&mut build)?;
            let built = payload.folder.join("target/release/orders");
            let program = payload.program(version);
            payload.len = fs::copy(&built, &program)
                .with_context(|| format!("cannot copy {}", built.display()))?;
        }
        Ok(payload)
    }

    /// The file of a version.
    pub(super) fn program(&self, version: usize) -> PathBuf {
        self.folder.join(format!("orders-{version}"))
    }

    /// The bytes of the last version.
    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

/// Copies the shop's orders into a workspace of its own.
fn copy_sources(source: &Path) -> Result<()> {
    make(source)?;
    let shop = root().join("examples/shop");
    for package in ["common", "orders"] {
        let to = source.join(package);
        if to.exists() {
            fs::remove_dir_all(&to).with_context(|| format!("cannot remove {}", to.display()))?;
        }
        process::run(Command::new("cp").arg("-r").arg(shop.join(package)).arg(to))?;
    }
    let manifest = read(&root().join("Cargo.toml"))?;
    // Dependencies and lints are the workspace's, all else is not.
    let parts = manifest.split("\n[").filter(|part| part.starts_with("workspace."));
    let rest: String = parts.map(|part| format!("\n[{part}\n")).collect();
    let rest = rest.replace("path = \"", &format!("path = \"{}/", root().display()));
    let members = "[workspace]\nresolver = \"3\"\nmembers = [\"common\", \"orders\"]\n";
    write(&source.join("Cargo.toml"), &format!("{members}{rest}\n{PROFILE}"))?;
    write(&source.join("Cargo.lock"), &read(&root().join("Cargo.lock"))?)
}

/// Makes a version of the file in the shop's folder.
fn change(file: &Path, version: usize) -> Result<()> {
    let mut text = read(&root().join("examples/shop").join(CHANGED))?;
    for (from, to) in CHANGES {
        if !text.contains(from) {
            bail!("`{CHANGED}` does not say `{from}` any more: say here what is to be changed");
        }
        text = text.replace(from, &to.replace("VERSION", &version.to_string()));
    }
    write(file, &text)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_differs_from_the_source_in_every_place_that_is_named() {
        let file = std::env::temp_dir().join(format!("stead-payload-{}", std::process::id()));
        change(&file, 7).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::remove_file(&file).unwrap();
        for (_, to) in CHANGES {
            assert!(text.contains(&to.replace("VERSION", "7")), "{to}");
        }
    }
}
