//! From the raw file to the fleet: defaults, and whatever takes more than one field to see.

use std::collections::{BTreeMap, BTreeSet};

use stead_core::names::{FleetName, HostName, SecretName, ServiceName};
use toml::de::DeValue;

use crate::across;
use crate::fleet::{Address, Fleet, Host, Os, Rollout, Service};
use crate::hooks::Hooks;
use crate::layers::Layers;
use crate::leaf::EnvName;
use crate::problem::{Problem, Problems, quoted};
use crate::raw::{RawFleet, RawHost, RawRollout, RawSecret, RawService};
use crate::read::{At, Entry, Field, Named, Node, Read, Reader};
use crate::registry;
use crate::secret::{self, EnvValue, SecretSource};
use crate::service;
use crate::sign::Password;

/// The largest fleet file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// The most hosts of a fleet.
pub const HOSTS_MAX: usize = 500;
/// The most services of a fleet.
pub const SERVICES_MAX: usize = 500;
/// The most secrets of a fleet.
pub const SECRETS_MAX: usize = 500;

pub(crate) fn fleet(layers: &Layers, here: Os) -> Result<Fleet, Problems> {
    let text = layers.text();
    let read = layers.read(|table, _| {
        let mut reader = Reader { text, problems: Vec::new() };
        let root = DeValue::Table(table);
        let node = Node { path: String::new(), key: String::new(), span: 0..0, value: &root };
        let raw = RawFleet::read(&node, &mut reader);
        let fleet = raw.and_then(|raw| assemble(&raw, here, &mut reader));
        (fleet, reader.problems)
    });
    match read? {
        (Some(fleet), problems) if problems.is_empty() => Ok(fleet),
        (Some(_) | None, problems) => Err(Problems::of(text, problems)),
    }
}

/// A service of the file whose name and table could be read.
pub(crate) struct Written<'a> {
    pub name: &'a At<ServiceName>,
    pub raw: &'a RawService,
    pub on: Vec<HostName>,
}

fn assemble(raw: &RawFleet, here: Os, reader: &mut Reader<'_>) -> Option<Fleet> {
    let hosts = hosts(&raw.host, here, reader);
    let written = match &raw.service {
        Field::Given(At { value: Named(services), .. }) if !services.is_empty() => {
            too_many(services, SERVICES_MAX, "services", reader);
            services.iter().take(SERVICES_MAX).filter_map(|entry| {
                let raw = &entry.value.as_ref()?.value;
                Some(Written {
                    name: &entry.key,
                    raw,
                    on: on(&entry.key.value, raw, &hosts, reader),
                })
            })
        }
        Field::Bad => return None,
        Field::Absent | Field::Given(_) => {
            let what = "the fleet has no service";
            let because = "a fleet file says which programs to keep running";
            let try_this = "`[service.NAME]` and below it `run = [\"./program\"]`";
            // A service whose name is wrong was complained about already.
            if reader.problems.is_empty() {
                reader.push(Problem::new(0..0, what, because, try_this));
            }
            return None;
        }
    };
    let written: Vec<_> = written.collect();
    let names = match raw.service.value() {
        Some(Named(services)) => services.iter().map(|entry| &entry.key.value).collect(),
        None => BTreeSet::new(),
    };
    across::needs(&written, &names, reader);
    across::ports(&written, reader);
    across::brought_along(&written, reader);
    across::instances(&written, reader);
    registry::contradictions(&written, &hosts, reader);
    let secrets = secrets(&raw.secret, &written, reader);
    let services: Vec<Option<Service>> = written
        .into_iter()
        .map(|written| {
            let of = |name: &HostName| hosts.get(name).map(|host| host.os);
            let systems: BTreeSet<Os> = written.on.iter().filter_map(of).collect();
            service::service(written, &systems, reader)
        })
        .collect();
    let services = services.into_iter().collect::<Option<Vec<_>>>()?;
    let default_name = || "fleet".parse::<FleetName>().expect("it is a good name");
    Some(Fleet {
        name: raw.name.value().cloned().unwrap_or_else(default_name),
        signing_key: raw.signing_key.value().map(|path| path.0.clone()),
        rollout: raw.rollout.value().map(rollout).unwrap_or_default(),
        hooks: raw.rollout.value().map(Hooks::of).unwrap_or_default(),
        hosts,
        secrets,
        services: services.into_iter().map(|service| (service.name.clone(), service)).collect(),
    })
}

/// The secrets with their sources. Every one that a service names must be there.
fn secrets(
    raw: &Field<Named<SecretName, RawSecret>>,
    written: &[Written<'_>],
    reader: &mut Reader<'_>,
) -> BTreeMap<SecretName, SecretSource> {
    let known = raw.value().map_or(&[][..], |Named(entries)| entries);
    too_many(known, SECRETS_MAX, "secrets", reader);
    let source = |entry: &Entry<SecretName, RawSecret>| {
        Some((entry.key.value.clone(), secret::source(entry, reader)?))
    };
    let secrets = known.iter().take(SECRETS_MAX).filter_map(source).collect();
    for service in written {
        let variants =
            [service.raw.linux.value(), service.raw.windows.value().map(|own| &own.variant)];
        let envs = variants.into_iter().flatten().map(|own| &own.env).chain([&service.raw.env]);
        let entries = envs.filter_map(Field::value).flat_map(|Named(entries)| entries);
        let variable = |entry: &'_ Entry<EnvName, EnvValue>| -> Option<(EnvName, EnvValue)> {
            Some((entry.key.value.clone(), entry.value.as_ref()?.value.clone()))
        };
        let variables: Vec<_> = entries.filter_map(variable).collect();
        let variables = variables.iter().map(|(name, value)| (name, value));
        secret::check_known(variables, raw, reader);
        let signs = variants.into_iter().flatten().map(|own| &own.sign).chain([&service.raw.sign]);
        for sign in signs.filter_map(Field::value) {
            if let Some(Password(At { span, value: name })) = sign.password.value() {
                let what = format!("service.{}.sign.password", service.name.value);
                secret::check_one(&what, span, name, known, reader);
            }
        }
    }
    secrets
}

fn rollout(raw: &RawRollout) -> Rollout {
    let count = |n: u32| usize::try_from(n).expect("it was read as a count of hosts");
    Rollout {
        canary: raw.canary.value().map(|n| count(n.0)),
        wave: raw.wave.value().map(|wave| wave.0),
        max_unavailable: raw.max_unavailable.value().map(|n| count(n.0)),
        max_unreachable: raw.max_unreachable.value().map(|n| count(n.0)),
        compare: raw.compare.value().copied(),
        bake: raw.bake.value().map(|it| it.0),
        ready_within: raw.ready_within.value().map(|it| it.0),
        commit_within: raw.commit_within.value().map(|it| it.0),
        migrate_within: raw.migrate_within.value().map(|it| it.0),
    }
}

fn too_many<K, V>(entries: &[Entry<K, V>], max: usize, noun: &str, reader: &mut Reader<'_>) {
    if let Some(first) = entries.get(max) {
        let what = format!("the fleet has too many {noun}: {}", entries.len());
        let because = format!("a fleet may have {max}");
        let span = first.key.span.clone();
        reader.push(Problem::new(span, what, because, "several smaller fleets"));
    }
}

fn hosts(
    raw: &Field<Named<HostName, RawHost>>,
    here: Os,
    reader: &mut Reader<'_>,
) -> BTreeMap<HostName, Host> {
    let entries = raw.value().map_or(&[][..], |Named(entries)| entries);
    if entries.is_empty() {
        let name: HostName = "local".parse().expect("it is a good name");
        let host =
            Host { name: name.clone(), address: Address::Local, os: here, root: None, sudo: false };
        return BTreeMap::from([(name, host)]);
    }
    too_many(entries, HOSTS_MAX, "hosts", reader);
    let mut reached: BTreeMap<String, &Entry<HostName, RawHost>> = BTreeMap::new();
    let mut hosts = BTreeMap::new();
    for entry in entries.iter().take(HOSTS_MAX) {
        let host = host(entry, here, reader);
        let address = match &host.address {
            Address::Local => "local".to_owned(),
            Address::Ssh(address) => address.clone(),
        };
        if let Some(first) = reached.get(&address) {
            let what = format!("hosts `{}` and `{}` have one address", first.key.value, host.name);
            let because = format!("`{}` is one machine, and has one agent", quoted(&address));
            let span = entry.key.span.clone();
            let problem =
                Problem::new(span, what, because, "a different address, or one host less");
            reader.push(problem.seen_at(first.key.span.clone(), "the same address"));
        }
        reached.entry(address).or_insert(entry);
        hosts.insert(host.name.clone(), host);
    }
    hosts
}

fn host(entry: &Entry<HostName, RawHost>, here: Os, reader: &mut Reader<'_>) -> Host {
    let name = entry.key.value.clone();
    let raw = entry.value.as_ref().map(|raw| &raw.value);
    let address = raw.and_then(|raw| raw.address.value()).cloned();
    let address = address.unwrap_or_else(|| match name.as_str() {
        "local" => Address::Local,
        alias => Address::Ssh(alias.to_owned()),
    });
    let said = raw.and_then(|raw| raw.os.at());
    let default = match address {
        Address::Local => here,
        Address::Ssh(_) => Os::Linux,
    };
    let os = said.map_or(default, |os| os.value);
    if let Some(said) = said.filter(|_| os != here && address == Address::Local) {
        let what = format!("host `{name}` is this machine, which does not run {}", os.title());
        let because = "`local` is the machine that `stead` is run on";
        let try_this = format!("`os = \"{}\"`, or the address of the other machine", here.as_str());
        reader.push(Problem::new(said.span.clone(), what, because, try_this));
    }
    let root = raw.and_then(|raw| raw.root.at());
    if let Some((root, because)) = root.and_then(|root| Some((root, root.value.unfit(os)?))) {
        let what = format!("host `{name}` cannot have this root");
        let example = match os {
            Os::Linux => "`root = \"/srv/stead\"`",
            Os::Windows => r"`root = 'D:\stead'`",
        };
        reader.push(Problem::new(root.span.clone(), what, because, example));
    }
    let root = root.map(|root| root.value.0.clone());
    let sudo = raw.and_then(|raw| raw.sudo.at());
    if let Some(said) = sudo.filter(|said| said.value && os == Os::Windows) {
        let what = format!("host `{name}` runs Windows, which has no `sudo`");
        let because = "whoever logs in there has the rights of an administrator, or has not";
        let try_this = "the `address` of an administrator";
        reader.push(Problem::new(said.span.clone(), what, because, try_this));
    }
    let sudo = sudo.is_some_and(|said| said.value);
    Host { name, address, os, root, sudo }
}

/// The hosts of a service: those it names, or all.
fn on(
    service: &ServiceName,
    raw: &RawService,
    hosts: &BTreeMap<HostName, Host>,
    reader: &mut Reader<'_>,
) -> Vec<HostName> {
    let Some(list) = raw.on.at() else {
        return hosts.keys().cloned().collect();
    };
    if list.value.written_n == 0 {
        let what = format!("service `{service}` runs on no host");
        let because = "`on` is empty";
        let try_this = "leave `on` out for every host of the file";
        reader.push(Problem::new(list.span.clone(), what, because, try_this));
    }
    let path = format!("service.{service}.on");
    across::told_once(&path, &list.value.items, |name| name.as_str(), reader);
    for name in list.value.items.iter().filter(|name| !hosts.contains_key(&name.value)) {
        let what = format!("`{}` is not a host of the file", name.value);
        let known: Vec<_> = hosts.keys().map(HostName::as_str).collect();
        let because = match known.as_slice() {
            ["local"] => "the file names no host, so all runs on this machine".to_owned(),
            _ => format!("the file has {}", across::some_of(&known)),
        };
        let named = |host: &&str| list.value.items.iter().any(|item| item.value.as_str() == *host);
        let unnamed = known.iter().copied().filter(|host| !named(host));
        let try_this = match reader.nearest(name.value.as_str(), unnamed) {
            Some(near) => format!("`\"{near}\"`"),
            None => format!("`[host.{}]` with its `address`", name.value),
        };
        reader.push(Problem::new(name.span.clone(), what, because, try_this));
    }
    let known = list.value.items.iter().filter(|name| hosts.contains_key(&name.value));
    known.map(|name| name.value.clone()).collect()
}
