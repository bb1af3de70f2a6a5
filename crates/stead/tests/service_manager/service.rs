//! A place whose agent is a service, which is removed with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::place::{Place, eventually, stead};

/// States of a service, as `sc query` has them.
pub(crate) const STOPPED: u32 = 1;
pub(crate) const RUNNING: u32 = 4;

pub(crate) struct Service {
    pub(crate) place: Place,
    /// Known once it was installed.
    name: String,
}

impl Service {
    /// The name of the place has a space, so that paths must be quoted.
    pub(crate) fn new(name: &str) -> Self {
        Self { place: Place::new(&format!("service {name}")), name: String::new() }
    }

    /// Makes the agent a service, and says what that says.
    pub(crate) fn install(&mut self) -> String {
        let said = self.place.done(&["agent", "install"]);
        let name = said.split_whitespace().find(|word| word.starts_with("stead-agent-"));
        let name = name.expect("the service of another root than the host's has a name of its own");
        self.name = name.trim_end_matches(',').to_owned();
        said
    }

    /// Installs a kit with another keeper.
    pub(crate) fn upgrade(&self, keeper: &Path) -> Output {
        let mut command = Command::new(stead());
        let command = self.place.surround(command.args(["agent", "install"]));
        command.env("STEAD_KEEPER_BIN", keeper).output().unwrap()
    }

    /// Where an agent puts its keeper of these bytes.
    pub(crate) fn in_the_way_of(&self, keeper: &Path) -> PathBuf {
        let digest = blake3::hash(&fs::read(keeper).unwrap()).to_hex();
        self.place.root().join("kit").join(digest.as_str()).join("stead-keeper.exe")
    }

    fn sc(&self, what: &str) -> Output {
        Command::new("sc").args([what, &self.name]).stdin(Stdio::null()).output().unwrap()
    }

    pub(crate) fn control(&self, what: &str) {
        let output = self.try_control(what);
        assert!(output.status.success(), "sc {what}: {output:?}");
    }

    pub(crate) fn try_control(&self, what: &str) -> Output {
        self.sc(what)
    }

    /// A number that is said of it, by the name of its line.
    fn number(&self, line_name: &str) -> Option<u32> {
        let output = self.sc("query");
        let said = String::from_utf8_lossy(&output.stdout);
        let line = said.lines().find(|line| line.trim_start().starts_with(line_name))?;
        line.split_once(':')?.1.split_whitespace().next()?.parse().ok()
    }

    /// Its state; `None` when there is no such service.
    pub(crate) fn state(&self) -> Option<u32> {
        self.number("STATE")
    }

    /// The system's own exit code of it, and the one that is its agent's.
    pub(crate) fn exit_codes(&self) -> (u32, u32) {
        let code = |name| self.number(name).expect("there is a service");
        (code("WIN32_EXIT_CODE"), code("SERVICE_EXIT_CODE"))
    }

    pub(crate) fn becomes(&self, state: u32) {
        eventually("the service gets there", || (self.state() == Some(state)).then_some(()));
    }

    /// The instance, once its keeper is heard.
    pub(crate) fn heard(&self) -> Value {
        eventually("it is heard", || {
            let now = self.place.instances().pop()?;
            let is_heard = now["keeper"] != "silent" && now["keeper"] != "lost";
            (now["phase"] == "up" && is_heard).then_some(now)
        })
    }

    pub(crate) fn is_event_source(&self) -> bool {
        const SOURCES: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application";
        let key = format!(r"{SOURCES}\{}", self.name);
        let output = Command::new("reg").args(["query", &key]).stdin(Stdio::null()).output();
        output.unwrap().status.success()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.place.stead(&["down"]);
        let _ = self.place.stead(&["agent", "uninstall"]);
    }
}

/// A keeper that is another one by its bytes alone.
pub(crate) fn keeper_of(place: &Place, name: &str) -> PathBuf {
    let own = std::env::var_os("STEAD_KEEPER_BIN").map(PathBuf::from);
    let own = own.unwrap_or_else(|| stead().with_file_name("stead-keeper.exe"));
    let folder = place.root().with_file_name(name);
    fs::create_dir_all(&folder).unwrap();
    let mut bytes = fs::read(own).unwrap();
    bytes.extend(name.bytes());
    let keeper = folder.join("stead-keeper.exe");
    fs::write(&keeper, bytes).unwrap();
    keeper
}
