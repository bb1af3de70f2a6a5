//! The plan: what one host must hold and run, with nothing left to look up.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{FleetName, HostName, InstanceName, ServiceName};
use crate::signal::Signal;
use crate::template::Template;
use crate::units::{Bytes, MilliCpu, as_millis};

/// What one host must run. The only thing an agent obeys.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Plan {
    pub fleet: FleetName,
    pub host: HostName,
    /// By name; a name occurs once.
    pub instances: BTreeMap<InstanceName, Spec>,
}

/// What one instance must be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Spec {
    /// Program and arguments; never empty.
    pub run: Vec<Template>,
    /// The release it runs from; `None` for a program that the host has by itself.
    pub release: Option<Digest>,
    /// Where it starts; the release's folder if there is one, else `{data}`.
    pub directory: Option<Template>,
    pub env: BTreeMap<String, Template>,
    /// Names of variables taken over from the agent's own environment.
    pub inherit: Vec<String>,
    /// `None`: an account of the service's own when the agent is root, else the agent's.
    pub user: Option<String>,
    pub group: Option<String>,
    pub umask: Umask,
    pub new_privileges: bool,
    pub ports: BTreeMap<String, u16>,
    pub restart: Restart,
    pub stop: Stop,
    pub log: LogLimits,
    /// Services started before and stopped after this one.
    pub needs: Vec<ServiceName>,
    pub ready: Option<Probe>,
    pub live: Option<Probe>,
    pub limits: Limits,
}

/// The digest that names a release: BLAKE3, 64 hexadecimal digits.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Why a text is not a digest.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits")]
pub struct DigestError;

impl Digest {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;
    fn try_from(text: String) -> Result<Self, DigestError> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 64 && text.bytes().all(hex) { Ok(Self(text)) } else { Err(DigestError) }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

/// The file mode bits a new file of the service does not get.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Umask(pub u16);

impl Default for Umask {
    fn default() -> Self {
        Self(0o027)
    }
}

/// When an ended run is followed by the next one.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    Always,
    Failure,
    Never,
}

/// The restart policy.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Restart {
    pub when: When,
    /// The wait before the second restart in a row; doubled for each one after it.
    #[serde(with = "as_millis", rename = "backoff_min_ms")]
    pub backoff_min: Duration,
    #[serde(with = "as_millis", rename = "backoff_max_ms")]
    pub backoff_max: Duration,
    /// A life at least this long clears the count of failures.
    #[serde(with = "as_millis", rename = "reset_after_ms")]
    pub reset_after: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            when: When::Always,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(30),
            reset_after: Duration::from_secs(60),
        }
    }
}

/// How an instance is asked to end, and how long it has until its whole tree is killed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Stop {
    pub how: StopHow,
    #[serde(with = "as_millis", rename = "timeout_ms")]
    pub timeout: Duration,
}

/// The first rung of the stop ladder.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopHow {
    /// Windows: the console event.
    CtrlBreak,
    /// Windows: the console event.
    CtrlC,
    /// A program, run as the service's user; `{pid}` is not needed: it finds `STEAD_PID`.
    Hook(Vec<Template>),
    Signal(Signal),
}

impl Default for Stop {
    fn default() -> Self {
        Self { how: StopHow::Signal(Signal::Term), timeout: Duration::from_secs(10) }
    }
}

/// How much of an instance's output is kept, both streams together.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LogLimits {
    pub keep: Bytes,
}

impl LogLimits {
    /// Less would not hold two segments of both streams.
    pub const KEEP_MIN: Bytes = Bytes(1 << 20);
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { keep: Bytes(200 << 20) }
    }
}

/// A check of an instance.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Probe {
    pub check: Check,
    #[serde(with = "as_millis", rename = "every_ms")]
    pub every: Duration,
    #[serde(with = "as_millis", rename = "timeout_ms")]
    pub timeout: Duration,
    /// So many failures in a row make the verdict.
    pub failures: u32,
}

/// What a probe does.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    Exec(Vec<Template>),
    Http { path: String, port: u16 },
    Tcp { port: u16 },
}

/// Ceilings of an instance; `None` is no ceiling.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Limits {
    pub memory: Option<Bytes>,
    pub cpu: Option<MilliCpu>,
    pub processes: Option<u32>,
}

impl Limits {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_digest_is_a_digest() {
        let good = "0123456789abcdef".repeat(4);
        assert_eq!(Digest::try_from(good.clone()).unwrap().short(), "0123456789ab");
        for bad in [good.to_uppercase(), good[1..].into(), "../".repeat(22)[..64].into()] {
            assert_eq!(Digest::try_from(bad), Err(DigestError));
        }
    }
}
