//! The fleet: the file with every field true and every default in place.

use std::collections::BTreeMap;
use std::time::Duration;

use stead_core::names::{FleetName, HostName, InstanceName, SecretName, ServiceName};
use stead_core::order::depths;
use stead_core::plan::{
    Check, Digest, Fronted, Limits, LogLimits, Plan, Probe, Reload, Replace, Requests, Restart,
    SecretRef, Spec, Startup, Stop, StopHow, Umask,
};
use stead_core::registry::{EventSource, Registry};
use stead_core::rollout::Wave;
use stead_core::sandbox::Sandbox;
use stead_core::schedule::Schedule;
use stead_core::signal::Signal;
use stead_core::template::Template;

use crate::hooks::{FleetMigration, Hooks};
use crate::layers::Layers;
use crate::leaf::StopSignal;
use crate::places::template;
use crate::problem::Problems;
use crate::read::Span;
use crate::sandbox::FleetLoosened;
use crate::secret::{EnvValue, SecretSource};
use crate::sign::Sign;

/// Everything one fleet file describes. Only [`Fleet::parse`] makes one, so every field holds.
#[derive(Clone, Debug)]
pub struct Fleet {
    pub(crate) name: FleetName,
    pub(crate) signing_key: Option<String>,
    pub(crate) rollout: Rollout,
    pub(crate) hooks: Hooks,
    pub(crate) hosts: BTreeMap<HostName, Host>,
    pub(crate) secrets: BTreeMap<SecretName, SecretSource>,
    pub(crate) services: BTreeMap<ServiceName, Service>,
}

/// A machine that runs services.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    pub(crate) name: HostName,
    pub(crate) address: Address,
    pub(crate) os: Os,
    pub(crate) root: Option<String>,
    pub(crate) sudo: bool,
}

/// How a host is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// This machine.
    Local,
    /// What `ssh` is told; it never begins with `-`.
    Ssh(String),
}

/// The system of a host.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Os {
    Linux,
    Windows,
}

impl Os {
    /// The system of this machine.
    pub fn here() -> Self {
        if std::env::consts::OS == "windows" { Self::Windows } else { Self::Linux }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
        }
    }

    /// The name in a sentence.
    pub fn title(self) -> &'static str {
        match self {
            Self::Linux => "Linux",
            Self::Windows => "Windows",
        }
    }
}

/// A program to keep running.
#[derive(Clone, Debug)]
pub struct Service {
    pub(crate) name: ServiceName,
    pub(crate) on: Vec<HostName>,
    pub(crate) count: u32,
    pub(crate) ports: BTreeMap<String, u16>,
    pub(crate) needs: Vec<ServiceName>,
    pub(crate) directory: Option<String>,
    pub(crate) inherit: Vec<String>,
    pub(crate) group: Option<String>,
    pub(crate) umask: Umask,
    pub(crate) new_privileges: bool,
    pub(crate) ready: Option<FleetProbe>,
    pub(crate) live: Option<FleetProbe>,
    /// With the time that a run has to pass it.
    pub(crate) startup: Option<(FleetProbe, Duration)>,
    /// IP addresses by the name of the port.
    pub(crate) listen: BTreeMap<String, String>,
    pub(crate) replace: Replace,
    pub(crate) front: Option<FleetFront>,
    pub(crate) reload: Option<FleetReload>,
    pub(crate) migration: Option<FleetMigration>,
    /// `None` is off.
    pub(crate) sandbox: Option<FleetLoosened>,
    pub(crate) restart: Restart,
    /// `None` runs always.
    pub(crate) schedule: Option<Schedule>,
    pub(crate) limits: Limits,
    pub(crate) requests: Requests,
    pub(crate) log: LogLimits,
    /// For each system it runs on, and no other.
    pub(crate) programs: BTreeMap<Os, Program>,
}

/// The part of a service that may differ from system to system.
#[derive(Clone, Debug)]
pub struct Program {
    pub(crate) build: Option<String>,
    pub(crate) files: Vec<ReleaseFile>,
    pub(crate) sign: Option<Sign>,
    pub(crate) config: Vec<ReleaseFile>,
    pub(crate) run: Vec<String>,
    pub(crate) user: Option<String>,
    pub(crate) registry: Registry,
    pub(crate) event_source: Option<EventSource>,
    pub(crate) stop_how: FleetStop,
    pub(crate) stop_timeout: Duration,
    pub(crate) env: BTreeMap<String, EnvValue>,
}

/// A file or folder that becomes part of a release.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReleaseFile {
    /// As written: from the folder of the fleet file on, or absolute.
    pub path: String,
    /// What it is called in the release.
    pub name: String,
    /// Where the fleet file says it, in bytes.
    pub span: Span,
}

/// The names of what was packed for a service.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Packed {
    pub release: Option<Digest>,
    pub config: Option<Digest>,
}

#[derive(Clone, Debug)]
pub(crate) enum FleetStop {
    Hook(Vec<String>),
    Signal(StopSignal),
}

/// The front of a service.
#[derive(Clone, Debug)]
pub(crate) struct FleetFront {
    pub name: ServiceName,
    pub port: u16,
    pub address: String,
    /// The name of the port that connections are passed on to.
    pub to: String,
}

impl FleetFront {
    /// The one instance of it that a host has.
    fn instance(&self) -> InstanceName {
        InstanceName::new(self.name.clone(), 0)
    }

    /// What the front itself is: a service that stead brings along.
    fn spec(&self, stop_timeout: Duration) -> Spec {
        let run = ["{kit}/stead-front", "--control", FRONT_CONTROL, "--state", "backends.json"];
        let run = run.map(|text| text.parse().expect("its places are known"));
        let ready = Probe {
            check: Check::Notify,
            every: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            failures: 1,
            successes: 1,
        };
        Spec {
            ports: [(FRONT_PORT.to_owned(), self.port)].into(),
            listen: [(FRONT_PORT.to_owned(), self.address.clone())].into(),
            ready: Some(ready),
            replace: Replace { overlap: true, ..Replace::default() },
            stop: Stop {
                how: StopHow::Signal(Signal::Term),
                timeout: stop_timeout.max(Stop::default().timeout),
            },
            ..Spec::of(run.into())
        }
    }
}

/// Where a front takes orders, in the folder it starts in, its own: no path is too long then.
const FRONT_CONTROL: &str = "control.sock";

/// What the port of a front is called.
const FRONT_PORT: &str = "front";

#[derive(Clone, Debug)]
pub(crate) enum FleetReload {
    Hook(Vec<String>),
    Signal(Signal),
}

#[derive(Clone, Debug)]
pub(crate) struct FleetProbe {
    pub check: FleetCheck,
    pub every: Duration,
    pub timeout: Duration,
    pub failures: u32,
    pub successes: u32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum FleetCheck {
    Exec(Vec<String>),
    Http { path: String, port: String },
    Log { text: String },
    Notify,
    Tcp { port: String },
}

/// What the file says about how fast hosts are given something new.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rollout {
    pub canary: Option<usize>,
    pub wave: Option<Wave>,
    pub max_unavailable: Option<usize>,
    pub max_unreachable: Option<usize>,
    pub bake: Option<Duration>,
    pub compare: Option<bool>,
    pub ready_within: Option<Duration>,
    pub commit_within: Option<Duration>,
    pub migrate_within: Option<Duration>,
}

impl Fleet {
    /// Reads a fleet file, or says everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Problems> {
        Self::parse_bytes(text.as_bytes())
    }

    /// As [`Fleet::parse`], for bytes that may not be text. To render the problems, decode the
    /// bytes with [`String::from_utf8_lossy`].
    pub fn parse_bytes(bytes: &[u8]) -> Result<Self, Problems> {
        Self::parse_layers(&Layers::of("", bytes))
    }

    /// As [`Fleet::parse_bytes`], as a machine of this system reads it.
    pub fn parse_on(here: Os, bytes: &[u8]) -> Result<Self, Problems> {
        crate::assemble::fleet(&Layers::of("", bytes), here)
    }

    /// As [`Fleet::parse`], for a fleet file with that of a tier over it.
    pub fn parse_layers(layers: &Layers) -> Result<Self, Problems> {
        crate::assemble::fleet(layers, Os::here())
    }

    /// The file with the key that signs, from the folder of the fleet file on.
    pub fn signing_key(&self) -> Option<&str> {
        self.signing_key.as_deref()
    }

    pub fn rollout(&self) -> &Rollout {
        &self.rollout
    }

    pub fn hooks(&self) -> &Hooks {
        &self.hooks
    }

    pub fn name(&self) -> &FleetName {
        &self.name
    }

    /// The hosts by name; a file without hosts has one, named `local`, which is this machine.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    pub fn host(&self, name: &HostName) -> Option<&Host> {
        self.hosts.get(name)
    }

    /// The host that is this machine.
    pub fn local_host(&self) -> Option<HostName> {
        let local = self.hosts.values().find(|host| host.address == Address::Local);
        local.map(|host| host.name.clone())
    }

    /// The services by name.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    pub fn service(&self, name: &ServiceName) -> Option<&Service> {
        self.services.get(name)
    }

    /// The same with nothing but these services, and these hosts; all of them, where none is said.
    #[must_use]
    pub fn narrowed(mut self, services: &[ServiceName], hosts: &[HostName]) -> Self {
        if !services.is_empty() {
            self.services.retain(|name, _| services.contains(name));
        }
        if !hosts.is_empty() {
            self.hosts.retain(|name, _| hosts.contains(name));
        }
        self
    }

    /// The services of one host, each with what it is on the system of that host.
    pub fn services_on(&self, host: &HostName) -> impl Iterator<Item = (&Service, &Program)> {
        let host = self.hosts.get(host);
        self.services.values().filter_map(move |service| {
            let host = host.filter(|host| service.on.contains(&host.name))?;
            Some((service, service.programs.get(&host.os)?))
        })
    }

    /// The secrets that services of one host have, with where their values come from.
    pub fn secrets_on(&self, host: &HostName) -> BTreeMap<&SecretName, &SecretSource> {
        let programs = self.services_on(host).map(|(_, program)| program);
        let named = programs.flat_map(|program| program.secrets().map(|(_, name)| name));
        named.filter_map(|name| self.secrets.get_key_value(name)).collect()
    }

    /// Where the value of a secret comes from.
    pub fn secret(&self, name: &SecretName) -> Option<&SecretSource> {
        self.secrets.get(name)
    }

    /// Where a host comes when hosts are changed one after another: those with a lower number
    /// before, since services on others need what runs there.
    pub fn rank(&self, host: &HostName) -> usize {
        let needs = |service: &Service| (service.name.clone(), service.needs.clone());
        let depths = depths(&self.services.values().map(needs).collect());
        let on_host = self.services_on(host).map(|(service, _)| depths[&service.name]);
        on_host.min().unwrap_or(0)
    }

    /// What one host must hold and run. `packed` names the packed files of each service that
    /// has some, for the system of that host, and `secrets` the values of those that it has.
    ///
    /// # Panics
    /// If the fleet has no such host, or what a service has was not packed, or a secret has no
    /// value: mistakes of the caller, which would otherwise become a plan that ends or breaks
    /// services.
    pub fn plan(
        &self,
        host: &HostName,
        packed: &BTreeMap<ServiceName, Packed>,
        secrets: &BTreeMap<SecretName, Digest>,
    ) -> Plan {
        assert!(self.hosts.contains_key(host), "the fleet has no host {host}");
        let mut instances = BTreeMap::new();
        for (service, program) in self.services_on(host) {
            let packed = program.packed(packed.get(&service.name));
            for index in 0..service.count {
                let name = InstanceName::new(service.name.clone(), index);
                instances.insert(name, service.spec(program, index, packed.clone(), secrets));
            }
            if let Some(front) = &service.front {
                instances.insert(front.instance(), front.spec(program.stop_timeout));
            }
        }
        Plan { fleet: self.name.clone(), host: host.clone(), instances }
    }
}

impl Host {
    pub fn name(&self) -> &HostName {
        &self.name
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn os(&self) -> Os {
        self.os
    }

    /// The folder of all of stead's state there; as by default there, if none.
    pub fn root(&self) -> Option<&str> {
        self.root.as_deref()
    }

    /// Whether who logs in becomes root by `sudo`.
    pub fn sudo(&self) -> bool {
        self.sudo
    }
}

impl Service {
    pub fn name(&self) -> &ServiceName {
        &self.name
    }

    /// The hosts it runs on; never empty.
    pub fn on(&self) -> &[HostName] {
        &self.on
    }

    /// How many instances run on each host; at least 1.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Ports by name, as instance 0 gets them.
    pub fn ports(&self) -> &BTreeMap<String, u16> {
        &self.ports
    }

    pub fn needs(&self) -> &[ServiceName] {
        &self.needs
    }

    /// What it is on a system; `None` if no host of that system runs it.
    pub fn program(&self, os: Os) -> Option<&Program> {
        self.programs.get(&os)
    }

    fn spec(
        &self,
        program: &Program,
        index: u32,
        packed: Packed,
        secrets: &BTreeMap<SecretName, Digest>,
    ) -> Spec {
        // Which of two ports a run has is known only when it begins.
        let is_early = self.front.is_none();
        self.filled(program, (index, is_early), packed, secrets)
    }

    /// The spec of an instance; `is_early` says that its ports are filled in here.
    pub(crate) fn filled(
        &self,
        program: &Program,
        (index, is_early): (u32, bool),
        packed: Packed,
        secrets: &BTreeMap<SecretName, Digest>,
    ) -> Spec {
        let ports = self.ports_of(index);
        let port = |name: &str| ports.get(name).copied();
        let early = |name: &str| port(name).filter(|_| is_early);
        let fill = |text: &String| template(text, early);
        let fill_all = |texts: &[String]| texts.iter().map(fill).collect::<Vec<_>>();
        let how = match &program.stop_how {
            FleetStop::Hook(hook) => StopHow::Hook(fill_all(hook)),
            FleetStop::Signal(StopSignal::CtrlBreak) => StopHow::CtrlBreak,
            FleetStop::Signal(StopSignal::CtrlC) => StopHow::CtrlC,
            FleetStop::Signal(StopSignal::Signal(signal)) => StopHow::Signal(*signal),
        };
        let port_of = |name: &str| port(name).expect("a probe's port was checked when parsed");
        let probe = |probe: &FleetProbe| Probe {
            check: match &probe.check {
                FleetCheck::Exec(argv) => Check::Exec(fill_all(argv)),
                FleetCheck::Http { path, port } => {
                    Check::Http { path: path.clone(), port: port_of(port) }
                }
                FleetCheck::Log { text } => Check::Log { text: text.clone() },
                FleetCheck::Notify => Check::Notify,
                FleetCheck::Tcp { port } => Check::Tcp { port: port_of(port) },
            },
            every: probe.every,
            timeout: probe.timeout,
            failures: probe.failures,
            successes: probe.successes,
        };
        Spec {
            run: fill_all(&program.run),
            release: packed.release,
            config: packed.config,
            directory: self.directory.as_ref().map(fill),
            env: program.variables(fill),
            secrets: program.secret_refs(secrets),
            inherit: self.inherit.clone(),
            user: program.user.clone(),
            group: self.group.clone(),
            umask: self.umask,
            new_privileges: self.new_privileges,
            restart: self.restart,
            schedule: self.schedule.clone(),
            stop: Stop { how, timeout: program.stop_timeout },
            log: self.log,
            needs: self.needs.clone(),
            ready: self.ready.as_ref().map(probe),
            live: self.live.as_ref().map(probe),
            limits: self.limits,
            requests: self.requests,
            ports: ports.clone(),
            startup: self
                .startup
                .as_ref()
                .map(|(startup, within)| Startup { probe: probe(startup), within: *within }),
            listen: self.listen.clone(),
            replace: self.replace,
            once: false,
            registry: program.registry.clone(),
            event_source: program.event_source.clone(),
            fronted: self
                .front
                .as_ref()
                .map(|front| Fronted { by: front.instance(), port: front.to.clone() }),
            reload: self.reload.as_ref().map(|reload| match reload {
                FleetReload::Hook(hook) => Reload::Hook(fill_all(hook)),
                FleetReload::Signal(signal) => Reload::Signal(*signal),
            }),
            sandbox: self.sandbox.as_ref().map_or(Sandbox::Off, |it| it.filled(fill_all)),
        }
    }

    pub(crate) fn ports_of(&self, index: u32) -> BTreeMap<String, u16> {
        // Behind a front each instance has two of each: one for the run that takes its place.
        let stride = if self.front.is_some() { 2 } else { 1 };
        let shift = |first: u16| {
            let port = u32::from(first) + index * stride;
            u16::try_from(port).expect("the last port was checked when parsed")
        };
        self.ports.iter().map(|(name, first)| (name.clone(), shift(*first))).collect()
    }
}

impl Program {
    /// The command that makes its files, run in the folder of the fleet file.
    pub fn build(&self) -> Option<&str> {
        self.build.as_deref()
    }

    /// What was packed of it.
    ///
    /// # Panics
    /// If something is to be packed and was not: a mistake of the caller.
    pub(crate) fn packed(&self, found: Option<&Packed>) -> Packed {
        let named = |files: &[ReleaseFile], digest: Option<&Digest>| match files {
            [] => None,
            [..] => {
                Some(digest.expect("a service with files is packed before it is planned").clone())
            }
        };
        Packed {
            release: named(&self.files, found.and_then(|it| it.release.as_ref())),
            config: named(&self.config, found.and_then(|it| it.config.as_ref())),
        }
    }

    /// Its variables that are none.
    fn variables(&self, fill: impl Fn(&String) -> Template) -> BTreeMap<String, Template> {
        let value = |value: &EnvValue| match value {
            EnvValue::Number(number) => Some(Template::literal(number)),
            EnvValue::Secret(_) => None,
            EnvValue::Text(text) => Some(fill(text)),
        };
        self.env.iter().filter_map(|(name, it)| Some((name.clone(), value(it)?))).collect()
    }

    fn secret_refs(&self, ids: &BTreeMap<SecretName, Digest>) -> BTreeMap<String, SecretRef> {
        let secret = |name: &SecretName| SecretRef {
            name: name.clone(),
            id: ids.get(name).expect("a secret is read before it is planned").clone(),
        };
        self.secrets().map(|(variable, name)| (variable.clone(), secret(name))).collect()
    }

    /// Its variables that are secrets.
    fn secrets(&self) -> impl Iterator<Item = (&String, &SecretName)> {
        self.env.iter().filter_map(|(variable, value)| match value {
            EnvValue::Number(_) | EnvValue::Text(_) => None,
            EnvValue::Secret(name) => Some((variable, &name.value)),
        })
    }

    /// What its release holds; without any it has no release.
    pub fn files(&self) -> &[ReleaseFile] {
        &self.files
    }

    /// What its configuration holds; without any it has none of its own.
    pub fn config(&self) -> &[ReleaseFile] {
        &self.config
    }
}
