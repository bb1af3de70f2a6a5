//! What is sent to hosts: each content compressed once, however many hosts get it, and against what
//! they have, where this machine still knows that.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use stead_core::names::FleetName;
use tokio::sync::OnceCell;

use crate::cache;
use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::{PartKey, Parts};
use stead_release::patch;

/// What was sent is kept for the patches to come, up to so many bytes; the oldest goes first.
const KEPT_LEN_MAX: u64 = 2 << 30;

/// Smaller contents are sent whole: a patch would save nothing.
const BASE_LEN_MIN: u64 = 4 << 10;

/// A content as it goes over the wire.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) bytes: hyper::body::Bytes,
    /// The content that the other end must have for it.
    pub(super) base: Option<String>,
}

type Key = (String, Option<String>);

/// Compressed contents, and those of before.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Where contents are kept that were sent, by digest.
    kept: Option<PathBuf>,
    ready: Mutex<BTreeMap<Key, Arc<OnceCell<Arc<Sent>>>>>,
}

impl Outbox {
    /// One that keeps what it sends where this user's caches are, if that is anywhere.
    pub(super) fn of_this_user() -> Self {
        Self { kept: cache::folder("contents"), ..Self::default() }
    }

    /// The content of this digest in this file, for a host that has this base.
    pub(super) async fn get(
        &self,
        digest: &str,
        file: &Path,
        base: Option<&String>,
    ) -> Result<Arc<Sent>, Failure> {
        let known = base.filter(|base| self.path(base).is_some_and(|path| path.is_file()));
        let key = (digest.to_owned(), known.cloned());
        let cell = {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(ready.entry(key).or_default())
        };
        let base = known.cloned().and_then(|base| Some((self.path(&base)?, base)));
        let keep = self.path(digest);
        let (file, digest) = (file.to_owned(), digest.to_owned());
        let made = cell.get_or_try_init(|| async {
            let at = file.clone();
            let made = tokio::task::spawn_blocking(move || {
                let made = make(&file, base)?;
                if let Some(keep) = keep {
                    // Without it, the next one is sent whole.
                    let _ = store(&file, &keep, &digest);
                }
                Ok(Arc::new(made))
            });
            let made = made.await.map_err(io::Error::other).and_then(|made| made);
            made.map_err(|source| FleetFailure::Ship { path: at, source })
        });
        Ok(Arc::clone(made.await?))
    }

    /// Begins to make what is likely to be asked for, while hosts are being reached: each file
    /// against the one that had its name the last time.
    pub(super) fn begin(self: Arc<Self>, fleet: &FleetName, parts: &Arc<Parts>) {
        let Some(kept) = self.kept.clone() else { return };
        let (fleet, parts) = (fleet.clone(), Arc::clone(parts));
        tokio::spawn(async move {
            for (PartKey { service, os, part }, release) in &*parts {
                for (name, digest, file, _) in release.files() {
                    let (system, folder) = (os.as_str(), part.folder_name());
                    let key = format!("{fleet}/{service}/{system}/{folder}/{name}");
                    let last = Last::of(&kept, &key);
                    if last.digest.as_ref() == Some(&digest) {
                        continue;
                    }
                    // What goes wrong here goes wrong again for who asks for it, and is told then.
                    let _ = self.get(&digest, file, last.digest.as_ref()).await;
                    last.becomes(&digest);
                }
            }
        });
    }

    fn path(&self, digest: &str) -> Option<PathBuf> {
        Some(self.kept.as_ref()?.join(digest))
    }
}

/// Which content a file of a release had the last time, as far as this machine knows.
struct Last {
    at: PathBuf,
    digest: Option<String>,
}

impl Last {
    fn of(kept: &Path, key: &str) -> Self {
        let name = format!("{}.last", blake3::hash(key.as_bytes()).to_hex());
        let at = kept.join(name);
        Self { digest: fs::read_to_string(&at).ok(), at }
    }

    fn becomes(&self, digest: &str) {
        // Without it, the next deploy begins a little later.
        let _ = fs::write(&self.at, digest);
    }
}

fn make(file: &Path, base: Option<(PathBuf, String)>) -> io::Result<Sent> {
    let content = fs::read(file)?;
    // One that was spoiled is no base.
    let base = base.and_then(|(path, digest)| {
        let bytes = fs::read(path).ok()?;
        let is_whole = blake3::hash(&bytes).to_hex().as_str() == digest;
        is_whole.then_some((bytes, digest))
    });
    let bytes = patch::compress(&content, base.as_ref().map(|(bytes, _)| &bytes[..]))?;
    Ok(Sent { bytes: bytes.into(), base: base.map(|(_, digest)| digest) })
}

/// Keeps a content, whole or not at all, and drops what is too much.
fn store(file: &Path, keep: &Path, digest: &str) -> io::Result<()> {
    let folder = keep.parent().ok_or(io::ErrorKind::NotFound)?;
    if fs::metadata(file)?.len() < BASE_LEN_MIN {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    let new = folder.join(format!("{digest}.{}", std::process::id()));
    let kept = fs::copy(file, &new).and_then(|_| fs::rename(&new, keep));
    if kept.is_err() {
        let _ = fs::remove_file(&new);
    }
    cache::drop_oldest(folder, KEPT_LEN_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("stead-sent-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn write(path: &Path, bytes: &[u8]) -> String {
        fs::write(path, bytes).unwrap();
        blake3::hash(bytes).to_hex().to_string()
    }

    #[tokio::test]
    async fn a_content_is_sent_against_one_of_before_that_is_kept_and_whole() {
        let folder = folder("base");
        let (old, new) = (folder.join("old"), folder.join("new"));
        let bytes: Vec<u8> = (0..50_000u32).flat_map(|n| (n ^ n << 7).to_le_bytes()).collect();
        let (old_digest, new_digest) =
            (write(&old, &bytes), write(&new, &[&bytes[..], b"more"].concat()));
        let outbox = || Outbox { kept: Some(folder.join("kept")), ..Outbox::default() };
        let base = Some(&old_digest);
        // Nobody has kept it yet.
        assert_eq!(outbox().get(&new_digest, &new, base).await.unwrap().base, None);
        outbox().get(&old_digest, &old, None).await.unwrap();
        let sent = outbox().get(&new_digest, &new, base).await.unwrap();
        assert_eq!(sent.base.as_ref(), base);
        let restored = patch::restore(&sent.bytes, Some(&bytes), bytes.len() as u64 + 4);
        assert_eq!(restored.unwrap(), fs::read(&new).unwrap());
        // Spoiled, it is none.
        write(&folder.join("kept").join(&old_digest), b"spoiled");
        assert_eq!(outbox().get(&new_digest, &new, base).await.unwrap().base, None);
        fs::remove_dir_all(folder).unwrap();
    }
}
