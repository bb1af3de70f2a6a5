//! What a release holds, as it goes to a host: JSON, which is trusted only once it was read here.
//!
//! What it names stays inside of the release: a path is plain parts below folders that the manifest
//! holds, and a link leads nowhere else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    DEPTH_MAX, ENTRIES_MAX, Entry, MODE_FILE, MODE_PROGRAM, Release, link_stays_within, name_of,
};

/// The most bytes that the files of a release may have together: 8 GiB.
const LEN_MAX: u64 = 8 << 30;

/// Longer names no file system takes.
const PART_LEN_MAX: usize = 255;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
enum Line {
    File { mode: u32, len: u64, digest: String },
    Folder,
    Link { to: String },
}

/// Why a manifest is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the digest of `{0}` is no BLAKE3 digest")]
    Digest(String),
    #[error("`{path}` has the mode {mode:o}, which files of a release do not have")]
    Mode { path: String, mode: u32 },
    #[error("the link `{0}` leads out of the release")]
    LinkOut(String),
    #[error("it is no manifest: {0}")]
    NoManifest(serde_json::Error),
    #[error("{0:?} is no path inside of a release")]
    Path(String),
    #[error("`{0}` is in a folder that the release does not have")]
    NoFolder(String),
    #[error("it has more than {LEN_MAX} bytes")]
    TooLong,
    #[error("it has more than {ENTRIES_MAX} files")]
    TooMany,
}

impl Release {
    /// What goes to a host.
    pub fn manifest(&self) -> serde_json::Value {
        let line = |entry: &Entry| match entry {
            Entry::File { mode, len, digest, .. } => {
                Line::File { mode: *mode, len: *len, digest: digest.to_hex().to_string() }
            }
            Entry::Folder => Line::Folder,
            Entry::Link { to } => Line::Link { to: to.clone() },
        };
        let lines: BTreeMap<_, _> =
            self.entries.iter().map(|(path, it)| (path, line(it))).collect();
        serde_json::to_value(lines).expect("a manifest always serializes")
    }

    /// The release that a manifest tells of; its contents are in this folder, by their digests.
    pub fn of_manifest(
        manifest: &serde_json::Value,
        contents: &Path,
    ) -> Result<Self, ManifestError> {
        let lines = BTreeMap::<String, Line>::deserialize(manifest);
        let lines = lines.map_err(ManifestError::NoManifest)?;
        if lines.len() > ENTRIES_MAX {
            return Err(ManifestError::TooMany);
        }
        let mut len_left = LEN_MAX;
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        // A folder sorts before what is in it.
        for (path, line) in lines {
            let depth = depth(&path).ok_or_else(|| ManifestError::Path(path.clone()))?;
            let folder = path.rsplit_once('/').map(|(folder, _)| entries.get(folder));
            if !matches!(folder, None | Some(Some(Entry::Folder))) {
                return Err(ManifestError::NoFolder(path));
            }
            let entry = match line {
                Line::File { mode, .. } if mode != MODE_FILE && mode != MODE_PROGRAM => {
                    return Err(ManifestError::Mode { path, mode });
                }
                Line::File { mode, len, digest } => {
                    len_left = len_left.checked_sub(len).ok_or(ManifestError::TooLong)?;
                    let digest = blake3::Hash::from_hex(&digest);
                    let digest = digest.map_err(|_| ManifestError::Digest(path.clone()))?;
                    // However it was written there, it is found by the one way to write it.
                    let from = contents.join(digest.to_hex().as_str());
                    Entry::File { from, mode, len, digest }
                }
                Line::Folder => Entry::Folder,
                Line::Link { to } if !link_stays_within(Path::new(&to), depth) => {
                    return Err(ManifestError::LinkOut(path));
                }
                Line::Link { to } => Entry::Link { to },
            };
            entries.insert(path, entry);
        }
        let digest = name_of(&entries);
        Ok(Self { entries, digest })
    }

    /// Its files: path in it, digest, where the content is and how long.
    pub fn files(&self) -> impl Iterator<Item = (&str, String, &Path, u64)> {
        self.entries.iter().filter_map(|(path, entry)| match entry {
            Entry::File { from, len, digest, .. } => {
                Some((path.as_str(), digest.to_hex().to_string(), from.as_path(), *len))
            }
            Entry::Folder | Entry::Link { .. } => None,
        })
    }

    /// The contents of its files by digest, with where each is and how long it is.
    pub fn contents(&self) -> BTreeMap<String, (PathBuf, u64)> {
        self.files().map(|(_, digest, from, len)| (digest, (from.to_owned(), len))).collect()
    }
}

/// In how many folders something is; `None` for what is no plain path.
fn depth(path: &str) -> Option<usize> {
    let is_plain = |part: &str| {
        let is_strange = |c: char| c.is_control() || c == '\\' || c == ':';
        !matches!(part, "" | "." | "..") && part.len() <= PART_LEN_MAX && !part.contains(is_strange)
    };
    let depth = path.matches('/').count();
    (path.split('/').all(is_plain) && depth <= DEPTH_MAX).then_some(depth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(manifest: &serde_json::Value) -> String {
        Release::of_manifest(manifest, Path::new("/nowhere")).unwrap_err().to_string()
    }

    fn file(mode: u32) -> serde_json::Value {
        json!({"kind": "file", "mode": mode, "len": 1, "digest": "a".repeat(64)})
    }

    fn refused_path(path: &str) {
        assert!(refusal(&json!({ path: file(0o444) })).contains("no path inside"), "{path}");
    }

    #[test]
    fn a_path_that_leads_up_is_refused() {
        ["..", "../x", "a/../../x", "./x"].into_iter().for_each(refused_path);
    }

    #[test]
    fn an_absolute_path_is_refused() {
        ["/etc/passwd", "//x", "C:/x", "a\\b"].into_iter().for_each(refused_path);
    }

    #[test]
    fn a_path_with_what_is_no_name_is_refused() {
        ["", "a//b", "a/", "a\0b", "a\nb", &"x".repeat(256)].into_iter().for_each(refused_path);
        refused_path(&["a"; DEPTH_MAX + 2].join("/"));
    }

    #[test]
    fn what_stands_below_something_that_is_no_folder_is_refused() {
        let link = json!({"kind": "link", "to": "b"});
        for below in [json!({"a/x": file(0o444)}), json!({"a": link, "a/x": file(0o444)})] {
            assert!(refusal(&below).contains("a folder that the release does not have"));
        }
    }

    #[test]
    fn a_link_that_leads_out_is_refused_and_one_that_stays_is_taken() {
        for to in ["/etc/passwd", "../x", "b/../../x"] {
            let out = json!({"a": {"kind": "link", "to": to}});
            assert!(refusal(&out).contains("leads out"), "{to}");
        }
        let stays = json!({"a": {"kind": "folder"}, "a/l": {"kind": "link", "to": "../b"}});
        assert!(Release::of_manifest(&stays, Path::new("/nowhere")).is_ok());
    }

    #[test]
    fn a_device_and_a_hard_link_are_no_kinds_of_a_release() {
        for kind in ["device", "fifo", "hard-link", "socket"] {
            let strange = json!({"a": {"kind": kind, "to": "/etc/passwd"}});
            assert!(refusal(&strange).contains(kind), "{kind}");
        }
    }

    #[test]
    fn a_mode_that_a_release_does_not_have_is_refused() {
        for mode in [0o4555, 0o777, 0o644] {
            assert!(refusal(&json!({ "a": file(mode) })).contains("mode"), "{mode:o}");
        }
        assert!(Release::of_manifest(&json!({ "a": file(0o555) }), Path::new("/")).is_ok());
    }

    #[test]
    fn a_digest_is_the_same_in_capitals() {
        let of = |digest: &str| {
            let file = json!({"kind": "file", "mode": 0o444, "len": 1, "digest": digest});
            Release::of_manifest(&json!({ "a": file }), Path::new("/in")).unwrap().contents()
        };
        assert_eq!(of(&"AB".repeat(32)), of(&"ab".repeat(32)));
    }

    #[test]
    fn a_size_that_no_disk_takes_is_refused() {
        let huge =
            json!({"kind": "file", "mode": 0o444, "len": u64::MAX, "digest": "a".repeat(64)});
        assert!(refusal(&json!({ "a": huge })).contains("bytes"));
    }
}
