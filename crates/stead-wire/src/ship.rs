//! What goes to a host besides the agent's API: programs and releases. `stead relay` answers it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stead_core::names::{FleetName, SecretName};
use stead_core::plan::Digest;

/// `POST`: see to it that an agent of the relay's version is there.
pub const AGENT: &str = "/v1/agent";

/// Everything below is about the releases of the host.
pub const STORE: &str = "/v1/store/";
/// `POST` [`Offer`], for [`Wanted`].
pub const OFFER: &str = "/v1/store/offer";
/// `PUT` a content, compressed; the path goes on with `DIGEST/LEN`, and with `/DIGEST` of the
/// content that it was compressed against, if any.
pub const CONTENT: &str = "/v1/store/content/";
/// `PUT` [`Offer`]: put a release together of the contents that have come, for [`Wanted`].
pub const RELEASE: &str = "/v1/store/release";

/// `GET` what a release on this host holds; the path goes on with the folder of the root and the
/// digest, `FOLDER/DIGEST`. Answered as the manifest of an [`Offer`].
pub const MANIFEST: &str = "/v1/store/manifest/";

/// `GET` whether a host has something, as `true` or `false`; the path goes on with `FOLDER/DIGEST`,
/// where the folder may be that of the secrets.
pub const HAS: &str = "/v1/store/has/";

/// `PUT` [`SecretOffer`]: a value that plans only name.
pub const SECRET: &str = "/v1/store/secret";

/// The longest body, in bytes: a content comes in one piece.
pub const BODY_LEN_MAX: usize = 512 << 20;

/// What became of the agent.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AgentMade {
    pub installed: Installed,
}

/// What became of an agent that was to be of this version.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Installed {
    /// There was none, or one that nobody starts at boot.
    Fresh,
    /// A later version is there, which stays.
    Later,
    Same,
    /// It took the place of another one; services ran on.
    Upgraded,
}

/// A release that is to come.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Offer {
    /// The folder of the root that it goes to: `releases` or `configs`.
    pub folder: String,
    /// Its kinds of files, modes, lengths and digests by path.
    pub manifest: Value,
}

/// The value of a secret. There is no `Debug`: nothing could print it by mistake.
#[derive(Clone, Deserialize, Serialize)]
pub struct SecretOffer {
    pub fleet: FleetName,
    pub name: SecretName,
    pub value: String,
    /// What plans know it by.
    pub id: Digest,
}

/// What a host lacks of a release.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Wanted {
    /// The digest that names the release.
    pub release: String,
    /// The contents that are missing, by BLAKE3 digest.
    pub contents: Vec<String>,
    /// To some of them, one that is there and may be much like it.
    #[serde(default)]
    pub bases: BTreeMap<String, String>,
}
