//! Documents that are written by the code and kept in the repository, so that a change of them
//! is seen in review.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{cargo, make, root};
use crate::{process, say};

#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Freshness {
    /// Change nothing; fail if the file is not what the code says
    #[arg(long)]
    check: bool,
}

/// A document, and the hidden subcommand of `stead` that prints it.
pub(crate) struct Document {
    path: &'static str,
    subcommand: &'static str,
}

pub(crate) const OPENAPI: Document = Document { path: "docs/openapi.json", subcommand: "openapi" };
pub(crate) const SCHEMA: Document =
    Document { path: "docs/stead.schema.json", subcommand: "schema" };

/// Compares every document, with the `stead` that was built already if there is one.
pub(crate) fn check_all(stead: Option<&Path>) -> Result<()> {
    for document in [SCHEMA, OPENAPI] {
        document.compare(&document.text(stead)?)?;
    }
    Ok(())
}

impl Document {
    pub(crate) fn refresh(&self, freshness: Freshness) -> Result<()> {
        let text = self.text(None)?;
        if freshness.check { self.compare(&text) } else { self.write(&text) }
    }

    fn text(&self, stead: Option<&Path>) -> Result<String> {
        let mut command = match stead {
            Some(stead) => Command::new(stead),
            None => cargo(&["run", "--quiet", "-p", "stead", "--"])?,
        };
        let bytes = process::output(command.arg(self.subcommand))?;
        let text = String::from_utf8(bytes).context("the document is not UTF-8")?;
        Ok(format!("{}\n", text.trim_end()))
    }

    fn write(&self, text: &str) -> Result<()> {
        let path = root().join(self.path);
        make(path.parent().expect("the path names a folder"))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", self.path))?;
        say::progress(format_args!("wrote {}", self.path));
        Ok(())
    }

    fn compare(&self, text: &str) -> Result<()> {
        let kept = fs::read_to_string(root().join(self.path))
            .with_context(|| format!("cannot read {}; {}", self.path, self.advice()))?;
        if kept != text {
            bail!("{} is not what the code says; {}", self.path, self.advice());
        }
        Ok(())
    }

    fn advice(&self) -> String {
        format!("run `cargo xtask {}`", self.subcommand)
    }
}
