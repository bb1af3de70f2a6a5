//! A Windows that runs under Wine, as a host of a fleet: what stands for `ssh` and its server only
//! joins streams.

use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up waiting for it.
const PATIENCE: Duration = Duration::from_secs(90);

/// What whoever runs these tests says: where programs for Windows are, and Wine's loader. Where its
/// prefix is, Wine itself is told.
const PROGRAMS: &str = "STEAD_WINDOWS_PROGRAMS";
const WINE: &str = "STEAD_WINE";

/// So many blocks of 512 bytes are let through of a file that is cut.
const CUT_BLOCKS: u32 = 4096;

/// The root by default, in the prefix.
const ROOT: &str = "drive_c/ProgramData/stead";

/// There is one host, with one agent at its root by default.
static ALONE: Mutex<()> = Mutex::new(());

pub(crate) struct WindowsHost {
    _alone: MutexGuard<'static, ()>,
    pub(crate) folder: PathBuf,
    pub(crate) programs: PathBuf,
    prefix: PathBuf,
}

fn told(name: &str) -> PathBuf {
    let value =
        std::env::var_os(name).unwrap_or_else(|| panic!("{name}: `cargo xtask windows test`"));
    PathBuf::from(value)
}

impl WindowsHost {
    /// The host with nothing of ours, and a folder with kits to bring there.
    pub(crate) fn new(test: &str) -> Self {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = std::env::temp_dir().join(format!("stead-onto-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let (programs, prefix) = (told(PROGRAMS), told("WINEPREFIX"));
        let host = Self { _alone, folder, programs, prefix };
        let kit = host.folder.join("kits/windows-x86_64");
        fs::create_dir_all(&kit).unwrap();
        for name in ["stead.exe", "stead-keeper.exe"] {
            symlink(host.programs.join(name), kit.join(name)).unwrap();
        }
        fs::write(host.ssh(), host.ssh_text()).unwrap();
        fs::set_permissions(host.ssh(), Permissions::from_mode(0o755)).unwrap();
        // As a run has left it that was cut.
        host.on(Path::new("sc"), &["stop", "stead-agent"]);
        host.on(Path::new("sc"), &["delete", "stead-agent"]);
        let _ = fs::remove_dir_all(host.root());
        host
    }

    /// While this file is there, files that are brought by SFTP are cut.
    pub(crate) fn cut(&self) -> PathBuf {
        self.folder.join("cut")
    }

    fn ssh(&self) -> PathBuf {
        self.folder.join("ssh")
    }

    /// Takes the arguments that `ssh` takes from stead. A server of SSH on Windows hands a line to
    /// cmd and begins in the home of whoever logs in, as does its SFTP.
    fn ssh_text(&self) -> String {
        let (wine, probe) = (told(WINE), self.programs.join("stead-probe.exe"));
        format!(
            "#!/bin/sh\n\
             while :; do case $1 in\n\
             -o) shift 2 ;; -T) shift ;; -s) subsystem=1; shift ;;\n\
             --) shift; break ;; *) exit 255 ;;\n\
             esac; done\n\
             cd {home:?} || exit 255\n\
             [ ! -e {cut:?} ] || ulimit -f {CUT_BLOCKS}\n\
             [ -z \"$subsystem\" ] || exec /usr/lib/openssh/sftp-server -d {home:?}\n\
             exec {wine:?} {probe:?} shell \"$2\"\n",
            home = self.home(),
            cut = self.cut()
        )
    }

    /// The home of whoever logs in, as this machine sees it.
    pub(crate) fn home(&self) -> PathBuf {
        let users = fs::read_dir(self.prefix.join("drive_c/users")).unwrap().flatten();
        let mut homes = users.map(|user| user.path()).filter(|path| !path.ends_with("Public"));
        homes.next().expect("the prefix has a user")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.prefix.join(ROOT)
    }

    pub(crate) fn write(&self, text: &str) {
        fs::write(self.folder.join("stead.toml"), text).unwrap();
    }

    /// A command of the operator, on this machine.
    pub(crate) fn stead(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stead"));
        command.current_dir(&self.folder).args(args).stdin(Stdio::null());
        command.env("STEAD_SSH", self.ssh()).env("STEAD_KITS", self.folder.join("kits"));
        command.env("USER", "tester").output().unwrap()
    }

    #[track_caller]
    pub(crate) fn ends(&self, code: i32, args: &[&str]) -> String {
        let output = self.stead(args);
        let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        assert_eq!(output.status.code(), Some(code), "stead {args:?}: {out}{err}");
        format!("{out}{err}")
    }

    /// A Windows program on the host. It writes to a file: what it leaves behind could hold a pipe
    /// open.
    pub(crate) fn on(&self, program: &Path, args: &[&str]) -> (bool, String) {
        let path = self.folder.join("said");
        let said = File::create(&path).unwrap();
        let mut command = Command::new(told(WINE));
        command.arg(program).args(args).current_dir(self.home()).stdin(Stdio::null());
        let status = command.stdout(said.try_clone().unwrap()).stderr(said).status().unwrap();
        (status.success(), String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned())
    }

    /// A command on the host, by the programs that were brought there.
    pub(crate) fn stead_there(&self, args: &[&str]) -> (bool, String) {
        let kit = fs::read_to_string(self.root().join("programs/current")).unwrap_or_default();
        self.on(&self.root().join("programs").join(kit).join("stead.exe"), args)
    }

    #[track_caller]
    pub(crate) fn done_there(&self, args: &[&str]) -> String {
        let (done, said) = self.stead_there(args);
        assert!(done, "stead {args:?} on the host: {said}");
        said
    }

    /// The instance of this name as the agent tells of it.
    pub(crate) fn instance(&self, name: &str) -> Option<Value> {
        let status: Value =
            serde_json::from_str(&self.stead_there(&["status", "--json"]).1).ok()?;
        let found = status["instances"].as_array()?.iter().find(|it| it["name"] == name)?;
        Some(found.clone())
    }
}

impl Drop for WindowsHost {
    fn drop(&mut self) {
        if self.root().exists() {
            if thread::panicking() {
                eprintln!("{}", self.stead_there(&["status"]).1);
                eprintln!(
                    "{}",
                    fs::read_to_string(self.root().join("agent.log")).unwrap_or_default()
                );
            }
            self.stead_there(&["down"]);
            self.stead_there(&["agent", "uninstall"]);
        }
        if !thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// What a server on this machine answers, if it does.
pub(crate) fn ask(port: u16, method: &str, path: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let len = body.len();
    let head = "Host: win1\r\nConnection: close\r\nContent-Type: application/json";
    write!(stream, "{method} {path} HTTP/1.1\r\n{head}\r\nContent-Length: {len}\r\n\r\n{body}")
        .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
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
