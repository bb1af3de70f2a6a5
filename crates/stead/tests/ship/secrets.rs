//! Values that reach the service and nothing else.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::fleet::{Fleet, until};

const FIRST: &str = "swordfish-4711-first";
const SECOND: &str = "swordfish-4711-second";

impl Fleet {
    /// Two hosts with a service that shows what it was given, in a form that is no secret.
    fn tellers(&self, source: &str) {
        let mut text = String::from("name = \"shop\"\n");
        for n in 0..self.hosts_n {
            let (address, root) = (self.hosts.address(n), self.root(n));
            writeln!(text, "[host.h{n}]\naddress = \"{address}\"\nroot = {root:?}").unwrap();
        }
        let script = "printf %s \\\"$TOKEN\\\" | sha256sum; exec sleep 100000";
        write!(
            text,
            "[secret.token]\n{source}\n[service.teller]\nrun = [\"/bin/sh\", \"-c\", \
             \"{script}\"]\nenv.TOKEN = {{ secret = \"token\" }}\n"
        )
        .unwrap();
        fs::write(self.folder.join("stead.toml"), text).unwrap();
    }

    /// Waits until the last run of every host has been given this.
    fn all_were_told(&self, value: &str) {
        let sum = sum_of(value);
        for n in 0..self.hosts_n {
            until(&format!("host {n} has {value}"), || {
                let logs = text(&self.on(n, &["logs", "teller"]));
                logs.lines().last().is_some_and(|line| line.contains(&sum)).then_some(())
            });
        }
    }
}

fn sum_of(value: &str) -> String {
    let script = format!("printf %s '{value}' | sha256sum | cut -d' ' -f1");
    text(&Command::new("sh").args(["-c", &script]).output().unwrap()).trim().to_owned()
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it)).concat()
}

/// Files below a folder that hold one of the values.
fn holders(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            holders(&entry.path(), found);
        } else if kind.is_file() && holds(&fs::read(entry.path()).unwrap_or_default()) {
            found.push(entry.path());
        }
    }
}

fn holds(bytes: &[u8]) -> bool {
    [FIRST, SECOND].iter().any(|it| bytes.windows(it.len()).any(|part| part == it.as_bytes()))
}

/// Processes of which this file below `/proc` holds one of the values.
fn processes(file: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let with = all.filter(|path| fs::read(path.join(file)).is_ok_and(|it| holds(&it)));
    with.map(|path| fs::read_to_string(path.join("comm")).unwrap_or_default()).collect()
}

#[test]
fn a_secret_reaches_the_service_and_is_in_nothing_else() {
    let Some(fleet) = Fleet::get("secrets", 2) else { return };
    let vault = fleet.folder.join("vault");
    fs::write(&vault, format!("{FIRST}\n")).unwrap();
    fleet.tellers("command = \"cat vault\"");
    let mut said = fleet.deploy(0, &[]);
    fleet.all_were_told(FIRST);
    // Another value is another plan, and a fresh run; the same one is neither.
    said += &fleet.deploy(0, &[]);
    assert!(said.contains("nothing to do") || said.contains("deployed"), "{said}");
    fs::write(&vault, SECOND).unwrap();
    said += &fleet.deploy(0, &[]);
    fleet.all_were_told(SECOND);
    fs::remove_file(&vault).unwrap();
    said += &fleet.ends(0, &["rollback", "teller", "--bake", "0s"]);
    fleet.all_were_told(FIRST);
    for n in 0..2 {
        for asked in [
            &["status", "--json"][..],
            &["why", "teller"],
            &["events", "--json"],
            &["logs", "teller"],
        ] {
            said += &text(&fleet.on(n, asked));
        }
        let plan = fs::read_to_string(fleet.root(n).join("plan.json")).unwrap();
        assert!(plan.contains("\"name\":\"token\""), "{plan}");
    }
    said += &fleet.ends(0, &["history"]);
    assert!(!holds(said.as_bytes()), "{said}");
    // On the disks only in files of that purpose, which only root may read.
    let mut found = Vec::new();
    holders(&fleet.folder, &mut found);
    assert_eq!(found.len(), 4, "two values on two hosts: {found:?}");
    for path in found {
        assert_eq!(path.parent().unwrap().file_name().unwrap(), "secrets", "{path:?}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700), "{path:?}");
        let mut cat = Command::new("setpriv");
        cat.args(["--reuid", "65534", "--clear-groups", "cat"]).arg(&path);
        assert!(!cat.output().unwrap().status.success(), "nobody reads {path:?}");
    }
    assert_eq!(processes("cmdline"), [""; 0]);
    // Control: the search finds it where it must be, with the service on both hosts.
    assert_eq!(processes("environ"), ["sleep\n"; 2]);
    // Without its value nobody goes back to what had it, and what runs goes on.
    let second = fs::read_dir(fleet.root(1).join("secrets")).unwrap().map(|it| it.unwrap().path());
    let second = second.filter(|path| fs::read(path).unwrap() == SECOND.as_bytes());
    second.for_each(|path| fs::remove_file(path).unwrap());
    let said = fleet.ends(6, &["rollback", "teller", "--to", "3", "--bake", "0s"]);
    assert!(said.contains("`h1`: its secret ") && said.contains("is not there any more"), "{said}");
    fleet.all_were_told(FIRST);
}

#[test]
fn a_secret_without_a_value_stops_a_deploy_before_anything_is_changed() {
    let Some(fleet) = Fleet::get("no-secrets", 1) else { return };
    let long = "x".repeat((64 << 10) + 1);
    fs::write(fleet.folder.join("long"), long).unwrap();
    for (source, why) in [
        ("command = \"echo swordfish-4711-first; exit 3\"", "exit status: 3"),
        ("command = \"true\"", "it is empty"),
        ("file = \"nowhere\"", "No such file"),
        ("file = \"long\"", "longer than"),
        ("env = \"TEST_IS_NOT_SET\"", "it is not set"),
    ] {
        fleet.tellers(source);
        let said = fleet.deploy(6, &[]);
        assert!(said.contains("the secret `token` has no value"), "{said}");
        assert!(said.contains(why), "{said}");
    }
    assert!(!fleet.root(0).exists(), "nothing was put there");
}
