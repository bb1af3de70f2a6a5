//! Requests at a fixed rate, whatever the answers do: a slow answer does not make the next request
//! late, so that waiting shows.
//!
//! Options: `to=HOST:PORT`, `rate=N` (a second), `connections=N`, `fresh` (a connection for each
//! request instead of kept ones). Ends when standard input does, and prints one line of JSON.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// An answer that takes longer is slow.
const SLOW: Duration = Duration::from_millis(100);
/// An answer that takes longer is lost.
const LOST: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Tally {
    sent: AtomicU64,
    lost: AtomicU64,
    slow: AtomicU64,
    /// The longest from when a request was due to its answer, microseconds.
    longest_us: AtomicU64,
}

pub(crate) fn load(options: &[&str]) -> io::Result<()> {
    let find =
        |name: &str| options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let to = find("to").and_then(|to| to.parse::<SocketAddr>().ok()).ok_or_else(|| bad("to"))?;
    let number = |name, default| find(name).map_or(Some(default), |text| text.parse().ok());
    let rate: u64 = number("rate", 100).ok_or_else(|| bad("rate"))?.max(1);
    let connections: u64 = number("connections", 32).ok_or_else(|| bad("connections"))?.max(1);
    let fresh = options.contains(&"fresh");
    let (tally, stop) = (Tally::default(), AtomicBool::new(false));
    let began = Instant::now();
    thread::scope(|scope| {
        for worker in 0..connections {
            let (tally, stop) = (&tally, &stop);
            // Each worker has its own share of the beat.
            let due = move |turn: u64| {
                let beat = turn * connections + worker;
                began + Duration::from_nanos(beat * 1_000_000_000 / rate)
            };
            scope.spawn(move || work(to, fresh, due, tally, stop));
        }
        let mut rest = Vec::new();
        // Whoever started us closes it when it is time.
        let _ = io::stdin().read_to_end(&mut rest);
        stop.store(true, Ordering::Relaxed);
    });
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut out = io::stdout();
    writeln!(
        out,
        "{{\"sent\": {}, \"lost\": {}, \"slow\": {}, \"longest_ms\": {}, \"seconds\": {}}}",
        get(&tally.sent),
        get(&tally.lost),
        get(&tally.slow),
        get(&tally.longest_us) / 1000,
        began.elapsed().as_secs()
    )
}

fn work(
    to: SocketAddr,
    fresh: bool,
    due: impl Fn(u64) -> Instant,
    tally: &Tally,
    stop: &AtomicBool,
) {
    let mut kept = None;
    for turn in 0.. {
        let due = due(turn);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if stop.load(Ordering::Relaxed) {
            return;
        }
        tally.sent.fetch_add(1, Ordering::Relaxed);
        match ask(to, fresh, kept.take()) {
            Ok(stream) => {
                kept = stream;
                let took = due.elapsed();
                let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                tally.longest_us.fetch_max(us, Ordering::Relaxed);
                if took > SLOW {
                    tally.slow.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(_) => {
                tally.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// One request; gives the connection back if it may be used again.
fn ask(to: SocketAddr, fresh: bool, kept: Option<TcpStream>) -> io::Result<Option<TcpStream>> {
    let mut stream = match kept {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect_timeout(&to, LOST)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(LOST))?;
            stream
        }
    };
    let close = if fresh { "Connection: close\r\n" } else { "" };
    stream.write_all(format!("GET /work HTTP/1.1\r\nHost: x\r\n{close}\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let len = stream.read(&mut chunk)?;
        if len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&chunk[..len]);
        if let Some(keep) = whole(&answer) {
            return Ok((keep && !fresh).then_some(stream));
        }
    }
}

/// Whether the answer is whole, and if so whether the connection may be used again.
fn whole(answer: &[u8]) -> Option<bool> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?;
    (body.len() >= len.parse().ok()?).then(|| !head.contains("Connection: close"))
}
