//! A service under load: replaced without a lost request, reloaded, entered; and what happens when
//! it is done the other way.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up waiting for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Replacements of the loaded service, and requests a second over kept and over fresh connections.
const REPLACEMENTS: usize = 50;
const RATE: u32 = 2000;

/// The same for the control, where a few are enough to see the loss.
const REPLACEMENTS_CONTROL: usize = 3;

/// One load at a time: together they would be more than the machine can carry.
static ALONE: Mutex<()> = Mutex::new(());

/// A fleet in a folder of its own.
struct Place {
    _alone: MutexGuard<'static, ()>,
    folder: PathBuf,
    /// Where its clients ask.
    port: u16,
    /// The port of the service.
    own_port: u16,
    /// The field that gives the service a front, if it is to have one.
    front: String,
}

impl Place {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("stead-serve-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let port = free_port();
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self { _alone, folder, port, own_port: port, front: String::new() }
    }

    /// One whose clients ask at a front.
    fn fronted(name: &str) -> Self {
        let mut place = Self::new(name);
        place.own_port = free_port();
        place.front = format!("front = {{ port = {} }}", place.port);
        place
    }

    /// Writes a fleet of one server with these arguments and fields.
    fn write(&self, arguments: &str, fields: &str) {
        let (probe, port) = (program("STEAD_PROBE_BIN", "stead-probe"), self.own_port);
        let text = format!(
            "name = \"shop\"\n[service.web]\nrun = [{probe:?}, \"serve\", {arguments}]\n\
             user = \"root\"\nport.http = {port}\n{fields}\n"
        );
        fs::write(self.folder.join("stead.toml"), text).unwrap();
    }

    fn stead(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stead"));
        self.surround(command.args(args)).stdin(Stdio::null()).output().unwrap()
    }

    /// Has a command find this fleet.
    fn surround<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.current_dir(&self.folder).env("STEAD_ROOT", self.folder.join("root"));
        command.env("STEAD_KEEPER_BIN", program("STEAD_KEEPER_BIN", "stead-keeper"))
    }

    fn done(&self, args: &[&str]) -> String {
        let output = self.stead(args);
        let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        assert!(output.status.success(), "stead {args:?}: {out}{err}");
        out.into_owned()
    }

    fn instance(&self) -> Value {
        self.named("web.0")
    }

    fn named(&self, name: &str) -> Value {
        let status: Value = serde_json::from_str(&self.done(&["status", "--json"])).unwrap();
        let all = status["instances"].as_array().unwrap();
        all.iter().find(|instance| instance["name"] == name).unwrap().clone()
    }

    fn load(&self, kind: &[&str]) -> Load {
        let mut command = Command::new(program("STEAD_PROBE_BIN", "stead-probe"));
        command.args(["load", &format!("to=127.0.0.1:{}", self.port), &format!("rate={RATE}")]);
        Load(command.args(kind).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    fn both_loads(&self) -> [(&'static str, Load); 2] {
        [("kept", self.load(&[])), ("fresh", self.load(&["fresh"]))]
    }

    /// Both kinds of load at once while the service is replaced again and again; says how many
    /// requests were lost.
    fn lost_over(&self, replacements: usize) -> u64 {
        let loads = self.both_loads();
        for _ in 0..replacements {
            let before = self.instance()["run"].as_u64().unwrap();
            self.done(&["restart", "web", "--wait", "0s"]);
            until("another run is up", || {
                let now = self.instance();
                let is_up = now["phase"] == "up" && now["ready"] == true;
                (is_up && now["run"].as_u64()? > before).then_some(())
            });
        }
        lost(loads, &format!("{replacements} restarts"))
    }
}

/// Ends loads, prints what became of their requests and says how many were lost.
fn lost(loads: [(&'static str, Load); 2], over: &str) -> u64 {
    let ended = loads.map(|(kind, load)| (kind, load.end()));
    ended.iter().fold(0, |lost, (kind, tally)| {
        // Past the test runner, which would keep it back.
        let mut past = io::stderr().lock();
        writeln!(past, "{over}, {kind} connections: {tally}").unwrap();
        let [sent, seconds] = ["sent", "seconds"].map(|what| tally[what].as_u64().unwrap());
        assert!(sent >= u64::from(RATE) * seconds * 9 / 10, "that was no such load: {tally}");
        lost + tally["lost"].as_u64().unwrap()
    })
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.stead(&["down"]);
        if thread::panicking() {
            eprintln!("kept for a look: {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A port that nobody has now, and that no connection gets by chance: those begin at 32768.
fn free_port() -> u16 {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 1000).unwrap() * 10;
    loop {
        // Behind a front, an instance has the one above, too.
        let number = NEXT.fetch_add(2, std::sync::atomic::Ordering::Relaxed);
        let port = 20_000 + (first + number) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

struct Load(Child);

impl Load {
    fn end(self) -> Value {
        let output = self.0.wait_with_output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// A program of ours: as it ships if whoever runs the tests has built it, else as it is debugged.
fn program(variable: &str, name: &str) -> String {
    let beside = Path::new(env!("CARGO_BIN_EXE_stead")).with_file_name(name);
    std::env::var(variable).unwrap_or_else(|_| beside.to_str().unwrap().to_owned())
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(20)); // bounded poll
    }
}

const READY: &str = "ready = { http = \"/healthz\", every = \"200ms\" }";

#[test]
fn a_service_that_takes_its_socket_is_replaced_fifty_times_without_a_lost_request() {
    let place = Place::new("lossless");
    place.write("\"ready-after=50\"", &format!("{READY}\nlisten.http = \"127.0.0.1\""));
    place.done(&["up", "--detach"]);
    assert_eq!(place.lost_over(REPLACEMENTS), 0);
    let events = place.done(&["events", "web", "--json"]);
    let replaced = events.lines().filter(|line| line.contains("\"replaced\"")).count();
    assert_eq!(replaced, REPLACEMENTS);
}

#[test]
fn a_fronted_service_is_replaced_fifty_times_without_a_lost_request() {
    let place = Place::fronted("fronted");
    let fields = format!("{READY}\n{}\n", place.front);
    place.write("\"port={port.http}\", \"ready-after=50\"", &fields);
    place.done(&["up", "--detach"]);
    assert_eq!(place.lost_over(REPLACEMENTS), 0);
    let events = place.done(&["events", "web", "--json"]);
    let replaced = events.lines().filter(|line| line.contains("\"replaced\"")).count();
    assert_eq!(replaced, REPLACEMENTS);
    // The front is a kept service like any other: killed, it is back, and waiting clients with it.
    let front = place.named("web-front.0")["pid"].as_u64().unwrap();
    kill(front);
    let load = place.load(&["fresh"]);
    until("another front", || {
        let now = place.named("web-front.0");
        (now["phase"] == "up" && now["pid"].as_u64()? != front).then_some(())
    });
    assert_eq!(load.end()["lost"], 0);
}

#[test]
fn control_a_service_that_is_stopped_and_then_started_loses_requests() {
    let place = Place::new("lossy");
    let port = format!("\"port={}\", \"ready-after=50\"", place.port);
    place.write(&port, READY);
    place.done(&["up", "--detach"]);
    assert!(place.lost_over(REPLACEMENTS_CONTROL) > 0);
}

/// A change to a run that cannot get ready, under load: the command fails, and nobody else notices.
fn bad_change_is_noticed_by_the_command_alone(place: &Place, port: &str, fields: &str) {
    let fields = format!("{READY}\nreplace = {{ within = \"3s\" }}\n{fields}\n");
    let write = |options: &str| place.write(&format!("{port}{options}"), &fields);
    write("\"drain=1000\"");
    place.done(&["up", "--detach"]);
    let before = place.instance();
    let loads = place.both_loads();
    for (options, why) in [
        ("\"never-ready\"", "not ready within 3s; its ready probe said last: status 503"),
        // What it had accepted before it crashed would be lost with it.
        (
            "\"never-ready\", \"accept-when-ready\", \"crash-after=300\"",
            "it ended before it was ready: exit code 3",
        ),
    ] {
        write(options);
        let failed = place.stead(&["up", "--detach"]);
        let told = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert_eq!(failed.status.code(), Some(5), "{told}");
        assert!(told.contains(why), "{told}");
        assert!(told.contains("replaced without a gap: web.0"), "{told}");
        let after = place.instance();
        assert_eq!((&after["pid"], &after["run"]), (&before["pid"], &before["run"]));
    }
    write("\"drain=2000\"");
    place.done(&["up", "--detach"]);
    assert_ne!(place.instance()["pid"], before["pid"]);
    assert_eq!(lost(loads, "changes that fail"), 0);
}

#[test]
fn a_change_whose_run_is_never_ready_or_crashes_fails_the_command_and_keeps_the_old_run_at_work() {
    let place = Place::new("kept");
    bad_change_is_noticed_by_the_command_alone(&place, "", "listen.http = \"127.0.0.1\"");
}

#[test]
fn a_change_whose_run_is_never_ready_or_crashes_keeps_the_old_run_at_work_behind_a_front() {
    let place = Place::fronted("kept-fronted");
    let fields = place.front.clone();
    bad_change_is_noticed_by_the_command_alone(&place, "\"port={port.http}\", ", &fields);
}

#[test]
fn a_keeper_and_an_agent_that_die_take_no_waiting_connection_with_them() {
    let place = Place::new("sockets");
    place.write("\"ready-after=10\"", &format!("{READY}\nlisten.http = \"127.0.0.1\""));
    place.done(&["up", "--detach"]);
    let load = place.load(&["fresh"]);
    let pid = |name: &str| place.instance()[name].as_u64().unwrap();
    for _ in 0..5 {
        let (keeper, service) = (pid("keeper_pid"), pid("pid"));
        kill(keeper);
        // While no keeper is there to restart it, the service goes on; then both are gone at once.
        until("another keeper", || {
            let now = place.instance()["keeper_pid"].as_u64()?;
            (now != keeper).then_some(())
        });
        assert_eq!(pid("pid"), service);
        until("the new keeper takes a request", || {
            place.stead(&["restart", "web"]).status.success().then_some(())
        });
    }
    assert_eq!(load.end()["lost"], 0);
}

fn kill(pid: u64) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_program_runs_in_the_place_of_a_run_with_its_account_and_its_exit_code() {
    let place = Place::new("exec");
    place.write(
        "\"ready-after=10\"",
        "listen.http = \"127.0.0.1\"\nenv.COLOUR = \"green\"\numask = \"077\"",
    );
    place.done(&["up", "--detach"]);
    let shell = "echo $STEAD_INSTANCE $COLOUR $(umask); pwd; exit 7";
    let output = place.stead(&["exec", "web", "--", "/bin/sh", "-c", shell]);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert!(out.starts_with("web.0 green 0077\n"), "{out}");
    assert!(out.contains("data/web.0\n"), "{out}");
    let missing = place.stead(&["exec", "web", "--", "no-such-program"]);
    assert_eq!(missing.status.code(), Some(127), "{missing:?}");
    place.done(&["stop", "web"]);
    let nothing = place.stead(&["exec", "web", "--", "true"]);
    assert_eq!(nothing.status.code(), Some(5), "{nothing:?}");
}

#[test]
fn a_service_is_told_to_reload_as_it_says_and_one_that_cannot_is_refused() {
    let place = Place::new("reload");
    let reload = "reload = { hook = [\"/bin/sh\", \"-c\", \"echo $STEAD_PID > {data}/told\"] }";
    place.write("\"ready-after=10\"", &format!("listen.http = \"127.0.0.1\"\n{reload}"));
    place.done(&["up", "--detach"]);
    place.done(&["reload", "web"]);
    let pid = place.instance()["pid"].to_string();
    let told = place.folder.join("root/data/web.0/told");
    until("the hook has run", || (fs::read_to_string(&told).ok()?.trim() == pid).then_some(()));
    place.write("\"ready-after=10\"", "listen.http = \"127.0.0.1\"");
    place.done(&["up", "--detach"]);
    assert_eq!(place.instance()["pid"].to_string(), pid, "a reload is no reason for a fresh run");
    let refused = place.stead(&["reload", "web"]);
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
}

#[test]
fn a_changed_configuration_is_planned_as_a_reload_and_told_to_the_run_that_is_up() {
    let place = Place::new("config");
    // The hook sees what the run would read.
    let hook = "[\"/bin/sh\", \"-c\", \"cp -L {config}/app.toml {data}/read\"]";
    let fields = format!(
        "listen.http = \"127.0.0.1\"\nconfig = [\"conf/app.toml\"]\nreload = {{ hook = {hook} }}"
    );
    place.write("\"ready-after=10\"", &fields);
    fs::create_dir(place.folder.join("conf")).unwrap();
    let config = place.folder.join("conf/app.toml");
    fs::write(&config, "level = 1").unwrap();
    place.done(&["up", "--detach"]);
    let before = place.instance();
    fs::write(&config, "level = 2").unwrap();
    let planned = place.done(&["plan"]);
    assert!(planned.contains("~ web.0  change: told to reload, with"), "{planned}");
    assert!(planned.contains("config  "), "{planned}");
    place.done(&["up", "--detach"]);
    let read = place.folder.join("root/data/web.0/read");
    until("the new one was read", || {
        (fs::read_to_string(&read).ok()? == "level = 2").then_some(())
    });
    assert_eq!(place.instance()["pid"], before["pid"]);
    assert!(place.done(&["plan"]).contains("1 unchanged"));
}

#[test]
fn up_takes_the_times_of_a_stopped_service_up_again_and_start_runs_it_at_once() {
    let place = Place::new("schedule");
    let fleet = "name = \"shop\"\n[service.web]\nrun = [\"/bin/true\"]\nschedule.every = \"1h\"\n";
    fs::write(place.folder.join("stead.toml"), fleet).unwrap();
    place.done(&["up", "--detach"]);
    let begun = place.instance();
    assert!(begun["run"] == 0 && begun["next_run_at"].is_string(), "{begun}");
    place.done(&["start", "web"]);
    assert_eq!(place.instance()["run"], 1);
    place.done(&["stop", "web"]);
    assert!(place.instance()["next_run_at"].is_null());
    place.done(&["up", "--detach"]);
    let resumed = place.instance();
    assert!(resumed["run"] == 1 && resumed["next_run_at"].is_string(), "{resumed}");
    assert!(place.done(&["status"]).contains(" · 1 to run later"));
}

#[test]
fn a_changed_configuration_that_nobody_can_be_told_of_is_replaced_without_a_lost_request() {
    let place = Place::new("config-replaced");
    let fields = format!(
        "{READY}\nlisten.http = \"127.0.0.1\"\nreplace = {{ within = \"3s\" }}\n\
         config = [\"app.toml\"]\nenv.CONFIG = \"{{config}}/app.toml\""
    );
    let write = |options: &str, text: &str| {
        fs::write(place.folder.join("app.toml"), text).unwrap();
        place.write(options, &fields);
    };
    // What the run that is up was told to read.
    let reads = || {
        let pid = place.instance()["pid"].as_u64().unwrap();
        let env = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        let path = env.split('\0').find_map(|it| it.strip_prefix("CONFIG=")).unwrap().to_owned();
        fs::read_to_string(path).unwrap()
    };
    write("\"drain=1000\"", "level = 1");
    place.done(&["up", "--detach"]);
    let first = place.instance();
    let loads = place.both_loads();
    write("\"drain=1000\"", "level = 2");
    assert!(place.done(&["plan"]).contains("~ web.0  change: replaced without a gap"));
    place.done(&["up", "--detach"]);
    let second = place.instance();
    assert_ne!(second["pid"], first["pid"]);
    assert_eq!(reads(), "level = 2");
    write("\"never-ready\"", "level = 3");
    assert_eq!(place.stead(&["up", "--detach"]).status.code(), Some(5));
    assert_eq!(place.instance()["pid"], second["pid"]);
    assert_eq!(reads(), "level = 2", "the one that was given up has changed nothing");
    assert_eq!(lost(loads, "changes of the configuration"), 0);
}

#[test]
fn a_fronted_service_that_cuts_its_connections_is_said_to_and_one_that_drains_is_not() {
    let begin = |options: &str| {
        let place = Place::fronted("cut");
        let fields = format!("{READY}\n{}\n", place.front);
        place.write(&format!("\"port={{port.http}}\"{options}"), &fields);
        place.done(&["up", "--detach"]);
        place
    };
    let is_said = |place: &Place| {
        let notes = place.named("web-front.0")["notes"].to_string();
        notes.contains("cut by runs that gave way")
    };
    let cuts = begin(", \"cut\"");
    assert!(cuts.lost_over(REPLACEMENTS_CONTROL) > 0);
    until("it is said", || is_said(&cuts).then_some(()));
    drop(cuts);
    // Control: one that answers what it has accepted.
    let drains = begin("");
    assert_eq!(drains.lost_over(REPLACEMENTS_CONTROL), 0);
    assert!(!is_said(&drains));
}

/// A command on a terminal of its own, which is shown what is typed into it.
struct Terminal {
    script: Child,
    shown: Arc<Mutex<String>>,
}

impl Terminal {
    fn of(place: &Place, args: &str) -> Self {
        // A shell in between would die of the Ctrl-C, whatever the command made of it.
        let command = format!("exec {} {args}", env!("CARGO_BIN_EXE_stead"));
        let mut script = place
            .surround(Command::new("script").args(["-qefc", &command, "/dev/null"]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut stdout, filled) = (script.stdout.take().unwrap(), Arc::clone(&shown));
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(len @ 1..) = stdout.read(&mut piece) {
                filled.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..len]));
            }
        });
        Self { script, shown }
    }

    fn until_shown(&self, parts: &[&str]) {
        until(&format!("it shows {parts:?}"), || {
            let shown = self.shown.lock().unwrap();
            parts.iter().all(|part| shown.contains(part)).then_some(())
        });
    }

    fn interrupt(mut self) -> Option<i32> {
        self.script.stdin.take().unwrap().write_all(b"\x03").unwrap();
        until("it ends", || self.script.try_wait().unwrap()).code()
    }
}

#[test]
fn up_and_a_watched_status_are_live_on_a_terminal_until_ctrl_c_which_stops_what_up_has_started() {
    let place = Place::new("terminal");
    place.write("\"ready-after=10\"", &format!("{READY}\nlisten.http = \"127.0.0.1\""));
    let up = Terminal::of(&place, "up");
    up.until_shown(&["NAME", "web.0", "1 of 1 up", "\x1b[?2026h", "A\r"]);
    up.until_shown(&["everything is up; Ctrl-C stops it"]);
    let watched = Terminal::of(&place, "status --watch");
    watched.until_shown(&["NAME", "web.0", "1 of 1 up", "A\r"]);
    assert_eq!(watched.interrupt(), Some(130));
    assert_eq!(place.instance()["phase"], "up", "who only looks stops nothing");
    assert_eq!(up.interrupt(), Some(0));
    assert_eq!(place.stead(&["status"]).status.code(), Some(4), "no agent is left");
}
