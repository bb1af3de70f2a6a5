//! Being a service: what the service manager is told, and what it tells.
//!
//! The life of a service is one of the process: start, set up, run, stop, release, end. A thread of
//! its own says that a start or a stop goes on, however busy the agent is.

use std::ffi::OsString;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use windows_service::service::{
    ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_control_handler::{
    self, ServiceControlHandlerResult, ServiceStatusHandle,
};
use windows_service::{define_windows_service, service_dispatcher};

use super::events::{self, Happened};
use super::service::io_error;
use crate::error::{Fault, ServiceError};

/// How often the manager hears that a start or a stop goes on.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How long the manager is asked to wait for the next time: many of those that may come late.
const WAIT_HINT: Duration = Duration::from_secs(20);

/// So often at most it is said that a start goes on: what hangs is to be noticed.
const START_CHECKPOINTS_MAX: u32 = 120;

type Life = Box<dyn FnOnce() -> Result<(), Fault> + Send>;

static LIFE: Mutex<Option<(String, Life)>> = Mutex::new(None);
static MANAGER: OnceLock<ServiceStatusHandle> = OnceLock::new();
static TOLD: Mutex<Told> = Mutex::new(Told::new(ServiceState::StartPending));
/// The service's name, as the log of events has it.
static NAME: OnceLock<String> = OnceLock::new();

/// What the manager was told last.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Told {
    state: ServiceState,
    checkpoint: u32,
    exit: ServiceExitCode,
}

impl Told {
    const fn new(state: ServiceState) -> Self {
        Self { state, checkpoint: 0, exit: ServiceExitCode::NO_ERROR }
    }

    fn is_pending(self) -> bool {
        matches!(self.state, ServiceState::StartPending | ServiceState::StopPending)
    }

    /// That it goes on; `None` where nothing does, or not for ever.
    fn next(self) -> Option<Self> {
        let is_late =
            self.state == ServiceState::StartPending && self.checkpoint >= START_CHECKPOINTS_MAX;
        let goes_on = self.is_pending() && !is_late;
        goes_on.then(|| Self { checkpoint: self.checkpoint.saturating_add(1), ..self })
    }

    fn status(self) -> ServiceStatus {
        let accepted = ServiceControlAccept::STOP
            | ServiceControlAccept::PRESHUTDOWN
            | ServiceControlAccept::SHUTDOWN;
        let is_running = self.state == ServiceState::Running;
        ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: self.state,
            controls_accepted: if is_running { accepted } else { ServiceControlAccept::empty() },
            exit_code: self.exit,
            checkpoint: self.checkpoint,
            wait_hint: if self.is_pending() { WAIT_HINT } else { Duration::ZERO },
            process_id: None,
        }
    }
}

define_windows_service!(service_main, live);

/// Is the service of this name until its life has ended. The manager hears that it runs once
/// `READY=1` is said by [`stead_proc::notify`], and a life that ends with a fault is a failure to
/// it. Blocks the thread; an error where no service manager has started this process.
pub fn be_service(
    name: &str,
    life: impl FnOnce() -> Result<(), Fault> + Send + 'static,
) -> Result<(), ServiceError> {
    *LIFE.lock().unwrap_or_else(PoisonError::into_inner) = Some((name.to_owned(), Box::new(life)));
    service_dispatcher::start(name, service_main).map_err(|error| ServiceError {
        step: format!("be the service `{name}`"),
        why: io_error(error).to_string(),
        try_this: "`sc start` starts it; `stead agent run` is an agent without a service".into(),
    })
}

/// The life of the service, on a thread of the system's.
fn live(_arguments: Vec<OsString>) {
    let begun = LIFE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some((name, life)) = begun else { return };
    // A routine that holds nothing: it may be called again after it was told to stop.
    let Ok(manager) = service_control_handler::register(&name, told) else { return };
    let (manager, name) = (MANAGER.get_or_init(|| manager), NAME.get_or_init(|| name));
    tell(manager, Some);
    stead_proc::tell_of_states(|state| {
        if let (Some(manager), Some(name), "READY=1") = (MANAGER.get(), NAME.get(), state) {
            tell(manager, |now| {
                let is_starting = now.state == ServiceState::StartPending;
                is_starting.then(|| Told::new(ServiceState::Running))
            });
            let text = format!("the stead agent runs as process {}", std::process::id());
            events::say(name, Happened::Started, &text);
        }
    });
    // Without it a slow start or stop is taken for one that hangs, and goes on all the same.
    let _ = thread::Builder::new().name("checkpoints".into()).spawn(move || {
        while TOLD.lock().unwrap_or_else(PoisonError::into_inner).state != ServiceState::Stopped {
            thread::sleep(TELL_EVERY);
            tell(manager, Told::next);
        }
    });
    let exit = match life() {
        Ok(()) => {
            events::say(name, Happened::Stopped, "the stead agent has ended as it was told to");
            ServiceExitCode::NO_ERROR
        }
        Err(fault) => {
            let text = format!("the stead agent has failed: {}", fault.why);
            events::say(name, Happened::Failed, &text);
            ServiceExitCode::ServiceSpecific(fault.code)
        }
    };
    tell(manager, |_| Some(Told { exit, ..Told::new(ServiceState::Stopped) }));
}

/// What the manager tells.
fn told(control: ServiceControl) -> ServiceControlHandlerResult {
    let host_ends = matches!(control, ServiceControl::Preshutdown | ServiceControl::Shutdown);
    if host_ends {
        stead_proc::tell_host_ends();
    }
    if host_ends || matches!(control, ServiceControl::Stop) {
        end();
        return ServiceControlHandlerResult::NoError;
    }
    match matches!(control, ServiceControl::Interrogate) {
        true => ServiceControlHandlerResult::NoError,
        false => ServiceControlHandlerResult::NotImplemented,
    }
}

fn end() {
    if let Some(manager) = MANAGER.get() {
        tell(manager, |now| {
            let runs = now.state == ServiceState::Running;
            runs.then(|| Told::new(ServiceState::StopPending))
        });
    }
    stead_local::interrupt();
}

/// Tells the manager what comes after what it was told last, if something does. One at a time: what
/// is told last is what holds.
fn tell(manager: &ServiceStatusHandle, next: impl FnOnce(Told) -> Option<Told>) {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(next) = next(*told) {
        *told = next;
        // A manager that does not listen any more will see the end of the process.
        let _ = manager.set_service_status(next.status());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pending_goes_on_and_a_start_not_for_ever() {
        let ends = |state| {
            let mut told = Told::new(state);
            (0..START_CHECKPOINTS_MAX * 2).find(|_| match told.next() {
                Some(next) => {
                    assert_eq!(next.checkpoint, told.checkpoint + 1);
                    told = next;
                    false
                }
                None => true,
            })
        };
        assert_eq!(ends(ServiceState::StartPending), Some(START_CHECKPOINTS_MAX));
        assert_eq!(ends(ServiceState::StopPending), None);
        assert_eq!(ends(ServiceState::Running), Some(0));
        assert_eq!(ends(ServiceState::Stopped), Some(0));
    }

    #[test]
    fn controls_are_taken_once_it_runs_and_not_after_the_first() {
        for (state, takes) in [
            (ServiceState::StartPending, false),
            (ServiceState::Running, true),
            (ServiceState::StopPending, false),
            (ServiceState::Stopped, false),
        ] {
            let accepted = Told::new(state).status().controls_accepted;
            assert_eq!(accepted.contains(ServiceControlAccept::PRESHUTDOWN), takes, "{state:?}");
        }
    }
}
