//! A service of the benchmark of probing: it becomes ready when it is told to, says when that was,
//! and costs nothing until it is asked.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use anyhow::Result;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";

/// Takes connections after so long, and writes the time into a file, nanoseconds since 1970-01-01.
pub(crate) fn run(port: u16, after: Duration, stamp: Option<&Path>) -> Result<()> {
    thread::sleep(after);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
    if let Some(stamp) = stamp {
        fs::write(stamp, now.to_string())?;
    }
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || answer_all(stream));
    }
    Ok(())
}

fn answer_all(mut stream: TcpStream) {
    let mut question = [0; 2048];
    // A client that goes away is no error.
    while stream.read(&mut question).is_ok_and(|len| len > 0) && stream.write_all(ANSWER).is_ok() {}
}
