//! The way to a host: the system's `ssh`, one connection, with everything that its configuration
//! says about hosts, keys, agents and jumps. At its far end is `stead relay`; on first contact the
//! programs are brought along.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stead_fleet::Address;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use crate::client::Client;
use crate::kit::Kit;

/// What a host's shell is told to run.
const SCRIPT: &str = include_str!("reach.sh");

/// How long a host may take until it answers the first time; `ssh` itself gives up before.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);

/// How long the programs may take to get there.
const KIT_WITHIN: Duration = Duration::from_secs(300);

/// What a host's shell may say before it comes to the point, in bytes: a greeting.
const GREETING_LEN_MAX: usize = 64 << 10;

/// What a script may say in all, in bytes.
const SAID_LEN_MAX: usize = 256 << 10;

/// The end of what `ssh` complains about that is told on.
const COMPLAINT_LEN_MAX: usize = 2 << 10;

/// How a host is reached.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) address: Address,
    /// Its root; as by default there, if none.
    pub(crate) root: Option<PathBuf>,
    /// Whoever logs in becomes root by `sudo`.
    pub(crate) sudo: bool,
}

impl Way {
    /// Its root as scripts are told it: nothing, if it is as by default there.
    pub(crate) fn root_text(&self) -> String {
        self.root.as_deref().map_or(String::new(), |root| root.display().to_string())
    }
}

/// What a host is reached for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// Programs that are not there are brought along.
    Change,
    Look,
}

/// A host that answers.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) client: Client,
    /// The programs were brought along.
    pub(crate) were_put: bool,
    /// It ends with this value.
    _child: Child,
}

/// Why a host is not reached.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ReachError {
    #[error("no stead is there yet")]
    Bare,
    #[error("{0}")]
    NoKit(String),
    #[error("the programs of stead could not be put there: {0}")]
    Put(String),
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
}

/// Connects to a host.
pub(crate) async fn reach(way: &Way, purpose: Purpose, kit: &Kit) -> Result<Reached, ReachError> {
    let unreachable = |error: io::Error| ReachError::Unreachable(error.to_string());
    let mut child = command(way, purpose, kit).spawn().map_err(unreachable)?;
    let complaints = Complaints::of(child.stderr.take().expect("it was asked for"));
    let mut to = child.stdin.take().expect("it was asked for");
    let mut from = BufReader::new(child.stdout.take().expect("it was asked for"));
    let mut were_put = false;
    let mut within = ANSWERS_WITHIN;
    let root = loop {
        let line = match timeout(within, marked_line(&mut from)).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None) | Err(_)) => {
                let why = complaints.wait(&mut child).await;
                return Err(match were_put {
                    true => ReachError::Put(why),
                    false => ReachError::Unreachable(why),
                });
            }
            Err(_) => {
                let why = format!("it does not answer within {} s", within.as_secs());
                return Err(ReachError::Unreachable(why));
            }
        };
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["stead-none"] => return Err(ReachError::Bare),
            ["stead-ready", ..] => break PathBuf::from(line.trim_start_matches("stead-ready ")),
            ["stead-wants", system, machine] => {
                fits(system, machine)?;
                let lens = kit.programs().iter().map(|program| format!(" {}", program.len()));
                let line = format!("{}{}\n", kit.digest(), lens.collect::<String>());
                let _ = to.write_all(line.as_bytes()).await;
            }
            ["stead-send"] => {
                were_put = true;
                within = KIT_WITHIN;
                // Where this fails, the other end says why.
                for program in kit.programs() {
                    let _ = to.write_all(program).await;
                }
                let _ = to.flush().await;
            }
            _ => (),
        }
    };
    let client = Client::over(tokio::io::join(from, to), &root).await;
    let client = client.map_err(|error| ReachError::Unreachable(error.because().join(": ")))?;
    Ok(Reached { client, were_put, _child: child })
}

fn command(way: &Way, purpose: Purpose, kit: &Kit) -> Command {
    let root = way.root_text();
    let purpose = match purpose {
        Purpose::Change => "change",
        Purpose::Look => "look",
    };
    script(way, SCRIPT, &[&root, kit.digest(), purpose])
}

/// The shell of a host with a script and words for it; all its streams are ours.
fn script(way: &Way, text: &str, words: &[&str]) -> Command {
    let shell = [&["sh", "-c", text, "stead"], words].concat();
    let mut command = match &way.address {
        Address::Local => {
            let mut command = Command::new(shell[0]);
            command.args(&shell[1..]);
            command
        }
        Address::Ssh(address) => {
            let sudo = if way.sudo { "sudo -n " } else { "" };
            let quoted: Vec<String> = shell.iter().map(|word| quote(word)).collect();
            let mut command = ssh();
            command.args(["--", address, &format!("{sudo}{}", quoted.join(" "))]);
            command
        }
    };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true);
    command
}

/// What a script on a host has said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) text: Vec<u8>,
    /// What was complained about meanwhile.
    pub(crate) complaints: String,
}

/// Runs a script on a host to its end, and gives each of its lines an answer at once, if it gets
/// one.
pub(crate) async fn run_script(
    way: &Way,
    (text, words): (&str, &[&str]),
    within: Duration,
    mut answer: impl FnMut(&str) -> Option<&'static str>,
) -> Result<Said, ReachError> {
    let unreachable = |error: io::Error| ReachError::Unreachable(error.to_string());
    let mut child = script(way, text, words).spawn().map_err(unreachable)?;
    let complaints = Complaints::of(child.stderr.take().expect("it was asked for"));
    let mut to = child.stdin.take().expect("it was asked for");
    let mut from = BufReader::new(child.stdout.take().expect("it was asked for"));
    let mut said = Vec::new();
    let listen = async {
        while said.len() < SAID_LEN_MAX {
            let (begun, left) = (said.len(), SAID_LEN_MAX - said.len());
            if (&mut from).take(left as u64).read_until(b'\n', &mut said).await? == 0 {
                break;
            }
            if let Some(words) = answer(String::from_utf8_lossy(&said[begun..]).trim_end()) {
                to.write_all(words.as_bytes()).await?;
            }
        }
        Ok::<(), io::Error>(())
    };
    match timeout(within, listen).await {
        Ok(Ok(())) => (),
        // One that has ended says why in its complaints.
        Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => (),
        Ok(Err(error)) => return Err(unreachable(error)),
        Err(_) => {
            let why = format!("it does not answer within {} s", within.as_secs());
            return Err(ReachError::Unreachable(why));
        }
    }
    Ok(Said { text: said, complaints: complaints.wait(&mut child).await })
}

/// The system's `ssh`, or what STEAD_SSH says in its place, words with spaces between.
fn ssh() -> Command {
    let told = std::env::var("STEAD_SSH").ok().filter(|told| !told.trim().is_empty());
    let told = told.unwrap_or_else(|| "ssh".into());
    let mut words = told.split_whitespace();
    let mut command = Command::new(words.next().expect("it is not empty"));
    command.args(words);
    // Nobody sits at this connection, and one that is dead must be known as such.
    let options = ["BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5"];
    for option in options.iter().chain(&["ServerAliveCountMax=3", "ControlMaster=no"]) {
        command.args(["-o", option]);
    }
    command.arg("-T");
    command
}

/// A word as a shell takes it.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Whether our own programs run there.
fn fits(system: &str, machine: &str) -> Result<(), ReachError> {
    use std::env::consts::{ARCH, OS};
    if (&*system.to_lowercase(), machine) == (OS, ARCH) {
        return Ok(());
    }
    Err(ReachError::NoKit(format!(
        "it is {system} on {machine}; this stead has programs for {OS} on {ARCH}"
    )))
}

/// The next line with a word of ours; `None` at the end, or after too much else.
async fn marked_line(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut greeting_len = 0;
    loop {
        let mut line = Vec::new();
        let left = (GREETING_LEN_MAX - greeting_len) as u64;
        greeting_len += (&mut *from).take(left).read_until(b'\n', &mut line).await?;
        if !line.ends_with(b"\n") {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if line.starts_with("stead-") {
            return Ok(Some(line));
        }
    }
}

/// What `ssh` and the shell behind it complain about: the last of it.
#[derive(Clone, Debug, Default)]
struct Complaints(Arc<Mutex<Vec<u8>>>);

impl Complaints {
    fn of(mut stderr: ChildStderr) -> Self {
        let complaints = Self::default();
        let filled = complaints.clone();
        tokio::spawn(async move {
            let mut piece = [0; 1024];
            while let Ok(len @ 1..) = stderr.read(&mut piece).await {
                let mut text = filled.0.lock().unwrap_or_else(PoisonError::into_inner);
                text.extend_from_slice(&piece[..len]);
                let too_much = text.len().saturating_sub(COMPLAINT_LEN_MAX);
                text.drain(..too_much);
            }
        });
        complaints
    }

    /// What was said by the time that the child has ended.
    async fn wait(&self, child: &mut Child) -> String {
        let status = timeout(Duration::from_secs(2), child.wait()).await;
        // What it said last is read by another task.
        tokio::task::yield_now().await;
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&text);
        let said: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        match (said.as_slice(), status) {
            ([], Ok(Ok(status))) => format!("`ssh` ended with {status} and said nothing"),
            ([], _) => "the connection ended".into(),
            (said, _) => said.join("; "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_reaches_the_shell_as_it_is() {
        for word in ["plain", "it's", "a b", "$HOME", "a\nb", "''"] {
            let echoed = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quote(word))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(echoed.stdout).unwrap(), word);
        }
    }

    #[tokio::test]
    async fn a_script_is_answered_line_by_line_and_heard_within_bounds() {
        let way = Way { address: Address::Local, root: None, sudo: false };
        let long = Duration::from_secs(60);
        let asks = "echo hello; echo ask; read -r word; echo \"$1 $word\"; echo grr >&2";
        let answer = |line: &str| (line == "ask").then_some("42\n");
        let said = run_script(&way, (asks, &["it's"]), long, answer).await.unwrap();
        assert_eq!(String::from_utf8(said.text).unwrap(), "hello\nask\nit's 42\n");
        assert_eq!(said.complaints, "grr");
        let endless = ("while :; do echo noise; done", &[][..]);
        let said = run_script(&way, endless, long, |_| None).await.unwrap();
        assert_eq!(said.text.len(), SAID_LEN_MAX);
        let silent = run_script(&way, ("exec sleep 100", &[]), Duration::from_millis(50), |_| None);
        assert!(matches!(silent.await, Err(ReachError::Unreachable(_))));
    }

    #[tokio::test]
    async fn what_a_shell_greets_with_is_passed_over_within_a_bound() {
        let mut greeted = &b"Welcome!\nstead-ready /x y\nrest"[..];
        assert_eq!(marked_line(&mut greeted).await.unwrap().unwrap(), "stead-ready /x y");
        let endless = b"noise\n".repeat(GREETING_LEN_MAX);
        assert_eq!(marked_line(&mut &endless[..]).await.unwrap(), None);
        assert_eq!(marked_line(&mut &b"stead-ready without end"[..]).await.unwrap(), None);
    }
}
