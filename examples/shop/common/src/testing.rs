//! What the tests of the shop need: a service as a real process, and a folder that goes away.

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;

/// After this a test gives up. Far longer than anything takes, so that a busy machine fails none.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A client that waits as long as a test does.
pub fn client() -> Client {
    Client::waiting(PATIENCE)
}

/// A running service; killed when dropped.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    seen: RefCell<Vec<String>>,
    pub address: SocketAddr,
}

impl Process {
    /// Starts `program` on a free port of loopback and returns once it listens.
    pub fn start(program: &str, args: &[&dyn fmt::Display]) -> Process {
        let mut child = Command::new(program)
            .args(["--listen", "127.0.0.1:0"])
            .args(args.iter().map(ToString::to_string))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test's own program starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (tx, lines) = channel();
        // Ends with the pipe, which ends with the process.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = tx.send(line);
            }
        });
        let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut process = Process { child, lines, seen: RefCell::default(), address: unknown };
        let line = process.line_with(" listening on ");
        let (_, address) = line.rsplit_once(' ').expect("the line was found by a text with spaces");
        process.address = address.parse().expect("a service logs the address it listens on");
        process
    }

    /// The first line of the log, from its beginning, that holds `text`.
    pub fn line_with(&self, text: &str) -> String {
        let mut seen = self.seen.borrow_mut();
        if let Some(line) = seen.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => panic!("ended without logging {text:?}"),
                Err(RecvTimeoutError::Timeout) => panic!("{text:?} was not logged"),
            }
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks for an orderly end.
    #[cfg(unix)]
    pub fn term(&self) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status();
        assert!(sent.expect("every Unix has `kill`").success());
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("a child that was not waited for can be killed");
    }

    /// Waits for the end.
    pub fn ended(&mut self) -> ExitStatus {
        within_patience("the process has not ended", || {
            self.child.try_wait().expect("a child can be waited for")
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks again and again until there is something to see.
pub fn within_patience<T>(complaint: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < until, "{complaint}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// An empty folder of the test's own; removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let path = std::env::temp_dir().join(format!("shop-{}", crate::unique_text()));
        fs::create_dir(&path).expect("the folder for temporary files can be written");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Default for Folder {
    fn default() -> Self {
        Folder::new()
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
