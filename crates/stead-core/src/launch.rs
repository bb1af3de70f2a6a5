//! What a keeper needs to know of its instance: a [`Spec`] with the host's side filled in.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::InstanceName;
use crate::plan::{
    Check, Digest, Limits, LogLimits, Reload, Replace, Restart, Spec, StopHow, Umask, is_default,
};
use crate::registry::Registry;
use crate::sandbox::{Capability, LaunchSandbox, Loosened, Sandbox, SandboxFiles};
use crate::schedule::Schedule;
use crate::signal::Signal;
use crate::template::{Places, Template};
use crate::units::{as_millis, as_optional_millis};

/// What a keeper runs. Everything in it is true on this host; nothing is left to look up.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Launch {
    pub instance: InstanceName,
    pub release: Option<Digest>,
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// Absolute path the run starts in.
    pub directory: String,
    /// The whole environment of a run, but for the names stead adds itself.
    pub env: BTreeMap<String, String>,
    /// Variables whose values are read when a run begins, with the absolute paths of the files
    /// that hold them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub secrets: BTreeMap<String, String>,
    /// Whom it runs as; `None` for whoever the keeper is.
    pub account: Option<Account>,
    pub umask: Umask,
    pub new_privileges: bool,
    pub restart: Restart,
    pub stop: LaunchStop,
    pub log: LogLimits,
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
    /// `None`: no more than its account and no new privileges.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sandbox: Option<LaunchSandbox>,
    /// Sockets that the host opens and hands to each run, in this order.
    #[serde(default, skip_serializing_if = "is_default")]
    pub listen: Vec<LaunchSocket>,
    /// What differs for a run on the other side: the second port of a service behind a front.
    #[serde(default, skip_serializing_if = "is_default")]
    pub second: Option<Second>,
    /// It speaks `sd_notify`: somebody listens to what it says.
    #[serde(default, skip_serializing_if = "is_default")]
    pub notify: bool,
    /// The longest silence of a service that notifies.
    #[serde(default, rename = "watchdog_ms", skip_serializing_if = "is_default")]
    #[serde(with = "as_optional_millis")]
    pub watchdog: Option<Duration>,
    /// How a run shows that it is ready, if its keeper is to see it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ready: KeeperReady,
    #[serde(default, skip_serializing_if = "is_default")]
    pub replace: Replace,
    #[serde(default, skip_serializing_if = "is_default")]
    pub reload: Option<LaunchReload>,
    /// The digest of its configuration, which is in a folder of that name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub config: Option<Digest>,
    /// The link beside that folder which leads to it, for one that is told to read it again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub config_link: Option<String>,
    /// It runs when one of its times has come, not always.
    #[serde(default, skip_serializing_if = "is_default")]
    pub schedule: Option<Schedule>,
    /// What is so in the registry of Windows before it begins.
    #[serde(default, skip_serializing_if = "is_default")]
    pub registry: Registry,
}

/// A socket that a run is handed: `LISTEN_FDS`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LaunchSocket {
    /// The name of its port: `LISTEN_FDNAMES`.
    pub name: String,
    /// An IP address.
    pub address: String,
    pub port: u16,
}

/// Command and environment of a run on the second side.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Second {
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub stop: LaunchStopHow,
}

/// How a keeper sees that a run is ready.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeeperReady {
    /// It does not: the agent asks, and says so when a replacement waits for it.
    Agent,
    Notify,
    /// There is no ready probe: once it runs.
    #[default]
    Started,
}

/// How a run is told to read its configuration again, with places filled in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaunchReload {
    Hook(Vec<String>),
    Signal(Signal),
}

/// User and groups by number.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// The stop ladder with its hook filled in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LaunchStop {
    pub how: LaunchStopHow,
    #[serde(with = "as_millis", rename = "timeout_ms")]
    pub timeout: Duration,
}

/// The first rung of the stop ladder, with its places filled in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaunchStopHow {
    CtrlBreak,
    CtrlC,
    Hook(Vec<String>),
    Signal(Signal),
}

/// What a new launch asks of a run that goes on by an old one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LaunchChange {
    /// A fresh run: what a process is given at its start differs.
    FreshRun,
    /// Nothing of the run: only how its keeper deals with it differs.
    InPlace,
    Nothing,
    /// To read its configuration again.
    Reload,
}

/// Compares the launch that a run was begun by with the one that it should have.
pub fn launch_change(old: &Launch, new: &Launch) -> LaunchChange {
    if old == new {
        return LaunchChange::Nothing;
    }
    // What no process sees of its launch; limits are kept by the system, those on open files by
    // each process for itself.
    let unseen = Launch {
        restart: old.restart,
        stop: old.stop.clone(),
        log: old.log,
        limits: Limits { files: new.limits.files, ..old.limits },
        ready: old.ready.clone(),
        replace: old.replace,
        reload: old.reload.clone(),
        config: old.config.clone(),
        config_link: old.config_link.clone(),
        schedule: old.schedule.clone(),
        ..new.clone()
    };
    match (unseen == *old, old.config == new.config, &new.reload) {
        (false, _, _) | (true, false, None) => LaunchChange::FreshRun,
        (true, false, Some(_)) => LaunchChange::Reload,
        (true, true, _) => LaunchChange::InPlace,
    }
}

/// What a host adds to a spec to make it a [`Launch`].
#[derive(Clone, Debug)]
pub struct HostSide<'a> {
    pub places: Places<'a>,
    pub account: Option<Account>,
    /// Variables every run gets (PATH, HOME, …), weakest first.
    pub env: BTreeMap<String, String>,
    /// Whether runs are isolated: the host may.
    pub isolates: bool,
    /// The folder with the values of secrets.
    pub secrets: &'a str,
}

/// Fills in the host's side of a spec.
pub fn launch(instance: &InstanceName, spec: &Spec, host: HostSide<'_>) -> Launch {
    let places = host.places;
    let isolates = host.isolates && spec.sandbox != Sandbox::Off;
    let first = Filled { spec, places, host_env: &host.env, isolates };
    let above: BTreeMap<String, u16> =
        spec.ports.iter().map(|(name, port)| (name.clone(), port.saturating_add(1))).collect();
    let second = Filled { places: Places { ports: &above, ..places }, ..first };
    let default_directory = || match spec.release {
        Some(_) => places.release.into(),
        None => places.data.into(),
    };
    let notifies = |check: Option<&Check>| matches!(check, Some(Check::Notify));
    let ready = spec.ready.as_ref().map(|probe| &probe.check);
    let live = spec.live.as_ref();
    let startup = spec.startup.as_ref().map(|startup| &startup.probe.check);
    let watchdog = live.filter(|live| live.check == Check::Notify).map(|live| live.timeout);
    let secret = |id: &Digest| format!("{}/{}", host.secrets, id.as_str());
    Launch {
        instance: instance.clone(),
        release: spec.release.clone(),
        argv: first.texts(&spec.run),
        directory: spec
            .directory
            .as_ref()
            .map_or_else(default_directory, |text| text.fill(&places)),
        env: first.env(),
        secrets: spec.secrets.iter().map(|(name, it)| (name.clone(), secret(&it.id))).collect(),
        umask: spec.umask,
        new_privileges: spec.new_privileges,
        restart: spec.restart,
        stop: LaunchStop { how: first.stop(), timeout: spec.stop.timeout },
        log: spec.log,
        limits: spec.limits,
        sandbox: host.isolates.then(|| sandbox(spec, &places)).flatten(),
        listen: sockets(spec),
        second: spec.fronted.as_ref().map(|_| Second {
            argv: second.texts(&spec.run),
            env: second.env(),
            stop: second.stop(),
        }),
        notify: notifies(ready) || notifies(startup) || watchdog.is_some(),
        watchdog,
        ready: keeper_ready(spec),
        replace: spec.replace,
        reload: spec.reload.as_ref().map(|reload| match reload {
            Reload::Hook(hook) => LaunchReload::Hook(first.texts(hook)),
            Reload::Signal(signal) => LaunchReload::Signal(*signal),
        }),
        config: spec.config.clone(),
        config_link: config_link(spec).map(|_| places.config.into()),
        schedule: spec.schedule.clone(),
        registry: spec.whole_registry(),
        account: host.account,
    }
}

/// What `{config}` is in the folder that holds the configurations which an instance has had. One
/// that is told to read it again finds it by a link, which is turned. To others it is what they
/// began with for as long as they run, also while another run begins beside them.
pub fn config_place(folder: &str, spec: &Spec) -> String {
    let name = match (&spec.config, config_link(spec)) {
        (_, Some(link)) => link,
        (Some(digest), None) => digest.as_str(),
        (None, None) => return folder.into(),
    };
    format!("{folder}/{name}")
}

/// The name of the link, if there is one.
fn config_link(spec: &Spec) -> Option<&'static str> {
    spec.config.as_ref().zip(spec.reload.as_ref()).map(|_| "current")
}

/// A spec with the places of one side.
#[derive(Clone, Copy)]
struct Filled<'a> {
    spec: &'a Spec,
    places: Places<'a>,
    host_env: &'a BTreeMap<String, String>,
    isolates: bool,
}

impl Filled<'_> {
    fn texts(&self, texts: &[Template]) -> Vec<String> {
        texts.iter().map(|text| text.fill(&self.places)).collect()
    }

    /// Weakest first: what the limits ask of runtimes, the host's, the spec's own.
    fn env(&self) -> BTreeMap<String, String> {
        let mut env = runtime_env(&self.spec.limits);
        env.extend(self.host_env.iter().map(|(name, value)| (name.clone(), value.clone())));
        // Where `/tmp` cannot be its own, programs are told of another place.
        if self.isolates && is_below_tmp(self.places.data) {
            env.insert("TMPDIR".into(), self.places.tmp.into());
        }
        let own = self.spec.env.iter();
        env.extend(own.map(|(name, value)| (name.clone(), value.fill(&self.places))));
        env
    }

    fn stop(&self) -> LaunchStopHow {
        match &self.spec.stop.how {
            StopHow::CtrlBreak => LaunchStopHow::CtrlBreak,
            StopHow::CtrlC => LaunchStopHow::CtrlC,
            StopHow::Hook(hook) => LaunchStopHow::Hook(self.texts(hook)),
            StopHow::Signal(signal) => LaunchStopHow::Signal(*signal),
        }
    }
}

/// Who decides that a run is ready. The start-up check comes first, then the ready probe; a run
/// with neither is ready once it runs.
fn keeper_ready(spec: &Spec) -> KeeperReady {
    let checks = [
        spec.startup.as_ref().map(|startup| &startup.probe.check),
        spec.ready.as_ref().map(|probe| &probe.check),
    ];
    match checks {
        // Connections must come to it before the other one ends, which is up to the agent.
        [_, _] if spec.fronted.is_some() => KeeperReady::Agent,
        [None, None] => KeeperReady::Started,
        [None, Some(Check::Notify)] | [Some(Check::Notify), None] => KeeperReady::Notify,
        [_, _] => KeeperReady::Agent,
    }
}

fn sockets(spec: &Spec) -> Vec<LaunchSocket> {
    let socket = |(name, address): (&String, &String)| {
        let port = *spec.ports.get(name)?;
        Some(LaunchSocket { name: name.clone(), address: address.clone(), port })
    };
    spec.listen.iter().filter_map(socket).collect()
}

/// The first port that only the privileged may not open.
const UNPRIVILEGED_PORT_FIRST: u16 = 1024;

fn sandbox(spec: &Spec, places: &Places<'_>) -> Option<LaunchSandbox> {
    let Loosened { read, write, capabilities, syscalls, shared_tmp, any_files, any_signals } =
        match &spec.sandbox {
            Sandbox::Off => return None,
            Sandbox::On(loosened) => loosened,
        };
    let fill = |texts: &[Template]| texts.iter().map(|text| text.fill(places)).collect::<Vec<_>>();
    // Its own folders; a release is only read. `{config}` is a link that is turned to another
    // folder beside it while the run goes on, so the folder above it is what may be read.
    let config = places.config.rsplit_once('/').filter(|_| spec.config.is_some());
    let mut readable = Vec::from([String::from(places.release)]);
    readable.extend(config.map(|(above, _)| String::from(above)));
    readable.extend(fill(read));
    let mut writable = Vec::from([String::from(places.data), String::from(places.tmp)]);
    writable.extend(fill(write));
    let mut capabilities = capabilities.clone();
    // What the host opens by itself needs no right of the service.
    let opens_low = |(name, port): (&String, &u16)| {
        *port < UNPRIVILEGED_PORT_FIRST && !spec.listen.contains_key(name)
    };
    if spec.ports.iter().any(opens_low) && !capabilities.contains(&Capability::NET_BIND_SERVICE) {
        capabilities.push(Capability::NET_BIND_SERVICE);
    }
    Some(LaunchSandbox {
        files: (!any_files).then_some(SandboxFiles { read: readable, write: writable }),
        tmp: (!shared_tmp && !is_below_tmp(places.data)).then(|| places.tmp.into()),
        capabilities,
        syscalls: syscalls.clone(),
        any_signals: *any_signals,
    })
}

/// Whether a root is where each service has a folder of its own instead: that would hide it.
fn is_below_tmp(path: &str) -> bool {
    path.starts_with("/tmp/") || path.starts_with("/var/tmp/")
}

/// What tells runtimes of their limits, since they size themselves by the host otherwise: Go
/// (`GOMAXPROCS`, and `GOMEMLIMIT` at nine tenths, which leaves room for what its collector does
/// not count) and the JVM (its heap at three quarters, for the same reason). What the command line
/// of a JVM says is stronger.
fn runtime_env(limits: &Limits) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut jvm = Vec::new();
    if let Some(memory) = limits.memory {
        env.insert("GOMEMLIMIT".into(), format!("{}B", memory.0 / 10 * 9));
        jvm.push(format!("-Xmx{}k", (memory.0 / 1024 / 4 * 3).max(2048)));
    }
    if let Some(cpu) = limits.cpu {
        let cores = cpu.0.div_ceil(1000);
        env.insert("GOMAXPROCS".into(), cores.to_string());
        jvm.push(format!("-XX:ActiveProcessorCount={cores}"));
    }
    if !jvm.is_empty() {
        env.insert("JAVA_TOOL_OPTIONS".into(), jvm.join(" "));
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use core::time::Duration;

    use crate::plan::{Enforce, Probe, Requests, Startup};
    use crate::schedule::{Overlap, Times};
    use crate::units::{Bytes, MilliCpu};

    fn launched(spec: &Spec) -> Launch {
        let places = Places {
            config: "/config/a.0/current",
            data: "/data",
            kit: "/kit",
            ports: &spec.ports,
            release: "/release",
            tmp: "/tmp/a.0",
        };
        let env = BTreeMap::from([("PATH".into(), "/bin".into())]);
        let host = HostSide { places, account: None, env, isolates: true, secrets: "/s" };
        launch(&"a.0".parse().unwrap(), spec, host)
    }

    fn spec() -> Spec {
        let mut spec = Spec::of(vec!["./a".parse().unwrap(), "{port.http}".parse().unwrap()]);
        spec.ports.insert("http".into(), 80);
        spec
    }

    fn with(change: impl Fn(&mut Spec)) -> Launch {
        let mut changed = spec();
        change(&mut changed);
        launched(&changed)
    }

    #[test]
    fn only_what_a_process_is_given_asks_for_a_fresh_run() {
        let digest = |c: &str| Some(Digest::try_from(c.repeat(64)).unwrap());
        let probe = Probe {
            check: Check::Tcp { port: 80 },
            every: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            failures: 3,
            successes: 1,
        };
        let hourly = Schedule {
            times: Times::Every { interval: Duration::from_secs(3600) },
            overlap: Overlap::Skip,
            timeout: None,
            catch_up: false,
        };
        type Case<'a> = (&'a dyn Fn(&mut Spec), LaunchChange);
        let cases: &[Case<'_>] = &[
            (&|_| (), LaunchChange::Nothing),
            (&|s| s.ready = Some(probe.clone()), LaunchChange::InPlace),
            (&|s| s.live = Some(probe.clone()), LaunchChange::Nothing),
            (&|s| s.log.keep = Bytes(1 << 30), LaunchChange::InPlace),
            (&|s| s.restart.when = crate::plan::When::Never, LaunchChange::InPlace),
            (&|s| s.stop.timeout = Duration::from_secs(99), LaunchChange::InPlace),
            (&|s| s.replace.overlap = true, LaunchChange::InPlace),
            (&|s| s.schedule = Some(hourly.clone()), LaunchChange::InPlace),
            (&|s| s.limits.processes = Some(9), LaunchChange::InPlace),
            (&|s| s.limits.enforce = Enforce::Best, LaunchChange::InPlace),
            (&|s| s.limits.files = Some(9), LaunchChange::FreshRun),
            // Runtimes are told of these.
            (&|s| s.limits.memory = Some(Bytes(1 << 30)), LaunchChange::FreshRun),
            (&|s| s.limits.cpu = Some(MilliCpu(500)), LaunchChange::FreshRun),
            (
                &|s| s.requests = Requests { memory: Some(Bytes(1)), cpu: None },
                LaunchChange::Nothing,
            ),
            (&|s| s.config = digest("a"), LaunchChange::FreshRun),
            (&|s| s.sandbox = Sandbox::Off, LaunchChange::FreshRun),
            (&|s| s.event_source = "Shop".to_string().try_into().ok(), LaunchChange::FreshRun),
            (&|s| s.ports = [("http".into(), 81)].into(), LaunchChange::FreshRun),
            (&|s| s.run.push("-v".parse().unwrap()), LaunchChange::FreshRun),
        ];
        for (number, (change, expected)) in cases.iter().enumerate() {
            assert_eq!(
                launch_change(&launched(&spec()), &with(change)),
                *expected,
                "case {number}"
            );
        }
        let [a, b] = ["a", "b"].map(|c| {
            with(|spec| {
                spec.reload = Some(Reload::Signal(Signal::Hup));
                spec.config = digest(c);
            })
        });
        assert_eq!(launch_change(&a, &b), LaunchChange::Reload);
    }

    #[test]
    fn only_one_that_is_told_to_reload_finds_its_configuration_by_a_link_that_is_turned() {
        let digest = "a".repeat(64);
        let mut spec = spec();
        assert_eq!(config_place("/config/a.0", &spec), "/config/a.0");
        spec.config = Digest::try_from(digest.clone()).ok();
        assert_eq!(config_place("/config/a.0", &spec), format!("/config/a.0/{digest}"));
        assert_eq!(launched(&spec).config_link, None);
        spec.reload = Some(Reload::Signal(Signal::Hup));
        assert_eq!(config_place("/config/a.0", &spec), "/config/a.0/current");
        assert_eq!(launched(&spec).config_link.as_deref(), Some("/config/a.0/current"));
    }

    #[test]
    fn runtimes_are_told_of_limits_unless_the_service_says_otherwise() {
        let limited = |spec: &mut Spec| {
            spec.limits.memory = Some(Bytes(1 << 30));
            spec.limits.cpu = Some(MilliCpu(1500));
        };
        let env = with(limited).env;
        assert_eq!(env["GOMAXPROCS"], "2");
        assert_eq!(env["GOMEMLIMIT"], "966367638B");
        assert_eq!(env["JAVA_TOOL_OPTIONS"], "-Xmx786432k -XX:ActiveProcessorCount=2");
        let own = with(|spec| {
            limited(spec);
            spec.env.insert("GOMAXPROCS".into(), "8".parse().unwrap());
        });
        assert_eq!(own.env["GOMAXPROCS"], "8");
        assert!(!launched(&spec()).env.contains_key("GOMAXPROCS"));
    }

    #[test]
    fn a_run_behind_a_front_has_ports_of_its_own_on_each_side() {
        let fronted = with(|spec| {
            let by = "front.0".parse().unwrap();
            spec.fronted = Some(crate::plan::Fronted { by, port: "http".into() });
        });
        assert_eq!(fronted.argv[1], "80");
        assert_eq!(fronted.second.unwrap().argv[1], "81");
        // Connections must come to it first, so its keeper alone cannot say that it is ready.
        assert_eq!(fronted.ready, KeeperReady::Agent);
        assert_eq!(launched(&spec()).ready, KeeperReady::Started);
    }

    #[test]
    fn a_sandbox_lets_through_what_is_needed_and_what_was_named() {
        let sandbox = launched(&spec()).sandbox.unwrap();
        let files = sandbox.files.unwrap();
        assert_eq!(files.read, ["/release"]);
        let configured = with(|spec| spec.config = Digest::try_from("a".repeat(64)).ok());
        let files = configured.sandbox.unwrap().files.unwrap();
        assert_eq!(files.read, ["/release", "/config/a.0"]);
        assert_eq!(files.write, ["/data", "/tmp/a.0"]);
        assert_eq!(sandbox.capabilities, [Capability::NET_BIND_SERVICE], "for port 80");
        // The host opens what it hands over.
        let handed = with(|spec| drop(spec.listen.insert("http".into(), "127.0.0.1".into())));
        assert!(handed.sandbox.unwrap().capabilities.is_empty());
        assert_eq!(with(|spec| spec.sandbox = Sandbox::Off).sandbox, None);
        let loose = with(|spec| {
            spec.sandbox = Sandbox::On(Loosened {
                write: vec!["{release}".parse().unwrap()],
                any_files: false,
                shared_tmp: true,
                ..Loosened::default()
            });
        });
        let sandbox = loose.sandbox.unwrap();
        assert_eq!(sandbox.files.unwrap().write, ["/data", "/tmp/a.0", "/release"]);
        assert_eq!(sandbox.tmp, None);
    }

    #[test]
    fn a_startup_check_and_another_are_both_for_the_agent_to_see() {
        let probe = Probe {
            check: Check::Notify,
            every: Duration::from_secs(1),
            timeout: Duration::from_secs(5),
            failures: 1,
            successes: 1,
        };
        let notify = with(|spec| spec.ready = Some(probe.clone()));
        assert_eq!((notify.ready, notify.notify), (KeeperReady::Notify, true));
        let both = with(|spec| {
            spec.ready = Some(Probe { check: Check::Tcp { port: 80 }, ..probe.clone() });
            let within = Duration::from_secs(60);
            spec.startup = Some(Startup { probe: probe.clone(), within });
        });
        assert_eq!((both.ready, both.notify), (KeeperReady::Agent, true));
        let watched = with(|spec| spec.live = Some(probe.clone()));
        assert_eq!(watched.watchdog, Some(Duration::from_secs(5)));
    }
}
