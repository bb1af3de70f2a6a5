//! Units as Debian packages them, imported and run: in namespaces of their own, so that neither the
//! services of this machine nor their data are touched.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(60);

/// Set for the test inside the namespaces.
const INSIDE: &str = "STEAD_TEST_INSIDE";

/// What is written below these goes to memory and is gone with the namespace.
const SURROUNDINGS: &str = r#"
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
for folder in etc run var; do
    mkdir -p /mnt/$folder/upper /mnt/$folder/work
    options=lowerdir=/$folder,upperdir=/mnt/$folder/upper,workdir=/mnt/$folder/work
    mount -t overlay overlay -o $options /$folder
done
ip link set lo up
exec "$@"
"#;

/// Each unit with the port it has by default, what is asked there and what is answered.
const UNITS: [(&str, u16, &str, &str); 5] = [
    ("redis-server", 6379, "PING\r\n", "+PONG"),
    ("nginx", 80, "GET / HTTP/1.0\r\n\r\n", "nginx"),
    ("postgresql@VERSION-main", 5432, "\0\0\0\x17\0\x03\0\0user\0postgres\0\0", "R"),
    ("rabbitmq-server", 5672, "AMQP\0\0\x09\x01", "RabbitMQ"),
    ("prometheus", 9090, "GET /-/healthy HTTP/1.0\r\n\r\n", "Healthy"),
];

#[test]
fn five_units_of_debian_run_from_the_file_they_are_imported_to() {
    let name = "five_units_of_debian_run_from_the_file_they_are_imported_to";
    if std::env::var_os(INSIDE).is_some() {
        return run_imported();
    }
    let missing: Vec<&str> =
        ["redis-server", "nginx", "postgresql@", "rabbitmq-server", "prometheus"]
            .into_iter()
            .filter(|unit| !Path::new(&format!("/lib/systemd/system/{unit}.service")).is_file())
            .collect();
    if !missing.is_empty() || !stead_proc::is_root() {
        return stead_lab::skipped(
            name,
            &format!("it takes root and the units; missing: {missing:?}"),
        );
    }
    let status = Command::new("unshare")
        .args(["--mount", "--net", "sh", "-ec", SURROUNDINGS, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "yes")
        .stdin(Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

fn run_imported() {
    let version = fs::read_dir("/etc/postgresql").unwrap().next().unwrap().unwrap().file_name();
    let version = version.to_string_lossy().into_owned();
    let units: Vec<String> = UNITS.iter().map(|it| it.0.replace("VERSION", &version)).collect();
    let place = Place { root: PathBuf::from("/var/lib/stead-imported") };
    let file = "/var/lib/imported.toml";
    let mut import = vec!["import", "--output", file];
    import.extend(units.iter().map(String::as_str));
    let told = place.stead(&import);
    assert!(told.contains("5 imported"), "{told}");
    // What its comments ask for; and what Debian's packages leave to the boot.
    let text = fs::read_to_string(file).unwrap();
    let asked = text.lines().filter_map(|line| line.split("make it, `").nth(1)?.split('`').next());
    for command in asked.chain(["install -d -o postgres /run/postgresql"]) {
        assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
    }
    place.stead(&["up", "--detach", file]);
    for (unit, port, question, answer) in UNITS {
        let deadline = Instant::now() + WITHIN;
        loop {
            let said = ask(port, question).unwrap_or_default();
            if said.contains(answer) {
                break;
            }
            let status = || place.stead(&["status"]);
            assert!(Instant::now() < deadline, "{unit} says {said:?}\n{}\n{text}", status());
            sleep(Duration::from_millis(50)); // bounded poll
        }
    }
    place.stead(&["down"]);
    for (unit, port, question, _) in UNITS {
        assert_eq!(ask(port, question), None, "{unit} has ended");
    }
}

struct Place {
    root: PathBuf,
}

impl Place {
    #[track_caller]
    fn stead(&self, args: &[&str]) -> String {
        let own = Path::new(env!("CARGO_BIN_EXE_stead"));
        let mut command = Command::new(own);
        command.arg("--root").arg(&self.root).args(args).stdin(Stdio::null());
        let keeper = std::env::var_os("STEAD_KEEPER_BIN");
        command
            .env("STEAD_KEEPER_BIN", keeper.unwrap_or(own.with_file_name("stead-keeper").into()));
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(output.status.success(), "{args:?}: {text}");
        text
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let own = env!("CARGO_BIN_EXE_stead");
            let _ = Command::new(own).arg("--root").arg(&self.root).arg("down").status();
        }
    }
}

fn ask(port: u16, question: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    stream.write_all(question.as_bytes()).ok()?;
    let mut answer = [0; 4096];
    let len = stream.read(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..len]).into_owned())
}
