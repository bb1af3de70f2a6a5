//! A fleet of one service in a folder of its own, with the agent that keeps it.

use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use stead_core::signal::Signal;
use stead_proc::Process;

/// How long anything may take before a test gives up waiting for it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Place {
    folder: PathBuf,
    /// An agent of the test's own.
    agent: Option<Child>,
    /// Commands are run where this is an account of the machine.
    account: Option<&'static str>,
}

/// The name of an account, and the number that it has on Linux.
pub(crate) const ACCOUNT: (&str, u32) = ("张三", 61_234);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("stead-same-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self { folder, agent: None, account: None }
    }

    /// The same, where there is an account with such a name.
    #[cfg(target_os = "linux")]
    pub(crate) fn with_account(name: &str) -> Self {
        let mut place = Self::new(name);
        place.account = Some(ACCOUNT.0);
        let (name, uid) = ACCOUNT;
        let known = fs::read_to_string("/etc/passwd").unwrap();
        fs::write(place.accounts(), format!("{known}{name}:x:{uid}:{uid}::/:/bin/sh\n")).unwrap();
        place
    }

    /// Whoever runs the tests has seen to it that they are run by such an account.
    #[cfg(windows)]
    pub(crate) fn with_account(name: &str) -> Self {
        let mut place = Self::new(name);
        place.account = Some(ACCOUNT.0);
        place
    }

    fn accounts(&self) -> PathBuf {
        self.folder.join("passwd")
    }

    /// A command that finds this fleet.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = match self.account {
            Some(_) if cfg!(target_os = "linux") => {
                let mut command = Command::new("unshare");
                let run = "mount --bind \"$0\" /etc/passwd && exec \"$@\"";
                command.args(["--mount", "sh", "-c", run]).arg(self.accounts()).arg(stead());
                command
            }
            _ => Command::new(stead()),
        };
        self.surround(command.args(args));
        command
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    pub(crate) fn fleet_file(&self) -> PathBuf {
        self.folder.join("stead.toml")
    }

    /// Writes a fleet of the probe with these arguments.
    pub(crate) fn write(&self, args: &[&str]) {
        let args: Vec<String> = args.iter().map(|arg| format!(", '{arg}'")).collect();
        let text = format!(
            "name = \"shop\"\n[service.web]\nrun = ['{}'{}]\nstop = {{ timeout = \"1s\" }}\n",
            probe(),
            args.concat()
        );
        fs::write(self.fleet_file(), text).unwrap();
    }

    /// Has a command find this fleet.
    fn surround<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.current_dir(&self.folder).env("STEAD_ROOT", self.root());
        command.env("STEAD_KEEPER_BIN", beside("STEAD_KEEPER_BIN", "stead-keeper"));
        command.stdin(Stdio::null())
    }

    pub(crate) fn stead(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    pub(crate) fn done(&self, args: &[&str]) -> String {
        let output = self.stead(args);
        let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        assert!(output.status.success(), "stead {args:?}: {out}{err}{}", self.agent_log());
        out.into_owned()
    }

    fn agent_log(&self) -> String {
        fs::read_to_string(self.root().join("agent.log")).unwrap_or_default()
    }

    /// An agent in the foreground, as a service manager starts it.
    pub(crate) fn start_agent(&mut self) {
        let mut command = self.command(&["agent", "run"]);
        let agent = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        self.agent = Some(agent);
        eventually("the agent answers", || self.stead(&["status"]).status.success().then_some(()));
    }

    fn status(&self) -> Option<Value> {
        let output = self.stead(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).ok()
    }

    pub(crate) fn instances(&self) -> Vec<Value> {
        let status = self.status();
        status.and_then(|it| it["instances"].as_array().cloned()).unwrap_or_default()
    }

    pub(crate) fn instance(&self) -> Value {
        self.instances().pop().expect("there is one instance")
    }

    /// The pid of the agent.
    pub(crate) fn agent(&self) -> u32 {
        pid(&self.status().unwrap()["agent"]["pid"])
    }

    /// Pids of keepers, as the locks of their folders tell.
    pub(crate) fn keepers(&self) -> Vec<u32> {
        let folder = self.root().join("instances/web.0");
        let held = stead_proc::FolderLock::acquire(&folder).ok().and_then(Result::err);
        held.flatten().into_iter().collect()
    }

    pub(crate) fn keeper(&self) -> u32 {
        eventually("there is a keeper", || self.keepers().pop())
    }

    /// What the instance has said.
    pub(crate) fn output(&self) -> String {
        self.done(&["logs", "web", "-n", "100000"])
    }

    /// Kills a process of ours and sees it dead.
    pub(crate) fn kill(&self, pid: u32) {
        let process = Process::open_any(pid).unwrap().expect("it is there");
        process.signal(Signal::Kill).unwrap();
        eventually("it is dead", || process.ended_or_gone().then_some(()));
    }

    /// Kills a run, if it is still there.
    pub(crate) fn end(&self, run: &Value) {
        if is_alive(run) {
            self.kill(pid(run));
        }
    }
}

/// Whether a process has ended, whoever has taken note of that.
trait Gone {
    fn ended_or_gone(&self) -> bool;
}

impl Gone for Process {
    fn ended_or_gone(&self) -> bool {
        use stead_proc::AsHandle as _;
        stead_proc::wait(&[self.as_handle()], Some(Duration::ZERO)).is_ok_and(|ended| ended[0])
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.stead(&["down"]);
        if let Some(agent) = &mut self.agent {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        if thread::panicking() {
            eprintln!("kept for a look: {}", self.folder.display());
            return;
        }
        // What has ended may hold its files for a moment.
        eventually("its folder is removed", || fs::remove_dir_all(&self.folder).ok());
    }
}

fn pid(value: &Value) -> u32 {
    value.as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("it has a pid")
}

pub(crate) fn is_alive(run: &Value) -> bool {
    Process::open_any(pid(run)).unwrap().is_some_and(|process| !process.ended_or_gone())
}

/// The command, by a path that holds wherever it is run.
pub(crate) fn stead() -> PathBuf {
    std::path::absolute(env!("CARGO_BIN_EXE_stead")).unwrap()
}

pub(crate) fn probe() -> String {
    beside("STEAD_PROBE_BIN", "stead-probe").to_str().unwrap().to_owned()
}

/// A program of ours: as it ships if whoever runs the tests has built it, else as it is debugged.
fn beside(variable: &str, name: &str) -> PathBuf {
    let own = stead().with_file_name(format!("{name}{EXE_SUFFIX}"));
    std::env::var_os(variable).map_or(own, |told| Path::new(&told).to_owned())
}

pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(20)); // bounded poll
    }
}
