//! What a child says.

use std::io::{self, Read as _};
use std::process::ChildStdout;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

/// All that a child says until it is silent for good; an error if that takes too long, or is more
/// than `len_max`. It is a thread that waits, and it goes on until the child has ended.
pub fn hear(stdout: ChildStdout, within: Duration, len_max: usize) -> io::Result<Vec<u8>> {
    let (heard, all) = sync_channel(1);
    thread::Builder::new().name("hear".into()).spawn(move || {
        let mut bytes = Vec::new();
        let read = stdout.take(len_max as u64 + 1).read_to_end(&mut bytes);
        // Who asked may have stopped waiting.
        let _ = heard.send(read.map(|_| bytes));
    })?;
    let bytes = all.recv_timeout(within).map_err(|_| io::ErrorKind::TimedOut)??;
    if bytes.len() > len_max { Err(io::ErrorKind::TimedOut.into()) } else { Ok(bytes) }
}
