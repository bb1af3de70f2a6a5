//! What the fleet file needs of a host: its plan, and the programs that are at hand.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use stead_core::check::{Needs, Program, Signature, System};
use stead_core::names::ServiceName;
use stead_fleet::{self as fleet, Address, Os};
use stead_release::release::PackError;

use super::{elf, pe};
use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::{LocalFleet, Part, PartKey};
use crate::kit::Kit;
use crate::reach::Way;
use crate::sign;

/// The signatures of what each service is on each system, looked at once.
pub(super) type Looked = BTreeMap<PartKey, Vec<Signature>>;

/// What is needed of this host. Nothing is built for it.
pub(super) async fn of(
    local: &LocalFleet<'_>,
    way: &Way,
    kit: &Kit,
    looked: &mut Looked,
) -> Result<Needs, Failure> {
    let plan = local.outline();
    let mut release_bytes = kit.programs().iter().map(|program| program.len() as u64).sum();
    for (service, program, part) in local.parts() {
        match local.read_part(service, program, part) {
            Ok(release) => {
                release_bytes += release.len_bytes();
                let key = local.key(service, part);
                if part == Part::Files && !looked.contains_key(&key) {
                    let found = sign::look(local, (service, program), &release).await?;
                    looked.insert(key, found);
                }
            }
            // It is not built yet, and how large it will be nobody knows.
            Err(Failure::Pack { source: PackError::Missing(_), .. })
                if program.build().is_some() => {}
            Err(other) => return Err(other),
        }
    }
    let system = match way.os {
        Os::Linux => System::Linux,
        Os::Windows => System::Windows,
    };
    let mut programs = Vec::new();
    for (service, program) in local.programs() {
        let mut specs = plan.of_service(service.name());
        let run = specs.find_map(|(_, spec)| spec.release.as_ref().and(spec.run.first()));
        let started = run.map(|run| run.plain());
        for (file, path) in files(program, started.as_deref(), local.file.folder()) {
            programs.extend(look(
                service.name(),
                (file, &path),
                system,
                program.build().is_some(),
            )?);
        }
    }
    let of_service =
        |(service, _): (&fleet::Service, _)| looked.get(&local.key(service, Part::Files));
    let signatures = local.programs().filter_map(of_service).flatten().cloned().collect();
    Ok(Needs {
        plan,
        system,
        machine: std::env::consts::ARCH,
        is_remote: way.address != Address::Local,
        release_bytes,
        programs,
        signatures,
    })
}

/// The files that may be programs: those that the fleet file names, and of folders that which the
/// service begins with. What else is in folders may well be for other machines.
fn files(program: &fleet::Program, started: Option<&str>, folder: &Path) -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    for file in program.files() {
        let path = folder.join(&file.path);
        let started = started.and_then(|run| run.strip_prefix("./"));
        let below = started.and_then(|run| run.strip_prefix(file.name.trim_end_matches('/')));
        match below.and_then(|below| below.strip_prefix('/')) {
            Some(below) => {
                let name = format!("{}/{below}", file.path.trim_end_matches('/'));
                files.push((name, path.join(below)));
            }
            None if path.is_dir() => {}
            None => files.push((file.path.clone(), path)),
        }
    }
    files
}

fn look(
    service: &ServiceName,
    (file, path): (String, &Path),
    system: System,
    is_built: bool,
) -> Result<Option<Program>, Failure> {
    let program = |binary| Some(Program { service: service.clone(), file, binary });
    let read = elf::read(path).and_then(|elf| match (elf, system) {
        // On Linux it is for what runs such programs there, as files of .NET are.
        (None, System::Windows) => pe::read(path),
        (elf, _) => Ok(elf),
    });
    match read {
        Ok(Some(binary)) => Ok(program(Some(binary))),
        Ok(None) => Ok(None),
        // What is missing and not built is a mistake that was told before.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(is_built.then(|| program(None)).flatten())
        }
        Err(source) => Err(FleetFailure::Ship { path: path.to_owned(), source }.into()),
    }
}
