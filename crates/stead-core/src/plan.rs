//! The plan: what one host must hold and run, with nothing left to look up.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::{FleetName, HostName, InstanceName, SecretName, ServiceName};
use crate::registry::{EventSource, Registry};
use crate::sandbox::Sandbox;
use crate::schedule::Schedule;
use crate::signal::Signal;
use crate::template::Template;
use crate::units::{Bytes, MilliCpu, as_millis};

/// Whether a field is as by default: then it is not written, so that what does not use it has the
/// same bytes as before there was such a field.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What one host must run. The only thing an agent obeys.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Plan {
    pub fleet: FleetName,
    pub host: HostName,
    /// By name; a name occurs once.
    pub instances: BTreeMap<InstanceName, Spec>,
}

impl Plan {
    /// The instances of a service, its front and its migration.
    pub fn of_service<'a>(
        &'a self,
        service: &ServiceName,
    ) -> impl Iterator<Item = (&'a InstanceName, &'a Spec)> {
        self.instances.iter().filter(move |(name, _)| belongs(name, service))
    }

    /// The same plan without what runs once: to bring that back would run it again.
    #[must_use]
    pub fn lasting(mut self) -> Self {
        self.instances.retain(|_, spec| !spec.once);
        self
    }

    /// The same plan, but for one service, which is as in another.
    #[must_use]
    pub fn with_service_of(mut self, other: &Self, service: &ServiceName) -> Self {
        self.instances.retain(|name, _| !belongs(name, service));
        let others = other.of_service(service);
        self.instances.extend(others.map(|(name, spec)| (name.clone(), spec.clone())));
        self
    }
}

/// What the names of a front and of a migration have behind that of their service.
const BROUGHT_ALONG: [&str; 2] = ["-front", "-migrate"];

/// Whether an instance is one of the service, or what stead brings along for it.
fn belongs(name: &InstanceName, service: &ServiceName) -> bool {
    let of = name.service().as_str();
    let is_along = |end: &str| of.strip_suffix(end) == Some(service.as_str());
    of == service.as_str() || BROUGHT_ALONG.into_iter().any(is_along)
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
    /// Variables whose values the plan does not hold, but only names.
    #[serde(default, skip_serializing_if = "is_default")]
    pub secrets: BTreeMap<String, SecretRef>,
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
    /// Until it passes, neither `ready` nor `live` is asked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub startup: Option<Startup>,
    /// What an instance is counted with when it is asked whether all fit on the host.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requests: Requests,
    #[serde(default, skip_serializing_if = "is_default")]
    pub sandbox: Sandbox,
    /// Ports, by name, that the host opens and hands to the runs, with the IP address.
    #[serde(default, skip_serializing_if = "is_default")]
    pub listen: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub replace: Replace,
    #[serde(default, skip_serializing_if = "is_default")]
    pub reload: Option<Reload>,
    /// The digest of its configuration, whose files are found in `{config}`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub config: Option<Digest>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub schedule: Option<Schedule>,
    /// Behind a front: then each of `ports` has a second one right above it, for the run that
    /// takes the place of another.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fronted: Option<Fronted>,
    /// It runs once, to its end: it is ready once it has ended well.
    #[serde(default, skip_serializing_if = "is_default")]
    pub once: bool,
    /// Keys of the registry of Windows, which are so before it begins.
    #[serde(default, skip_serializing_if = "is_default")]
    pub registry: Registry,
    /// What the application event log of Windows knows its messages by.
    #[serde(default, skip_serializing_if = "is_default")]
    pub event_source: Option<EventSource>,
}

impl Spec {
    /// A spec of this command, with everything else as by default.
    pub fn of(run: Vec<Template>) -> Self {
        Self {
            run,
            release: None,
            directory: None,
            env: BTreeMap::new(),
            secrets: BTreeMap::new(),
            inherit: Vec::new(),
            user: None,
            group: None,
            umask: Umask::default(),
            new_privileges: false,
            ports: BTreeMap::new(),
            restart: Restart::default(),
            stop: Stop::default(),
            log: LogLimits::default(),
            needs: Vec::new(),
            ready: None,
            live: None,
            limits: Limits::default(),
            startup: None,
            requests: Requests::default(),
            sandbox: Sandbox::default(),
            listen: BTreeMap::new(),
            replace: Replace::default(),
            reload: None,
            config: None,
            schedule: None,
            fronted: None,
            once: false,
            registry: Registry::default(),
            event_source: None,
        }
    }
}

impl Spec {
    /// All that it has in the registry.
    pub fn whole_registry(&self) -> Registry {
        self.registry.clone().with_event_source(self.event_source.as_ref())
    }
}

/// A value that the host has apart from its plan.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SecretRef {
    /// What the fleet file calls it.
    pub name: SecretName,
    /// Another one for each value; who knows it has a costly guess at the value at best.
    pub id: Digest,
}

/// The front of a service: where its connections come from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Fronted {
    /// The instance, on the same host, that holds the outer port.
    pub by: InstanceName,
    /// The port, by name, that connections are passed on to.
    pub port: String,
}

/// How a run gives way to the next one when the plan or the operator wants a fresh one.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Replace {
    /// The next run begins beside the old one, which is stopped once the next is ready.
    pub overlap: bool,
    /// The next run is ready within this, or the old one is kept.
    #[serde(with = "as_millis", rename = "within_ms")]
    pub within: Duration,
}

impl Default for Replace {
    fn default() -> Self {
        Self { overlap: false, within: Duration::from_secs(60) }
    }
}

/// How an instance is told to read its configuration again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reload {
    /// A program, run as the service's user; it finds `STEAD_PID`.
    Hook(Vec<Template>),
    Signal(Signal),
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
    /// For [`Check::Notify`] as a live probe: the longest silence.
    #[serde(with = "as_millis", rename = "timeout_ms")]
    pub timeout: Duration,
    /// So many failures in a row make the verdict.
    pub failures: u32,
    /// So many successes in a row take it back.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub successes: u32,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_one(number: &u32) -> bool {
    *number == 1
}

/// The check that says that a run has come up.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Startup {
    pub probe: Probe,
    /// A run that has not passed it by then is taken as failed.
    #[serde(with = "as_millis", rename = "within_ms")]
    pub within: Duration,
}

/// What a probe does.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    Exec(Vec<Template>),
    Http {
        path: String,
        port: u16,
    },
    /// The run has written a line that holds this text.
    Log {
        text: String,
    },
    /// The run says so itself, by the protocol of `sd_notify`.
    Notify,
    Tcp {
        port: u16,
    },
}

/// Ceilings of an instance; `None` is no ceiling.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Limits {
    pub memory: Option<Bytes>,
    pub cpu: Option<MilliCpu>,
    pub processes: Option<u32>,
    /// Files that each process may hold open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// The share of the disk when several want it: 1 to 10000, 100 for one that says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_weight: Option<u16>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub enforce: Enforce,
}

/// What becomes of an instance on a host that cannot keep its limits.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Enforce {
    /// It runs all the same, and that is said.
    Best,
    /// It is refused.
    #[default]
    Must,
}

impl Limits {
    pub fn is_empty(&self) -> bool {
        *self == Self { enforce: self.enforce, ..Self::default() }
    }

    /// Whether only a cgroup can keep one of them.
    pub fn need_cgroup(&self) -> bool {
        !Self { files: None, ..*self }.is_empty()
    }
}

/// What an instance is expected to use.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Requests {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<MilliCpu>,
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
