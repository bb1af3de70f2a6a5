//! The hosts of a fleet, each with the way to it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use stead_core::names::HostName;
use stead_fleet::{Address, Host, Os};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::FleetFile;
use crate::kit::Kit;
use crate::reach::{Purpose, ReachError, Reached, Way, reach};

/// So many hosts are connected at the same time: each costs a process here.
const AT_ONCE_MAX: usize = 32;

/// The hosts on which something runs.
pub(crate) fn used(file: &FleetFile) -> impl Iterator<Item = &Host> {
    file.fleet.hosts().filter(|host| file.fleet.services_on(host.name()).next().is_some())
}

/// How a host is reached; refused if nothing of ours runs there.
pub(crate) fn way(host: &Host) -> Result<Way, Failure> {
    if host.os() == Os::Windows {
        return Err(FleetFailure::Windows { host: host.name().to_string() }.into());
    }
    let own_root = || match host.address() {
        Address::Local => crate::root::find(None).ok(),
        Address::Ssh(_) => None,
    };
    Ok(Way {
        address: host.address().clone(),
        root: host.root().map(PathBuf::from).or_else(own_root),
        sudo: host.sudo(),
    })
}

/// At most so many of these at the same time.
pub(crate) fn permits() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(AT_ONCE_MAX))
}

/// Connects to every host, to look only.
pub(crate) async fn look(
    file: &FleetFile,
) -> Result<BTreeMap<HostName, Result<Reached, ReachError>>, Failure> {
    let (kit, permits) = (Arc::new(Kit::own()?), permits());
    let mut reaching = JoinSet::new();
    for host in used(file) {
        let (name, way) = (host.name().clone(), way(host)?);
        let (kit, permits) = (Arc::clone(&kit), Arc::clone(&permits));
        reaching.spawn(async move {
            let _permit = permits.acquire().await;
            (name, reach(&way, Purpose::Look, &kit).await)
        });
    }
    let mut reached = BTreeMap::new();
    while let Some(one) = reaching.join_next().await {
        reached.extend(one);
    }
    Ok(reached)
}
