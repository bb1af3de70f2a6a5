//! What is asked about the releases of a host, over HTTP.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use stead_core::plan::Digest;
use stead_release::lock::Putting;
use stead_release::release::{PackError, Release};
use stead_release::secret::{SECRETS, Secret, is_at};
use stead_release::store::{Lacking, Store, StoreError};
use stead_wire::api::{Refusal, UNKNOWN_PATH};
use stead_wire::ship::{self, Offer, SecretOffer, Wanted};

use crate::root;
use crate::secrets;

/// Below the root: contents that have come and are not part of a release yet.
const INCOMING: &str = "incoming";

/// The folders that releases go to.
const FOLDERS: [(&str, u32); 2] = [("configs", root::CLOSED), ("releases", root::PASS_THROUGH)];

type Refused = (StatusCode, Refusal);

/// How long nothing is collected for the sake of who has gone silent: a plan that names what was
/// brought may be long in coming, but not for ever.
const PUTTING_MAX: Duration = Duration::from_secs(600);

/// The disk of a host, for releases.
pub(super) struct HostStore {
    root: PathBuf,
    /// There since something was brought, or looked for, that no plan may name yet; and when that
    /// was last.
    putting: Option<(Putting, Instant)>,
}

impl HostStore {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.into(), putting: None }
    }

    /// What was brought is named by a plan now, or will not be.
    pub(super) fn was_asked_for(&mut self) {
        self.putting = None;
    }

    /// Does not hold up for ever what is to be collected.
    pub(super) fn look_at_the_time(&mut self, now: Instant) {
        self.putting.take_if(|(_, last)| now > *last + PUTTING_MAX);
    }

    /// What is there from here on stays until a plan can name it.
    fn put(&mut self) -> Result<(), Refused> {
        let before = self.putting.take().map(|(putting, _)| putting);
        let made = |()| Putting::begin(&self.root);
        let putting = before.map_or_else(|| root::make(&self.root).and_then(made), Ok);
        let putting = putting.map_err(|error| not_stored(&error))?;
        self.putting = Some((putting, Instant::now()));
        Ok(())
    }

    pub(super) fn answer(
        &mut self,
        method: &Method,
        path: &str,
        body: &[u8],
    ) -> Result<Value, Refused> {
        let only_looks = method == Method::GET && path.starts_with(ship::MANIFEST);
        if !only_looks {
            self.put()?;
        }
        match (method, path) {
            (&Method::POST, ship::OFFER) => {
                let offer: Offer = parse(body)?;
                let lacking = self.store()?.lacking(&offer.manifest, &self.folder(&offer)?);
                let Lacking { release, contents, bases } =
                    lacking.map_err(|error| refusal("take the release", error))?;
                to_value(&Wanted { release, contents, bases })
            }
            (&Method::PUT, ship::RELEASE) => {
                let offer: Offer = parse(body)?;
                let put = self.store()?.put(&offer.manifest, &self.folder(&offer)?);
                let release = put.map_err(|error| refusal("put the release together", error))?;
                to_value(&Wanted { release, ..Wanted::default() })
            }
            (&Method::PUT, path) if path.starts_with(ship::CONTENT) => {
                let put = self.store()?.put_content(&path[ship::CONTENT.len()..], body);
                put.map_err(|error| refusal("take a content", error))?;
                Ok(Value::Null)
            }
            (&Method::GET, path) if path.starts_with(ship::MANIFEST) => {
                self.manifest(&path[ship::MANIFEST.len()..])
            }
            (&Method::GET, path) if path.starts_with(ship::HAS) => {
                to_value(&self.has(&path[ship::HAS.len()..])?)
            }
            (&Method::PUT, ship::SECRET) => {
                self.put_secret(parse(body)?)?;
                Ok(Value::Null)
            }
            _ => Err(refused(StatusCode::NOT_FOUND, "find that", UNKNOWN_PATH)),
        }
    }

    /// Whether there is a `FOLDER/DIGEST`.
    fn has(&self, named: &str) -> Result<bool, Refused> {
        let (path, _) = self.named(named, &[FOLDERS[0].0, FOLDERS[1].0, SECRETS])?;
        Ok(path.exists())
    }

    /// The path of a `FOLDER/DIGEST`, if it is one of these folders.
    fn named(&self, named: &str, folders: &[&str]) -> Result<(PathBuf, Digest), Refused> {
        let known = named.split_once('/').and_then(|(folder, digest)| {
            let folder = folders.iter().find(|name| **name == folder)?;
            let digest = Digest::try_from(digest.to_owned()).ok()?;
            Some((self.root.join(folder).join(digest.as_str()), digest))
        });
        known.ok_or_else(|| refused(StatusCode::NOT_FOUND, "find that", "the path is unknown"))
    }

    /// What stands in `FOLDER/DIGEST`. Makes no folder: whoever only looks changes nothing.
    fn manifest(&self, named: &str) -> Result<Value, Refused> {
        let what = "read the release";
        let (path, digest) = self.named(named, &[FOLDERS[0].0, FOLDERS[1].0])?;
        match Release::of_folder(&path) {
            Ok(release) if *release.digest() == digest => Ok(release.manifest()),
            Ok(_) => Err(refused(StatusCode::CONFLICT, what, "it is not what its name says")),
            Err(PackError::Missing(_)) => {
                Err(refused(StatusCode::NOT_FOUND, what, "it is not on this host any more"))
            }
            Err(error) => Err(refused(StatusCode::INTERNAL_SERVER_ERROR, what, error)),
        }
    }

    fn put_secret(&self, offer: SecretOffer) -> Result<(), Refused> {
        let bad = |because: String| refused(StatusCode::BAD_REQUEST, "take the secret", because);
        let folder = secrets::folder(&self.root).map_err(|error| not_stored(&error))?;
        // To make its name again takes a while: only for what is new here.
        if is_at(&folder.join(offer.id.as_str()), &offer.value) {
            return Ok(());
        }
        let secret = Secret::new(&offer.fleet, &offer.name, offer.value);
        let secret = secret.map_err(|error| bad(error.to_string()))?;
        if *secret.id() != offer.id {
            return Err(bad("its value is not what its name says".into()));
        }
        secret.put(&folder).map_err(|error| not_stored(&error))
    }

    /// Where contents come to, made if it is not there.
    fn store(&self) -> Result<Store, Refused> {
        let incoming = self.root.join(INCOMING);
        let made = root::make(&self.root).and_then(|()| root::make_folder(&incoming, root::CLOSED));
        made.map(|()| Store::new(incoming)).map_err(|error| not_stored(&error))
    }

    /// The folder that what is offered goes to, made if it is not there.
    fn folder(&self, offer: &Offer) -> Result<PathBuf, Refused> {
        let known = FOLDERS.iter().find(|(name, _)| *name == offer.folder);
        let (name, mode) = known.ok_or_else(|| {
            let because = format!("releases do not go to `{}`", offer.folder);
            refused(StatusCode::BAD_REQUEST, "take the release", because)
        })?;
        let folder = self.root.join(name);
        root::make_folder(&folder, *mode).map_err(|error| not_stored(&error))?;
        Ok(folder)
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    let what = "understand the request";
    serde_json::from_slice(body).map_err(|error| refused(StatusCode::BAD_REQUEST, what, error))
}

fn to_value<T: serde::Serialize>(value: &T) -> Result<Value, Refused> {
    Ok(serde_json::to_value(value).expect("API types always serialize"))
}

fn refusal(what: &str, error: StoreError) -> Refused {
    match error {
        StoreError::Bad(why) => refused(StatusCode::BAD_REQUEST, what, why),
        StoreError::Damaged(why) => refused(StatusCode::CONFLICT, what, why),
        StoreError::NotStored(why) => not_stored(&why),
    }
}

fn not_stored(why: &dyn ToString) -> Refused {
    refused(StatusCode::INSUFFICIENT_STORAGE, "store what was sent", why.to_string())
}

fn refused(status: StatusCode, what: &str, because: impl ToString) -> Refused {
    let (what, because) = (format!("could not {what}"), because.to_string());
    (status, Refusal { what, because, try_this: "look at the disk of the host".into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use stead_release::lock::Collecting;

    struct Rig {
        root: PathBuf,
        store: HostStore,
    }

    impl Rig {
        fn new(test: &str) -> Self {
            let name = format!("stead-relay-{}-{test}", std::process::id());
            let root = std::env::temp_dir().join(name);
            let _ = std::fs::remove_dir_all(&root);
            std::fs::create_dir_all(&root).unwrap();
            let store = HostStore::new(&root);
            Self { root, store }
        }

        fn get(&mut self, path: &str) -> Result<Value, u16> {
            let answer = self.store.answer(&Method::GET, path, b"");
            answer.map_err(|(status, _)| status.as_u16())
        }

        fn may_collect(&self) -> bool {
            Collecting::begin(&self.root).unwrap().is_some()
        }
    }

    #[test]
    fn from_the_first_look_until_a_plan_may_name_it_nothing_is_collected() {
        let mut rig = Rig::new("putting");
        assert!(rig.may_collect());
        let offer = json!({"folder": "releases", "manifest": {"lib": {"kind": "folder"}}});
        let offer = serde_json::to_vec(&offer).unwrap();
        rig.store.answer(&Method::POST, ship::OFFER, &offer).unwrap();
        assert!(!rig.may_collect());
        rig.store.answer(&Method::PUT, ship::RELEASE, &offer).unwrap();
        assert!(!rig.may_collect());
        rig.store.was_asked_for();
        assert!(rig.may_collect());
        // Who falls asleep in between holds it up for a while, and not for ever.
        rig.store.answer(&Method::POST, ship::OFFER, &offer).unwrap();
        rig.store.look_at_the_time(Instant::now() + PUTTING_MAX / 2);
        assert!(!rig.may_collect());
        rig.store.look_at_the_time(Instant::now() + PUTTING_MAX * 2);
        assert!(rig.may_collect());
        std::fs::remove_dir_all(&rig.root).unwrap();
    }

    #[test]
    fn what_a_release_holds_is_told_as_it_came_and_nothing_else_is_read() {
        let mut rig = Rig::new("manifest");
        let manifest = json!({"lib": {"kind": "folder"}, "lib/l": {"kind": "link", "to": "x"}});
        let offer = json!({"folder": "configs", "manifest": manifest});
        let offer = serde_json::to_vec(&offer).unwrap();
        let put = rig.store.answer(&Method::PUT, ship::RELEASE, &offer).unwrap();
        rig.store.was_asked_for();
        let digest = put["release"].as_str().unwrap();
        let of = |start: &str, folder: &str| format!("{start}{folder}/{digest}");
        assert_eq!(rig.get(&of(ship::MANIFEST, "configs")), Ok(manifest));
        assert_eq!(rig.get(&of(ship::MANIFEST, "releases")), Err(404));
        for folder in ["secrets", "..", "", "configs/../secrets"] {
            assert_eq!(rig.get(&of(ship::MANIFEST, folder)), Err(404), "{folder}");
        }
        assert_eq!(rig.get(&format!("{}configs/../{digest}", ship::MANIFEST)), Err(404));
        // To look is no reason to keep anything.
        assert!(rig.may_collect());
        assert_eq!(rig.get(&of(ship::HAS, "configs")), Ok(json!(true)));
        assert_eq!(rig.get(&of(ship::HAS, "secrets")), Ok(json!(false)));
        assert!(!rig.may_collect(), "a way back that was looked for stays");
        // Somebody writes to it: it is told of no more.
        let place = rig.root.join("configs").join(digest);
        stead_proc::set_mode(&place, 0o755).unwrap();
        std::fs::create_dir(place.join("more")).unwrap();
        assert_eq!(rig.get(&of(ship::MANIFEST, "configs")), Err(409));
        let _ = std::fs::remove_dir_all(&rig.root);
    }
}
