//! The way to a host: the system's `ssh`, one connection, with everything that its configuration
//! says about hosts, keys, agents and jumps. At its far end is `stead relay`; on first contact the
//! programs are brought along.

mod windows;

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stead_fleet::{Address, Os};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::client::Client;
use crate::kit::Kit;

/// What a host's shell is told to run.
const SCRIPT: &str = include_str!("reach/linux.sh");

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
    pub(crate) os: Os,
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
    let mut session = Session::begin(command(way, purpose, kit))?;
    let mut greeting = session.greeting(way, kit).await?;
    let is_lacking = matches!(greeting, Greeting::Lacking);
    if is_lacking {
        let folder = windows::bring(way, kit).await?;
        session = Session::begin(windows::begin_brought(way, kit, &folder))?;
        session.were_put = true;
        greeting = session.greeting(way, kit).await?;
    }
    let Greeting::Ready(root) = greeting else {
        return Err(ReachError::Put("what was sent is not there".into()));
    };
    let were_put = session.were_put;
    let client = Client::over(tokio::io::join(session.from, session.to), &root).await;
    let client = client.map_err(|error| ReachError::Unreachable(error.because().join(": ")))?;
    Ok(Reached { client, were_put, _child: session.child })
}

fn command(way: &Way, purpose: Purpose, kit: &Kit) -> Command {
    match way.os {
        Os::Linux => {
            let purpose = match purpose {
                Purpose::Change => "change",
                Purpose::Look => "look",
            };
            script(way, SCRIPT, &[&way.root_text(), kit.digest(), purpose])
        }
        Os::Windows => windows::begin(way, purpose, kit),
    }
}

/// The far end of a way, while it comes to the point.
struct Session {
    child: Child,
    complaints: Complaints,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    /// The programs were brought along.
    were_put: bool,
}

/// What a host says to begin with.
enum Greeting {
    /// The relay of this root answers.
    Ready(PathBuf),
    /// The programs are not there, and must be brought by another way.
    Lacking,
}

impl Session {
    fn begin(mut command: Command) -> Result<Self, ReachError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true);
        let child = command.spawn();
        let mut child = child.map_err(|error| ReachError::Unreachable(error.to_string()))?;
        let complaints = Complaints::of(child.stderr.take().expect("it was asked for"));
        let to = child.stdin.take().expect("it was asked for");
        let from = BufReader::new(child.stdout.take().expect("it was asked for"));
        Ok(Self { child, complaints, to, from, were_put: false })
    }

    async fn greeting(&mut self, way: &Way, kit: &Kit) -> Result<Greeting, ReachError> {
        let mut within = ANSWERS_WITHIN;
        loop {
            let line = self.line(within).await?;
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["stead-none"] => return Err(ReachError::Bare),
                ["stead-ready", ..] => {
                    return Ok(Greeting::Ready(line.trim_start_matches("stead-ready ").into()));
                }
                ["stead-wants", system, machine] => {
                    fits(way.os, system, machine)?;
                    if way.os == Os::Windows {
                        return Ok(Greeting::Lacking);
                    }
                    let lens = kit.programs().iter().map(|program| format!(" {}", program.len()));
                    let line = format!("{}{}\n", kit.digest(), lens.collect::<String>());
                    let _ = self.to.write_all(line.as_bytes()).await;
                }
                ["stead-send"] => {
                    self.were_put = true;
                    within = KIT_WITHIN;
                    // Where this fails, the other end says why.
                    for program in kit.programs() {
                        let _ = self.to.write_all(program).await;
                    }
                    let _ = self.to.flush().await;
                }
                _ => (),
            }
        }
    }

    /// The next line that is meant for us.
    async fn line(&mut self, within: Duration) -> Result<String, ReachError> {
        match timeout(within, marked_line(&mut self.from)).await {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(Ok(None) | Err(_)) => {
                let why = self.complaints.wait(&mut self.child).await;
                Err(match self.were_put {
                    true => ReachError::Put(why),
                    false => ReachError::Unreachable(why),
                })
            }
            Err(_) => Err(silent(within)),
        }
    }
}

fn silent(within: Duration) -> ReachError {
    ReachError::Unreachable(format!("it does not answer within {} s", within.as_secs()))
}

/// The shell of a host with a script and words for it; all its streams are ours.
fn script(way: &Way, text: &str, words: &[&str]) -> Command {
    let shell = [&["sh", "-c", text, "stead"], words].concat();
    match &way.address {
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
    }
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
    mut answer: impl FnMut(&str) -> Option<&'static str> + Send,
) -> Result<Said, ReachError> {
    converse(script(way, text, words), within, &mut answer).await
}

/// Has a host with Windows tell its facts in answer to these questions, by what it has of stead
/// below its root, or by what is brought for this alone and goes again.
pub(crate) async fn run_facts(
    way: &Way,
    kit: &Kit,
    questions: &[String],
    within: Duration,
    mut answer: impl FnMut(&str) -> Option<&'static str> + Send,
) -> Result<Said, ReachError> {
    windows::facts(way, kit, questions, within, &mut answer).await
}

/// What each line that is said is answered with, if it is.
type Answer<'a> = &'a mut (dyn FnMut(&str) -> Option<&'static str> + Send);

/// Runs a command to its end as [`run_script`] does.
async fn converse(
    command: Command,
    within: Duration,
    answer: Answer<'_>,
) -> Result<Said, ReachError> {
    let Session { mut child, complaints, mut to, mut from, .. } = Session::begin(command)?;
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
        Ok(Err(error)) => return Err(ReachError::Unreachable(error.to_string())),
        Err(_) => return Err(silent(within)),
    }
    Ok(Said { text: said, complaints: complaints.wait(&mut child).await })
}

/// The system's `ssh`, or what STEAD_SSH says in its place, words with spaces between; and what it
/// is always told.
fn ssh_words() -> Vec<String> {
    let told = std::env::var("STEAD_SSH").ok().filter(|told| !told.trim().is_empty());
    let told = told.unwrap_or_else(|| "ssh".into());
    let mut words: Vec<String> = told.split_whitespace().map(ToOwned::to_owned).collect();
    // Nobody sits at this connection, and one that is dead must be known as such.
    let options = ["BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5"];
    for option in options.into_iter().chain(["ServerAliveCountMax=3", "ControlMaster=no"]) {
        words.extend(["-o".into(), option.into()]);
    }
    words.push("-T".into());
    words
}

fn ssh() -> Command {
    let words = ssh_words();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]);
    command
}

/// A word as a shell takes it.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Whether our programs for this system run there.
fn fits(os: Os, system: &str, machine: &str) -> Result<(), ReachError> {
    use std::env::consts::ARCH;
    // As Windows names machines.
    let machine = match machine {
        "AMD64" => "x86_64",
        "ARM64" => "aarch64",
        other => other,
    };
    if (&*system.to_lowercase(), machine) == (os.as_str(), ARCH) {
        return Ok(());
    }
    let os = os.as_str();
    Err(ReachError::NoKit(format!(
        "it is {system} on {machine}; this stead has programs for {os} on {ARCH}"
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
        let way = Way { address: Address::Local, os: Os::Linux, root: None, sudo: false };
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
