//! Hosts that are looked at before anything is brought to them, and mended.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fleet::{Fleet, GOOD, PORT, end, until};

/// Where settings of the kernel are kept that `--apply` has raised.
const SETTINGS: &str = "/etc/sysctl.d/60-stead.conf";

impl Fleet {
    /// The usual service, beside another one of these bytes that runs as this user.
    fn with_tool(&self, tool: &[u8], user: &str) {
        self.release("v1", GOOD);
        let file = self.folder.join("stead.toml");
        let text = fs::read_to_string(&file).unwrap();
        let on: Vec<String> = (0..self.hosts_n).map(|n| format!("h{n}")).collect();
        let tool_service = format!(
            "[service.tool]\nfiles = [\"tool\"]\nrun = [\"./tool\"]\non = {on:?}\nuser = {user:?}\n"
        );
        fs::write(&file, text + &tool_service).unwrap();
        fs::write(self.folder.join("tool"), tool).unwrap();
    }

    fn checked(&self, code: i32, args: &[&str]) -> Value {
        let output = self.stead(&[&["check", "--json"], args].concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Everything in the folder that this fleet and the roots of its hosts are in.
    fn all_files(&self) -> BTreeSet<PathBuf> {
        let mut all = BTreeSet::new();
        collect(&self.folder, &mut all);
        all
    }
}

fn collect(folder: &Path, all: &mut BTreeSet<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), all);
        }
        all.insert(entry.path());
    }
}

/// The levels of what a check has found on a host.
fn levels(checked: &Value, host: &str, check: &str) -> Vec<String> {
    let findings = checked["hosts"][host]["findings"].as_array().unwrap();
    let of_check = findings.iter().filter(|finding| finding["check"] == check);
    of_check.map(|finding| finding["level"].as_str().unwrap().to_owned()).collect()
}

/// A program of this machine, and the same one asking for a glibc that nobody has.
fn tools() -> Option<(Vec<u8>, Vec<u8>)> {
    let good = fs::read("/bin/ls").unwrap();
    let is_digit = |it: &[u8], at: usize| it[at].is_ascii_digit();
    let version = |it: &[u8]| {
        it.starts_with(b"GLIBC_2.") && is_digit(it, 8) && is_digit(it, 9) && it[10] == 0
    };
    let mut bad = good.clone();
    let at = good.windows(11).rposition(version)?;
    bad[at..at + 10].copy_from_slice(b"GLIBC_2.99");
    Some((good, bad))
}

#[test]
fn what_is_wrong_with_a_host_is_named_with_what_mends_it() {
    let Some(fleet) = Fleet::get("check", 1) else { return };
    let Some((good, bad)) = tools() else {
        return stead_lab::skipped("check", "the programs of this machine are not of glibc");
    };
    fleet.with_tool(&good, "root");
    let before = fleet.all_files();
    let right = fleet.checked(0, &[]);
    for check in ["glibc", "kernel", "port", "program-interpreter", "root", "system", "user"] {
        assert_eq!(levels(&right, "h0", check), ["ok"], "{right}");
    }
    assert_eq!(fleet.all_files(), before, "something was written");
    // The clocks are one and the same, and the error is no longer than the way there.
    let offset = &right["hosts"]["h0"]["facts"]["offset"];
    let (ms, within_ms) = (offset["ms"].as_i64().unwrap(), offset["within_ms"].as_u64().unwrap());
    assert!(ms.unsigned_abs() <= within_ms && within_ms < 5000, "{offset}");

    let port = format!("port={PORT}");
    let server = fleet.folder.join("server");
    let mut taker = fleet.hosts.command(0, server.to_str().unwrap());
    let taker = taker.args(["serve", "public", &port, "say=taken"]).stdout(Stdio::null());
    let taker = taker.spawn().unwrap();
    until("the port is taken", || fleet.serves(0));
    let nobody = format!("stead-nobody-{}", std::process::id());
    fleet.with_tool(&bad, &nobody);
    let said = fleet.ends(6, &["check"]);
    let faults = [
        format!("(process {}) listens at {PORT}, which is for `web.0`", taker.id()),
        format!("there is no user `{nobody}`, which tool asks for"),
        "`tool` of tool needs glibc 2.99".into(),
    ];
    let mends = [
        format!("`kill {}` there", taker.id()),
        format!("`useradd --system --no-create-home --shell /usr/sbin/nologin {nobody}`"),
        "build tool where glibc is".into(),
    ];
    for told in faults.iter().chain(&mends).chain(&["`h0`: glibc, port, user".into()]) {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert_eq!(levels(&fleet.checked(6, &["--only", "web"]), "h0", "port"), ["fail"]);

    // Control: without the causes none of it is told.
    end(taker, "-KILL");
    fleet.with_tool(&good, "root");
    let said = fleet.ends(0, &["check"]);
    for told in faults.iter().chain(&mends) {
        assert!(!said.contains(told), "{told}: {said}");
    }
    // What stead keeps itself takes no port from it.
    fleet.deploy(0, &["--only", "web"]);
    fleet.all_serve("v1");
    assert_eq!(levels(&fleet.checked(0, &[]), "h0", "port"), ["ok"]);
    assert_eq!(fleet.checked(0, &[])["hosts"]["h0"]["facts"]["listeners"][0]["holder"], "own");
}

#[test]
fn a_host_that_cannot_be_reached_is_told_beside_the_others() {
    let Some(fleet) = Fleet::get("check-lost", 2) else { return };
    fleet.release("v1", GOOD);
    fleet.hosts.connect(1, false).unwrap();
    let checked = fleet.checked(4, &[]);
    assert_eq!(levels(&checked, "h0", "kernel"), ["ok"]);
    assert!(checked["hosts"]["h1"]["error"].is_string(), "{checked}");
    // Control: without that host, and with it back, all is well.
    let alone = fleet.checked(0, &["--host", "h0"]);
    assert!(alone["hosts"]["h1"].is_null(), "{alone}");
    fleet.hosts.connect(1, true).unwrap();
    assert_eq!(levels(&fleet.checked(0, &[]), "h1", "kernel"), ["ok"]);
}

/// A user of this machine that goes again; and settings, if there were none before.
struct Made {
    user: String,
    had_settings: bool,
}

impl Drop for Made {
    fn drop(&mut self) {
        let _ = Command::new("userdel").arg(&self.user).stderr(Stdio::null()).status();
        if !self.had_settings {
            let _ = fs::remove_file(SETTINGS);
        }
    }
}

#[test]
fn a_user_that_is_missing_is_made_when_it_is_asked_for_and_once() {
    let Some(fleet) = Fleet::get("check-apply", 1) else { return };
    let user = format!("stead-check-test-{}", std::process::id());
    let made = Made { user: user.clone(), had_settings: Path::new(SETTINGS).exists() };
    fleet.with_tool(b"#!/bin/sh\n", &made.user);
    let is_known = || fs::read_to_string("/etc/passwd").unwrap().contains(&made.user);
    assert_eq!(levels(&fleet.checked(6, &[]), "h0", "user"), ["fail"]);
    assert!(!is_known(), "a look makes nothing");
    // A setting that each host has by itself.
    let set = |value: &str| fleet.hosts.command(0, "sysctl").args(["-qw", value]).status();
    assert!(set("net.core.somaxconn=128").unwrap().success());
    assert_eq!(levels(&fleet.checked(6, &[]), "h0", "somaxconn"), ["warn"]);
    let said = fleet.ends(0, &["check", "--apply", "--all"]);
    let made_user = format!("useradd --system --no-create-home --shell /usr/sbin/nologin {user}");
    for mend in [&*made_user, "sysctl -w net.core.somaxconn=4096"] {
        for told in [format!("h0: {mend}\n"), format!("h0: {mend}: done\n")] {
            assert!(said.contains(&told), "{said}");
        }
    }
    let settings = fs::read_to_string(SETTINGS).unwrap();
    assert!(settings.lines().any(|line| line == "net.core.somaxconn = 4096"), "{settings}");
    assert!(!said.contains("there is no user") && is_known(), "{said}");
    let shell = format!("{user}:");
    let accounts = fs::read_to_string("/etc/passwd").unwrap();
    let line = accounts.lines().find(|line| line.starts_with(&shell)).unwrap();
    assert!(line.ends_with(":/usr/sbin/nologin"), "{line}");
    // Again: nothing is left to do, and nothing is done.
    let said = fleet.ends(0, &["check", "--apply"]);
    assert!(!said.contains("useradd") && !said.contains("sysctl"), "{said}");
    assert_eq!(fs::read_to_string("/etc/passwd").unwrap(), accounts);
    assert_eq!(fs::read_to_string(SETTINGS).unwrap(), settings);
    let checked = fleet.checked(0, &[]);
    assert_eq!(levels(&checked, "h0", "user"), ["ok"]);
    assert_eq!(levels(&checked, "h0", "somaxconn"), ["ok"]);
}
