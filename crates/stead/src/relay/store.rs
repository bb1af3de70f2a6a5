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

use crate::release::Release;
use crate::root;

/// Below the root: contents that have come and are not part of a release yet.
const INCOMING: &str = "incoming";

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
        let contents = match release.is_in(&folder) {
            true => Vec::new(),
            false => {
                let missing = |(_, (at, len)): &(String, (PathBuf, u64))| {
                    !fs::metadata(at).is_ok_and(|there| there.len() == *len)
                };
                release.contents().into_iter().filter(missing).map(|(digest, _)| digest).collect()
            }
        };
        Ok(Wanted { release: release.digest().as_str().to_owned(), contents })
    }

    fn put_content(&self, digest: &str, bytes: &[u8]) -> Result<(), Refused> {
        let what = "take a content";
        let named = blake3::Hash::from_hex(digest)
            .map_err(|error| refused(StatusCode::BAD_REQUEST, what, error))?;
        if blake3::hash(bytes) != named {
            let because = format!("it is not what its digest {named} says");
            return Err(refused(StatusCode::BAD_REQUEST, what, because));
        }
        let (incoming, name) = (self.incoming(), named.to_hex().to_string());
        let new = incoming.join(format!("{name}.new"));
        let written = root::make(&self.root)
            .and_then(|()| root::make_folder(&incoming, root::CLOSED))
            .and_then(|()| fs::write(&new, bytes))
            .and_then(|()| fs::rename(&new, incoming.join(&name)));
        written.map_err(|error| {
            // Half a file would only take up the room that is missing.
            let _ = fs::remove_file(&new);
            not_stored(&error)
        })
    }

    fn put(&self, offer: &Offer) -> Result<Wanted, Refused> {
        let (release, folder) = self.release(offer)?;
        release.pack(&folder).map_err(|error| {
            let status = match error.is_about_the_files() {
                true => StatusCode::BAD_REQUEST,
                false => StatusCode::INSUFFICIENT_STORAGE,
            };
            let source = std::error::Error::source(&error).map(|source| format!(": {source}"));
            let because = format!("{error}{}", source.unwrap_or_default());
            refused(status, "put the release together", because)
        })?;
        for (digest, _) in release.contents() {
            // What stays is found by the next release, or not needed.
            let _ = fs::remove_file(self.incoming().join(digest));
        }
        Ok(Wanted { release: release.digest().as_str().to_owned(), contents: Vec::new() })
    }
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
