//! The fleet file at hand: read, checked, and what it means for this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use stead_core::names::{HostName, ServiceName, TierName};
use stead_core::plan::{Digest, Plan};
use stead_core::reconcile::FieldChange;
use stead_fleet::{
    Address, FILE_BYTES_MAX, Fleet, Layers, Migration, Os, Packed, Problems, Program, ReleaseFile,
    Service, Sign, Stage,
};
use tokio::process::Command;

use crate::args::{ScopeArgs, TierArg};
use crate::failure::{Failure, FleetFailure};
use crate::hosts;
use crate::keys;
use crate::names;
use crate::root;
use crate::screen::{Paint, Screen, Tone};
use crate::secrets::Secrets;
use crate::sign;
use stead_release::release::{PackError, Release, Source};
use stead_release::sign::SigningKey;

const FILE_NAME: &str = "stead.toml";

/// A fleet, with the file and the folder it comes from.
#[derive(Debug)]
pub(crate) struct FleetFile {
    pub(crate) fleet: Fleet,
    layers: Layers,
    folder: PathBuf,
    pub(crate) tier: Option<TierName>,
    /// The services that it was narrowed to; none is all.
    only: Vec<ServiceName>,
    /// How its problems are coloured.
    paint: Paint,
}

/// The services that run on this machine, ready to be built, packed and planned.
#[derive(Debug)]
pub(crate) struct LocalFleet<'a> {
    pub(crate) file: &'a FleetFile,
    pub(crate) host: HostName,
}

/// What is packed of a service.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Part {
    Config,
    Files,
}

/// A part of a service as it is on hosts of one system.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct PartKey {
    pub(crate) service: ServiceName,
    pub(crate) os: Os,
    pub(crate) part: Part,
}

/// What was read of each service.
pub(crate) type Parts = BTreeMap<PartKey, Release>;

/// The names of what one host gets.
pub(crate) type Digests = BTreeMap<PartKey, Digest>;

impl Part {
    const ALL: [Self; 2] = [Self::Config, Self::Files];

    fn files(self, program: &Program) -> &[ReleaseFile] {
        match self {
            Self::Config => program.config(),
            Self::Files => program.files(),
        }
    }

    fn of(self, packed: &mut Packed) -> &mut Option<Digest> {
        match self {
            Self::Config => &mut packed.config,
            Self::Files => &mut packed.release,
        }
    }

    /// What it is called when it was packed: `packed web as …`.
    pub(crate) fn shown(self, service: &ServiceName) -> String {
        match self {
            Self::Config => format!("the configuration of {service}"),
            Self::Files => service.to_string(),
        }
    }

    /// What it is called where it cannot be packed.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Config => "configuration",
            Self::Files => "release",
        }
    }

    /// The field of the fleet file that names it.
    pub(crate) fn field(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Files => "files",
        }
    }

    pub(crate) fn folder_name(self) -> &'static str {
        match self {
            Self::Config => "configs",
            Self::Files => "releases",
        }
    }

    /// The folder below the root that it is packed into, made if it is not there. Services read
    /// their releases there, and have copies of their configurations elsewhere.
    fn folder(self, root: &Path) -> io::Result<PathBuf> {
        let mode = match self {
            Self::Config => root::CLOSED,
            Self::Files => root::PASS_THROUGH,
        };
        let folder = root.join(self.folder_name());
        root::make_folder(&folder, mode)?;
        Ok(folder)
    }
}

impl FleetFile {
    /// Reads and checks a fleet file, with that of a tier over it; a folder stands for the
    /// `stead.toml` in it.
    pub(crate) fn open(path: &Path, tier: &TierArg, paint: Paint) -> Result<Self, Failure> {
        let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_owned() };
        let mut layers = Layers::of(&path.display().to_string(), &read(&path)?);
        if let Some(tier) = &tier.tier {
            let path = path.with_file_name(format!("{tier}.toml"));
            layers = layers.with(&path.display().to_string(), &read(&path)?);
        }
        let whole = std::path::absolute(&path);
        let whole = whole.map_err(|source| Failure::FleetRead { path: path.clone(), source })?;
        let folder = whole.parent().unwrap_or(Path::new("/")).to_owned();
        let parsed = Fleet::parse_layers(&layers);
        let fleet = parsed.map_err(|problems| failure(&layers, &problems, paint))?;
        Ok(Self { fleet, layers, folder, tier: tier.tier.clone(), only: Vec::new(), paint })
    }

    /// What the tier changes in the fleet file.
    pub(crate) fn tier_changes(&self) -> Vec<FieldChange> {
        self.layers.changes()
    }

    /// The key that signs, if the fleet names one.
    pub(crate) fn signing_key(&self) -> Result<Option<SigningKey>, Failure> {
        self.fleet.signing_key().map(|path| keys::read(&self.folder.join(path))).transpose()
    }

    /// The folder that paths in it are relative to.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Refuses a fleet whose files are not there.
    pub(crate) fn check_files(&self, stage: Stage) -> Result<(), Failure> {
        let checked = self.fleet.check_files(self.layers.text(), &self.folder, stage);
        checked.map_err(|problems| failure(&self.layers, &problems, self.paint))
    }

    /// Which of these files of a release are signed; refused if one that is named is none.
    pub(crate) fn choose<'p>(
        &self,
        sign: &Sign,
        packed: &[&'p str],
    ) -> Result<BTreeSet<&'p str>, Failure> {
        let chosen = sign.choose(self.layers.text(), packed);
        chosen.map_err(|problems| failure(&self.layers, &problems, self.paint))
    }

    /// The host that is this machine; refused if there is none.
    pub(crate) fn local(&self) -> Result<LocalFleet<'_>, Failure> {
        let host = self.fleet.local_host().ok_or(Failure::NoLocalHost)?;
        Ok(LocalFleet { file: self, host })
    }

    /// Refuses a fleet some service of which runs on a host that is not this machine.
    pub(crate) fn refuse_remote(&self) -> Result<(), Failure> {
        for service in self.fleet.services() {
            let mut hosts = service.on().iter().filter_map(|name| self.fleet.host(name));
            let remote = hosts.find_map(|host| match host.address() {
                Address::Local => None,
                Address::Ssh(address) => Some((host.name(), address)),
            });
            if let Some((host, address)) = remote {
                return Err(Failure::RemoteHost {
                    service: service.name().to_string(),
                    host: host.to_string(),
                    address: address.clone(),
                });
            }
        }
        Ok(())
    }

    /// The service of this name; refused if the fleet has none.
    pub(crate) fn known_service(&self, name: &str) -> Result<&Service, Failure> {
        let known: BTreeSet<&str> = self.fleet.services().map(|it| it.name().as_str()).collect();
        let found = self.fleet.services().find(|service| service.name().as_str() == name);
        found.ok_or_else(|| names::unknown(name, &known, std::iter::empty()))
    }

    /// The same file with a part of its fleet only; refused if it has no such part.
    pub(crate) fn narrowed(mut self, scope: &ScopeArgs) -> Result<Self, Failure> {
        let services = scope.only.iter().map(|name| Ok(self.known_service(name)?.name().clone()));
        let services = services.collect::<Result<Vec<_>, Failure>>()?;
        let known: BTreeSet<&str> = self.fleet.hosts().map(|it| it.name().as_str()).collect();
        let host = |name: &String| {
            let found = self.fleet.hosts().find(|host| host.name().as_str() == *name);
            let unknown = || names::unknown_host(name, &known);
            found.map(|host| host.name().clone()).ok_or_else(unknown)
        };
        let hosts = scope.host.iter().map(host).collect::<Result<Vec<_>, Failure>>()?;
        self.fleet = self.fleet.narrowed(&services, &hosts);
        if hosts::used(&self).next().is_none() {
            let wanted = scope.only.iter().chain(&scope.host).map(|name| format!("`{name}`"));
            let wanted = wanted.collect::<Vec<_>>().join(", ");
            return Err(FleetFailure::NotOn { wanted }.into());
        }
        self.only = services;
        Ok(self)
    }

    /// What a host is to run that runs something now: services that were left out stay.
    pub(crate) fn beside(&self, now: Option<&Plan>, next: Plan) -> Plan {
        let Some(now) = now.filter(|_| !self.only.is_empty()) else { return next };
        let with = |plan: Plan, service| plan.with_service_of(&next, service);
        let now = Plan { fleet: next.fleet.clone(), host: next.host.clone(), ..now.clone() };
        self.only.iter().fold(now, with)
    }
}

impl<'a> LocalFleet<'a> {
    pub(crate) fn programs(&self) -> impl Iterator<Item = (&'a Service, &'a Program)> {
        self.file.fleet.services_on(&self.host)
    }

    /// What a part of a service is found by, as it is here.
    pub(crate) fn key(&self, service: &Service, part: Part) -> PartKey {
        let os = self.file.fleet.host(&self.host).expect("it is a host of this fleet").os();
        PartKey { service: service.name().clone(), os, part }
    }

    /// Runs every build once, in the folder of the fleet file; what they say is shown.
    pub(crate) async fn build(&self, screen: &mut Screen) -> Result<(), Failure> {
        self.build_new(screen, &mut BTreeSet::new()).await
    }

    /// As [`LocalFleet::build`], without those that were built before.
    pub(crate) async fn build_new(
        &self,
        screen: &mut Screen,
        built: &mut BTreeSet<&'a str>,
    ) -> Result<(), Failure> {
        for (service, program) in self.programs() {
            let Some(command) = program.build().filter(|command| built.insert(*command)) else {
                continue;
            };
            let what = format!("build {}", service.name());
            screen.note(&format!("{} {command}", screen.paint_notes.paint(Tone::Strong, &what)));
            let why = match run_command(command, &self.file.folder, []).await {
                Ok(status) if status.success() => continue,
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            };
            let (service, command) = (service.name().to_string(), command.to_owned());
            return Err(Failure::Build { service, command, why });
        }
        Ok(())
    }

    /// What there is to pack, of every service.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'a Service, &'a Program, Part)> {
        let parts = |(service, program)| Part::ALL.map(|part| (service, program, part));
        let is_there = |(_, program, part): &(_, &Program, Part)| !part.files(program).is_empty();
        self.programs().flat_map(parts).filter(is_there)
    }

    /// Makes what is shipped of every service that has files.
    pub(crate) async fn make_parts(&self, screen: &mut Screen) -> Result<Parts, Failure> {
        let mut parts = Parts::new();
        for (service, program, part) in self.parts() {
            let made = self.make_part(screen, service, program, part).await?;
            parts.insert(self.key(service, part), made);
        }
        Ok(parts)
    }

    /// Reads the files of one service, and signs what is to be signed of them.
    pub(crate) async fn make_part(
        &self,
        screen: &mut Screen,
        service: &Service,
        program: &Program,
        part: Part,
    ) -> Result<Release, Failure> {
        let read = self.read_part(service, program, part)?;
        match part {
            Part::Config => Ok(read),
            Part::Files => sign::signed(self, screen, (service, program), read).await,
        }
    }

    /// Reads the files of one service, as they were built.
    pub(crate) fn read_part(
        &self,
        service: &Service,
        program: &Program,
        part: Part,
    ) -> Result<Release, Failure> {
        let files = part.files(program);
        let path = |path: &str| self.file.folder.join(path);
        let sources = files.iter().map(|f| Source { path: path(&f.path), name: f.name.clone() });
        Release::read(&sources.collect::<Vec<_>>()).map_err(|source| {
            let span = files.first().map_or(0, |file| file.span.start);
            self.pack_failure(service.name(), part, span, source)
        })
    }

    /// Packs what was read below a root; says what was not there yet.
    pub(crate) fn pack<'p>(
        &self,
        parts: &'p Parts,
        root: &Path,
    ) -> Result<Vec<(&'p ServiceName, Part, &'p Release)>, Failure> {
        let mut packed = Vec::new();
        for (PartKey { service: name, part, .. }, release) in parts {
            let folder = part.folder(root).map_err(|source| {
                let root = root.into();
                Failure::Root { root, source }
            })?;
            let is_new = release.pack(&folder).map_err(|source| {
                let files = self.programs().find(|(service, _)| service.name() == name);
                let first = files.and_then(|(_, program)| part.files(program).first());
                self.pack_failure(name, *part, first.map_or(0, |f| f.span.start), source)
            })?;
            if is_new {
                packed.push((name, *part, release));
            }
        }
        Ok(packed)
    }

    /// What this machine must run, given the names of what was packed, and of secrets.
    pub(crate) fn plan(&self, digests: &Digests, secrets: &Secrets) -> Plan {
        self.file.fleet.plan(&self.host, &packed(digests), &secrets.ids())
    }

    /// The migrations of its services, given the same.
    pub(crate) fn migrations(&self, digests: &Digests, secrets: &Secrets) -> Vec<Migration> {
        let host = self.file.fleet.host(&self.host).expect("it is a host of this fleet");
        self.file.fleet.migrations(host, &packed(digests), &secrets.ids())
    }

    /// What this machine must run, without names of what is packed and of secrets.
    pub(crate) fn outline(&self) -> Plan {
        let nothing = || Digest::try_from("0".repeat(64)).expect("64 zeros are hexadecimal digits");
        let mut packed: BTreeMap<ServiceName, Packed> = BTreeMap::new();
        for (service, _, part) in self.parts() {
            *part.of(packed.entry(service.name().clone()).or_default()) = Some(nothing());
        }
        let secrets = self.file.fleet.secrets_on(&self.host);
        let secrets = secrets.into_keys().map(|name| (name.clone(), nothing())).collect();
        self.file.fleet.plan(&self.host, &packed, &secrets)
    }

    pub(crate) fn pack_failure(
        &self,
        service: &ServiceName,
        part: Part,
        span: usize,
        source: PackError,
    ) -> Failure {
        let (service, at) = (service.to_string(), self.file.layers.place(span));
        Failure::Pack { service, part, at, source }
    }
}

/// The names of what was packed, by service.
fn packed(digests: &Digests) -> BTreeMap<ServiceName, Packed> {
    let mut packed: BTreeMap<ServiceName, Packed> = BTreeMap::new();
    for (PartKey { service, part, .. }, digest) in digests {
        let packed = packed.entry(service.clone()).or_default();
        *part.of(packed) = Some(digest.clone());
    }
    packed
}

/// The bytes of a file; of one that is too long, enough to be refused for its length.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |source| Failure::FleetRead { path: path.into(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn failure(layers: &Layers, problems: &Problems, paint: Paint) -> Failure {
    let rendered = problems.render_in(layers, paint.0);
    Failure::FleetFile { file: layers.first_name().to_owned(), rendered }
}

/// Runs a command of the fleet file to its end.
pub(crate) async fn run_command<'a>(
    command: &str,
    folder: &Path,
    env: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> io::Result<std::process::ExitStatus> {
    // Standard output is for facts; what a build says is progress.
    Command::from(stead_proc::shell(command))
        .envs(env)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(io::stderr())
        .kill_on_drop(true)
        .status()
        .await
}
