//! The examples, run as their readers would run them.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use stead_core::signal::Signal;
use stead_proc::Process;

/// How long a service may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The fleet of one example in a root of its own.
struct Example {
    root: PathBuf,
    file: PathBuf,
}

/// Instances of an example with the port each answers on, what is sent and what comes back.
type Answers = [(&'static str, u16, &'static str, &'static str)];

fn http(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

fn beside(variable: &str, name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let built = own.parent().and_then(Path::parent).unwrap().join(name);
    let path = std::env::var_os(variable).map_or(built, PathBuf::from);
    assert!(path.exists(), "`{}` is missing; try `cargo xtask test`", path.display());
    path
}

impl Example {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("stead-{name}-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        stead_proc::set_mode(&root, 0o755).unwrap();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
        let file = examples.join(name).join("stead.toml").canonicalize().unwrap();
        Self { root, file }
    }

    fn stead(&self, args: &[&str]) -> (bool, String) {
        let mut command = Command::new(beside("STEAD_BIN", "stead"));
        command.arg("--root").arg(&self.root).args(args).stdin(Stdio::null());
        command.env("STEAD_KEEPER_BIN", beside("STEAD_KEEPER_BIN", "stead-keeper"));
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Keeps the example up, answering, back after a kill, and ends it with nothing left.
    fn live(&self, answers: &Answers) {
        let (done, text) = self.stead(&["up", self.file.to_str().unwrap(), "--detach"]);
        assert!(done, "{text}");
        for (instance, port, question, answer) in answers {
            eventually(instance, || ask(*port, question).filter(|text| text.contains(answer)));
            let process = self.process(instance).expect("it is up");
            process.signal(Signal::Kill).unwrap();
            let back = || self.process(instance).filter(|next| next.pid() != process.pid());
            eventually("back after a kill", back);
            eventually(instance, || ask(*port, question).filter(|text| text.contains(answer)));
        }
        let processes: Vec<_> = answers.iter().filter_map(|row| self.process(row.0)).collect();
        self.stop_all();
        let (done, text) = self.stead(&["down"]);
        assert!(done, "{text}");
        for process in processes {
            let alive = Process::open(process.pid(), process.start_ticks()).unwrap();
            assert!(alive.is_none(), "nothing is left");
        }
        assert_eq!(self.left(), [""; 0], "nor any of their children");
    }

    /// Asks everything to end, and sees that nothing had to be killed for that.
    fn stop_all(&self) {
        let all: Vec<String> =
            self.instances().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect();
        let names = all.iter().map(String::as_str);
        let (done, text) = self.stead(&["stop"].into_iter().chain(names).collect::<Vec<_>>());
        assert!(done, "{text}");
        for instance in self.instances() {
            assert_eq!(instance["phase"], "down", "{instance}");
            assert_ne!(instance["last_exit"]["signal"], "KILL", "{instance}");
        }
    }

    fn instances(&self) -> Vec<serde_json::Value> {
        let (_, text) = self.stead(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&text).unwrap();
        status["instances"].as_array().unwrap().clone()
    }

    /// Processes that have this root in their environment.
    fn left(&self) -> Vec<String> {
        let root = self.root.to_string_lossy().into_owned();
        let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let is_ours = |process: &PathBuf| {
            let environ = fs::read(process.join("environ")).unwrap_or_default();
            environ.windows(root.len()).any(|part| part == root.as_bytes())
        };
        let name = |process: PathBuf| fs::read_to_string(process.join("cmdline"));
        all.filter(is_ours).filter_map(|process| name(process).ok()).collect()
    }

    fn process(&self, instance: &str) -> Option<Process> {
        let (_, text) = self.stead(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&text).ok()?;
        let all = status["instances"].as_array()?;
        let found = all.iter().find(|i| i["name"] == instance && i["phase"] == "up")?;
        Process::open_any(u32::try_from(found["pid"].as_u64()?).ok()?).unwrap()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.stead(&["why", "--help"]).1);
            eprintln!("{}", self.stead(&["status"]).1);
        }
        self.stead(&["down"]);
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not seen in time: {what}");
        thread::sleep(Duration::from_millis(20)); // bounded poll
    }
}

fn ask(port: u16, question: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let question = if question.starts_with('/') { http(question) } else { question.to_owned() };
    stream.write_all(question.as_bytes()).ok()?;
    let mut answer = [0; 4096];
    let len = stream.read(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..len]).into_owned())
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdin(Stdio::null()).output().is_ok();
    if !found {
        let line = format!("SKIPPED: {program} is not installed\n");
        eprint!("{line}");
        if let Ok(path) = std::env::var("STEAD_SKIPS") {
            let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
            file.write_all(line.as_bytes()).unwrap();
        }
    }
    found
}

#[test]
fn programs_that_know_nothing_of_stead_are_kept_as_they_come() {
    if has("redis-server") && has("nginx") {
        let answers =
            [("redis.0", 6380, "PING\r\n", "+PONG"), ("nginx.0", 8085, "/healthz", "HTTP/1.1 200")];
        Example::new("foreign").live(&answers);
    }
}

#[test]
fn nine_real_servers_are_kept_from_one_file() {
    let programs = ["redis-server", "nginx", "pg_ctlcluster", "prometheus", "javac", "gunicorn"];
    if programs.iter().chain(&["node", "go"]).all(|program| has(program)) {
        let by_nginx = ("nginx.0", 8302);
        let answers = [
            ("redis.0", 8301, "PING\r\n", "+PONG"),
            ("postgresql.0", 8303, "\0\0\0\x17\0\x03\0\0user\0postgres\0\0", "R"),
            ("rabbitmq.0", 8304, "AMQP\0\0\x09\x01", "RabbitMQ"),
            ("prometheus.0", 8305, "/-/healthy", "Healthy"),
            ("java.0", 8306, "/", "served by Java"),
            ("gunicorn.0", 8307, "/", "served by Python"),
            ("node.0", 8308, "/", "served by Node"),
            ("go.0", 8309, "/debug/vars", "memstats"),
            (by_nginx.0, by_nginx.1, "/", "served by nginx"),
            (by_nginx.0, by_nginx.1, "/java/", "served by Java"),
        ];
        Example::new("nine").live(&answers);
    }
}

#[test]
fn a_service_in_go_is_kept() {
    if has("go") {
        let answers = [("clock.0", 8070, "/debug/vars", "memstats")];
        Example::new("go-clock").live(&answers);
    }
}

#[test]
fn the_shop_is_built_and_kept_by_the_readmes_first_command() {
    let answers = [
        ("orders.0", 8100, "/healthz", "HTTP/1.1 200"),
        ("orders.2", 8102, "/healthz", "HTTP/1.1 200"),
        ("risk.0", 8090, "/healthz", "HTTP/1.1 200"),
        ("gateway.0", 8080, "/healthz", "HTTP/1.1 200"),
    ];
    Example::new("shop").live(&answers);
}
