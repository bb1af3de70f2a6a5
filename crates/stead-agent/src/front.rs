//! The connection to one front, as a task: it tells the front which backends get connections, again
//! whenever that changes or the front is another one, and tells the agent what the front has taken.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use stead_core::names::InstanceName;
use stead_local::Stream;
use stead_wire::front::{LINE_LEN_MAX, Reply, Request, Set};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, split};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::message::Message;

/// The wait between attempts to connect: a front that was killed is back within milliseconds.
const CONNECT_AGAIN_MIN: Duration = Duration::from_millis(5);
const CONNECT_AGAIN_MAX: Duration = Duration::from_millis(500);

/// A front that does not answer within this is connected to anew.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// How long a backend may take to accept the connections that it was sent last: a run is asked to
/// end only after that, since what waits to be accepted then would be lost with it.
const QUEUES_TAKEN_WITHIN: Duration = Duration::from_millis(100);

/// Where a front takes orders, in its data folder.
const CONTROL: &str = "control.sock";

/// The agent's end. Dropping it ends the task.
#[derive(Debug)]
pub(crate) struct FrontLink {
    wanted: watch::Sender<Vec<SocketAddr>>,
    /// What the front has taken last; `None` before it has.
    pub(crate) taken: Option<Vec<SocketAddr>>,
    task: AbortHandle,
}

impl Drop for FrontLink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FrontLink {
    /// Starts the task for the front whose data is in this folder.
    pub(crate) fn start(front: InstanceName, data: PathBuf, to: mpsc::Sender<Message>) -> Self {
        let (wanted, changes) = watch::channel(Vec::new());
        let task = Task { front, data, to, wanted: changes };
        Self { wanted, taken: None, task: tokio::spawn(task.run()).abort_handle() }
    }

    /// From now on these get connections.
    pub(crate) fn want(&self, backends: Vec<SocketAddr>) {
        self.wanted.send_if_modified(|wanted| {
            let differs = *wanted != backends;
            *wanted = backends;
            differs
        });
    }
}

struct Task {
    front: InstanceName,
    data: PathBuf,
    to: mpsc::Sender<Message>,
    wanted: watch::Receiver<Vec<SocketAddr>>,
}

impl Task {
    async fn run(mut self) {
        let mut wait = CONNECT_AGAIN_MIN;
        loop {
            if let Ok(stream) = Stream::connect(&self.data.join(CONTROL)).await {
                wait = CONNECT_AGAIN_MIN;
                // Whatever ends a connection, the next one begins with the whole set.
                let _ = self.talk(stream).await;
            }
            sleep(wait).await;
            wait = (wait * 2).min(CONNECT_AGAIN_MAX);
        }
    }

    async fn talk(&mut self, stream: Stream) -> io::Result<()> {
        let (read, mut write) = split(stream);
        let mut read = BufReader::new(read);
        loop {
            let backends = self.wanted.borrow_and_update().clone();
            let request = Request::Set(Set { backends: backends.clone() });
            let mut line = serde_json::to_vec(&request)?;
            line.push(b'\n');
            write.write_all(&line).await?;
            match timeout(ANSWER_WITHIN, reply(&mut read)).await?? {
                Reply::Done => {
                    // What was joined to a backend that has left may still wait in its queue.
                    sleep(QUEUES_TAKEN_WITHIN).await;
                    let front = self.front.clone();
                    // The agent is gone only when everything ends.
                    let _ = self.to.send(Message::Fronted { front, backends }).await;
                }
                Reply::Refused { why } => return Err(io::Error::other(why)),
                Reply::Report(_) => return Err(io::ErrorKind::InvalidData.into()),
            }
            tokio::select! {
                changed = self.wanted.changed() => changed.map_err(io::Error::other)?,
                // It says nothing by itself: this is its end.
                ended = read.fill_buf() => {
                    ended?;
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }
}

async fn reply(read: &mut BufReader<ReadHalf<Stream>>) -> io::Result<Reply> {
    let mut line = Vec::new();
    let max = u64::try_from(LINE_LEN_MAX).unwrap_or(u64::MAX);
    read.take(max).read_until(b'\n', &mut line).await?;
    Ok(serde_json::from_slice(&line)?)
}
