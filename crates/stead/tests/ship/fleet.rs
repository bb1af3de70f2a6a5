//! A fleet of one service on hosts that are network namespaces, each with an `sshd`.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use stead_lab::{Hosts, skipped};

/// How long anything may take before a test gives up waiting for it.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where the service of every host listens.
pub(crate) const PORT: u16 = 8100;

/// What a good release needs to say of itself.
pub(crate) const GOOD: &str = "";

/// Deploys that do not bake: what is wrong here is wrong at once.
pub(crate) const QUICK: [&str; 4] = ["--bake", "0s", "--wave", "100%"];

/// One fleet at a time: together they would be more than the machine can carry.
static ALONE: Mutex<()> = Mutex::new(());

/// A fleet of one service on some hosts.
pub(crate) struct Fleet {
    _alone: MutexGuard<'static, ()>,
    pub(crate) folder: PathBuf,
    pub(crate) hosts: Hosts,
    pub(crate) hosts_n: usize,
}

impl Fleet {
    pub(crate) fn get(test: &str, hosts_n: usize) -> Option<Self> {
        if let Some(why) = Hosts::missing() {
            skipped(test, &why);
            return None;
        }
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = std::env::temp_dir().join(format!("stead-ship-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let hosts = Hosts::make(&folder.join("lab"), hosts_n).unwrap();
        fs::copy(program("STEAD_PROBE_BIN", "stead-probe"), folder.join("server")).unwrap();
        Some(Self { _alone, folder, hosts, hosts_n })
    }

    /// The fleet file for a release that answers with this version, and these further options.
    pub(crate) fn release(&self, version: &str, options: &str) {
        let arguments = format!("\"public\", \"port={{port.http}}\"{options}");
        self.write(version, &arguments, "restart = { backoff = \"100ms..1s\" }");
    }

    /// The same, with these arguments and fields.
    pub(crate) fn write(&self, version: &str, arguments: &str, fields: &str) {
        let mut text = String::from("name = \"shop\"\n");
        for n in 0..self.hosts_n {
            let (address, root) = (self.hosts.address(n), self.root(n));
            writeln!(text, "[host.h{n}]\naddress = \"{address}\"\nroot = {root:?}").unwrap();
        }
        let on: Vec<String> = (0..self.hosts_n).map(|n| format!("h{n}")).collect();
        write!(
            text,
            "[service.web]\nfiles = [\"server\", \"version\"]\n\
             run = [\"./server\", \"serve\", {arguments}, \"say={version}\"]\n\
             on = {on:?}\nuser = \"root\"\nport.http = {PORT}\n\
             ready = {{ http = \"/healthz\", every = \"100ms\" }}\n{fields}\n"
        )
        .unwrap();
        fs::write(self.folder.join("stead.toml"), text).unwrap();
        fs::write(self.folder.join("version"), version).unwrap();
    }

    pub(crate) fn root(&self, n: usize) -> PathBuf {
        self.folder.join(format!("root-{n}"))
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(stead());
        let ssh = format!("ssh -F {}", self.hosts.ssh_config().display());
        command.current_dir(&self.folder).env("STEAD_SSH", ssh).env("USER", "tester");
        command.args(args).stdin(Stdio::null());
        command
    }

    pub(crate) fn stead(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs it and expects this exit code; says what it wrote.
    #[track_caller]
    pub(crate) fn ends(&self, code: i32, args: &[&str]) -> String {
        let output = self.stead(args);
        let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        assert_eq!(output.status.code(), Some(code), "stead {args:?}: {out}{err}");
        format!("{out}{err}")
    }

    #[track_caller]
    pub(crate) fn deploy(&self, code: i32, more: &[&str]) -> String {
        self.ends(code, &[&["deploy"], &QUICK[..], more].concat())
    }

    /// The version that a host answers with, if it answers.
    pub(crate) fn serves(&self, n: usize) -> Option<String> {
        let mut stream = TcpStream::connect((self.hosts.address(n), PORT)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text.trim_end().rsplit(' ').next()?.to_owned())
    }

    pub(crate) fn served(&self) -> Vec<Option<String>> {
        (0..self.hosts_n).map(|n| self.serves(n)).collect()
    }

    #[track_caller]
    pub(crate) fn all_serve(&self, version: &str) {
        until(&format!("all serve {version}"), || {
            let served = self.served();
            served.iter().all(|it| it.as_deref() == Some(version)).then_some(())
        });
    }

    /// What a command answers on a host.
    pub(crate) fn on(&self, n: usize, args: &[&str]) -> Output {
        let mut command = self.hosts.command(n, &self.kit(n));
        command.arg("--root").arg(self.root(n)).args(args).output().unwrap()
    }

    /// The program that was brought to a host.
    pub(crate) fn kit(&self, n: usize) -> String {
        let current = self.root(n).join("programs/current/stead");
        current.display().to_string()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("kept for a look: {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

pub(crate) fn stead() -> String {
    program("STEAD_BIN", "stead")
}

/// A program of ours: as it ships if whoever runs the tests has built it, else as it is debugged.
pub(crate) fn program(variable: &str, name: &str) -> String {
    let beside = Path::new(env!("CARGO_BIN_EXE_stead")).with_file_name(name);
    std::env::var(variable).unwrap_or_else(|_| beside.to_str().unwrap().to_owned())
}

#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(50)); // bounded poll
    }
}

/// Ends a child by a signal and says how it ended.
pub(crate) fn end(child: Child, signal: &str) -> Output {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    child.wait_with_output().unwrap()
}
