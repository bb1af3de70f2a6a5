//! Keys of the registry as part of a plan: set before a run begins, changed with it, and put back.
//! On Windows alone; looked at by its own `reg`.
#![cfg(windows)]
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "../same_agent/place.rs"]
#[expect(dead_code, reason = "another suite needs more of it")]
mod place;

use std::fs;
use std::process::{Command, Output, Stdio};

use place::{Place, eventually, stead};

/// The crash points at which something is remembered, and at which something is set as well.
const BEFORE_CHANGE: &str = "7";
const AMID_CHANGE: &str = "8";

/// Whatever is there now.
const VALUES: &str = "Listen = \"127.0.0.1:80\"\nWorkers = 4\nPaths = ['C:\\a', 'C:\\b c']\n\
                      Verbose = true\nLarge = 4294967296\n";

fn reg(args: &[&str]) -> Output {
    Command::new("reg").args(args).stdin(Stdio::null()).output().unwrap()
}

/// A service with keys of its own, below one that was there before.
struct Keys {
    place: Place,
    /// The key that was there, with a value `Old`.
    outer: String,
}

impl Keys {
    fn new(name: &str) -> Self {
        let outer = format!("HKLM\\SOFTWARE\\Stead test {} {name}", std::process::id());
        let keys = Self { place: Place::new(&format!("registry-{name}")), outer };
        assert!(reg(&["add", &keys.outer, "/v", "Old", "/d", "before", "/f"]).status.success());
        keys
    }

    /// The key of the service.
    fn own(&self) -> String {
        format!("{}\\deep\\web", self.outer)
    }

    /// Writes a fleet whose part for Windows has this.
    fn write(&self, run: &[&str], windows: &str) {
        self.place.write(run);
        let text = fs::read_to_string(self.place.fleet_file()).unwrap();
        let text = format!("{text}{windows}");
        fs::write(self.place.fleet_file(), text).unwrap();
    }

    /// The part for Windows with these values of its key, and one of the key that was there.
    fn with(&self, values: &str, old: &str) -> String {
        let (outer, own) = (&self.outer, self.own());
        format!(
            "[service.web.windows.registry.'{outer}']\nOLD = '{old}'\n\
             [service.web.windows.registry.'{own}']\n{values}"
        )
    }

    /// A value as `reg` tells it: its type, and what it is.
    fn value(&self, key: &str, name: &str) -> Option<String> {
        let output = reg(&["query", key, "/v", name]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.trim_start().starts_with(name))?;
        let value = line.trim_start().strip_prefix(name)?;
        output.status.success().then(|| value.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    fn has_key(&self, key: &str) -> bool {
        reg(&["query", key]).status.success()
    }

    /// All as it was before stead.
    fn is_untouched(&self) -> bool {
        self.value(&self.outer, "Old").as_deref() == Some("REG_SZ before")
            && !self.has_key(&format!("{}\\deep", self.outer))
            && !self.place.root().join("registry.json").exists()
    }

    fn are_set(&self) -> bool {
        let is = |name, value: &str| self.value(&self.own(), name).as_deref() == Some(value);
        is("Listen", "REG_SZ 127.0.0.1:80")
            && is("Workers", "REG_DWORD 0x4")
            && is("Paths", "REG_MULTI_SZ C:\\a\\0C:\\b c")
            && is("Verbose", "REG_DWORD 0x1")
            && self.value(&self.outer, "Old").as_deref() == Some("REG_SZ ours")
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = self.place.stead(&["down"]);
        let _ = reg(&["delete", &self.outer, "/f"]);
    }
}

#[test]
fn keys_are_set_changed_undone_by_the_plan_before_and_gone_with_the_service() {
    let keys = Keys::new("life");
    keys.write(&["sleep"], "");
    keys.place.done(&["up", "--detach"]);
    // Control: a plan without keys touches none.
    assert!(keys.is_untouched() && !keys.are_set());
    let without = keys.place.instance();

    keys.write(&["sleep"], &keys.with(VALUES, "ours"));
    let plan = keys.place.stead(&["plan"]);
    let told = String::from_utf8_lossy(&plan.stdout).into_owned();
    assert!(told.contains("web.Listen") && told.contains("127.0.0.1:80"), "{told}");
    assert!(keys.is_untouched(), "to look at a plan changes nothing");
    keys.place.done(&["up", "--detach"]);
    assert!(keys.are_set());
    let large = keys.value(&keys.own(), "Large").unwrap();
    assert!(large.starts_with("REG_QWORD"), "{large}");
    let with = keys.place.instance();
    assert_ne!(with["pid"], without["pid"], "it reads its keys when it begins");

    // One value is another, one goes and one comes.
    keys.write(&["sleep"], &keys.with("Listen = 'other'\nMore = 1\nPaths = []\n", "ours"));
    keys.place.done(&["up", "--detach"]);
    let is = |name| keys.value(&keys.own(), name);
    assert_eq!(is("Listen").as_deref(), Some("REG_SZ other"));
    assert_eq!((is("More").as_deref(), is("Workers")), (Some("REG_DWORD 0x1"), None));

    // The plan of before.
    keys.write(&["sleep"], &keys.with(VALUES, "ours"));
    keys.place.done(&["up", "--detach"]);
    assert!(keys.are_set() && is("More").is_none());
    keys.write(&["sleep"], "");
    keys.place.done(&["up", "--detach"]);
    assert!(keys.is_untouched());

    keys.write(&["sleep"], &keys.with(VALUES, "ours"));
    keys.place.done(&["up", "--detach"]);
    assert!(keys.are_set());
    keys.place.done(&["down"]);
    assert!(keys.is_untouched());
}

#[test]
fn a_run_finds_its_keys_when_it_begins() {
    let keys = Keys::new("begins");
    let text = |windows: &str| {
        format!(
            "name = \"shop\"\n[service.web]\nrun = ['C:\\windows\\system32\\reg.exe', 'query', \
             '{}', '/v', 'Listen']\nrestart = \"never\"\n{windows}",
            keys.own()
        )
    };
    let said = |windows: &str, expected: &str| {
        fs::write(keys.place.fleet_file(), text(windows)).unwrap();
        let _ = keys.place.stead(&["up", "--detach"]);
        eventually(expected, || keys.place.output().contains(expected).then_some(()));
    };
    // Control: without them it finds none.
    said("", "nable to find");
    said(&keys.with(VALUES, "ours"), "127.0.0.1:80");
}

#[test]
fn an_event_source_is_known_for_as_long_as_the_service_is_there() {
    let keys = Keys::new("events");
    let source = format!("Stead test {}", std::process::id());
    let path =
        format!("HKLM\\SYSTEM\\CurrentControlSet\\Services\\EventLog\\Application\\{source}");
    assert!(!keys.has_key(&path));
    keys.write(&["sleep"], &format!("[service.web.windows]\nevent_source = '{source}'\n"));
    keys.place.done(&["up", "--detach"]);
    let messages = keys.value(&path, "EventMessageFile").unwrap();
    assert!(messages.starts_with("REG_EXPAND_SZ %SystemRoot%"), "{messages}");
    assert_eq!(keys.value(&path, "TypesSupported").as_deref(), Some("REG_DWORD 0x7"));
    keys.place.done(&["down"]);
    assert!(!keys.has_key(&path));
}

#[test]
fn a_key_of_the_agents_own_account_is_there_for_as_long() {
    let keys = Keys::new("account");
    let key = format!("HKCU\\Software\\Stead test {}", std::process::id());
    assert!(!keys.has_key(&key));
    // By another spelling of the same key.
    let written = key.replace("HKCU", "hkey_current_user").to_lowercase();
    let windows = format!("[service.web.windows.registry.'{written}']\n\"\" = 'unnamed'\n");
    keys.write(&["sleep"], &windows);
    keys.place.done(&["up", "--detach"]);
    let told = reg(&["query", &key, "/ve"]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("unnamed"), "{told:?}");
    keys.place.done(&["down"]);
    assert!(!keys.has_key(&key));
}

#[test]
fn what_somebody_else_changed_is_put_back_with_the_rest_and_what_is_theirs_stays() {
    let keys = Keys::new("drift");
    keys.write(&["sleep"], &keys.with(VALUES, "ours"));
    keys.place.done(&["up", "--detach"]);
    let own = keys.own();
    for (key, name) in [(&keys.outer, "Old"), (&own, "Listen"), (&own, "Theirs")] {
        assert!(reg(&["add", key, "/v", name, "/d", "theirs", "/f"]).status.success());
    }
    keys.place.done(&["down"]);
    assert_eq!(keys.value(&keys.outer, "Old").as_deref(), Some("REG_SZ before"));
    assert_eq!(keys.value(&own, "Listen"), None);
    assert_eq!(keys.value(&own, "Theirs").as_deref(), Some("REG_SZ theirs"));
    assert!(!keys.place.root().join("registry.json").exists());
}

/// Starts an agent that dies at this point, and asks it for what the fleet file says.
fn die_at(keys: &Keys, point: &str) {
    let mut command = Command::new(stead());
    let command = keys.place.surround(command.args(["agent", "run", "--crash-at", point]));
    let mut agent = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while agent.try_wait().unwrap().is_none() {
        assert!(std::time::Instant::now() < deadline, "it came by {point} never");
        if keys.place.stead(&["status"]).status.success() {
            let _ = keys.place.stead(&["up", "--detach", "--wait", "2s"]);
        }
    }
}

#[test]
fn an_agent_killed_while_keys_are_set_loses_nothing_of_what_was_there() {
    for point in [BEFORE_CHANGE, AMID_CHANGE] {
        for goes_on in [true, false] {
            let mut keys = Keys::new(&format!("killed-{point}-{goes_on}"));
            keys.write(&["sleep"], &keys.with(VALUES, "ours"));
            die_at(&keys, point);
            assert!(keys.place.root().join("registry.json").exists(), "it was remembered first");
            assert!(!keys.are_set(), "it died before all was set");
            let untouched = keys.value(&keys.outer, "Old").as_deref() == Some("REG_SZ before")
                && !keys.has_key(&format!("{}\\deep", keys.outer));
            assert_eq!(untouched, point == BEFORE_CHANGE, "{point}");
            if !goes_on {
                keys.write(&["sleep"], "");
            }
            keys.place.start_agent();
            keys.place.done(&["up", "--detach"]);
            assert!(if goes_on { keys.are_set() } else { keys.is_untouched() }, "{point}");
            keys.place.done(&["down"]);
            assert!(keys.is_untouched(), "{point}");
        }
    }
}

#[test]
fn an_agent_killed_while_keys_are_put_back_is_followed_by_one_that_puts_back_the_rest() {
    for point in [BEFORE_CHANGE, AMID_CHANGE] {
        let mut keys = Keys::new(&format!("back-{point}"));
        keys.write(&["sleep"], &keys.with(VALUES, "ours"));
        keys.place.done(&["up", "--detach"]);
        let agent = keys.place.agent();
        keys.place.kill(agent);
        keys.write(&["sleep"], "");
        die_at(&keys, point);
        assert!(!keys.is_untouched(), "{point}");
        keys.place.start_agent();
        keys.place.done(&["up", "--detach"]);
        assert!(keys.is_untouched(), "{point}");
    }
}

/// No key that lasts can be in one that is gone with the next boot, which an agent has of its own.
#[test]
fn an_instance_whose_keys_cannot_be_set_is_not_begun_and_has_none_of_them() {
    let keys = Keys::new("refused");
    keys.write(&["sleep"], "");
    keys.place.done(&["up", "--detach"]);
    let before = keys.place.instance();
    let bad = "[service.web.windows.registry.'HKLM\\SOFTWARE\\stead-boot\\web']\nA = 'a'\n";
    let windows = format!("{}{bad}", keys.with(VALUES, "ours"));
    keys.write(&["sleep"], &windows);
    let failed = keys.place.stead(&["up", "--detach", "--wait", "5s"]);
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && said.contains("stead-boot"), "{said}");
    assert!(keys.is_untouched());
    assert_eq!(keys.place.instance()["pid"], before["pid"], "the run of before goes on");
    let why = keys.place.stead(&["why", "web"]);
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(why.contains("the registry could not be changed"), "{why}");

    keys.place.done(&["down"]);
    let _ = keys.place.stead(&["up", "--detach", "--wait", "5s"]);
    let first = keys.place.stead(&["status"]);
    let first = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(first.contains("the registry could not be changed"), "{first}");
    assert!(keys.is_untouched());
    // Control: without that key it is begun.
    keys.write(&["sleep"], &keys.with(VALUES, "ours"));
    keys.place.done(&["up", "--detach"]);
    assert!(keys.are_set());
}

#[test]
fn the_plan_of_before_brings_back_keys_also_where_its_run_was_never_replaced() {
    let keys = Keys::new("kept");
    let overlap = |values: &str| {
        let replace = "[service.web.replace]\noverlap = true\nwithin = '2s'\n";
        format!("{replace}{}", keys.with(values, "ours"))
    };
    keys.write(&["sleep"], &overlap(VALUES));
    keys.place.done(&["up", "--detach"]);
    let before = keys.place.instance();
    let never = "[service.web.ready]\nlog = 'never said'\n";
    keys.write(&["sleep"], &format!("{never}{}", overlap("Listen = 'other'\n")));
    let failed = keys.place.stead(&["up", "--detach", "--wait", "10s"]);
    assert!(!failed.status.success(), "{failed:?}");
    assert_eq!(keys.place.instance()["pid"], before["pid"]);
    assert_eq!(keys.value(&keys.own(), "Listen").as_deref(), Some("REG_SZ other"));
    keys.write(&["sleep"], &overlap(VALUES));
    // It waits for a fresh run, which there is none of: the one of before goes on.
    let _ = keys.place.stead(&["up", "--detach", "--wait", "3s"]);
    assert_eq!(keys.place.instance()["pid"], before["pid"]);
    assert!(keys.are_set());
}
