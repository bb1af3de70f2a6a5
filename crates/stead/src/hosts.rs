//! The hosts of a fleet, each with the way to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use stead_core::names::HostName;
use stead_fleet::{Address, Host, Os};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::kit::Kit;
use crate::reach::{Purpose, ReachError, Reached, Way, reach};

/// So many hosts are connected at the same time: each costs a process here.
const AT_ONCE_MAX: usize = 32;

/// The hosts on which something runs.
pub(crate) fn used(file: &FleetFile) -> impl Iterator<Item = &Host> {
    file.fleet.hosts().filter(|host| file.fleet.services_on(host.name()).next().is_some())
}

/// The programs for the hosts of a fleet, by their systems.
pub(crate) fn kits(file: &FleetFile) -> Result<BTreeMap<Os, Arc<Kit>>, Failure> {
    let systems: BTreeSet<Os> = used(file).map(Host::os).collect();
    systems.into_iter().map(|os| Ok((os, Arc::new(Kit::of(os)?)))).collect()
}

/// How a host is reached.
pub(crate) fn way(host: &Host) -> Way {
    let own_root = || match host.address() {
        Address::Local => crate::root::find(None).ok(),
        Address::Ssh(_) => None,
    };
    Way {
        address: host.address().clone(),
        os: host.os(),
        root: host.root().map(PathBuf::from).or_else(own_root),
        sudo: host.sudo(),
    }
}

/// At most so many of these at the same time.
pub(crate) fn permits() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(AT_ONCE_MAX))
}

/// Connects to every host, to look only.
pub(crate) async fn look(
    file: &FleetFile,
) -> Result<BTreeMap<HostName, Result<Reached, ReachError>>, Failure> {
    let (kits, permits) = (kits(file)?, permits());
    let mut reaching = JoinSet::new();
    for host in used(file) {
        let (name, way) = (host.name().clone(), way(host));
        let (kit, permits) = (Arc::clone(&kits[&host.os()]), Arc::clone(&permits));
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
