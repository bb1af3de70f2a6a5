//! The releases of a host, as they come: what is missing is asked for by content, kept until the
//! release is whole, verified while it is put in place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use stead_wire::api::Refusal;
use stead_wire::ship::{self, Offer, Wanted};

use crate::root;
use stead_release::patch;
use stead_release::release::{PackError, Release};

/// Below the root: contents that have come and are not part of a release yet.
const INCOMING: &str = "incoming";

/// What the name of a base ends with, among them.
const BASE: &str = ".base";

/// So many releases are looked through for a file of the same name.
const BASES_LOOKED_MAX: usize = 16;

/// The folders that releases go to.
const FOLDERS: [(&str, u32); 2] = [("configs", root::CLOSED), ("releases", root::PASS_THROUGH)];

type Refused = (StatusCode, Refusal);

/// The disk of a host, for releases.
pub(super) struct HostStore {
    root: PathBuf,
}

impl HostStore {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    pub(super) fn answer(
        &self,
        method: &Method,
        path: &str,
        body: &[u8],
    ) -> Result<Value, Refused> {
        match (method, path) {
            (&Method::POST, ship::OFFER) => to_value(&self.wanted(&parse(body)?)?),
            (&Method::PUT, ship::RELEASE) => to_value(&self.put(&parse(body)?)?),
            (&Method::PUT, path) if path.starts_with(ship::CONTENT) => {
                self.put_content(&path[ship::CONTENT.len()..], body)?;
                Ok(Value::Null)
            }
            _ => Err(refused(StatusCode::NOT_FOUND, "find that", "the path is unknown")),
        }
    }

    fn incoming(&self) -> PathBuf {
        self.root.join(INCOMING)
    }

    /// The release of an offer, and the folder that it goes to.
    fn release(&self, offer: &Offer) -> Result<(Release, PathBuf), Refused> {
        let known = FOLDERS.iter().find(|(name, _)| *name == offer.folder);
        let (name, mode) = known.ok_or_else(|| {
            let because = format!("releases do not go to `{}`", offer.folder);
            refused(StatusCode::BAD_REQUEST, "take the release", because)
        })?;
        let release = Release::of_manifest(&offer.manifest, &self.incoming());
        let release =
            release.map_err(|error| refused(StatusCode::BAD_REQUEST, "take the release", error))?;
        let folder = self.root.join(name);
        let made = root::make(&self.root).and_then(|()| root::make_folder(&folder, *mode));
        made.map_err(|error| not_stored(&error))?;
        Ok((release, folder))
    }

    fn wanted(&self, offer: &Offer) -> Result<Wanted, Refused> {
        let (release, folder) = self.release(offer)?;
        let release_name = release.digest().as_str().to_owned();
        let mut wanted = Wanted { release: release_name, ..Wanted::default() };
        if release.is_in(&folder) {
            return Ok(wanted);
        }
        let before = newest_first(&folder);
        for (name, digest, at, len) in release.files() {
            if fs::metadata(at).is_ok_and(|there| there.len() == len) {
                continue;
            }
            let base = before.iter().find_map(|before| self.lend(&before.join(name)));
            if base.as_ref() == Some(&digest) {
                // It is there already, under another release.
                let lent = fs::rename(self.base(&digest), at);
                lent.map_err(|error| not_stored(&error))?;
                continue;
            }
            wanted.bases.extend(base.map(|base| (digest.clone(), base)));
            if !wanted.contents.contains(&digest) {
                wanted.contents.push(digest);
            }
        }
        Ok(wanted)
    }

    /// Has a file of a release at hand as a base; says its digest.
    fn lend(&self, file: &Path) -> Option<String> {
        let is_file = fs::symlink_metadata(file).is_ok_and(|there| there.is_file());
        let bytes = is_file.then(|| fs::read(file).ok()).flatten()?;
        let digest = blake3::hash(&bytes).to_hex().to_string();
        let base = self.base(&digest);
        root::make_folder(&self.incoming(), root::CLOSED).ok()?;
        // No link: what is written there later must not reach the release.
        (base.is_file() || fs::write(&base, bytes).is_ok()).then_some(digest)
    }

    fn base(&self, digest: &str) -> PathBuf {
        self.incoming().join(format!("{digest}{BASE}"))
    }

    /// Takes what was sent for `DIGEST/LEN`, or for `DIGEST/LEN/BASE`.
    fn put_content(&self, named: &str, sent: &[u8]) -> Result<(), Refused> {
        let what = "take a content";
        let bad = |why: String| refused(StatusCode::BAD_REQUEST, what, why);
        let digest_of = |text: &str| {
            blake3::Hash::from_hex(text).map_err(|error| bad(format!("`{text}`: {error}")))
        };
        let mut parts = named.split('/');
        let digest = digest_of(parts.next().unwrap_or(""))?;
        let len = parts.next().and_then(|len| len.parse::<u64>().ok());
        let len = len.filter(|len| *len <= ship::BODY_LEN_MAX as u64);
        let len = len.ok_or_else(|| bad("its length is none, or too much".into()))?;
        let base = match parts.next() {
            Some(base) => {
                let at = self.base(digest_of(base)?.to_hex().as_str());
                Some(fs::read(at).map_err(|error| bad(format!("the base `{base}`: {error}")))?)
            }
            None => None,
        };
        // Not what was asked for is wrong then, but what became of it on the way.
        let damaged = |why: String| refused(StatusCode::CONFLICT, what, why);
        let bytes = patch::restore(sent, base.as_deref(), len).map_err(|error| {
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            damaged(format!("{error}{}", source.unwrap_or_default()))
        })?;
        if blake3::hash(&bytes) != digest {
            return Err(damaged(format!("it is not what its digest {digest} says")));
        }
        self.store(digest.to_hex().as_str(), &bytes)
    }

    fn store(&self, digest: &str, bytes: &[u8]) -> Result<(), Refused> {
        let incoming = self.incoming();
        let new = incoming.join(format!("{digest}.new"));
        let written = root::make(&self.root)
            .and_then(|()| root::make_folder(&incoming, root::CLOSED))
            .and_then(|()| fs::write(&new, bytes))
            .and_then(|()| fs::rename(&new, incoming.join(digest)));
        written.map_err(|error| {
            // Half a file would only take up the room that is missing.
            let _ = fs::remove_file(&new);
            not_stored(&error)
        })
    }

    fn put(&self, offer: &Offer) -> Result<Wanted, Refused> {
        let (release, folder) = self.release(offer)?;
        let packed = release.pack(&folder);
        if packed.as_ref().is_err_and(PackError::is_about_the_files) || packed.is_ok() {
            // Put in place, or spoiled: neither is of use here any more.
            self.clear(&release);
        }
        packed.map_err(|error| {
            let status = match error.is_about_the_files() {
                true => StatusCode::BAD_REQUEST,
                false => StatusCode::INSUFFICIENT_STORAGE,
            };
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            let because = format!("{error}{}", source.unwrap_or_default());
            refused(status, "put the release together", because)
        })?;
        let release = release.digest().as_str().to_owned();
        Ok(Wanted { release, ..Wanted::default() })
    }

    /// Removes the contents of a release, and all bases. What stays is found by the next one.
    fn clear(&self, release: &Release) {
        for (digest, _) in release.contents() {
            let _ = fs::remove_file(self.incoming().join(digest));
        }
        for entry in fs::read_dir(self.incoming()).into_iter().flatten().flatten() {
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

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    let what = "understand the request";
    serde_json::from_slice(body).map_err(|error| refused(StatusCode::BAD_REQUEST, what, error))
}

fn to_value<T: serde::Serialize>(value: &T) -> Result<Value, Refused> {
    Ok(serde_json::to_value(value).expect("API types always serialize"))
}

fn not_stored(error: &io::Error) -> Refused {
    refused(StatusCode::INSUFFICIENT_STORAGE, "store what was sent", error)
}

fn refused(status: StatusCode, what: &str, because: impl ToString) -> Refused {
    let (what, because) = (format!("could not {what}"), because.to_string());
    (status, Refusal { what, because, try_this: "look at the disk of the host".into() })
}
