//! What a host with Windows tells of itself, and how it is judged by it. `cargo xtask windows test`
//! runs this under Wine.
#![cfg(windows)]
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::windows::io::OwnedSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use stead_core::check::{Facts, Holder, Listener, RootState};

/// A folder of a test's own.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("stead-facts-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn command(&self, args: &[&str]) -> Command {
        let own = std::path::absolute(env!("CARGO_BIN_EXE_stead")).unwrap();
        let mut command = Command::new(&own);
        command.args(args).current_dir(&self.0).env("STEAD_ROOT", self.0.join("root"));
        command.env("STEAD_KEEPER_BIN", own.with_file_name("stead-keeper.exe"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What it tells who answers this when it asks for the clock to be compared.
    fn told(&self, args: &[&str], answer: &str) -> Facts {
        let mut child = self.command(&[&["facts"], args].concat()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        Facts::parse(&output.stdout)
    }

    /// What is found of this host for a service with this in its part of the fleet file.
    fn checked(&self, code: i32, service: &str) -> Value {
        let run = "run = [\"web.exe\"]\nfiles = [\"web.exe\"]";
        let text = format!("name = \"shop\"\n[service.web]\n{run}\n{service}\n");
        fs::write(self.0.join("stead.toml"), text).unwrap();
        let output: Output = self.command(&["check", "--json"]).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let all: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut hosts = all["hosts"].as_object().unwrap().values();
        hosts.next().expect("there is one host").clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A socket that listens, in a form that Wine tells the owner of: it is only that of a process
/// which has once asked for data there, in vain where one listens.
struct Listening {
    port: u16,
    is_everywhere: bool,
    is_v4: bool,
    _asked: TcpStream,
    _listener: TcpListener,
}

impl Listening {
    fn at(address: impl ToSocketAddrs) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let own = listener.local_addr().unwrap();
        let mut asked = TcpStream::from(OwnedSocket::from(listener.try_clone().unwrap()));
        asked.set_nonblocking(true).unwrap();
        assert!(asked.read(&mut [0]).is_err(), "nobody is at the other end");
        let (port, is_v4) = (own.port(), own.is_ipv4());
        let is_everywhere = own.ip().is_unspecified();
        Self { port, is_everywhere, is_v4, _asked: asked, _listener: listener }
    }
}

fn level<'a>(host: &'a Value, check: &str) -> &'a str {
    let findings = host["findings"].as_array().unwrap();
    let mut of_check = findings.iter().filter(|finding| finding["check"] == check);
    of_check.next().map_or("not looked at", |finding| finding["level"].as_str().unwrap())
}

#[test]
fn a_host_tells_what_it_is_and_who_listens_at_ports_that_are_asked_for() {
    let place = Place::new("tells");
    let own = ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"].map(Listening::at);
    let unasked = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let questions: Vec<String> = own.iter().map(|it| format!("port:{}", it.port)).collect();
    let mut words: Vec<&str> = questions.iter().map(String::as_str).collect();
    let spaced = stead_core::check::to_word("user:NT AUTHORITY\\Network Service");
    words.extend(["user:LocalService", &spaced, "user:no-such-user", "group:no-such-group"]);
    words.extend([r"path:C:\windows", r"path:C:\no-such-path"]);
    let facts = place.told(&words, "go\n");
    assert!(facts.is_whole && facts.clock.is_some(), "{facts:?}");
    assert_eq!(facts.system.as_deref(), Some("Windows"));
    assert_eq!(facts.machine.as_deref(), Some(std::env::consts::ARCH));
    assert!(facts.kernel.is_some() && facts.cores.is_some_and(|cores| cores > 0));
    assert!(facts.memory_bytes > facts.memory_available_bytes, "{facts:?}");
    assert!(facts.disk_free_bytes.is_some() && facts.file_system.is_some());
    assert!(facts.mount_point.is_some_and(|at| at.ends_with('\\')));
    assert_eq!(facts.users_missing.iter().collect::<Vec<_>>(), ["no-such-user"]);
    assert_eq!(facts.groups_missing.iter().collect::<Vec<_>>(), ["no-such-group"]);
    assert_eq!(facts.paths_missing.iter().collect::<Vec<_>>(), [r"C:\no-such-path"]);
    for Listening { port, is_everywhere, is_v4, .. } in &own {
        let at: Vec<&Listener> = facts.listeners.iter().filter(|it| it.port == *port).collect();
        let [listener] = at.as_slice() else { panic!("{port}: {at:?}") };
        assert_eq!(listener.is_everywhere, *is_everywhere, "{listener:?}");
        // Of those of IPv6 Wine does not tell whose they are.
        if *is_v4 || listener.holder != Holder::Unknown {
            assert_eq!((listener.pid, listener.holder), (std::process::id(), Holder::Other));
            assert!(listener.program.starts_with("host_facts"), "{listener:?}");
        }
    }
    // Control: what is not asked for is not told, and neither is what nobody listens at.
    assert!(facts.listeners.iter().all(|it| it.port != unasked));
    let free = place.told(&[&format!("port:{unasked}")], "go\n");
    assert!(free.listeners.is_empty(), "{free:?}");
    let windows = free.windows.unwrap();
    assert!(windows.uptime_s.is_some() && windows.pending_reboot.is_some(), "{windows:?}");
    assert!(windows.refused_ports.is_empty() && windows.may_make_services.is_some());
}

/// What makes this test program one that listens, at a port that it says, until its input ends.
const LISTENS: &str = "STEAD_TEST_LISTENS";

#[test]
fn role_listens() {
    if std::env::var_os(LISTENS).is_none() {
        return;
    }
    let own = Listening::at("0.0.0.0:0");
    println!("\nlistens at {}", own.port);
    std::io::stdout().flush().unwrap();
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// Who is told to listen at a port by a copy of this program at a path.
fn holder(place: &Place, program: &Path) -> Holder {
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    fs::copy(std::env::current_exe().unwrap(), program).unwrap();
    let mut command = Command::new(program);
    command.args(["role_listens", "--nocapture", "--test-threads=1"]).env(LISTENS, "1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines().map_while(Result::ok);
    let line = lines.find_map(|line| line.strip_prefix("listens at ").map(ToOwned::to_owned));
    let facts = place.told(&[&format!("port:{}", line.expect("it listens"))], "go\n");
    child.kill().unwrap();
    child.wait().unwrap();
    let [listener] = facts.listeners.as_slice() else { panic!("{facts:?}") };
    listener.holder
}

#[test]
fn who_listens_by_programs_of_the_root_is_its_own() {
    let place = Place::new("own");
    let root = place.0.join("root");
    assert_eq!(holder(&place, &root.join("programs/0123/stead-keeper.exe")), Holder::Own);
    // Control: the same program is another's beside the root, or in its releases.
    assert_eq!(holder(&place, &place.0.join("stead-keeper.exe")), Holder::Other);
    assert_eq!(holder(&place, &root.join("releases/0123/web.exe")), Holder::Other);
}

#[test]
fn who_does_not_answer_is_told_nothing() {
    let facts = Place::new("silent").told(&[], "");
    assert!(!facts.is_whole && facts.system.is_none(), "{facts:?}");
}

#[test]
fn a_root_is_told_as_what_is_there_and_nothing_is_made() {
    let place = Place::new("root");
    let (made, file) = (place.0.join("made"), place.0.join("file"));
    fs::create_dir(&made).unwrap();
    fs::write(&file, "").unwrap();
    for (root, stands, expected) in [
        (made.clone(), made.clone(), RootState::Writable),
        (made.join("a/b"), made.clone(), RootState::Absent),
        (file.join("a"), file.clone(), RootState::Blocked),
    ] {
        let facts = place.told(&["--root", root.to_str().unwrap()], "go\n");
        assert_eq!(facts.root_state, Some(expected), "{facts:?}");
        assert_eq!(facts.root_on.as_deref().map(Path::new), Some(stands.as_path()));
    }
    assert_eq!(fs::read_dir(&made).unwrap().count(), 0);
}

#[test]
fn this_host_is_checked_and_what_is_wrong_is_found() {
    let place = Place::new("checked");
    let own = fs::read(std::env::current_exe().unwrap()).unwrap();
    fs::write(place.0.join("web.exe"), own).unwrap();
    let right = place.checked(0, "");
    for (check, expected) in [("system", "ok"), ("root", "ok"), ("program-system", "ok")] {
        assert_eq!(level(&right, check), expected, "{right}");
    }
    assert_eq!(level(&right, "program-machine"), "ok");
    assert_eq!(level(&right, "kernel"), "not looked at", "that is of Linux");
    assert!(!place.0.join("root").exists(), "something was made");

    let wrong = place.checked(6, "user = \"no-such-user\"");
    assert_eq!(level(&wrong, "user"), "fail");
    let taker = Listening::at("0.0.0.0:0");
    let port = taker.port;
    let service = format!("port.http = {port}");
    let taken = place.checked(6, &service);
    assert_eq!(level(&taken, "port"), "fail", "{taken}");
    drop(taker);
    assert_eq!(level(&place.checked(0, &service), "port"), "ok", "the control");
    fs::write(place.0.join("web.exe"), elf()).unwrap();
    let foreign = place.checked(6, "");
    assert_eq!(level(&foreign, "program-system"), "fail", "{foreign}");
}

/// The least that is a program for Linux: its header.
fn elf() -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\0");
    bytes[16] = 2;
    bytes[18] = 62;
    bytes[20] = 1;
    bytes[52] = 64;
    bytes
}
