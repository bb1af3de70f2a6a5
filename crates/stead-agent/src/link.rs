//! The connection to one keeper, as a task: it connects again and again while the keeper lives,
//! passes requests on and says what the keeper says. A keeper that is stopped or slow holds up
//! nobody but those who ask it something.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stead_core::names::InstanceName;
use stead_local::Stream;
use stead_proc::{FolderLock, NamedSocket};
use stead_wire::keeper::{LINE_LEN_MAX, Reply, Request};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::crash::{Crash, CrashPoint};
use crate::message::{Errand, Message, Said};

/// A keeper that listens says its first report within this, or the agent notes its silence.
const HELLO_WITHIN: Duration = Duration::from_secs(3);

/// The wait between attempts to connect: short for a keeper that is just starting, then longer.
const CONNECT_AGAIN_MIN: Duration = Duration::from_millis(2);
const CONNECT_AGAIN_MAX: Duration = Duration::from_millis(500);

/// A connection that held for so long was a good one.
const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// A keeper whose queue of connections is full is asked again.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Requests that may wait to be written, and for their answers.
const REQUESTS_MAX: usize = 16;
const ANSWERS_MAX: usize = 64;

/// Of these, requests for a report: a keeper that is stopped must still be handed what counts.
const REPORTS_MAX: usize = 4;

/// What the socket does not take at once; two launches of the largest size.
const UNWRITTEN_MAX: usize = 2 * LINE_LEN_MAX;

/// Bytes read at once.
const READ_LEN: usize = 4096;

/// Who waits for the answer to a request.
#[derive(Debug)]
pub(crate) enum Asker {
    Agent(Errand),
    Api(oneshot::Sender<Result<(), String>>),
}

#[derive(Debug)]
struct Asked {
    request: Request,
    asker: Asker,
}

/// The agent's end of a link. Dropping it ends the task.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) number: u64,
    // In boxes: a channel keeps room for 32 of them, and there is one for each instance.
    requests: mpsc::Sender<Box<Asked>>,
    task: AbortHandle,
}

impl Link {
    /// Passes a request on, unless too many are waiting already.
    pub(crate) fn ask(&self, request: Request, asker: Asker) -> Result<(), String> {
        let asked = self.requests.try_send(Box::new(Asked { request, asker }));
        asked.map_err(|_| "its keeper does not answer".to_owned())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a link must know.
pub(crate) struct Target {
    pub(crate) instance: InstanceName,
    pub(crate) folder: PathBuf,
    /// A child of ours: its end shows by itself, so nobody looks at the lock.
    pub(crate) is_child: bool,
    pub(crate) crash: Crash,
}

/// Starts the task of a link.
pub(crate) fn start(number: u64, target: Target, to: mpsc::Sender<Message>) -> Link {
    let (requests, waiting) = mpsc::channel(REQUESTS_MAX);
    let task = Task { number, target, to, waiting };
    Link { number, requests, task: tokio::spawn(task.run()).abort_handle() }
}

struct Task {
    number: u64,
    target: Target,
    to: mpsc::Sender<Message>,
    waiting: mpsc::Receiver<Box<Asked>>,
}

impl Task {
    async fn run(mut self) {
        let mut wait = CONNECT_AGAIN_MIN;
        loop {
            self.target.crash.at(CrashPoint::BeforeAdoption);
            let Some(stream) = self.connect().await else {
                self.say(Said::Gone).await;
                return;
            };
            let linked_at = Instant::now();
            let why = self.talk(&stream).await.to_string();
            drop(stream);
            self.say(Said::Unlinked { why }).await;
            sleep(wait).await;
            // A keeper that talks nonsense again and again must not keep the agent busy.
            let is_settled = linked_at.elapsed() >= SETTLED_AFTER;
            wait = if is_settled { CONNECT_AGAIN_MIN } else { (wait * 2).min(CONNECT_AGAIN_MAX) };
        }
    }

    async fn say(&self, said: Said) {
        let instance = self.target.instance.clone();
        // The agent is gone only when everything ends.
        let _ = self.to.send(Message::Link { instance, link: self.number, said }).await;
    }

    /// Connects, however long that takes; `None` when there is no keeper any more.
    async fn connect(&mut self) -> Option<Stream> {
        let mut wait = CONNECT_AGAIN_MIN;
        let silent_at = Instant::now() + HELLO_WITHIN;
        let mut said_silent = false;
        loop {
            match timeout(CONNECT_WITHIN, connect(&self.target.folder)).await {
                Ok(Ok(stream)) => return Some(stream),
                Ok(Err(_)) if !self.target.is_child && is_unlocked(&self.target.folder) => {
                    return None;
                }
                Ok(Err(_)) | Err(_) => (),
            }
            if !said_silent && Instant::now() >= silent_at {
                said_silent = true;
                self.say(Said::Silent).await;
            }
            self.refuse_waiting();
            sleep(wait).await;
            wait = (wait * 2).min(CONNECT_AGAIN_MAX);
        }
    }

    /// Nobody shall wait for a keeper that cannot be reached.
    fn refuse_waiting(&mut self) {
        while let Ok(asked) = self.waiting.try_recv() {
            refuse(asked.asker, "its keeper cannot be reached");
        }
    }

    /// Talks until the connection is lost, and says why it was.
    async fn talk(&mut self, stream: &Stream) -> TalkError {
        let mut talk = Talk::default();
        let hello_by = Instant::now() + HELLO_WITHIN;
        let mut said_silent = false;
        loop {
            let is_heard = talk.is_heard || said_silent;
            tokio::select! {
                ready = stream.readable() => {
                    let read = ready.map_err(TalkError::Io).and_then(|()| talk.read(stream));
                    if let Err(error) = read {
                        return error;
                    }
                    while let Some(line) = talk.line() {
                        match talk.take(&line) {
                            Ok(Some(said)) => self.say(said).await,
                            Ok(None) => (),
                            Err(error) => return error,
                        }
                    }
                    if talk.is_heard {
                        self.target.crash.at(CrashPoint::AfterAdoption);
                    }
                }
                ready = stream.writable(), if !talk.unwritten.is_empty() => {
                    let write = ready.map_err(TalkError::Io).and_then(|()| talk.write(stream));
                    if let Err(error) = write {
                        return error;
                    }
                }
                Some(asked) = self.waiting.recv() => talk.ask(*asked),
                () = sleep_until(hello_by), if !is_heard => {
                    said_silent = true;
                    self.say(Said::Silent).await;
                }
            }
        }
    }
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum TalkError {
    #[error("it said what nobody asked for")]
    Answer,
    #[error("it closed the connection")]
    Closed,
    #[error("{0}")]
    Io(io::Error),
    #[error("it said what is no reply: {0}")]
    Line(serde_json::Error),
    #[error("it said a line longer than {LINE_LEN_MAX} bytes")]
    TooLong,
}

/// The state of one connection.
#[derive(Debug, Default)]
struct Talk {
    is_heard: bool,
    unread: Vec<u8>,
    unwritten: VecDeque<u8>,
    /// Who waits for answers, in the order they will come.
    askers: VecDeque<Asker>,
}

impl Talk {
    fn read(&mut self, stream: &Stream) -> Result<(), TalkError> {
        let mut bytes = [0; READ_LEN];
        match stream.try_read(&mut bytes) {
            Ok(0) => Err(TalkError::Closed),
            Ok(n) if self.unread.len() + n > LINE_LEN_MAX + READ_LEN => Err(TalkError::TooLong),
            Ok(n) => {
                self.unread.extend_from_slice(&bytes[..n]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(TalkError::Io(error)),
        }
    }

    /// The next whole line.
    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.unread.iter().position(|b| *b == b'\n')?;
        let rest = self.unread.split_off(end + 1);
        Some(std::mem::replace(&mut self.unread, rest))
    }

    fn take(&mut self, line: &[u8]) -> Result<Option<Said>, TalkError> {
        let result = match serde_json::from_slice(line).map_err(TalkError::Line)? {
            Reply::Report(report) => {
                self.is_heard = true;
                return Ok(Some(Said::Report(report)));
            }
            Reply::Done => Ok(()),
            // Only a connection of its own asks for them.
            Reply::Sockets { .. } => return Err(TalkError::Answer),
            Reply::Refused { why } => Err(why),
        };
        match self.askers.pop_front().ok_or(TalkError::Answer)? {
            Asker::Agent(errand) => Ok(Some(Said::Answered { errand, result })),
            Asker::Api(to) => {
                // Who asked may have stopped waiting.
                let _ = to.send(result);
                Ok(None)
            }
        }
    }

    fn ask(&mut self, asked: Asked) {
        let answers_max = match asked.request {
            Request::Report => REPORTS_MAX,
            Request::Due { .. }
            | Request::HandOver
            | Request::Missed { .. }
            | Request::Ready { .. }
            | Request::Reload
            | Request::Restart
            | Request::Resume
            | Request::Retire
            | Request::Signal { .. }
            | Request::Start
            | Request::Unhealthy { .. }
            | Request::Update { .. }
            | Request::Upgrade { .. }
            | Request::Want { .. } => ANSWERS_MAX,
        };
        if self.askers.len() >= answers_max || self.unwritten.len() > UNWRITTEN_MAX {
            return refuse(asked.asker, "its keeper does not answer");
        }
        let mut line = serde_json::to_vec(&asked.request).expect("requests always serialize");
        line.push(b'\n');
        self.unwritten.extend(line);
        self.askers.push_back(asked.asker);
    }

    fn write(&mut self, stream: &Stream) -> Result<(), TalkError> {
        match stream.try_write(self.unwritten.as_slices().0) {
            Ok(n) => {
                self.unwritten.drain(..n);
                if self.unwritten.is_empty() {
                    self.unwritten = VecDeque::new();
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(TalkError::Io(error)),
        }
    }
}

/// How long a keeper may take to hand its sockets over.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(2);

/// Asks a keeper for duplicates of its sockets, over a connection of its own, and tells the agent.
/// Without an answer there are none.
pub(crate) fn ask_for_sockets(
    link: u64,
    instance: InstanceName,
    folder: PathBuf,
    to: mpsc::Sender<Message>,
) {
    tokio::spawn(async move {
        let sockets = timeout(HAND_OVER_WITHIN, hand_over(&folder)).await;
        if let Ok(Ok(sockets)) = sockets {
            let _ = to.send(Message::Sockets { instance, link, sockets }).await;
        }
    });
}

async fn hand_over(folder: &Path) -> io::Result<Vec<NamedSocket>> {
    let mut stream = connect(folder).await?;
    let mut request = serde_json::to_vec(&Request::HandOver)?;
    request.push(b'\n');
    stream.write_all(&request).await?;
    let (mut unread, mut sockets) = (Vec::new(), Vec::new());
    let mut bytes = [0; READ_LEN];
    while unread.len() <= LINE_LEN_MAX {
        let (len, came) = stream.receive_with(&mut bytes).await?;
        sockets.extend(came);
        if len == 0 {
            break;
        }
        unread.extend_from_slice(&bytes[..len]);
        while let Some(end) = unread.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = unread.drain(..=end).collect();
            if let Reply::Sockets { names } = serde_json::from_slice(&line)? {
                return Ok(names.into_iter().zip(sockets).collect());
            }
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn refuse(asker: Asker, why: &str) {
    match asker {
        Asker::Api(to) => drop(to.send(Err(why.to_owned()))),
        // The agent asks again once there is a report.
        Asker::Agent(_) => (),
    }
}

/// Whether nobody holds the lock of an instance's folder.
pub(crate) fn is_unlocked(folder: &Path) -> bool {
    matches!(FolderLock::acquire(folder), Ok(Ok(_)))
}

async fn connect(folder: &Path) -> io::Result<Stream> {
    Stream::connect(&folder.join("keeper.sock")).await
}
