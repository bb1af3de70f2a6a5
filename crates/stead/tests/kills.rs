//! The whole of stead under fire: agents and keepers are killed while services write.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use stead_core::signal::Signal;
use stead_proc::Process;
use stead_wire::keeper::{Reply, Report};
use stead_wire::log::Segment;

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Numbered lines a second, over both streams of both instances.
const RATE: u64 = 50_000;
const INSTANCES: [&str; 2] = ["writer.0", "writer.1"];

/// How many of each are killed; fewer for a quick look.
fn kills() -> u32 {
    std::env::var("STEAD_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(1000)
}

/// A fleet of two writers, and its agent, which this test starts as a service manager would.
struct Fleet {
    root: PathBuf,
    agent: Child,
    services: Vec<Process>,
}

/// A program that is built beside this test, or named by the one who runs it.
fn program(variable: &str, name: &str) -> PathBuf {
    if let Ok(path) = std::env::var(variable) {
        return path.into();
    }
    let own = std::env::current_exe().unwrap();
    let path = own.parent().and_then(Path::parent).unwrap().join(name);
    assert!(path.exists(), "`{}` is missing; try `cargo xtask test`", path.display());
    path
}

fn stead(root: &Path) -> Command {
    let mut command = Command::new(program("STEAD_BIN", "stead"));
    command.arg("--root").arg(root).stdin(Stdio::null()).stdout(Stdio::null());
    command.env("STEAD_KEEPER_BIN", program("STEAD_KEEPER_BIN", "stead-keeper"));
    command
}

fn start_agent(root: &Path) -> Child {
    stead(root).args(["agent", "run"]).stderr(Stdio::null()).spawn().unwrap()
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not seen in time: {what}");
        thread::sleep(Duration::from_millis(1)); // bounded poll
    }
}

impl Fleet {
    fn start(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("stead-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        stead_proc::set_mode(&root, 0o755).unwrap();
        let probe = program("STEAD_PROBE_BIN", "stead-probe");
        let rate = RATE / 2 / INSTANCES.len() as u64;
        let user = if stead_proc::is_root() { "user = \"root\"" } else { "" };
        let file = format!(
            "name = \"fire\"\n[service.writer]\nrun = [\"{}\", \"lines\", \"{rate}\"]\n\
             count = {}\n{user}\nlog = {{ keep = \"8GiB\" }}\n",
            probe.display(),
            INSTANCES.len()
        );
        fs::write(root.join("stead.toml"), file).unwrap();
        let agent = start_agent(&root);
        let up = stead(&root).arg("up").arg(root.join("stead.toml")).arg("--detach").output();
        let up = up.unwrap();
        assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
        let mut fleet = Self { root, agent, services: Vec::new() };
        fleet.services = INSTANCES.map(|name| fleet.service(name)).into();
        fleet
    }

    /// The hello of the keeper that listens now.
    fn hello(&self, instance: &str) -> Option<Report> {
        let socket = self.root.join("instances").join(instance).join("keeper.sock");
        let stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok().filter(|len| *len > 0)?;
        match serde_json::from_str(&line).unwrap() {
            Reply::Report(report) => Some(*report),
            Reply::Done | Reply::Refused { .. } | Reply::Sockets { .. } => None,
        }
    }

    fn service(&self, instance: &str) -> Process {
        eventually("its service", || Process::open_any(self.hello(instance)?.pid?).unwrap())
    }

    fn kill_keeper(&self, instance: &str) -> u32 {
        let pid = eventually("a keeper", || self.hello(instance)).keeper_pid;
        if let Some(keeper) = Process::open_any(pid).unwrap() {
            keeper.signal(Signal::Kill).unwrap();
        }
        pid
    }

    /// Waits for the keeper that follows one; it has taken over the very same process.
    fn wait_for_another(&self, instance: &str, killed: u32) {
        let report = eventually("another keeper", || {
            self.hello(instance).filter(|report| report.keeper_pid != killed)
        });
        let service = &self.services[usize::from(instance == INSTANCES[1])];
        assert_eq!(report.pid, Some(service.pid()), "{instance} is the same process");
    }

    fn kill_agent(&mut self) {
        self.agent.kill().unwrap();
        self.agent.wait().unwrap();
        self.agent = start_agent(&self.root);
    }

    /// Waits until the agent answers and has found every keeper.
    fn wait_for_agent(&self) {
        eventually("the agent has adopted everything", || {
            let output =
                stead(&self.root).args(["status", "--json"]).stdout(Stdio::piped()).output();
            let status: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).ok()?;
            let instances = status["instances"].as_array()?;
            let kept = instances.iter().filter(|i| i["keeper_pid"].is_number()).count();
            (kept == INSTANCES.len()).then_some(())
        });
    }

    /// Freezes the services, waits until their pipes are empty, and checks every line they wrote.
    fn check_lines(&self) -> u64 {
        for service in &self.services {
            assert!(Process::open(service.pid(), service.start_ticks()).unwrap().is_some());
            service.signal(Signal::Stop).unwrap();
        }
        let mut last = 0;
        eventually("the pipes are empty", || {
            let now = INSTANCES.iter().map(|name| folder_len(&self.log(name))).sum();
            std::mem::replace(&mut last, now).eq(&now).then_some(())
        });
        let streams = INSTANCES.iter().flat_map(|name| ["out", "err"].map(|stream| (name, stream)));
        let counts = streams.map(|(name, stream)| count_lines(&self.log(name), stream));
        let sum = counts.sum();
        for service in &self.services {
            service.signal(Signal::Cont).unwrap();
        }
        sum
    }

    fn log(&self, instance: &str) -> PathBuf {
        self.root.join("instances").join(instance).join("log")
    }

    /// How many runs of an instance were ever made.
    fn runs_made(&self, instance: &str) -> usize {
        let journal = fs::read_to_string(self.root.join("instances").join(instance).join("events"));
        let made = self.hello(instance).map_or(0, |report| report.run);
        // The journal is cut down now and then; the number of the run says the same.
        assert!(!journal.unwrap().contains("\"run\":2,"), "{instance} was started twice");
        usize::try_from(made).unwrap()
    }
}

fn folder_len(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().metadata().map_or(0, |meta| meta.len())).sum()
}

/// Every line of a stream is there, once, whole and in order; says how many they are.
fn count_lines(folder: &Path, stream: &str) -> u64 {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let segments = names.filter_map(|name| Segment::from_log_name(name.to_str()?));
    let mut segments: Vec<_> = segments.filter(|s| s.stream.as_str() == stream).collect();
    segments.sort();
    let read = |segment: &Segment| fs::read(folder.join(segment.log_name())).unwrap();
    let bytes: Vec<u8> = segments.iter().flat_map(read).collect();
    let mut number = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let expected = format!("{stream} {number:012}\n");
        assert_eq!(line, expected.as_bytes(), "{}: line {number} of {stream}", folder.display());
        number += 1;
    }
    number
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = stead(&self.root).arg("down").stderr(Stdio::null()).status();
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        if thread::panicking() {
            eprintln!("kept for a look: {}", self.root.display());
        } else {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

#[test]
fn a_thousand_killed_keepers_and_a_thousand_killed_agents_cost_no_line_and_no_run() {
    let kills = kills();
    let mut fleet = Fleet::start("fire");
    let began = Instant::now();
    for kill in 0..kills {
        let instance = INSTANCES[usize::from(kill % 2 == 1)];
        let killed = fleet.kill_keeper(instance);
        fleet.wait_for_another(instance, killed);
    }
    for _ in 0..kills {
        fleet.kill_agent();
        eventually("the agent is at work", || {
            UnixStream::connect(fleet.root.join("agent.sock")).ok()
        });
    }
    fleet.wait_for_agent();
    let both = kills / 5;
    for kill in 0..both {
        let instance = INSTANCES[usize::from(kill % 2 == 1)];
        let killed = fleet.kill_keeper(instance);
        fleet.kill_agent();
        fleet.wait_for_another(instance, killed);
    }
    fleet.wait_for_agent();
    let seconds = began.elapsed().as_secs_f64();
    let lines = fleet.check_lines();
    let runs: usize = INSTANCES.iter().map(|name| fleet.runs_made(name)).sum();
    assert_eq!(runs, INSTANCES.len(), "nothing was ever started twice");
    for (name, service) in INSTANCES.iter().zip(&fleet.services) {
        service.signal(Signal::Kill).unwrap();
        eventually("the next exit is noticed", || fleet.hello(name).filter(|r| r.run == 2));
    }
    let _ = writeln!(
        // Past the test harness, which would keep it to itself.
        std::io::stderr(),
        "kills: {kills} keepers, {kills} agents, {both} of both at once in {seconds:.0} s; \
         {lines} lines at {:.0}/s, 0 lost, 0 doubled, 0 reordered; \
         {runs} runs of {runs} instances; next exits noticed {runs} of {runs}",
        lines as f64 / seconds
    );
}
