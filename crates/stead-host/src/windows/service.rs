//! The agent as a service of Windows.
//!
//! What the service manager ends is the process that it has started: keepers and services, which
//! are processes of their own, go on.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceExitCode,
    ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState,
    ServiceStatus, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_INVALID_LEVEL, ERROR_SERVICE_ALREADY_RUNNING,
    ERROR_SERVICE_CANNOT_ACCEPT_CTRL, ERROR_SERVICE_DOES_NOT_EXIST,
    ERROR_SERVICE_MARKED_FOR_DELETE, ERROR_SERVICE_NOT_ACTIVE,
};

use super::{events, trusted};
use crate::error::ServiceError;

/// The service of the agent whose root is the host's; those of others have a number besides.
const NAME: &str = "stead-agent";

const DESCRIPTION: &str = "Keeps the services of stead.toml up. Stopping it leaves them running; \
                           `stead down` ends them.";

/// As long as a name that is shown may be, in units.
const DISPLAY_LEN_MAX: usize = 256;

/// When an agent that has failed is started again: at once, then later; the last holds from there
/// on.
const RESTARTS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)];

/// After so long without a failure the next one counts as the first.
const FAILURES_FORGOTTEN: Duration = Duration::from_secs(600);

/// At the end of the host the agent ends services in the order of their needs: longer than any stop
/// ladder should take.
const HOST_END_TIMEOUT: Duration = Duration::from_secs(180);

/// How long a start or a stop may take before it counts as one that fails.
const TURNS_WITHIN: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// When the programs of before are gone back to, should who upgrades them die meanwhile.
const REVERT_AFTER: Duration = Duration::from_secs(180);

/// Who was called to go back looks so often whether it still is to, and gives up if that is never
/// said.
const REVERT_LOOK_EVERY: Duration = Duration::from_millis(250);
const REVERT_SAID_WITHIN: Duration = Duration::from_secs(5);

/// The service of the agent of one root, whether it is installed or not.
#[derive(Debug)]
pub struct AgentService {
    name: String,
    root: PathBuf,
}

/// What the system said, without what the crate says around it.
pub(super) fn io_error(error: windows_service::Error) -> io::Error {
    if let windows_service::Error::Winapi(error) = error { error } else { io::Error::other(error) }
}

fn is(error: &windows_service::Error, code: u32) -> bool {
    matches!(error, windows_service::Error::Winapi(error)
        if error.raw_os_error() == Some(code.cast_signed()))
}

/// What the service of a root is called: no two roots share a name.
fn name_of(root: &Path, default: Option<&Path>) -> String {
    // Paths that differ by case alone are one here.
    let plain = |path: &Path| {
        let parts: PathBuf = path.components().collect();
        parts.to_string_lossy().to_lowercase()
    };
    let own = plain(root);
    if default.is_some_and(|default| plain(default) == own) {
        return NAME.to_owned();
    }
    // FNV-1a, which is the same in every version of stead.
    let hash = own.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{NAME}-{hash:016x}")
}

impl AgentService {
    /// Whether this process can ask the host's service manager for services.
    pub fn is_at_hand() -> bool {
        manager(ServiceManagerAccess::CREATE_SERVICE).is_ok()
    }

    /// By the root of the agent, an absolute path. An error where there is no service manager.
    pub fn find(root: &Path) -> Result<Self, ServiceError> {
        let data = std::env::var_os("ProgramData").map(|data| PathBuf::from(data).join("stead"));
        Ok(Self { name: name_of(root, data.as_deref()), root: root.to_owned() })
    }

    /// What it is called, and where what is known of it can be looked at.
    pub fn described(&self) -> (String, String) {
        (self.name.clone(), format!("`sc qc {}` shows it", self.name))
    }

    /// An error where this process has not the rights to install services.
    pub fn may_change(&self) -> Result<(), ServiceError> {
        let opened = manager(ServiceManagerAccess::CREATE_SERVICE);
        opened.map(drop).map_err(|error| self.failed("install or change", error))
    }

    /// Whether there is one.
    pub fn is_installed(&self) -> Result<bool, ServiceError> {
        let opened = self.open(ServiceAccess::QUERY_STATUS);
        opened.map(|it| it.is_some()).map_err(|error| self.failed("look for", error))
    }

    /// Has it start this program, from its next start on. Says which settings the system does not
    /// know: they are left out.
    pub fn put(&self, program: &Path, _current: &Path) -> Result<Vec<&'static str>, ServiceError> {
        trusted::take_root(&self.root).map_err(|error| ServiceError {
            try_this: format!(
                "as an administrator, remove `{}` or take it over; `stead up` needs no service",
                self.root.display()
            ),
            ..self.failed_by("trust the programs of", error)
        })?;
        let source = events::register(&self.name);
        source.map_err(|error| self.failed_by("install the source of events of", error))?;
        let put = self.put_program(program).and_then(|service| put_settings(&service));
        put.map_err(|error| self.failed("install", error))
    }

    fn put_program(&self, program: &Path) -> Result<Service, windows_service::Error> {
        let info = self.info(program);
        // To have it started again is to start it.
        let access = ServiceAccess::CHANGE_CONFIG | ServiceAccess::START;
        let service = match self.open(access)? {
            Some(service) => {
                service.change_config(&info)?;
                service
            }
            None => manager(ServiceManagerAccess::CREATE_SERVICE)?.create_service(&info, access)?,
        };
        Ok(service)
    }

    fn info(&self, program: &Path) -> ServiceInfo {
        let full = format!("stead agent ({})", self.root.display());
        let display = match self.name == NAME {
            true => "stead agent".to_owned(),
            false if full.encode_utf16().count() <= DISPLAY_LEN_MAX => full,
            false => self.name.clone(),
        };
        let root = self.root.as_os_str();
        let arguments = ["--root".as_ref(), root, "agent".as_ref(), "run".as_ref()];
        let told: [&OsStr; 2] = ["--service".as_ref(), self.name.as_ref()];
        ServiceInfo {
            name: self.name.clone().into(),
            display_name: display.into(),
            service_type: ServiceType::OWN_PROCESS,
            start_type: ServiceStartType::AutoStart,
            error_control: ServiceErrorControl::Normal,
            executable_path: program.to_owned(),
            launch_arguments: arguments.into_iter().chain(told).map(OsString::from).collect(),
            dependencies: Vec::new(),
            // The system's own, or what an administrator has given it since.
            account_name: None,
            account_password: None,
        }
    }

    /// Has it run, now and from each boot on.
    pub fn begin(&self) -> Result<(), ServiceError> {
        let access = ServiceAccess::START | ServiceAccess::QUERY_STATUS;
        let service = self.there(access, "start")?;
        match service.start::<&OsStr>(&[]) {
            Err(error) if !is(&error, ERROR_SERVICE_ALREADY_RUNNING) => {
                return Err(self.failed("start", error));
            }
            Ok(()) | Err(_) => (),
        }
        let status = self.settle(&service, "start")?;
        if status.current_state == ServiceState::Running {
            return Ok(());
        }
        let why = match status.exit_code {
            ServiceExitCode::Win32(code) => {
                io::Error::from_raw_os_error(code.cast_signed()).to_string()
            }
            ServiceExitCode::ServiceSpecific(code) => format!("its agent ended with {code}"),
        };
        Err(self.failed_by("start", why))
    }

    /// Ends the agent that it runs and starts what it is to start.
    pub fn restart(&self) -> Result<(), ServiceError> {
        self.end()?;
        self.begin()
    }

    /// As [`Self::restart`].
    pub fn restart_soon(&self) -> Result<(), ServiceError> {
        self.restart()
    }

    /// Ends its agent and removes it. Keepers and services run on.
    pub fn remove(&self) -> Result<(), ServiceError> {
        self.end()?;
        match self.there(ServiceAccess::DELETE, "remove")?.delete() {
            Err(error) if !is(&error, ERROR_SERVICE_MARKED_FOR_DELETE) => {
                return Err(self.failed("remove", error));
            }
            Ok(()) | Err(_) => (),
        }
        let removed = events::unregister(&self.name);
        removed.map_err(|error| self.failed_by("remove the source of events of", error))
    }

    /// Whether an agent is there that it has started, or is about to.
    pub fn runs(&self) -> bool {
        let service = self.open(ServiceAccess::QUERY_STATUS).ok().flatten();
        let status = service.and_then(|service| service.query_status().ok());
        status.is_some_and(|status| status.current_state != ServiceState::Stopped)
    }

    /// Whether it starts at boot.
    pub fn starts_at_boot(&self) -> bool {
        let service = self.open(ServiceAccess::QUERY_CONFIG).ok().flatten();
        let config = service.and_then(|service| service.query_config().ok());
        config.is_some_and(|config| config.start_type == ServiceStartType::AutoStart)
    }

    /// Has `program` be called in a while to go back to the programs of before, whatever becomes of
    /// this process, unless that is called off. The one that was called last holds.
    pub fn revert_later(&self, program: &Path) -> Result<(), ServiceError> {
        let args: [&OsStr; 4] =
            ["--root".as_ref(), self.root.as_os_str(), "agent".as_ref(), "revert".as_ref()];
        let log = self.root.join("agent.log");
        let called = stead_proc::spawn_detached(program, &args, Some(&log));
        let said = called.and_then(|pid| fs::write(self.revert(), pid.to_string()));
        said.map_err(|error| self.failed_by("provide for the return of", error))
    }

    pub fn call_off_revert(&self) -> Result<(), ServiceError> {
        match fs::remove_file(self.revert()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.failed_by("call off the return of", error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Waits until it is time to go back; `false` if that was called off.
    pub fn wait_for_revert(&self) -> bool {
        let (began, own) = (Instant::now(), std::process::id().to_string());
        let mut was_said = false;
        loop {
            let is_said = fs::read_to_string(self.revert()).is_ok_and(|pid| pid == own);
            was_said |= is_said;
            if let Some(goes_back) = goes_back(is_said, was_said, began.elapsed()) {
                return goes_back;
            }
            sleep(REVERT_LOOK_EVERY);
        }
    }

    /// The file that names the process which is to go back.
    fn revert(&self) -> PathBuf {
        self.root.join("programs").join("revert")
    }

    /// Has it stop, if it runs.
    fn end(&self) -> Result<(), ServiceError> {
        let access = ServiceAccess::STOP | ServiceAccess::QUERY_STATUS;
        let service = self.there(access, "stop")?;
        // It may be started again in between, after a failure.
        for _ in 0..RESTARTS.len() {
            if self.settle(&service, "stop")?.current_state == ServiceState::Stopped {
                return Ok(());
            }
            match service.stop() {
                Ok(_) => (),
                Err(error) if is(&error, ERROR_SERVICE_NOT_ACTIVE) => return Ok(()),
                Err(error) if is(&error, ERROR_SERVICE_CANNOT_ACCEPT_CTRL) => (),
                Err(error) => return Err(self.failed("stop", error)),
            }
        }
        let state = self.settle(&service, "stop")?.current_state;
        match state == ServiceState::Stopped {
            true => Ok(()),
            false => Err(self.failed_by("stop", format!("it is {state:?} again and again"))),
        }
    }

    /// Waits until it is about to do nothing.
    fn settle(&self, service: &Service, what: &str) -> Result<ServiceStatus, ServiceError> {
        let until = Instant::now() + TURNS_WITHIN;
        loop {
            let status = service.query_status().map_err(|error| self.failed(what, error))?;
            let pending = [ServiceState::StartPending, ServiceState::StopPending];
            if !pending.contains(&status.current_state) {
                return Ok(status);
            }
            if Instant::now() >= until {
                let why = format!("it is still {:?}", status.current_state);
                return Err(self.failed_by(what, why));
            }
            sleep(LOOK_EVERY);
        }
    }

    /// The service, if it is there.
    fn open(&self, access: ServiceAccess) -> Result<Option<Service>, windows_service::Error> {
        match manager(ServiceManagerAccess::CONNECT)?.open_service(&self.name, access) {
            Err(error) if is(&error, ERROR_SERVICE_DOES_NOT_EXIST) => Ok(None),
            opened => opened.map(Some),
        }
    }

    fn there(&self, access: ServiceAccess, what: &str) -> Result<Service, ServiceError> {
        let opened = self.open(access).map_err(|error| self.failed(what, error))?;
        opened.ok_or_else(|| self.failed_by(what, "it is not installed"))
    }

    fn failed(&self, what: &str, error: windows_service::Error) -> ServiceError {
        let is_denied = is(&error, ERROR_ACCESS_DENIED);
        let mut failed = self.failed_by(what, io_error(error));
        if is_denied {
            failed.try_this = "do it from an elevated prompt (`Run as administrator`); `stead up` \
                               needs no service"
                .into();
        }
        failed
    }

    fn failed_by(&self, what: &str, why: impl ToString) -> ServiceError {
        let log = self.root.join("agent.log");
        ServiceError {
            step: format!("{what} the service `{}`", self.name),
            why: why.to_string(),
            try_this: format!(
                "`{}` tells more, and so does the event log of applications; `stead up` needs no \
                 service",
                log.display()
            ),
        }
    }
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager, windows_service::Error> {
    ServiceManager::local_computer(None::<&OsStr>, ServiceManagerAccess::CONNECT | access)
}

/// Whether who was called to go back does so, by what is said of it, whether it ever was, and how
/// long it has waited; `None` while it waits on.
fn goes_back(is_said: bool, was_said: bool, waited: Duration) -> Option<bool> {
    match (is_said, was_said) {
        (true, _) => (waited >= REVERT_AFTER).then_some(true),
        // Called off, or somebody else was called since.
        (false, true) => Some(false),
        (false, false) => (waited >= REVERT_SAID_WITHIN).then_some(false),
    }
}

/// How the service is started, restarted and ended; says what of it the system does not know.
fn put_settings(service: &Service) -> Result<Vec<&'static str>, windows_service::Error> {
    let settings = [
        ("its description", service.set_description(DESCRIPTION)),
        ("a start after those of others", service.set_delayed_auto_start(true)),
        ("its time at the end of the host", service.set_preshutdown_timeout(HOST_END_TIMEOUT)),
        ("a restart after a failure", service.update_failure_actions(recovery())),
        (
            "a restart after a failure that is told",
            service.set_failure_actions_on_non_crash_failures(true),
        ),
    ];
    let mut unknown = Vec::new();
    for (what, set) in settings {
        match set {
            Err(error) if is(&error, ERROR_INVALID_LEVEL) => unknown.push(what),
            set => set?,
        }
    }
    Ok(unknown)
}

/// What the service manager does about an agent that fails.
fn recovery() -> ServiceFailureActions {
    let restart = |delay| ServiceAction { action_type: ServiceActionType::Restart, delay };
    ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(FAILURES_FORGOTTEN),
        reboot_msg: None,
        command: None,
        actions: Some(RESTARTS.map(restart).to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_to_go_back_does_so_in_time_unless_it_is_called_off() {
        let (short, long) = (Duration::from_millis(1), REVERT_AFTER);
        for (is_said, was_said, waited, expected) in [
            (false, false, short, None),
            (false, false, long, Some(false)),
            (true, true, short, None),
            (true, true, long, Some(true)),
            (false, true, short, Some(false)),
            (false, true, long, Some(false)),
        ] {
            let found = goes_back(is_said, was_said, waited);
            assert_eq!(found, expected, "{is_said} {was_said} {waited:?}");
        }
    }

    #[test]
    fn each_root_has_a_service_of_its_own() {
        let default = Path::new(r"C:\ProgramData\stead");
        let name = |root: &str| name_of(Path::new(root), Some(default));
        for one in [r"C:\ProgramData\stead", r"c:\programdata\Stead\", r"C:/ProgramData/stead"] {
            assert_eq!(name(one), NAME, "{one}");
        }
        let [one, other] = [name(r"D:\a\b"), name(r"D:\a-b")];
        assert_eq!(name(r"d:\A\b\"), one);
        assert!(one != other && one.starts_with("stead-agent-"), "{one} {other}");
        assert_eq!(name_of(default, None), name_of(default, Some(Path::new("D:\\"))));
    }
}
