//! What a deploy does besides bringing releases to hosts: commands of the operator, and migrations.

use std::collections::BTreeMap;

use stead_core::names::{InstanceName, SecretName, ServiceName};
use stead_core::plan::{Digest, Replace, Requests, Restart, Spec, When};
use stead_core::registry::Registry;

use crate::fleet::{Fleet, Host, Packed, Service};
use crate::leaf::shell_command;
use crate::places::template;
use crate::raw::RawRollout;
use crate::read::{At, Bad, Field, FromText};
use crate::service::{Part, texts};

/// A command for the operator's shell, before or after a deploy.
#[derive(Clone, Debug)]
pub(crate) struct HookCommand(pub String);

impl FromText for HookCommand {
    const WANTED: &'static str = "a command";
    const EXAMPLE: &'static str = "./announce.sh";

    fn from_text(text: &str) -> Result<Self, Bad> {
        shell_command(text, "an empty command does nothing; leave it out").map(Self)
    }
}

/// Commands that the operator's machine runs around a deploy, in the folder of the fleet file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hooks {
    /// Once every host is reached, before anything is changed.
    pub before: Option<String>,
    /// Once it has ended, however it has.
    pub after: Option<String>,
}

impl Hooks {
    pub(crate) fn of(raw: &RawRollout) -> Self {
        let command = |field: &Field<HookCommand>| field.value().map(|command| command.0.clone());
        Self { before: command(&raw.before), after: command(&raw.after) }
    }
}

/// What brings that which all hosts share to what a new release needs.
#[derive(Clone, Debug)]
pub(crate) struct FleetMigration {
    /// What its instance is called.
    name: ServiceName,
    run: Vec<String>,
}

impl Part<'_, '_, '_> {
    /// Its migration, `Some(None)` if it has none.
    pub(crate) fn migration(&mut self) -> Option<Option<FleetMigration>> {
        let At { value: argv, .. } = match &self.raw.migrate {
            Field::Absent => return Some(None),
            Field::Bad => return None,
            Field::Given(at) => at,
        };
        let Ok(name) = format!("{}-migrate", self.name.value).parse() else {
            let what = format!("`{}` is too long a name", self.name.value);
            let because = "its migration would be called the same with `-migrate` at the end";
            self.say(&self.name.span, what, because, "a shorter name");
            return None;
        };
        Some(Some(FleetMigration { name, run: texts(argv) }))
    }
}

/// A migration of a service, as an instance that runs once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Migration {
    pub service: ServiceName,
    pub instance: InstanceName,
    pub spec: Spec,
}

impl Fleet {
    /// The migrations of the services of a host. `packed` and `secrets` are as for [`Fleet::plan`].
    pub fn migrations(
        &self,
        host: &Host,
        packed: &BTreeMap<ServiceName, Packed>,
        secrets: &BTreeMap<SecretName, Digest>,
    ) -> Vec<Migration> {
        let on_host = self.services_on(host.name());
        let migration = |(service, program): (&Service, &crate::fleet::Program)| {
            let migration = service.migration.as_ref()?;
            let packed = program.packed(packed.get(service.name()));
            // It listens nowhere, so that it knows the ports of the first instance from the start.
            let filled = service.filled(program, (0, true), packed, secrets);
            let ports = service.ports_of(0);
            let port = |name: &str| ports.get(name).copied();
            Some(Migration {
                service: service.name().clone(),
                instance: InstanceName::new(migration.name.clone(), 0),
                spec: Spec {
                    run: migration.run.iter().map(|text| template(text, port)).collect(),
                    restart: Restart { when: When::Never, ..Restart::default() },
                    ports: BTreeMap::new(),
                    listen: BTreeMap::new(),
                    needs: Vec::new(),
                    ready: None,
                    live: None,
                    startup: None,
                    reload: None,
                    schedule: None,
                    fronted: None,
                    once: true,
                    registry: Registry::default(),
                    event_source: None,
                    replace: Replace::default(),
                    requests: Requests::default(),
                    ..filled
                },
            })
        };
        on_host.filter_map(migration).collect()
    }
}
