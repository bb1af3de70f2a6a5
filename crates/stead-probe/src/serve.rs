//! A small HTTP server that ends as politely, or as badly, as it is told to.
//!
//! Options: `port=N` (else the first socket it is handed), `ready-after=MS`, `never-ready`,
//! `healthz-fails-after=MS`, `crash-after=MS`, `cut` (end at once on TERM), `notify`,
//! `watchdog-for=MS` (say that it is well, for so long), `hang-health`, `flood-health`,
//! `drain=MS` (the longest time after TERM), `accept-when-ready` (take no connection before),
//! `public` (at every address of the machine), `say=TEXT`, `reads=FILE` (says what is in it, too,
//! and reads it again on HUP), `leak=MIB` (so much more in each
//! second), `errors=N` (so many lines that tell of one in each second), `spin=N` (so many threads
//! that only use the CPU).
//!
//! `GET /healthz` tells whether it is ready; any other path is answered with the pid and the text.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::os::{self, notify};

/// How often the server looks for connections and for its end.
const LOOK_EVERY: Duration = Duration::from_micros(300);
/// The most that is sent of an answer that never ends.
const FLOOD_LEN: usize = 256 << 20;

struct Server {
    began: Instant,
    options: Vec<String>,
    stopping: Arc<AtomicBool>,
    connections: AtomicUsize,
    /// What was in the file that it reads.
    read: Mutex<String>,
}

impl Server {
    fn has(&self, name: &str) -> bool {
        self.options.iter().any(|option| option == name)
    }

    fn value(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether so many milliseconds have passed since the start.
    fn is_past(&self, name: &str) -> Option<bool> {
        Some(self.began.elapsed() >= Duration::from_millis(self.value(name)?))
    }

    /// Reads its file, if it has one.
    fn read_again(&self) -> io::Result<()> {
        if let Some(file) = self.text("reads") {
            let text = std::fs::read_to_string(file)?;
            *self.read.lock().unwrap_or_else(PoisonError::into_inner) = format!(" {}", text.trim());
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        !self.has("never-ready")
            && self.is_past("ready-after") != Some(false)
            && self.is_past("healthz-fails-after") != Some(true)
    }
}

pub(crate) fn serve(options: &[&str]) -> io::Result<()> {
    let stopping = Arc::new(AtomicBool::new(false));
    os::note_end(&stopping)?;
    let server = Arc::new(Server {
        began: Instant::now(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        stopping,
        connections: AtomicUsize::new(0),
        read: Mutex::default(),
    });
    let told_to_read = Arc::new(AtomicBool::new(false));
    if server.text("reads").is_some() {
        os::note_read_again(&told_to_read)?;
        server.read_again()?;
    }
    go_wrong(&server);
    let listener = listener(&server)?;
    listener.set_nonblocking(true)?;
    let mut told_ready = !server.has("notify");
    let drain = Duration::from_millis(server.value("drain").unwrap_or(5000));
    let mut stop_at: Option<Instant> = None;
    loop {
        if server.is_past("crash-after") == Some(true) {
            std::process::exit(3);
        }
        if !told_ready && server.is_ready() {
            told_ready = true;
            notify("READY=1\nSTATUS=serving")?;
        }
        if told_to_read.swap(false, Ordering::Relaxed) {
            server.read_again()?;
        }
        if server.is_past("watchdog-for") == Some(false) {
            notify("WATCHDOG=1")?;
        }
        if server.stopping.load(Ordering::Relaxed) {
            let since = *stop_at.get_or_insert_with(Instant::now);
            let idle = server.connections.load(Ordering::SeqCst) == 0;
            if server.has("cut") || idle || since.elapsed() > drain {
                std::process::exit(0);
            }
            thread::sleep(LOOK_EVERY);
            continue;
        }
        if server.has("accept-when-ready") && !server.is_ready() {
            thread::sleep(LOOK_EVERY);
            continue;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                server.connections.fetch_add(1, Ordering::SeqCst);
                let server = Arc::clone(&server);
                thread::spawn(move || {
                    // A client that goes away is no error of ours.
                    let _ = answer_all(&server, &stream);
                    server.connections.fetch_sub(1, Ordering::SeqCst);
                });
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(LOOK_EVERY),
            Err(error) => return Err(error),
        }
    }
}

/// Begins what makes it worse, all the while that it serves.
fn go_wrong(server: &Server) {
    if let Some(mib) = server.value("leak") {
        thread::spawn(move || {
            let mut lost = Vec::new();
            loop {
                lost.push(vec![1_u8; usize::try_from(mib << 20).unwrap_or(0)]);
                thread::sleep(Duration::from_secs(1));
            }
        });
    }
    if let Some(n) = server.value("errors").filter(|n| *n > 0) {
        thread::spawn(move || {
            loop {
                eprintln!("ERROR nothing answers");
                thread::sleep(Duration::from_secs(1) / u32::try_from(n).unwrap_or(u32::MAX));
            }
        });
    }
    for _ in 0..server.value("spin").unwrap_or(0) {
        thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }
}

fn listener(server: &Server) -> io::Result<TcpListener> {
    if let Some(port) = server.value("port") {
        let address = if server.has("public") { "0.0.0.0" } else { "127.0.0.1" };
        return TcpListener::bind((address, u16::try_from(port).unwrap_or(0)));
    }
    os::handed_listener()
}

/// Answers one request after the other, until the client has no more, or the server ends: then the
/// next answer is the last one of the connection, and says so.
fn answer_all(server: &Server, stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let Some((path, close)) = request(&mut reader)? else { return Ok(()) };
        let last = close || server.stopping.load(Ordering::Relaxed);
        let health = path == "/healthz";
        if health && server.has("hang-health") {
            thread::sleep(Duration::from_secs(3600));
        }
        if health && server.has("flood-health") {
            flood(stream)?;
        }
        let status = if health && !server.is_ready() { "503 Not ready" } else { "200 OK" };
        let said = server.text("say").unwrap_or("");
        let read = server.read.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let body = format!("{} {said}{read}\n", std::process::id());
        let connection = if last { "close" } else { "keep-alive" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            body.len()
        );
        (&*stream).write_all(format!("{head}{body}").as_bytes())?;
        if last {
            return Ok(());
        }
    }
}

/// The path of the next request, and whether it is the last one; `None` at the end.
fn request(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<(String, bool)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
    let mut close = false;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            return Ok(Some((path, close)));
        }
        close |= line.to_ascii_lowercase().starts_with("connection: close");
    }
}

fn flood(mut stream: &TcpStream) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n")?;
    let block = [b'x'; 65536];
    for _ in 0..FLOOD_LEN / block.len() {
        stream.write_all(&block)?;
    }
    Ok(())
}
