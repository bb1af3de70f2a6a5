//! Links of a release, which lead to other entries of it or nowhere.

use std::path::{Component, Path};

use super::{Entry, PackError, Release, read_error, utf8};

/// So many links are followed from one to the next, as on Linux.
const HOPS_MAX: usize = 40;

/// A link is kept if it cannot leave the release: up by no more folders than it is deep in, then
/// down. A `..` after a name could lead out by way of another link.
pub(super) fn read_link(from: &Path, depth: usize) -> Result<Entry, PackError> {
    let to = stead_proc::read_link(from).map_err(|error| read_error(from, error))?;
    if !link_stays_within(&to, depth) {
        return Err(PackError::LinkOut { link: from.into(), to });
    }
    Ok(Entry::Link { to: utf8(to.as_os_str(), from)? })
}

/// Whether what a link in so many folders leads to is in the same release.
pub(super) fn link_stays_within(to: &Path, depth: usize) -> bool {
    let mut ups_n = 0;
    let mut down = false;
    let mut stays = true;
    for part in to.components() {
        match part {
            Component::CurDir => (),
            Component::Normal(_) => down = true,
            Component::ParentDir => {
                ups_n += 1;
                stays &= !down;
            }
            Component::Prefix(_) | Component::RootDir => stays = false,
        }
    }
    stays && ups_n <= depth
}

impl Release {
    /// Whether what a link leads to is a folder of the release, also by way of other links.
    pub(super) fn leads_to_folder(&self, link: &str) -> bool {
        let mut parts_left: Vec<&str> = link.split('/').rev().collect();
        let mut at: Vec<&str> = Vec::new();
        let mut hops_n = 0;
        while let Some(part) = parts_left.pop() {
            match part {
                "" | "." => continue,
                ".." => {
                    at.pop();
                    continue;
                }
                name => at.push(name),
            }
            match self.entries.get(&at.join("/")) {
                Some(Entry::Folder) => (),
                Some(Entry::Link { to }) if hops_n < HOPS_MAX => {
                    hops_n += 1;
                    at.pop();
                    parts_left.extend(to.split('/').rev());
                }
                Some(Entry::File { .. } | Entry::Link { .. }) | None => return false,
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_link_leads_to_a_folder_if_its_last_hop_does() {
        let link = |to: &str| json!({"kind": "link", "to": to});
        let folder = json!({"kind": "folder"});
        let file = json!({"kind": "file", "mode": 0o444, "len": 1, "digest": "a".repeat(64)});
        let manifest = json!({
            "a": folder, "a/b": folder, "a/b/deep": link("../.."), "a/file": file,
            "a/up": link("../a/b"), "again": link("again"), "by": link("to-b/up"),
            "dangling": link("a/none"), "here": link("."), "one": link("./a/file"),
            "to-a": link("a"), "to-b": link("to-a/b"), "two": link("one"),
            "within": link("to-a/up"), "beyond-a-file": link("a/file/x"),
        });
        let release = Release::of_manifest(&manifest, Path::new("/nowhere")).unwrap();
        for (path, leads) in [
            ("a/b/deep", true),
            ("a/up", true),
            ("again", false),
            ("beyond-a-file", false),
            ("by", false),
            ("dangling", false),
            ("here", true),
            ("one", false),
            ("to-a", true),
            ("to-b", true),
            ("two", false),
            ("within", true),
        ] {
            assert_eq!(release.leads_to_folder(path), leads, "{path}");
        }
    }
}
