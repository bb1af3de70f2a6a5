//! A real agent in a root of its own, and someone who asks it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stead_core::plan::{Plan, Spec, Stop};
use stead_core::template::Template;
use stead_wire::api::{InstanceStatus, Status};

/// What the system may take for anything, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Tells the test program to be an agent: its options as JSON.
const BE_AGENT: &str = "STEAD_TEST_AGENT";

/// Who an agent is that is not root.
const NOBODY: u32 = 65534;

/// An agent's root, which several agents may have one after another.
pub(crate) struct Root {
    folder: tempfile::TempDir,
    keeper: PathBuf,
    keeper_args: Vec<String>,
    agent: Option<Child>,
}

/// What comes back: the HTTP status and the body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    /// Newline-delimited values.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Root {
    /// A root whose agents start no keepers: plans for it must hold no instances.
    pub(crate) fn without_keepers() -> Self {
        Self::new("/bin/true".into())
    }

    /// A root with real keepers.
    pub(crate) fn with_keepers() -> Self {
        let told = std::env::var_os("STEAD_KEEPER_BIN").map(PathBuf::from);
        let own = std::env::current_exe().unwrap();
        let keeper = told.unwrap_or_else(|| own.ancestors().nth(2).unwrap().join("stead-keeper"));
        assert!(
            keeper.is_file(),
            "there is no keeper at `{}`: `cargo build -p stead-keeper` makes one, and \
             `cargo xtask test` does that and runs the tests",
            keeper.display()
        );
        Self::new(keeper)
    }

    fn new(keeper: PathBuf) -> Self {
        let folder = tempfile::Builder::new().prefix("stead-agent-").tempdir().unwrap();
        Self { folder, keeper, keeper_args: Vec::new(), agent: None }
    }

    /// Gives the keepers of the agents to come these options.
    pub(crate) fn keeper_args(&mut self, args: &[&str]) {
        self.keeper_args = args.iter().map(|arg| (*arg).to_owned()).collect();
    }

    /// Gives the agents to come a keeper that is another file and does the same.
    pub(crate) fn renew_keeper(&mut self) {
        let newer = self.path().join("newer-keeper");
        let mut bytes = std::fs::read(&self.keeper).unwrap();
        // What follows a program in its file is not looked at.
        bytes.extend_from_slice(b"newer");
        std::fs::write(&newer, bytes).unwrap();
        self.keeper = newer;
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The command of an agent for this root.
    pub(crate) fn agent_command(&self, until_down: bool, crash_at: Option<u32>) -> Command {
        let options = json!({
            "root": self.path(),
            "keeper": self.keeper,
            "keeper_args": self.keeper_args,
            "until_down": until_down,
            "crash_at": crash_at,
        });
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "be_an_agent", "--nocapture"]);
        command.env(BE_AGENT, options.to_string()).stdout(Stdio::null());
        command
    }

    /// Starts an agent and waits until it answers.
    pub(crate) fn start(&mut self) {
        self.spawn(false, None);
        until("the agent answers", || self.try_ask("GET", "/v1/status", "").is_ok().then_some(()));
    }

    /// Starts an agent that is not root, whoever runs the tests.
    pub(crate) fn start_without_root(&mut self) {
        if !stead_proc::is_root() {
            return self.start();
        }
        std::os::unix::fs::chown(self.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        let mut command = self.agent_command(false, None);
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
        self.spawn_as(command);
        until("the agent answers", || self.try_ask("GET", "/v1/status", "").is_ok().then_some(()));
    }

    pub(crate) fn spawn(&mut self, until_down: bool, crash_at: Option<u32>) {
        self.spawn_as(self.agent_command(until_down, crash_at));
    }

    /// Starts an agent by a command that was changed.
    pub(crate) fn spawn_as(&mut self, mut command: Command) {
        self.agent = Some(command.spawn().unwrap());
    }

    /// Lets services of other users pass through the root.
    pub(crate) fn open_to_others(&self) {
        stead_proc::set_mode(self.path(), 0o711).unwrap();
    }

    /// Kills the agent as a crash would.
    pub(crate) fn kill(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// Waits for the agent to end by itself.
    pub(crate) fn wait_ended(&mut self) -> std::process::ExitStatus {
        let mut agent = self.agent.take().unwrap();
        until("the agent ends", || agent.try_wait().unwrap())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.agent.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    pub(crate) fn agent_pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        self.try_ask(method, path, body).unwrap()
    }

    pub(crate) fn try_ask(&self, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
        ask(&self.path().join("agent.sock"), method, path, body)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    pub(crate) fn status(&self) -> Status {
        let answer = self.get("/v1/status");
        assert_eq!(answer.status, 200, "{}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    pub(crate) fn instance(&self, name: &str) -> Option<InstanceStatus> {
        self.status().instances.into_iter().find(|instance| instance.name == name)
    }

    /// Replaces the plan that is there.
    pub(crate) fn put(&self, plan: &Plan) -> Answer {
        let generation = self.get("/v1/plan").json()["generation"].clone();
        let put = json!({ "replaces": generation, "plan": plan });
        self.ask("PUT", "/v1/plan", &put.to_string())
    }

    /// Waits until an instance is up, and says how it is then.
    pub(crate) fn until_up(&self, name: &str) -> InstanceStatus {
        until(&format!("{name} is up"), || {
            self.instance(name).filter(|it| it.phase == "up" && it.pid.is_some())
        })
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.agent.is_none() {
            self.start();
        }
        // Ends what runs; whatever the test has done before, nothing is left behind.
        let _ = self.try_ask("POST", "/v1/down", "");
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }
}

/// Sends one request over a connection of its own.
pub(crate) fn ask(socket: &Path, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the answer comes as it is and ends with the connection.
    let head = format!("{method} {path} HTTP/1.0\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    // An answer may come before the whole body was taken.
    let _ = stream.write_all(body.as_bytes());
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        read?;
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    Ok(Answer { status, body: body.to_owned() })
}

/// Asks again and again until there is an answer.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(10)); // bounded poll
    }
}

/// Is an agent when this process was started to be one.
pub(crate) fn be_an_agent_if_told() {
    let Ok(options) = std::env::var(BE_AGENT) else { return };
    let options: Value = serde_json::from_str(&options).unwrap();
    let path = |name: &str| PathBuf::from(options[name].as_str().unwrap());
    let ended = stead_agent::run(stead_agent::Options {
        root: path("root"),
        host: Some("test".into()),
        keeper_program: path("keeper"),
        until_down: options["until_down"].as_bool().unwrap(),
        keeper_args: serde_json::from_value(options["keeper_args"].clone()).unwrap(),
        crash_at: options["crash_at"].as_u64().map(|at| u32::try_from(at).unwrap()),
    });
    if let Err(error) = ended {
        eprintln!("{error}");
        std::process::exit(6);
    }
}

/// A spec of a shell script, with everything else as by default but a short time to stop.
pub(crate) fn shell(script: &str) -> Spec {
    let stop = Stop { timeout: Duration::from_secs(2), ..Stop::default() };
    Spec { stop, ..Spec::of(["/bin/sh", "-c", script].map(Template::literal).into()) }
}

/// The program that plays a service which answers, or does not.
pub(crate) fn probe_program() -> String {
    if let Ok(path) = std::env::var("STEAD_PROBE_BIN") {
        return path;
    }
    let own = std::env::current_exe().unwrap();
    let beside = own.ancestors().nth(2).unwrap().join("stead-probe");
    assert!(beside.is_file(), "`{}` is missing: `cargo build -p stead-probe`", beside.display());
    beside.to_str().unwrap().to_owned()
}

/// One that only lives.
pub(crate) fn sleeper() -> Spec {
    shell("exec sleep 1000")
}

pub(crate) fn plan<const N: usize>(instances: [(&str, Spec); N]) -> Plan {
    Plan {
        fleet: "shop".parse().unwrap(),
        host: "test".parse().unwrap(),
        instances: instances.map(|(name, spec)| (name.parse().unwrap(), spec)).into(),
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}
