//! A command that is refused says why, ends with its own code and leaves the root as it was.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const GOOD: &str = "name = \"shop\"\n[service.web]\nrun = [\"sleep\", \"1000\"]\n";

/// A place of one test's own: a root with something in it, and a folder with a fleet file.
struct Place {
    folder: PathBuf,
    root: PathBuf,
    keeper: PathBuf,
}

impl Place {
    /// Any program will do for a keeper that is never started.
    fn new(name: &str) -> Self {
        Self::with(name, Path::new(env!("CARGO_TARGET_TMPDIR")), "/bin/true".into())
    }

    /// One that fleets run in: other users can reach it, and there is a keeper.
    fn that_runs(name: &str) -> Self {
        let told = std::env::var_os("STEAD_KEEPER_BIN").map(PathBuf::from);
        let built = Path::new(env!("CARGO_BIN_EXE_stead")).with_file_name("stead-keeper");
        let keeper = told.unwrap_or(built);
        assert!(
            keeper.is_file(),
            "there is no keeper at `{}`: `cargo build -p stead-keeper` makes one, and \
             `cargo xtask test` does that and runs the tests",
            keeper.display()
        );
        Self::with(name, &std::env::temp_dir(), keeper)
    }

    fn with(name: &str, parent: &Path, keeper: PathBuf) -> Self {
        let folder = parent.join(format!("stead-refused-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let root = folder.join("root");
        fs::create_dir_all(root.join("releases/kept")).unwrap();
        fs::write(root.join("releases/kept/file"), "as it was").unwrap();
        Self { folder, root, keeper }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    fn stead(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stead"));
        command.args(args).current_dir(&self.folder).stdin(Stdio::null());
        command.env("STEAD_ROOT", &self.root).env("STEAD_KEEPER_BIN", &self.keeper);
        command.env_remove("NO_COLOR");
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.root.join("plan.json").exists() {
            // What a failed test has left running, with or without its agent.
            let _ = self.stead(&["up", "--detach"]);
            let _ = self.stead(&["down"]);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Everything below a root: path, mode, time of change and content; without what keepers write.
fn contents(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let mut items: Vec<PathBuf> =
            fs::read_dir(&folder).unwrap().map(|item| item.unwrap().path()).collect();
        items.sort();
        for path in items.into_iter().filter(|path| !is_written_by_a_keeper(path)) {
            let there = path.symlink_metadata().unwrap();
            // Reading a pipe would wait for its writer.
            let content = if there.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let modified = there.modified().unwrap();
            let mode = there.permissions().mode();
            all.push(format!("{} {mode:o} {modified:?} {content:?}", path.display()));
            if there.is_dir() {
                folders.push(path);
            }
        }
    }
    all
}

fn is_written_by_a_keeper(path: &Path) -> bool {
    let is_of_an_instance =
        path.parent().and_then(Path::parent).is_some_and(|it| it.ends_with("instances"));
    is_of_an_instance && (path.ends_with("events") || path.ends_with("log"))
}

fn check(place: &Place, args: &[&str], code: i32, said: &[&str]) {
    let before = contents(&place.root);
    let output = place.stead(args);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    for text in said {
        assert!(error.contains(text), "{args:?} does not say {text:?}: {error}");
    }
    assert!(!error.contains("panicked"), "{args:?}: {error}");
    assert!(output.stdout.is_empty(), "{args:?} prints facts");
    assert_eq!(contents(&place.root), before, "{args:?} has changed the root");
}

#[test]
fn a_command_that_is_used_wrongly_changes_nothing() {
    let place = Place::new("usage");
    place.write("stead.toml", GOOD);
    let cases: [(&[&str], &str); 10] = [
        (&[], "Usage"),
        (&["explode"], "unrecognized"),
        (&["statsu"], "status"),
        (&["signal", "SIGFOO", "web"], "is not a signal"),
        (&["signal", "9", "web"], "is not a signal"),
        (&["logs", "web", "--since", "soon"], "time of day"),
        (&["logs"], "NAME"),
        (&["up", "--wait", "60"], "a duration is"),
        (&["status", "--json", "--watch"], "cannot be used with"),
        (&["up", "a.toml", "b.toml"], "unexpected"),
    ];
    for (args, said) in cases {
        check(&place, args, 2, &[said]);
    }
}

#[test]
fn a_bad_fleet_file_changes_nothing() {
    let place = Place::new("fleet");
    place.write("torn.toml", "name = \"shop");
    place.write("unknown.toml", &GOOD.replace("run =", "rnu ="));
    place.write("missing.toml", &format!("{GOOD}files = [\"nope\"]\n"));
    fs::create_dir(place.folder.join("config")).unwrap();
    symlink("/etc", place.folder.join("config/out")).unwrap();
    place.write("link.toml", &format!("{GOOD}files = [\"config\"]\n"));
    place.write("config.toml", &format!("{GOOD}config = [\"config\"]\n"));
    fs::write(place.folder.join("binary.toml"), [0xff, 0xfe, 0x00]).unwrap();
    let cases: [(&str, &[&str]); 7] = [
        ("absent.toml", &["error:", "absent.toml", "because", "try"]),
        ("torn.toml", &["torn.toml:1"]),
        ("unknown.toml", &["rnu", "run"]),
        ("missing.toml", &["nope", "missing.toml:4"]),
        ("link.toml", &["leads out of what is packed", "link.toml:4"]),
        ("config.toml", &["the configuration of", "leads out", "in `config`", "config.toml:4"]),
        ("binary.toml", &["binary.toml"]),
    ];
    for (file, said) in cases {
        check(&place, &["up", file, "--detach"], 3, said);
        check(&place, &["plan", file], 3, said);
    }
    check(&place, &["up", "--detach"], 3, &["stead.toml"]);
}

#[test]
fn a_build_that_fails_changes_nothing() {
    let place = Place::new("build");
    let build = |build: &str| format!("{GOOD}build = \"{build}\"\nfiles = [\"made\"]\n");
    place.write("fails.toml", &build("echo making; exit 7"));
    check(&place, &["up", "fails.toml"], 5, &["making", "the build of service `web`", "7"]);
    place.write("makes-nothing.toml", &build("true"));
    check(&place, &["up", "makes-nothing.toml"], 3, &["made", "makes-nothing.toml:5"]);
}

#[test]
fn a_host_over_ssh_is_refused_before_anything_is_built() {
    let place = Place::new("ssh");
    let host = "[host.vm1]\naddress = \"deploy@10.0.0.11\"\n";
    let fleet = GOOD.replace("[service", &format!("{host}[service"));
    place.write("stead.toml", &format!("{fleet}on = [\"vm1\"]\nbuild = \"touch built\"\n"));
    check(&place, &["up"], 6, &["`web` runs on `vm1`", "because", "try"]);
    assert!(!place.folder.join("built").exists());
}

#[test]
fn without_a_keeper_program_nothing_is_begun() {
    let place = Place::new("keeper");
    place.write("stead.toml", GOOD);
    let before = contents(&place.root);
    let mut command = place.command(&["up", "--detach"]);
    let output = command.env("STEAD_KEEPER_BIN", "/nonexistent/keeper").output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{error}");
    assert!(error.contains("/nonexistent/keeper") && error.contains("cargo stead"), "{error}");
    assert_eq!(contents(&place.root), before);
}

#[test]
fn without_an_agent_every_command_that_needs_one_says_so() {
    let place = Place::new("agent");
    let commands: [&[&str]; 12] = [
        &["status"],
        &["status", "--json"],
        &["status", "--watch"],
        &["logs", "web", "-f"],
        &["start", "web"],
        &["stop", "web"],
        &["restart", "web"],
        &["signal", "HUP", "web"],
        &["down"],
        &["why", "web"],
        &["events", "--follow"],
        &["agent", "status"],
    ];
    for args in commands {
        check(&place, args, 4, &["error: no agent at", "because", "try `stead up FILE`"]);
    }
}

/// Puts a fleet up, and returns once everything about that is on disk.
fn up(place: &Place) {
    let output = place.stead(&["up", "--detach"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    until("the plan is in the journal", || {
        let events = String::from_utf8(place.stead(&["events"]).stdout).unwrap();
        events.contains("plan 1 of fleet shop").then_some(())
    });
}

fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20)); // bounded poll
    }
}

fn status(place: &Place) -> serde_json::Value {
    serde_json::from_slice(&place.stead(&["status", "--json"]).stdout).unwrap()
}

#[test]
fn what_a_running_agent_refuses_changes_nothing() {
    let place = Place::that_runs("live");
    place.write("stead.toml", GOOD);
    place.write("other.toml", &GOOD.replace("shop", "bank").replace("[service", OTHER_SERVICE));
    up(&place);
    let other = ["fleet `shop` runs at this root, not `bank`", "because", "try"];
    check(&place, &["up", "other.toml"], 6, &other);
    check(&place, &["up", "other.toml", "--detach"], 6, &other);
    for command in ["logs", "start", "stop", "restart", "why", "events"] {
        let said = ["no service or instance `wbe`", "there are: web", "try `web`"];
        check(&place, &[command, "wbe"], 2, &said);
    }
    check(&place, &["signal", "HUP", "web.7"], 2, &["`web.7`", "try `web.0`"]);
    check(&place, &["logs", "web", "--grep", "("], 2, &["regular expression"]);

    let before = contents(&place.root);
    let answer = put_plan(&place, STALE);
    assert!(answer.starts_with("HTTP/1.0 409 ") || answer.starts_with("HTTP/1.1 409 "), "{answer}");
    assert!(answer.contains("replaces generation 0, and the host has generation 1"), "{answer}");
    assert_eq!(contents(&place.root), before, "a stale plan has changed the root");
    assert_eq!(status(&place)["instances"][0]["run"], 1);
    assert!(place.stead(&["down"]).status.success());
}

/// A plan that replaces no plan, where there is one.
const STALE: &str = r#"{"replaces":0,"plan":{"fleet":"shop","host":"local","instances":{}}}"#;

/// Has something to pack and to build, were it not refused before.
const OTHER_SERVICE: &str =
    "[service.teller]\nrun = [\"./made\"]\nfiles = [\"made\"]\nbuild = \"touch made\"\n[service";

#[test]
fn another_fleet_is_refused_where_the_agent_has_ended_and_its_fleet_runs_on() {
    let place = Place::that_runs("stopped");
    place.write("stead.toml", GOOD);
    place.write("other.toml", &GOOD.replace("shop", "bank").replace("[service", OTHER_SERVICE));
    up(&place);
    let before = status(&place);
    let pid = before["agent"]["pid"].to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &pid]).status().unwrap().success());
    until("the agent has ended", || (!place.root.join("agent.sock").exists()).then_some(()));
    check(&place, &["up", "other.toml"], 6, &["fleet `shop` runs at this root, not `bank`"]);
    assert!(!place.folder.join("made").exists(), "it was built");
    let plan = String::from_utf8(place.stead(&["plan"]).stdout).unwrap();
    assert!(plan.contains("1 unchanged") && plan.contains("no agent runs here"), "{plan}");
    assert!(place.stead(&["up", "--detach"]).status.success());
    assert_eq!(status(&place)["instances"][0]["pid"], before["instances"][0]["pid"]);
    assert!(place.stead(&["down"]).status.success());
    // What was taken down is in nobody's way.
    let said = place.stead(&["up", "other.toml", "--detach", "--wait", "0s"]);
    assert!(!String::from_utf8_lossy(&said.stderr).contains("runs at this root"));
    assert!(place.folder.join("made").exists());
    assert!(place.stead(&["down"]).status.success());
}

/// Asks the agent as no `stead` would.
fn put_plan(place: &Place, body: &str) -> String {
    let mut stream = UnixStream::connect(place.root.join("agent.sock")).unwrap();
    let head = format!("PUT /v1/plan HTTP/1.0\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_plan_without_an_agent_adds_everything_and_makes_no_root() {
    let place = Place::new("plan");
    place.write("stead.toml", &format!("{GOOD}count = 2\nbuild = \"touch x\"\nfiles = [\"x\"]\n"));
    fs::remove_dir_all(&place.root).unwrap();
    let output = place.stead(&["plan", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let plan = &plan["hosts"]["local"];
    assert_eq!(plan["instances"]["web.1"]["what"], "add");
    assert_eq!(plan["built_on_up"], serde_json::json!(["web"]));
    assert!(!place.root.exists() && !place.folder.join("x").exists());
}

#[test]
fn a_reader_that_leaves_early_ends_the_command_quietly() {
    let place = Place::new("pipe");
    let mut child = place.command(&["schema"]);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), error.as_ref()), (Some(0), ""));
}

#[test]
fn colour_is_written_only_where_it_is_wanted() {
    let place = Place::new("colour");
    let cases: [(&[&str], bool); 3] = [
        (&["status"], false),
        (&["status", "--color", "always"], true),
        (&["--color", "never", "status"], false),
    ];
    for (args, coloured) in cases {
        assert_eq!(place.stead(args).stderr.contains(&0x1b), coloured, "{args:?}");
    }
}
