//! What a hostile service is refused, by what, and that its name lets it through again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use stead_core::launch::Account;
use stead_core::sandbox::{LaunchSandbox, SandboxFiles};
use stead_wire::journal::Stream;

use stead_lab::skipped;

use crate::rig::{Rig, eventually, probe};

/// A folder that is not below `/tmp`, which the sandbox would hide.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(format!("/var/lib/stead-rig-{}-{number}", std::process::id()));
        for name in ["data", "tmp", "release", "other"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(folder.join("other/secret"), "secret").unwrap();
        fs::write(folder.join("data/own"), "own").unwrap();
        // Wherever it was built, which may be below the host's `/tmp`, it is part of the release.
        fs::copy(probe(), folder.join("release/probe")).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// What a service gets by default; it runs as root, which is the harder case.
    fn sandbox(&self) -> LaunchSandbox {
        let read = vec![self.path("release")];
        let write = vec![self.path("data"), self.path("tmp")];
        LaunchSandbox {
            files: Some(SandboxFiles { read, write }),
            tmp: Some(self.path("tmp")),
            ..LaunchSandbox::default()
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How a hostile service is let loose.
struct Loose {
    sandbox: Option<LaunchSandbox>,
    account: Account,
    new_privileges: bool,
}

const ROOT: Account = Account { uid: 0, gid: 0, groups: Vec::new() };

/// What came of each try, by errno.
fn tried(place: &Place, loose: Loose, tries: &[String]) -> BTreeMap<String, i32> {
    let probe = place.path("release/probe");
    let mut argv = vec![probe.as_str(), "hostile"];
    argv.extend(tries.iter().map(String::as_str));
    let mut rig = Rig::at(&place.0.join("instance"), &argv);
    rig.launch.directory = place.path("data");
    rig.launch.sandbox = loose.sandbox;
    rig.launch.account = Some(loose.account);
    rig.launch.new_privileges = loose.new_privileges;
    rig.start();
    let output = eventually(|| {
        let text = String::from_utf8(rig.output(Stream::Out)).unwrap();
        text.contains("all tried").then_some(text)
    });
    let output = output.unwrap_or_else(|| {
        let err = String::from_utf8_lossy(&rig.output(Stream::Err)).into_owned();
        let last = rig.events().pop();
        panic!("it did not come to try: {err} {last:?}")
    });
    let parsed = output.lines().filter_map(|line| line.rsplit_once(' '));
    parsed.filter_map(|(tried, errno)| Some((tried.to_owned(), errno.parse().ok()?))).collect()
}

/// A try, what lets it through, and which errno then says that it was no lack of rights.
type Row = (String, Box<dyn Fn(&mut LaunchSandbox)>, &'static [i32]);

fn rows(place: &Place) -> Vec<Row> {
    let keeper_like = std::process::id();
    let capability = |name: &'static str| {
        move |sandbox: &mut LaunchSandbox| sandbox.capabilities.push(name.parse().unwrap())
    };
    let call = |call: &'static str, name: &'static str| {
        move |sandbox: &mut LaunchSandbox| {
            sandbox.syscalls.push(call.to_owned());
            sandbox.capabilities.push(name.parse().unwrap());
        }
    };
    // Landlock keeps its processes from looking into others, whatever else they may.
    let unbound = |name: &'static str| {
        move |sandbox: &mut LaunchSandbox| {
            (sandbox.files, sandbox.any_signals) = (None, true);
            sandbox.syscalls.push(name.to_owned());
            sandbox.capabilities.push("SYS_PTRACE".parse().unwrap());
        }
    };
    let reads = |path: String| {
        move |it: &mut LaunchSandbox| it.files.as_mut().unwrap().read.push(path.clone())
    };
    let writes = |path: String| {
        move |it: &mut LaunchSandbox| it.files.as_mut().unwrap().write.push(path.clone())
    };
    let other = place.path("other");
    let release = place.path("release");
    vec![
        (format!("read={other}/secret"), Box::new(reads(other)), &[0]),
        ("list=/root".into(), Box::new(reads("/root".into())), &[0]),
        ("list=/var/lib".into(), Box::new(reads("/var/lib".into())), &[0]),
        (format!("write={release}/planted"), Box::new(writes(release)), &[0]),
        (format!("chown={}/own", place.path("data")), Box::new(capability("CHOWN")), &[0]),
        (format!("seize={keeper_like}"), Box::new(unbound("ptrace")), &[0]),
        (format!("peek={keeper_like}"), Box::new(unbound("process_vm_readv")), &[0]),
        (format!("signal={keeper_like}"), Box::new(|it| it.any_signals = true), &[0]),
        ("bind=81".into(), Box::new(capability("NET_BIND_SERVICE")), &[0]),
        // CAP_SYS_ADMIN, with which all else could be had.
        ("gain=21".into(), Box::new(capability("SYS_ADMIN")), &[0]),
        ("raw-socket".into(), Box::new(capability("NET_RAW")), &[0]),
        (
            format!("mount={}", place.path("data")),
            Box::new(|it: &mut LaunchSandbox| {
                // Landlock keeps its processes from changing what is mounted.
                (it.files, it.any_signals) = (None, true);
                it.syscalls.push("mount".into());
                it.capabilities.push("SYS_ADMIN".parse().unwrap());
            }),
            &[0],
        ),
        ("module".into(), Box::new(call("init_module", "SYS_MODULE")), &[14, 8, 22, 38, 0]),
        ("reboot".into(), Box::new(call("reboot", "SYS_BOOT")), &[22]),
        ("unshare".into(), Box::new(call("unshare", "SYS_ADMIN")), &[0]),
        ("hostname".into(), Box::new(call("sethostname", "SYS_ADMIN")), &[22]),
        ("clock".into(), Box::new(call("settimeofday", "SYS_TIME")), &[0]),
        ("keyring".into(), Box::new(|it| it.syscalls.push("keyctl".into())), &[0, 126]),
    ]
}

fn may_try(test: &str) -> bool {
    if !stead_proc::is_root() {
        skipped(test, "only root can isolate what it starts");
        return false;
    }
    true
}

fn names(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|(name, ..)| name.clone()).collect()
}

#[test]
fn everything_hostile_is_refused_to_root_and_to_an_account_of_its_own() {
    if !may_try("everything_hostile_is_refused_to_root_and_to_an_account_of_its_own") {
        return;
    }
    let place = Place::new();
    let mut tries = names(&rows(&place));
    tries.push("privileges".into());
    let own = Account { uid: 1_900_000_123, gid: 1_900_000_123, groups: vec![1_900_000_123] };
    for account in [ROOT, own] {
        let uid = account.uid;
        for stream in ["data", "tmp", "release"] {
            fs::set_permissions(place.0.join(stream), fs::Permissions::from_mode(0o777)).unwrap();
        }
        let loose = Loose { sandbox: Some(place.sandbox()), account, new_privileges: false };
        let errnos = tried(&place, loose, &tries);
        let done: Vec<_> = errnos.iter().filter(|(_, errno)| !matches!(**errno, 1 | 13)).collect();
        assert!(done.is_empty(), "as {uid}: {done:?}");
        assert_eq!(errnos.len(), tries.len());
    }
}

/// What else is let through by the nature of the thing.
fn implied(sandbox: &LaunchSandbox) -> Vec<&'static str> {
    let mut implied = Vec::new();
    let reads_all = |it: &SandboxFiles| it.read.iter().any(|path| path == "/var/lib");
    match &sandbox.files {
        None => implied.extend(["read=", "list=", "write="]),
        Some(files) if reads_all(files) => implied.push("read="),
        Some(_) => (),
    }
    if sandbox.any_signals {
        implied.push("signal=");
    }
    if sandbox.capabilities.iter().any(|it| it.to_string().ends_with("SYS_ADMIN")) {
        implied.push("gain=21");
    }
    implied
}

#[test]
fn control_each_is_let_through_by_the_name_that_loosens_it_and_by_no_other() {
    if !may_try("control_each_is_let_through_by_the_name_that_loosens_it_and_by_no_other") {
        return;
    }
    let place = Place::new();
    let tries = names(&rows(&place));
    for (name, loosen, allowed) in rows(&place) {
        let mut sandbox = place.sandbox();
        loosen(&mut sandbox);
        let implied = implied(&sandbox);
        let loose = Loose { sandbox: Some(sandbox), account: ROOT, new_privileges: false };
        let errnos = tried(&place, loose, &tries);
        assert!(allowed.contains(&errnos[&name]), "{name}: errno {}", errnos[&name]);
        let is_meant =
            |other: &String| *other == name || implied.iter().any(|it| other.starts_with(it));
        let is_refused = |other: &String| matches!(errnos[other], 1 | 13);
        let more = tries.iter().filter(|other| !is_meant(other) && !is_refused(other));
        let more: Vec<&String> = more.collect();
        assert!(more.is_empty(), "what lets {name} through also does {more:?}");
    }
    let sandbox = Some(place.sandbox());
    let loose = Loose { sandbox, account: ROOT, new_privileges: true };
    assert_eq!(tried(&place, loose, &["privileges".to_owned()])["privileges"], 0);
}

#[test]
fn control_without_a_sandbox_root_may_do_it_all() {
    if !may_try("control_without_a_sandbox_root_may_do_it_all") {
        return;
    }
    let place = Place::new();
    // But mounts and names of the host, which are the host's then.
    let harmless: BTreeSet<&str> = BTreeSet::from(["read", "list", "write", "chown", "signal"]);
    let tries: Vec<String> = names(&rows(&place))
        .into_iter()
        .filter(|name| harmless.contains(name.split('=').next().unwrap()))
        .collect();
    let loose = Loose { sandbox: None, account: ROOT, new_privileges: false };
    let errnos = tried(&place, loose, &tries);
    assert!(errnos.values().all(|errno| *errno == 0), "{errnos:?}");
}

#[test]
fn a_service_has_a_tmp_of_its_own_and_writes_its_data_and_its_streams() {
    if !may_try("a_service_has_a_tmp_of_its_own_and_writes_its_data_and_its_streams") {
        return;
    }
    let place = Place::new();
    let script = "echo mine > /tmp/note; echo var > /var/tmp/other; echo data > note; \
                  echo again > /dev/stdout; cat /etc/hostname > /dev/null && echo reads; \
                  getent hosts localhost > /dev/null && echo resolves; exec sleep 1000";
    let mut rig = Rig::at(&place.0.join("instance"), &["/bin/sh", "-c", script]);
    rig.launch.directory = place.path("data");
    rig.launch.sandbox = Some(place.sandbox());
    rig.launch.account = Some(ROOT);
    rig.start();
    let said = eventually(|| {
        let text = String::from_utf8(rig.output(Stream::Out)).unwrap();
        text.contains("resolves").then_some(text)
    });
    assert!(said.is_some(), "{}", String::from_utf8_lossy(&rig.output(Stream::Err)));
    assert_eq!(said.unwrap(), "again\nreads\nresolves\n");
    let read = |name: &str| fs::read_to_string(place.0.join(name)).unwrap();
    assert_eq!((read("tmp/note"), read("tmp/other")), ("mine\n".into(), "var\n".into()));
    assert_eq!(read("data/note"), "data\n");
    assert!(!Path::new("/tmp/note").exists() && !Path::new("/var/tmp/other").exists());
}
