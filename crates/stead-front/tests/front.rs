//! The front as a process: where connections go, what becomes of their bytes, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(10);

/// A front in a folder of its own.
struct Front {
    child: Child,
    folder: tempfile::TempDir,
    address: SocketAddr,
    options: Vec<String>,
}

impl Front {
    fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let options: Vec<String> = options.iter().map(|it| (*it).to_owned()).collect();
        let child = spawn(folder.path().into(), address, &options);
        let front = Self { child, folder, address, options };
        front.until_it_answers();
        front
    }

    fn until_it_answers(&self) {
        until("the front takes orders", || self.try_control().map(drop));
    }

    /// Killed, and followed by another one.
    fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.folder.path().into(), self.address, &self.options);
        self.until_it_answers();
    }

    fn try_control(&self) -> Option<UnixStream> {
        UnixStream::connect(self.folder.path().join("control.sock")).ok()
    }

    /// One order, and what is said to it.
    fn order(&self, line: &str) -> String {
        let mut control = self.try_control().unwrap();
        writeln!(control, "{line}").unwrap();
        let mut said = String::new();
        BufReader::new(control).read_line(&mut said).unwrap();
        said.trim_end().to_owned()
    }

    #[track_caller]
    fn set(&self, backends: &[SocketAddr]) {
        let backends: Vec<String> = backends.iter().map(|it| format!("\"{it}\"")).collect();
        let said = self.order(&format!(r#"{{"do":"set","backends":[{}]}}"#, backends.join(",")));
        assert_eq!(said, r#"{"say":"done"}"#);
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        stream
    }

    /// What the backend that a new connection comes to says of itself.
    fn who(&self) -> (u8, TcpStream) {
        let mut stream = self.connect();
        let mut name = [0];
        stream.read_exact(&mut name).unwrap();
        (name[0], stream)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn spawn(folder: PathBuf, address: SocketAddr, options: &[String]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_stead-front"))
        .args(["--control", "control.sock", "--listen", &address.to_string()])
        .args(options)
        .current_dir(folder)
        .stdin(Stdio::null())
        .spawn()
        .unwrap()
}

/// A backend that says its name to whoever comes, and then sends back all it is sent.
fn backend(name: u8) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                stream.write_all(&[name]).unwrap();
                let mut all = Vec::new();
                // One that goes away is no error.
                if stream.read_to_end(&mut all).is_ok() {
                    let _ = stream.write_all(&all);
                }
            });
        }
    });
    address
}

#[track_caller]
fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(5)); // bounded poll
    }
}

#[test]
fn new_connections_follow_the_set_and_old_ones_stay_where_they_are() {
    let front = Front::start(&[]);
    let (a, b) = (backend(b'a'), backend(b'b'));
    front.set(&[a]);
    let (name, mut old) = front.who();
    assert_eq!(name, b'a');
    front.set(&[b]);
    for _ in 0..20 {
        assert_eq!(front.who().0, b'b');
    }
    let report = front.order(r#"{"do":"report"}"#);
    assert!(report.contains(&format!("\"draining\":[{{\"address\":\"{a}\"")), "{report}");
    old.write_all(b"still there").unwrap();
    old.shutdown(Shutdown::Write).unwrap();
    let mut said = String::new();
    old.read_to_string(&mut said).unwrap();
    assert_eq!(said, "still there");
    until("nothing is left at the old one", || {
        front.order(r#"{"do":"report"}"#).contains("\"draining\":[]").then_some(())
    });
}

#[test]
fn bytes_and_their_end_pass_both_ways_as_they_are() {
    let front = Front::start(&[]);
    front.set(&[backend(b'a')]);
    let (_, stream) = front.who();
    // More than all buffers between hold.
    let sent: Vec<u8> =
        (0..8_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    let all = sent.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&all).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut came = Vec::new();
    (&stream).read_to_end(&mut came).unwrap();
    writing.join().unwrap();
    assert!(came == sent, "{} of {} bytes", came.len(), sent.len());
}

#[test]
fn connections_go_where_the_fewest_are() {
    let front = Front::start(&[]);
    front.set(&[backend(b'a'), backend(b'b'), backend(b'c')]);
    let held: Vec<(u8, TcpStream)> = (0..30).map(|_| front.who()).collect();
    for name in *b"abc" {
        let n = held.iter().filter(|(its, _)| *its == name).count();
        assert!((8..=12).contains(&n), "{n} of 30 at {}", char::from(name));
    }
}

#[test]
fn a_backend_that_refuses_is_passed_over() {
    let front = Front::start(&[]);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    front.set(&[gone, backend(b'b')]);
    for _ in 0..20 {
        assert_eq!(front.who().0, b'b');
    }
}

#[test]
fn clients_wait_while_there_is_no_backend_and_not_for_ever() {
    let front = Front::start(&["--wait", "60000"]);
    let mut waiting = front.connect();
    until("the client waits", || {
        front.order(r#"{"do":"report"}"#).contains("\"waiting\":1").then_some(())
    });
    front.set(&[backend(b'a')]);
    let mut name = [0];
    waiting.read_exact(&mut name).unwrap();
    assert_eq!(name, *b"a");
    let impatient = Front::start(&["--wait", "50"]);
    let mut said = Vec::new();
    // It is closed, one way or the other, and nothing is said.
    let _ = impatient.connect().read_to_end(&mut said);
    assert!(said.is_empty());
    assert!(impatient.order(r#"{"do":"report"}"#).contains("\"refused\":1"));
}

#[test]
fn a_front_that_was_killed_begins_with_the_set_of_before() {
    let mut front = Front::start(&["--state", "set"]);
    front.set(&[backend(b'a')]);
    front.kill_and_start();
    assert_eq!(front.who().0, b'a');
    // Control: without the file it knows of none.
    let mut forgetful = Front::start(&[]);
    forgetful.set(&[backend(b'a')]);
    forgetful.kill_and_start();
    assert!(forgetful.order(r#"{"do":"report"}"#).contains("\"backends\":[]"));
}

#[test]
fn a_front_that_is_asked_to_end_does_so_once_its_last_connection_has_ended() {
    // What is waited for is told once, and may be missed once: so often that it would be.
    for held_n in [0, 1, 3].repeat(10) {
        let mut front = Front::start(&[]);
        front.set(&[backend(b'a')]);
        let held: Vec<TcpStream> = (0..held_n).map(|_| front.who().1).collect();
        let pid = front.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        until("it takes no more orders", || front.try_control().is_none().then_some(()));
        for stream in held {
            assert!(front.child.try_wait().unwrap().is_none(), "it drains");
            stream.shutdown(Shutdown::Write).unwrap();
            (&stream).read_to_end(&mut Vec::new()).unwrap();
        }
        let ended = until("it ends", || front.child.try_wait().unwrap());
        assert!(ended.success(), "{ended}");
    }
}

/// Sent by a client that ends its side with it.
const FAREWELL: &[u8] = b"f";

/// A backend that answers the first byte it is sent and, sent another one, ends the connection
/// without a word. At a farewell it waits for the client's end, which comes a moment after it.
fn backend_that_cuts() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                stream.write_all(&byte).unwrap();
                let _ = stream.read(&mut byte);
                if byte == FAREWELL {
                    let _ = stream.read(&mut byte);
                }
            });
        }
    });
    address
}

/// Connections that were cut, by the front's own count.
fn cut(front: &Front) -> u64 {
    let report = front.order(r#"{"do":"report"}"#);
    let (_, rest) = report.split_once("\"cut\":").unwrap();
    rest.trim_end_matches('}').parse().unwrap()
}

#[test]
fn connections_that_one_which_gives_way_ends_without_the_answer_that_is_due_are_counted() {
    let front = Front::start(&[]);
    let (cutting, answering) = (backend_that_cuts(), backend(b'a'));
    let answered = || {
        let mut stream = front.connect();
        stream.write_all(b"1").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream
    };
    front.set(&[cutting]);
    let [mut owed, resting, mut farewell] = [answered(), answered(), answered()];
    let mut in_set = answered();
    // One that stays in the set ends connections by its own rules.
    in_set.write_all(b"2").unwrap();
    assert_eq!(in_set.read(&mut [0]).unwrap_or(0), 0);
    front.set(&[answering]);
    // One with nothing due, and one whose client has ended it.
    drop((in_set, resting));
    farewell.write_all(FAREWELL).unwrap();
    farewell.shutdown(Shutdown::Write).unwrap();
    assert_eq!(farewell.read(&mut [0]).unwrap_or(0), 0);
    until("they are gone", || {
        front.order(r#"{"do":"report"}"#).contains("\"connections\":1}]").then_some(())
    });
    assert_eq!(cut(&front), 0);
    owed.write_all(b"2").unwrap();
    assert_eq!(owed.read(&mut [0]).unwrap_or(0), 0);
    until("it is counted", || (cut(&front) == 1).then_some(()));
}

#[test]
fn orders_that_cannot_be_obeyed_are_refused_and_change_nothing() {
    let front = Front::start(&[]);
    let a = backend(b'a');
    front.set(&[a]);
    let many: Vec<String> = (1..=257).map(|port| format!("\"127.0.0.1:{port}\"")).collect();
    let bad = [
        "hello".to_owned(),
        r#"{"do":"dance"}"#.to_owned(),
        r#"{"do":"set","backends":["here"]}"#.to_owned(),
        r#"{"do":"set","backends":["0.0.0.0:80"]}"#.to_owned(),
        format!(r#"{{"do":"set","backends":["{a}","{a}"]}}"#),
        format!(r#"{{"do":"set","backends":[{}]}}"#, many.join(",")),
    ];
    for line in bad {
        let said = front.order(&line);
        assert!(said.contains("refused"), "{line}: {said}");
    }
    assert_eq!(front.who().0, b'a');
}
