//! The secrets of a fleet: their values, as the operator's machine has them.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use stead_core::names::{HostName, SecretName};
use stead_core::plan::{Digest, Plan};
use stead_fleet::SecretSource;
use stead_release::secret::{SECRET_LEN_MAX, SECRETS, Secret};
use tokio::process::Command;

use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::root;

/// A line end may come behind the longest value.
const READ_LEN_MAX: u64 = SECRET_LEN_MAX as u64 + 3;

/// Values by name.
#[derive(Default)]
pub(crate) struct Secrets(BTreeMap<SecretName, Secret>);

impl Secrets {
    /// Reads all that services on these hosts have.
    pub(crate) async fn read<'a>(
        file: &FleetFile,
        hosts: impl Iterator<Item = &'a HostName>,
    ) -> Result<Self, Failure> {
        let all: BTreeMap<_, _> = hosts.flat_map(|host| file.fleet.secrets_on(host)).collect();
        let mut secrets = BTreeMap::new();
        for (name, source) in all {
            secrets.insert(name.clone(), read(file, name, source).await?);
        }
        Ok(Self(secrets))
    }

    /// What plans know them by.
    pub(crate) fn ids(&self) -> BTreeMap<SecretName, Digest> {
        self.0.iter().map(|(name, secret)| (name.clone(), secret.id().clone())).collect()
    }

    /// Those that a plan names.
    pub(crate) fn of<'a>(&'a self, plan: &Plan) -> BTreeMap<&'a SecretName, &'a Secret> {
        let named = plan.instances.values().flat_map(|spec| spec.secrets.values());
        named.filter_map(|secret| self.0.get_key_value(&secret.name)).collect()
    }

    /// Puts them on the disk of this machine.
    pub(crate) fn put(&self, root: &Path) -> Result<(), Failure> {
        let put = || {
            let folder = folder(root)?;
            self.0.values().try_for_each(|secret| secret.put(&folder))
        };
        let failed = |source| Failure::Root { root: root.into(), source };
        if self.0.is_empty() { Ok(()) } else { put().map_err(failed) }
    }
}

/// Reads one that is for this machine alone.
pub(crate) async fn one(file: &FleetFile, name: &SecretName) -> Result<Secret, Failure> {
    let source = file.fleet.secret(name).expect("a secret that is named was checked when parsed");
    read(file, name, source).await
}

async fn read(
    file: &FleetFile,
    name: &SecretName,
    source: &SecretSource,
) -> Result<Secret, Failure> {
    let failed = |why: String| Failure::Secret { name: name.to_string(), why };
    let bytes = value(source, file.folder()).await.map_err(failed)?;
    let secret = Secret::of_bytes(file.fleet.name(), name, bytes);
    secret.map_err(|error| failed(format!("{}: {error}", from(source))))
}

/// The folder with the values below a root, made if it is not there.
pub(crate) fn folder(root: &Path) -> io::Result<PathBuf> {
    root::make(root)?;
    let folder = root.join(SECRETS);
    root::make_folder(&folder, root::CLOSED)?;
    Ok(folder)
}

/// Where a value comes from, for people.
fn from(source: &SecretSource) -> String {
    match source {
        SecretSource::Command(command) => format!("what `{command}` prints"),
        SecretSource::Env(variable) => format!("the variable `{variable}`"),
        SecretSource::File(path) => format!("the file `{path}`"),
    }
}

/// The bytes of a value. No error holds a part of it.
async fn value(source: &SecretSource, folder: &Path) -> Result<Vec<u8>, String> {
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", from(source));
    match source {
        SecretSource::Env(variable) => match std::env::var(variable) {
            Ok(value) => Ok(value.into_bytes()),
            Err(std::env::VarError::NotPresent) => Err(failed(&"it is not set")),
            Err(std::env::VarError::NotUnicode(_)) => Err(failed(&"it is not text in UTF-8")),
        },
        SecretSource::File(path) => {
            let file = std::fs::File::open(folder.join(path)).map_err(|error| failed(&error))?;
            let mut bytes = Vec::new();
            let read = file.take(READ_LEN_MAX).read_to_end(&mut bytes);
            read.map(|_| bytes).map_err(|error| failed(&error))
        }
        SecretSource::Command(command) => {
            // It may ask for a passphrase: the terminal is its own, its errors are seen.
            let output = Command::from(stead_proc::shell(command))
                .current_dir(folder)
                .stderr(Stdio::inherit())
                .kill_on_drop(true)
                .output();
            let output = output.await.map_err(|error| failed(&error))?;
            match output.status.success() {
                true => Ok(output.stdout),
                false => Err(failed(&format_args!("it ended with {}", output.status))),
            }
        }
    }
}
