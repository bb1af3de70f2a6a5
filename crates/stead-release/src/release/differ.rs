//! What differs between two releases, path by path.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Entry, MODE_PROGRAM, Release};

/// What stands at one path of a release, as far as people are told.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Held {
    File { len: u64, is_program: bool },
    Folder,
    Link { to: String },
}

/// A path at which two releases differ.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct PathChange {
    pub path: String,
    /// `None`: it was added.
    pub from: Option<Held>,
    /// `None`: it was removed.
    pub to: Option<Held>,
}

impl Release {
    /// The paths at which another release differs from this one, in their order.
    pub fn changes_to(&self, other: &Self) -> Vec<PathChange> {
        let paths: BTreeSet<&String> = self.entries.keys().chain(other.entries.keys()).collect();
        let change = |path: &String| {
            let [from, to] = [self, other].map(|release| release.entries.get(path));
            let is_same = match (from, to) {
                (Some(from), Some(to)) => is_alike(from, to),
                (None, _) | (_, None) => false,
            };
            let (from, to) = (from.map(held), to.map(held));
            (!is_same).then(|| PathChange { path: path.clone(), from, to })
        };
        paths.into_iter().filter_map(change).collect()
    }
}

/// Whether two entries are one, wherever their contents lie.
fn is_alike(one: &Entry, other: &Entry) -> bool {
    match (one, other) {
        (
            Entry::File { mode, digest, .. },
            Entry::File { mode: other_mode, digest: other_digest, .. },
        ) => mode == other_mode && digest == other_digest,
        (Entry::Folder, Entry::Folder) => true,
        (Entry::Link { to }, Entry::Link { to: other }) => to == other,
        (Entry::File { .. } | Entry::Folder | Entry::Link { .. }, _) => false,
    }
}

fn held(entry: &Entry) -> Held {
    match entry {
        Entry::File { mode, len, .. } => {
            Held::File { len: *len, is_program: *mode == MODE_PROGRAM }
        }
        Entry::Folder => Held::Folder,
        Entry::Link { to } => Held::Link { to: to.clone() },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;

    fn release(manifest: &Value) -> Release {
        Release::of_manifest(manifest, Path::new("/nowhere")).unwrap()
    }

    fn file(content: &str, mode: u32) -> Value {
        let digest = blake3::hash(content.as_bytes()).to_hex().to_string();
        json!({"kind": "file", "mode": mode, "len": content.len(), "digest": digest})
    }

    #[test]
    fn what_was_added_removed_or_changed_is_told_with_its_sizes_and_nothing_else() {
        let old = json!({
            "gone": file("abc", 0o444), "kept": file("same", 0o444), "lib": {"kind": "folder"},
            "lib/link": {"kind": "link", "to": "../kept"}, "tool": file("x", 0o444),
            "turned": file("y", 0o444), "version": file("1", 0o444),
        });
        let new = json!({
            "kept": file("same", 0o444), "lib": {"kind": "folder"},
            "lib/link": {"kind": "link", "to": "../new"}, "new": file("12345", 0o444),
            "tool": file("x", 0o555), "turned": {"kind": "folder"}, "version": file("2", 0o444),
        });
        let plain = |len| Some(Held::File { len, is_program: false });
        let link = |to: &str| Some(Held::Link { to: to.to_owned() });
        let expected = [
            ("gone", plain(3), None),
            ("lib/link", link("../kept"), link("../new")),
            ("new", None, plain(5)),
            ("tool", plain(1), Some(Held::File { len: 1, is_program: true })),
            ("turned", plain(1), Some(Held::Folder)),
            ("version", plain(1), plain(1)),
        ];
        let expected =
            expected.map(|(path, from, to)| PathChange { path: path.to_owned(), from, to });
        assert_eq!(release(&old).changes_to(&release(&new)), expected);
        assert!(release(&old).changes_to(&release(&old)).is_empty());
    }
}
