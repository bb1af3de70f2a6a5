//! The releases of a host, as they come: what is missing is asked for by content, verified and on
//! the disk before it has its name, and kept until the release is whole.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use stead_proc::MappedFile;

use crate::patch;
use crate::release::{PackError, Release};

/// What the name of a base ends with, among the contents that have come.
const BASE: &str = ".base";

/// So many releases are looked through for a file of the same name.
const BASES_LOOKED_MAX: usize = 16;

/// The longest content, in bytes: it comes in one piece.
pub const CONTENT_LEN_MAX: u64 = 512 << 20;

/// So many bytes are written at a time. For more at once, the kernel looks for memory in one piece,
/// which it may have to fetch from its hypervisor first: ten times as long for the same file.
const PIECE_LEN: usize = 256 << 10;

/// Why something that came is not taken.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It can never be taken.
    #[error("{0}")]
    Bad(String),
    /// It is not what it was on its way here.
    #[error("{0}")]
    Damaged(String),
    #[error("{0}")]
    NotStored(String),
}

/// What is lacking of a release.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Lacking {
    /// The digest that names the release.
    pub release: String,
    /// The contents that are missing, by BLAKE3 digest.
    pub contents: Vec<String>,
    /// To some of them, one that is there and may be much like it.
    pub bases: BTreeMap<String, String>,
}

/// Contents that have come and are not part of a release yet, in a folder of their own.
#[derive(Debug)]
pub struct Store {
    incoming: PathBuf,
}

impl Store {
    /// The folder is there.
    pub fn new(incoming: PathBuf) -> Self {
        Self { incoming }
    }

    fn release(&self, manifest: &Value) -> Result<Release, StoreError> {
        let release = Release::of_manifest(manifest, &self.incoming);
        release.map_err(|error| StoreError::Bad(error.to_string()))
    }

    /// What is lacking of the release of a manifest, which is to go to this folder.
    pub fn lacking(&self, manifest: &Value, folder: &Path) -> Result<Lacking, StoreError> {
        let release = self.release(manifest)?;
        let release_name = release.digest().as_str().to_owned();
        let mut lacking = Lacking { release: release_name, ..Lacking::default() };
        if release.is_in(folder) {
            return Ok(lacking);
        }
        release.takes_names().map_err(|error| StoreError::Bad(error.to_string()))?;
        let before = newest_first(folder);
        for (name, digest, at, len) in release.files() {
            if fs::metadata(at).is_ok_and(|there| there.len() == len) {
                continue;
            }
            let base = before.iter().find_map(|before| self.lend(&before.join(name)));
            if base.as_ref() == Some(&digest) {
                // It is there already, under another release, with which it shares nothing.
                let bytes = fs::read(self.base(&digest)).map_err(|error| not_stored(&error))?;
                if *blake3::hash(&bytes).to_hex() == digest {
                    self.store(&digest, &bytes)?;
                    lacking.contents.retain(|it| *it != digest);
                    continue;
                }
            }
            lacking.bases.extend(base.map(|base| (digest.clone(), base)));
            if !lacking.contents.contains(&digest) {
                lacking.contents.push(digest);
            }
        }
        Ok(lacking)
    }

    /// Has a file of a release at hand as a base; says its digest.
    fn lend(&self, file: &Path) -> Option<String> {
        let is_file = fs::symlink_metadata(file).is_ok_and(|there| there.is_file());
        let opened = is_file.then(|| File::open(file).ok()).flatten()?;
        let digest = blake3::hash(&MappedFile::open(&opened).ok()?).to_hex().to_string();
        let base = self.base(&digest);
        // A base is only read, and then removed: it may be the file of the release itself.
        let is_there = || fs::hard_link(file, &base).or_else(|_| fs::copy(file, &base).map(drop));
        (base.is_file() || is_there().is_ok()).then_some(digest)
    }

    fn base(&self, digest: &str) -> PathBuf {
        self.incoming.join(format!("{digest}{BASE}"))
    }

    /// Takes what was sent for `DIGEST/LEN`, or for `DIGEST/LEN/BASE`.
    pub fn put_content(&self, named: &str, sent: &[u8]) -> Result<(), StoreError> {
        let digest_of = |text: &str| {
            let digest = blake3::Hash::from_hex(text);
            digest.map_err(|error| StoreError::Bad(format!("`{text}`: {error}")))
        };
        let mut parts = named.split('/');
        let digest = digest_of(parts.next().unwrap_or(""))?;
        let len = parts.next().and_then(|len| len.parse::<u64>().ok());
        let len = len.filter(|len| *len <= CONTENT_LEN_MAX);
        let len = len.ok_or_else(|| StoreError::Bad("its length is none, or too much".into()))?;
        let base = match parts.next() {
            Some(base) => {
                let at = self.base(digest_of(base)?.to_hex().as_str());
                // It is that of a release, or a copy of ours: nobody writes to either.
                let read = File::open(at).and_then(|file| MappedFile::open(&file));
                Some(read.map_err(|error| StoreError::Bad(format!("the base `{base}`: {error}")))?)
            }
            None => None,
        };
        // Not what was asked for is wrong then, but what became of it on the way.
        let bytes = patch::restore(sent, base.as_deref(), len)
            .map_err(|error| StoreError::Damaged(with_source(&error)))?;
        if blake3::hash(&bytes) != digest {
            let why = format!("it is not what its digest {digest} says");
            return Err(StoreError::Damaged(why));
        }
        self.store(digest.to_hex().as_str(), &bytes)
    }

    /// Stores a content that is what its digest says. It is on the disk before it has its name, so
    /// that whatever has such a name can be relied on.
    fn store(&self, digest: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let new = self.incoming.join(format!("{digest}.new"));
        let written = File::create(&new).and_then(|mut file| {
            bytes.chunks(PIECE_LEN).try_for_each(|piece| file.write_all(piece))?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&new, self.incoming.join(digest))).map_err(|error| {
            // Half a file would only take up the room that is missing.
            let _ = fs::remove_file(&new);
            not_stored(&error)
        })
    }

    /// Puts the release of a manifest into this folder, of the contents that have come; says its
    /// digest.
    pub fn put(&self, manifest: &Value, folder: &Path) -> Result<String, StoreError> {
        let release = self.release(manifest)?;
        let packed = release.pack_own(folder);
        if packed.as_ref().is_err_and(PackError::is_about_the_files) || packed.is_ok() {
            // Put in place, or spoiled: neither is of use here any more.
            self.clear(&release);
        }
        match packed {
            Ok(_) => Ok(release.digest().as_str().to_owned()),
            Err(error) if error.is_about_the_files() => Err(StoreError::Bad(with_source(&error))),
            Err(error) => Err(StoreError::NotStored(with_source(&error))),
        }
    }

    /// Removes the contents of a release, and all bases. What stays is found by the next one.
    fn clear(&self, release: &Release) {
        for (digest, _) in release.contents() {
            let _ = fs::remove_file(self.incoming.join(digest));
        }
        for entry in fs::read_dir(&self.incoming).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.ends_with(BASE)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// The releases in this folder that may hold a base, the one that was put there last first.
fn newest_first(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    // What is being packed has more to its name.
    let whole = entries.filter(|entry| entry.path().extension().is_none());
    let at = |entry: &fs::DirEntry| entry.metadata().and_then(|meta| meta.modified()).ok();
    let mut all: Vec<_> = whole.filter_map(|entry| Some((at(&entry)?, entry.path()))).collect();
    all.sort_by(|one, other| other.cmp(one));
    all.into_iter().map(|(_, path)| path).take(BASES_LOOKED_MAX).collect()
}

fn with_source(error: &dyn std::error::Error) -> String {
    let source = error.source().map(|source| format!(": {source}"));
    format!("{error}{}", source.unwrap_or_default())
}

fn not_stored(error: &io::Error) -> StoreError {
    StoreError::NotStored(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Rig {
        folder: PathBuf,
        store: Store,
    }

    impl Rig {
        fn new(name: &str) -> Self {
            let name = format!("stead-store-{}-{name}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&folder);
            for part in ["incoming", "releases"] {
                fs::create_dir_all(folder.join(part)).unwrap();
            }
            let store = Store::new(folder.join("incoming"));
            Self { folder, store }
        }

        fn releases(&self) -> PathBuf {
            self.folder.join("releases")
        }

        fn incoming(&self) -> usize {
            fs::read_dir(self.folder.join("incoming")).unwrap().count()
        }
    }

    fn manifest(name: &str, content: &[u8]) -> (Value, String) {
        let digest = blake3::hash(content).to_hex().to_string();
        let file = json!({"kind": "file", "mode": 0o444, "len": content.len(), "digest": digest});
        (json!({ name: file }), digest)
    }

    #[test]
    fn what_has_come_whole_becomes_a_release_and_the_next_one_is_sent_against_it() {
        let rig = Rig::new("whole");
        let (old, new) = (b"a content".repeat(2000), b"b content".repeat(2000));
        let (first, digest) = manifest("x", &old);
        let lacking = rig.store.lacking(&first, &rig.releases()).unwrap();
        assert_eq!(lacking.contents, std::slice::from_ref(&digest));
        let sent = patch::compress(&old, None).unwrap();
        rig.store.put_content(&format!("{digest}/{}", old.len()), &sent).unwrap();
        let named = rig.store.put(&first, &rig.releases()).unwrap();
        assert_eq!(fs::read(rig.releases().join(named).join("x")).unwrap(), old);
        assert_eq!(rig.incoming(), 0);
        let (second, other) = manifest("x", &new);
        let lacking = rig.store.lacking(&second, &rig.releases()).unwrap();
        assert_eq!(lacking.bases, [(other.clone(), digest.clone())].into());
        let sent = patch::compress(&new, Some(&old)).unwrap();
        let named = format!("{other}/{}/{digest}", new.len());
        rig.store.put_content(&named, &sent).unwrap();
        assert!(rig.store.put(&second, &rig.releases()).is_ok());
        fs::remove_dir_all(&rig.folder).unwrap_or(());
    }

    #[test]
    fn files_of_one_content_are_files_of_their_own() {
        let rig = Rig::new("own");
        let content = b"a content".repeat(2000);
        let (_, digest) = manifest("x", &content);
        let len = content.len();
        let file = |mode: u32| json!({"kind": "file", "mode": mode, "len": len, "digest": digest});
        let sent = patch::compress(&content, None).unwrap();
        rig.store.put_content(&format!("{digest}/{}", content.len()), &sent).unwrap();
        let first = json!({"run": file(0o555), "text": file(0o444)});
        let first = rig.store.put(&first, &rig.releases()).unwrap();
        // In the next release it has another mode, and is not sent again.
        let second = json!({"more": file(0o444), "run": file(0o444)});
        assert_eq!(rig.store.lacking(&second, &rig.releases()).unwrap().contents, [""; 0]);
        let second = rig.store.put(&second, &rig.releases()).unwrap();
        for (release, name, mode) in [
            (&first, "run", 0o555),
            (&first, "text", 0o444),
            (&second, "more", 0o444),
            (&second, "run", 0o444),
        ] {
            let path = rig.releases().join(release).join(name);
            let there = stead_proc::MODE_OF.map(|of| of(&fs::metadata(&path).unwrap()));
            assert!(there.is_none_or(|there| there == mode), "{there:?}");
            assert_eq!(fs::read(&path).unwrap(), content);
            // What is written to one is in no other.
            stead_proc::set_mode(&path, 0o644).unwrap();
            fs::write(&path, "x").unwrap();
        }
        assert_eq!(rig.incoming(), 0);
        fs::remove_dir_all(&rig.folder).unwrap_or(());
    }

    #[test]
    fn a_release_that_this_system_has_no_names_for_is_refused_when_it_is_offered() {
        let rig = Rig::new("names");
        let (manifest, _) = manifest("con.txt", b"a content");
        match rig.store.lacking(&manifest, &rig.releases()) {
            Ok(lacking) => assert!(stead_proc::TAKES_ANY_NAME && lacking.contents.len() == 1),
            Err(error) => {
                assert!(!stead_proc::TAKES_ANY_NAME && matches!(error, StoreError::Bad(_)));
                assert!(error.to_string().contains("`con.txt` cannot stand"), "{error}");
            }
        }
        fs::remove_dir_all(&rig.folder).unwrap();
    }

    #[test]
    fn what_is_named_or_sent_wrongly_leaves_nothing_behind() {
        let rig = Rig::new("wrong");
        let content = b"a content";
        let (manifest, digest) = manifest("x", content);
        let sent = patch::compress(content, None).unwrap();
        let bad = [
            "",
            "x/9",
            "../../x/9",
            &format!("{digest}/"),
            &format!("{digest}/-1"),
            &format!("{digest}/{}", u64::MAX),
            &format!("{digest}/9/../x"),
            &format!("{digest}/9/{}", "0".repeat(64)),
        ];
        for named in bad {
            let put = rig.store.put_content(named, &sent);
            assert!(matches!(put, Err(StoreError::Bad(_))), "{named}");
        }
        let other = "0".repeat(64);
        for (named, sent) in [
            (format!("{digest}/8"), &sent[..]),
            (format!("{other}/9"), &sent[..]),
            (format!("{digest}/9"), &sent[1..]),
            (format!("{digest}/9"), &b""[..]),
        ] {
            let put = rig.store.put_content(&named, sent);
            assert!(matches!(put, Err(StoreError::Damaged(_))), "{named}");
        }
        assert!(matches!(rig.store.put(&manifest, &rig.releases()), Err(StoreError::Bad(_))));
        assert_eq!((rig.incoming(), fs::read_dir(rig.releases()).unwrap().count()), (0, 0));
        fs::remove_dir_all(&rig.folder).unwrap();
    }
}
