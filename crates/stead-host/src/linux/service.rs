//! The agent as a service of systemd.
//!
//! The unit is not delegated and ends its main process alone, so that agents come and go without a
//! service noticing; each keeper has a scope of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::ServiceError;

const UNIT: &str = "stead-agent.service";

/// What brings the programs of before back unless it is called off.
const REVERT: &str = "stead-agent-revert";

/// When the timer takes it back, should who upgrades it die meanwhile.
const REVERT_AFTER: &str = "60s";

const TRY: &str = "`systemctl status stead-agent` tells more; `stead up` needs no systemd";

/// The service of the agent of one root, whether it is installed or not.
#[derive(Debug)]
pub struct AgentService {
    root: PathBuf,
    unit: PathBuf,
    is_root: bool,
}

fn failed(step: &str, why: impl ToString) -> ServiceError {
    ServiceError { step: step.to_owned(), why: why.to_string(), try_this: TRY.to_owned() }
}

fn unit_text(root: &Path, program: &Path, wanted_by: &str) -> String {
    format!(
        "# Written by `stead agent install`, which writes it anew.\n\
         [Unit]\n\
         Description=stead agent\n\
         After=network-online.target\n\
         Wants=network-online.target\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         Type=notify\n\
         ExecStart={} --root {} agent run\n\
         Restart=always\n\
         RestartSec=100ms\n\
         # Services are kept by keepers, which live in scopes of their own.\n\
         KillMode=process\n\
         # At the end of the host it ends them in the order of their needs.\n\
         TimeoutStopSec=180s\n\
         TasksMax=infinity\n\
         \n\
         [Install]\n\
         WantedBy={wanted_by}\n",
        program.display(),
        root.display()
    )
}

impl AgentService {
    /// Whether this process can ask the host's service manager for services.
    pub fn is_at_hand() -> bool {
        Path::new("/run/systemd/system").exists()
    }

    /// By the root of the agent. An error where there is no service manager.
    pub fn find(root: &Path) -> Result<Self, ServiceError> {
        if !Self::is_at_hand() {
            return Err(failed("find systemd", "this machine was not booted by it"));
        }
        let is_root = stead_proc::is_root();
        let folder = match (is_root, std::env::var_os("HOME")) {
            (true, _) => PathBuf::from("/etc/systemd/system"),
            (false, Some(home)) => Path::new(&home).join(".config/systemd/user"),
            (false, None) => return Err(failed("find the folder of units", "HOME is not set")),
        };
        Ok(Self { root: root.to_owned(), unit: folder.join(UNIT), is_root })
    }

    /// What it is called, and where what is known of it can be looked at.
    pub fn described(&self) -> (String, String) {
        (UNIT.to_owned(), format!("unit {}", self.unit.display()))
    }

    /// An error where this process has not the rights to install services.
    pub fn may_change(&self) -> Result<(), ServiceError> {
        // Without root's there are those of the user.
        Ok(())
    }

    /// Whether there is one; an error where it is about another root.
    pub fn is_installed(&self) -> Result<bool, ServiceError> {
        let Ok(there) = fs::read_to_string(&self.unit) else { return Ok(self.unit.exists()) };
        if there.contains(&format!("--root {} ", self.root.display())) {
            return Ok(true);
        }
        let why = format!("`{}` is about another root", self.unit.display());
        Err(failed("write its unit", why))
    }

    /// Has it start what `current` leads to, which is the program, from its next start on. Says
    /// which settings the system does not know: none.
    pub fn put(&self, _program: &Path, current: &Path) -> Result<Vec<&'static str>, ServiceError> {
        let wanted_by = if self.is_root { "multi-user.target" } else { "default.target" };
        let text = unit_text(&self.root, current, wanted_by);
        if fs::read_to_string(&self.unit).is_ok_and(|there| there == text) {
            return Ok(Vec::new());
        }
        let folder = self.unit.parent().unwrap_or(Path::new("/"));
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&self.unit, text));
        written.map_err(|error| failed("write its unit", error))?;
        self.systemctl(&["daemon-reload"]).map(|()| Vec::new())
    }

    /// Has it run, now and from each boot on.
    pub fn begin(&self) -> Result<(), ServiceError> {
        self.systemctl(&["enable", "--now", UNIT])
    }

    /// Ends the agent that it runs and starts what it is to start.
    pub fn restart(&self) -> Result<(), ServiceError> {
        self.systemctl(&["restart", UNIT])
    }

    /// As [`Self::restart`], and returns before it is done.
    pub fn restart_soon(&self) -> Result<(), ServiceError> {
        self.systemctl(&["restart", "--no-block", UNIT])
    }

    /// Ends its agent and removes it. Keepers and services run on.
    pub fn remove(&self) -> Result<(), ServiceError> {
        self.systemctl(&["disable", "--now", UNIT])?;
        fs::remove_file(&self.unit).map_err(|error| failed("remove its unit", error))?;
        self.systemctl(&["daemon-reload"])
    }

    /// Whether an agent is there that it has started, or is about to.
    pub fn runs(&self) -> bool {
        self.systemctl(&["is-active", "--quiet", UNIT]).is_ok()
    }

    /// Whether it starts at boot.
    pub fn starts_at_boot(&self) -> bool {
        self.systemctl(&["is-enabled", "--quiet", UNIT]).is_ok()
    }

    /// Has `program` be called in a while to go back to the programs of before, whatever becomes of
    /// this process, unless that is called off.
    pub fn revert_later(&self, program: &Path) -> Result<(), ServiceError> {
        // One that is left from a command that died is in the way.
        let _ = self.call_off_revert();
        let (program, root) = (program.to_string_lossy(), self.root.to_string_lossy());
        let after = format!("--on-active={REVERT_AFTER}");
        let unit = format!("--unit={REVERT}");
        let again =
            [&after, &unit, "--collect", "--quiet", &program, "--root", &root, "agent", "revert"];
        self.ask("systemd-run", &again)
    }

    pub fn call_off_revert(&self) -> Result<(), ServiceError> {
        self.systemctl(&["stop", &format!("{REVERT}.timer")])
    }

    /// Waits until it is time to go back, which a timer has done already; `false` if that was
    /// called off.
    pub fn wait_for_revert(&self) -> bool {
        true
    }

    fn systemctl(&self, args: &[&str]) -> Result<(), ServiceError> {
        self.ask("systemctl", args)
    }

    fn ask(&self, program: &str, args: &[&str]) -> Result<(), ServiceError> {
        let mut command = Command::new(program);
        if !self.is_root {
            command.arg("--user");
        }
        let output = command.args(args).stdin(Stdio::null()).output();
        let step = format!("`{program} {}`", args.join(" "));
        let output = output.map_err(|error| failed(&step, error))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(failed(&step, String::from_utf8_lossy(&output.stderr).trim())),
        }
    }
}
