//! Services of the host that matter to what stead does there.

use std::io;

use windows_service::service::{ServiceAccess, ServiceStartType, ServiceState};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::Told;

/// What sets the clock.
const TIME: &str = "W32Time";

/// What is to be there after a boot, for anybody to come again.
const SSH: &str = "sshd";

pub(super) fn tell(told: &mut Told<'_>) -> io::Result<()> {
    let may = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    told.say_whether("windows.services", manager(may).is_some())?;
    if let Some(runs) = runs(TIME) {
        told.say_whether("synced", runs)?;
    }
    told.say_known("windows.sshd", start(SSH))
}

fn manager(access: ServiceManagerAccess) -> Option<ServiceManager> {
    ServiceManager::local_computer(None::<&str>, access).ok()
}

/// Whether a service runs; `None` where it is not there, or may not be looked at.
pub(super) fn runs(name: &str) -> Option<bool> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let service = manager.open_service(name, ServiceAccess::QUERY_STATUS).ok()?;
    Some(service.query_status().ok()?.current_state == ServiceState::Running)
}

/// How a service starts.
fn start(name: &str) -> Option<&'static str> {
    let manager = manager(ServiceManagerAccess::CONNECT)?;
    let service = manager.open_service(name, ServiceAccess::QUERY_CONFIG).ok()?;
    Some(match service.query_config().ok()?.start_type {
        ServiceStartType::AutoStart
        | ServiceStartType::BootStart
        | ServiceStartType::SystemStart => "auto",
        ServiceStartType::OnDemand => "manual",
        ServiceStartType::Disabled => "disabled",
    })
}
