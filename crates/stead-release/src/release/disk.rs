//! What the disk of a host holds of a release besides contents, and what stands in for the rest.
//!
//! Where files have no modes, the list of its programs stands beside a release, as JSON in
//! `DIGEST.programs`. Nobody has to trust it: the modes are in the digest, so with a wrong list the
//! release is not what its name says. It is there before the release is, and it is removed some
//! time after it.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Entry, MODE_FILE, MODE_PROGRAM, PackError, Release, names};

/// What the name of a list ends with, after a dot.
const LIST: &str = "programs";

/// Names of programs end so where no mode says what a program is; in lower case.
const ENDS_OF_PROGRAMS: [&str; 5] = [".bat", ".cmd", ".com", ".exe", ".ps1"];

/// Programs of other systems begin so: scripts that name their interpreter, and ELF.
const BEGINS_OF_PROGRAMS: [&[u8]; 2] = [b"#!", b"\x7fELF"];

/// The properties of a disk that make a difference to releases.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    /// How the mode of a file is read, if it has one.
    pub(super) mode_of: Option<fn(&Metadata) -> u32>,
    pub(super) takes_any_name: bool,
}

/// Where it is known from what is a program.
#[derive(Debug)]
pub(super) enum Modes {
    Kept(fn(&Metadata) -> u32),
    Listed(BTreeSet<String>),
    /// What a tool of Unix would have made of it, by its name and how it begins.
    Guessed,
}

impl Disk {
    /// Of the system that this runs on.
    pub(super) const HERE: Self =
        Self { mode_of: stead_proc::MODE_OF, takes_any_name: stead_proc::TAKES_ANY_NAME };

    /// What modes are known from of files that are nobody's release yet.
    pub(super) fn modes(self) -> Modes {
        self.mode_of.map_or(Modes::Guessed, Modes::Kept)
    }

    /// What modes are known from of a release that stands in a folder.
    pub(super) fn modes_of_release(self, place: &Path) -> Modes {
        let listed = || read_list(place).map_or(Modes::Guessed, Modes::Listed);
        self.mode_of.map_or_else(listed, Modes::Kept)
    }

    /// Whether a file has this mode, as far as it has one.
    pub(super) fn has_mode(self, there: &Metadata, mode: u32) -> bool {
        self.mode_of.is_none_or(|mode_of| mode_of(there) == mode)
    }

    /// Whether the modes that files do not have are beside a release.
    pub(super) fn has_list(self, release: &Release, place: &Path) -> bool {
        self.mode_of.is_some() || read_list(place) == Some(programs(release))
    }

    /// Puts the modes that files do not have beside where a release will stand.
    pub(super) fn put_list(self, release: &Release, place: &Path) -> Result<(), PackError> {
        if self.mode_of.is_some() {
            return Ok(());
        }
        let list = list(place);
        let text = serde_json::to_vec(&programs(release)).expect("texts always serialize");
        // One that is torn is not the list of its release, which is packed again then.
        let written = File::create(&list).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        written.map_err(|error| PackError::Write(list, error))
    }

    /// Whether it is the list of a release that is not there any more, or not yet.
    pub(super) fn is_lone_list(self, path: &Path) -> bool {
        let is_list = path.extension().is_some_and(|it| it == LIST);
        self.mode_of.is_none() && is_list && !path.with_extension("").exists()
    }

    /// Refuses a release with names that the disk would take for something else.
    pub(super) fn takes_names(self, release: &Release) -> Result<(), PackError> {
        if self.takes_any_name {
            return Ok(());
        }
        match names::strange_to_windows(&release.entries) {
            Some((path, why)) => Err(PackError::Name { path: path.to_owned(), why }),
            None => Ok(()),
        }
    }
}

impl Modes {
    /// The mode of a file by its path in the release, what the disk says of it, and how it begins.
    pub(super) fn mode(&self, path: &str, there: &Metadata, begin: &[u8]) -> u32 {
        let is_program = match self {
            Self::Kept(mode_of) => mode_of(there) & 0o111 != 0,
            Self::Listed(programs) => programs.contains(path),
            Self::Guessed => looks_like_a_program(path, begin),
        };
        if is_program { MODE_PROGRAM } else { MODE_FILE }
    }
}

fn looks_like_a_program(path: &str, begin: &[u8]) -> bool {
    let path = path.to_ascii_lowercase();
    ENDS_OF_PROGRAMS.iter().any(|end| path.ends_with(end))
        || BEGINS_OF_PROGRAMS.iter().any(|program| begin.starts_with(program))
}

fn programs(release: &Release) -> BTreeSet<String> {
    let is_program = |entry: &Entry| match entry {
        Entry::File { mode, .. } => *mode == MODE_PROGRAM,
        Entry::Folder | Entry::Link { .. } => false,
    };
    let programs = release.entries.iter().filter(|(_, entry)| is_program(entry));
    programs.map(|(path, _)| path.clone()).collect()
}

/// Where the list of the release is that stands there.
fn list(place: &Path) -> PathBuf {
    place.with_extension(LIST)
}

fn read_list(place: &Path) -> Option<BTreeSet<String>> {
    serde_json::from_slice(&fs::read(list(place)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_modes_a_program_is_what_a_tool_of_unix_would_have_made_one() {
        for (path, begin, is_program) in [
            ("orders.exe", &b"MZ"[..], true),
            ("bin/RUN.CMD", b"", true),
            ("a.bat", b"", true),
            ("a.com", b"", true),
            ("a.ps1", b"", true),
            ("run", b"#!/bin/sh\n", true),
            ("run.txt", b"#!", true),
            ("orders", b"\x7fELF\x02", true),
            ("orders", b"\x7fEL", false),
            ("a.dll", b"MZ", false),
            ("a.exe.txt", b"", false),
            ("exe", b"", false),
            ("a.sh", b"# a comment", false),
            ("empty", b"", false),
        ] {
            assert_eq!(looks_like_a_program(path, begin), is_program, "{path}");
        }
    }
}
