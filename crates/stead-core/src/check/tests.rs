//! Every check has a host that it passes, and one that differs in one fact and does not.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::names::InstanceName;
use crate::plan::{Plan, Spec};
use crate::sandbox::Sandbox;
use crate::units::{Bytes, MilliCpu};

/// A host on which all is well.
const GOOD: &str = "\
clock=1700000000.000000000
uid=0
login=root
sudo=works
system=Linux
kernel=6.1.0-25-amd64
machine=x86_64
cores=4
synced=yes
timedatectl=yes
memory_kib=8388608
available_kib=4194304
swap_kib=0
root=/var/lib/stead
root_state=absent
root_on=/var/lib
disk_free_kib=10485760
inodes=1000000 900000
mount_point=/
mount_options=rw,relatime
file_system=ext4
rotational=0
glibc=2.36
fs.file-max=9223372036854775807
fs.nr_open=1048576
net.core.somaxconn=4096
vm.max_map_count=65530
kernel.pid_max=4194304
net.ipv4.ip_unprivileged_port_start=1024
local_ports=32768 60999
files_hard=1048576
cgroup=v2 cpuset cpu io memory hugetlb pids
cgroup_writable=yes
selinux=Permissive
apparmor=Y
systemd=252
hugepages=madvise
stead-end
";

/// What the same host says that differs in this one fact.
fn but(line: &str) -> String {
    let (key, _) = line.split_once('=').unwrap();
    let mut text: String = GOOD
        .lines()
        .filter(|good| !good.starts_with(&format!("{key}=")))
        .map(|it| format!("{it}\n"))
        .collect();
    text.push_str(line);
    text.push('\n');
    text
}

fn facts(text: &str) -> Facts {
    let mut facts = Facts::parse(text.as_bytes());
    let asked_ms = 1_700_000_000_000;
    facts.offset = facts.clock.map(|clock| clock.offset(asked_ms - 10, asked_ms + 10));
    facts
}

fn instance() -> InstanceName {
    "web.0".parse().unwrap()
}

fn needs(change: impl FnOnce(&mut Spec)) -> Needs {
    let mut spec = Spec::of(vec!["./web".parse().unwrap()]);
    spec.user = Some("orders".into());
    spec.group = Some("www".into());
    spec.ports = [("http".into(), 8100), ("low".into(), 80)].into();
    spec.limits.memory = Some(Bytes(1 << 30));
    spec.limits.cpu = Some(MilliCpu(500));
    spec.limits.processes = Some(40_000);
    spec.limits.files = Some(5000);
    spec.requests.memory = Some(Bytes(1 << 30));
    spec.requests.cpu = Some(MilliCpu(2000));
    change(&mut spec);
    let instances = [(instance(), spec)].into();
    let plan = Plan { fleet: "shop".parse().unwrap(), host: "vm1".parse().unwrap(), instances };
    let binary = Binary {
        system: System::Linux,
        machine: Some("x86_64"),
        interpreter: Some("/lib64/ld-linux-x86-64.so.2".into()),
        glibc: "2.34".parse().ok(),
        damage: None,
    };
    let service = instance().service().clone();
    let program = Program { service, file: "target/web".into(), binary: Some(binary) };
    let (programs, signatures) = (vec![program], Vec::new());
    Needs {
        plan,
        system: System::Linux,
        machine: "x86_64",
        is_remote: true,
        release_bytes: 20 << 20,
        programs,
        signatures,
    }
}

fn of(findings: &[Finding], name: &str) -> Level {
    let of_check: Vec<_> = findings.iter().filter(|it| it.check == name).cloned().collect();
    assert!(!of_check.is_empty(), "nothing of {name}");
    worst(&of_check)
}

/// A check, how bad it finds the fact, and the fact.
const CASES: [(&str, Level, &str); 58] = [
    ("access-times", Level::Ok, "mount_options=rw,noatime"),
    ("access-times", Level::Warn, "mount_options=rw"),
    ("capacity", Level::Fail, "cgroup_writable=no"),
    ("capacity", Level::Fail, "cores=1"),
    ("capacity", Level::Fail, "memory_kib=524288"),
    ("capacity", Level::Warn, "cores=many"),
    ("cgroup", Level::Warn, "cgroup_writable=no"),
    ("cgroup", Level::Warn, "uid=1000"),
    ("clock", Level::Fail, "clock=1700000005.012"),
    ("clock", Level::Ok, "clock=1699999999"),
    ("clock", Level::Ok, "clock=1700000000.110"),
    ("clock", Level::Warn, "clock=1699999999.800"),
    ("clock", Level::Warn, "clock=1700000000.112"),
    ("clock", Level::Warn, "clock=now"),
    ("disk", Level::Warn, "rotational=1"),
    ("disk-space", Level::Fail, "disk_free_kib=20479"),
    ("disk-space", Level::Ok, "disk_free_kib=225280"),
    ("disk-space", Level::Warn, "disk_free_kib=225279"),
    ("file-max", Level::Warn, "fs.file-max=65536"),
    ("file-system", Level::Ok, "file_system=xfs"),
    ("file-system", Level::Warn, "file_system=nfs4"),
    ("file-system", Level::Warn, "file_system=tmpfs"),
    ("files", Level::Fail, "fs.nr_open=4999"),
    ("files", Level::Ok, "files_hard=4999"),
    ("glibc", Level::Fail, "glibc=2.33"),
    ("glibc", Level::Ok, "glibc=2.34"),
    ("glibc", Level::Warn, "glibc=unknown"),
    ("group", Level::Fail, "no_group=www"),
    ("group", Level::Fail, "uid=1000"),
    ("hugepages", Level::Warn, "hugepages=always"),
    ("inodes", Level::Fail, "inodes=10000 1063"),
    ("inodes", Level::Ok, "inodes=0 0"),
    ("inodes", Level::Warn, "inodes=1000000 40000"),
    ("kernel", Level::Fail, "kernel=5.2.99"),
    ("kernel", Level::Ok, "kernel=5.3"),
    ("kernel", Level::Warn, "kernel=new"),
    ("local-ports", Level::Warn, "local_ports=8100 8200"),
    ("low-port", Level::Fail, "uid=1000"),
    ("map-count", Level::Warn, "vm.max_map_count=65529"),
    ("memory", Level::Warn, "memory_kib=1048575"),
    ("mount", Level::Fail, "mount_options=ro,relatime"),
    ("mount", Level::Fail, "mount_options=rw,noexec,relatime"),
    ("pid-max", Level::Warn, "kernel.pid_max=39999"),
    ("port", Level::Fail, "listen=8100 any other 77 nginx"),
    ("port", Level::Ok, "listen=8100 any own 77 web"),
    ("port", Level::Warn, "listen=8100 any unknown 0 -"),
    ("port", Level::Warn, "listen=8100 one other 77 nginx"),
    ("program-interpreter", Level::Fail, "no_path=/lib64/ld-linux-x86-64.so.2"),
    ("program-machine", Level::Fail, "machine=aarch64"),
    ("root", Level::Fail, "root_state=blocked"),
    ("root", Level::Fail, "root_state=closed"),
    ("root", Level::Fail, "root_state=forbidden"),
    ("selinux", Level::Warn, "selinux=Enforcing"),
    ("somaxconn", Level::Warn, "net.core.somaxconn=128"),
    ("sudo", Level::Fail, "sudo=refused"),
    ("system", Level::Fail, "system=FreeBSD"),
    ("time-sync", Level::Warn, "synced=no"),
    ("user", Level::Fail, "no_user=orders"),
];

#[test]
fn every_check_passes_one_host_and_not_its_twin_that_differs_in_one_fact() {
    let needs = needs(|_| ());
    let good = check(&facts(GOOD), &needs);
    let bad: Vec<_> = good.iter().filter(|it| it.level != Level::Ok).collect();
    assert!(bad.is_empty(), "{bad:?}");
    for (name, level, line) in CASES {
        let found = check(&facts(&but(line)), &needs);
        assert_eq!(of(&found, name), level, "{name} by {line}: {found:?}");
        for finding in found {
            assert_eq!(finding.mend.is_none(), finding.level == Level::Ok, "{finding:?}");
        }
    }
    let without = GOOD.replace("systemd=252\n", "");
    assert_eq!(of(&check(&facts(&without), &needs), "systemd"), Level::Warn);
    assert_eq!(of(&check(&facts(&without), &needs), "agent-files"), Level::Ok);
    let few = without.replace("files_hard=1048576", "files_hard=258");
    assert_eq!(of(&check(&facts(&few), &needs), "agent-files"), Level::Fail);
    let without = GOOD.replace("glibc=2.36", "musl=yes");
    assert_eq!(of(&check(&facts(&without), &needs), "glibc"), Level::Fail);
    let bad_cases = CASES.iter().filter(|(_, level, _)| *level != Level::Ok);
    let tried: BTreeSet<&str> =
        bad_cases.map(|(name, _, _)| *name).chain(["agent-files", "systemd"]).collect();
    assert_eq!(tried, good.iter().map(|finding| finding.check).collect());
}

#[test]
fn what_a_service_needs_decides_what_is_wrong() {
    let level = |name: &str, text: &str, change: fn(&mut Spec)| {
        of(&check(&facts(text), &needs(change)), name)
    };
    let off = |spec: &mut Spec| spec.sandbox = Sandbox::Off;
    assert_eq!(level("low-port", GOOD, off), Level::Fail);
    let listens = |spec: &mut Spec| {
        spec.sandbox = Sandbox::Off;
        spec.listen = [("low".into(), "0.0.0.0".into())].into();
    };
    assert_eq!(level("low-port", GOOD, listens), Level::Ok);
    let as_root = |spec: &mut Spec| {
        spec.sandbox = Sandbox::Off;
        spec.user = Some("root".into());
    };
    assert_eq!(level("low-port", GOOD, as_root), Level::Ok);
    let fronted = |spec: &mut Spec| {
        let by = "web-front.0".parse().unwrap();
        spec.fronted = Some(crate::plan::Fronted { by, port: "http".into() });
    };
    let second = but("listen=8101 any other 77 nginx");
    assert_eq!(level("port", &second, fronted), Level::Fail);
    assert_eq!(level("port", &second, |_| ()), Level::Ok);
    let many = |spec: &mut Spec| spec.limits.files = Some(2 << 20);
    assert_eq!(level("files", GOOD, many), Level::Fail);
    // A service of the login's own needs no root.
    let own = GOOD.replace("uid=0\nlogin=root", "uid=1000\nlogin=orders");
    assert_eq!(level("user", &own, |_| ()), Level::Ok);
    assert_eq!(
        level("files", &own.replace("files_hard=1048576", "files_hard=1024"), |_| ()),
        Level::Fail
    );
    let reserved = but("local_ports=8100 8200") + "reserved_ports=22,8090-8110\n";
    assert_eq!(level("local-ports", &reserved, |_| ()), Level::Ok);
    // Nothing else is wrong where `sudo` is refused: it would be right once that works.
    let refused = GOOD.replace("uid=0\nlogin=root\nsudo=works", "uid=7\nlogin=ann\nsudo=refused");
    let refused = refused.replace("root_state=absent", "root_state=forbidden");
    let found = check(&facts(&refused.replace("cgroup_writable=yes\n", "")), &needs(|_| ()));
    let bad: Vec<_> = found.iter().filter(|it| it.level != Level::Ok).map(|it| it.check).collect();
    assert_eq!(bad, ["sudo"]);
    let mut torn = needs(|_| ());
    torn.programs[0].binary = Some(Binary { damage: Some("cut".into()), ..Binary::default() });
    assert_eq!(of(&check(&facts(GOOD), &torn), "program-machine"), Level::Warn);
    let mut unbuilt = needs(|_| ());
    unbuilt.programs[0].binary = None;
    let found = check(&facts(&but("glibc=2.17")), &unbuilt);
    let glibc = found.iter().find(|it| it.check == "glibc").unwrap();
    assert_eq!((glibc.level, &*glibc.found), (Level::Ok, "not built yet: target/web"));
}

#[test]
fn what_is_signed_has_a_row_that_says_how_its_signature_stands() {
    let bad = SignatureState::Bad { why: "MISMATCH!!!".into(), copy: "/c/1.exe".into() };
    for (state, level, found, mend) in [
        (SignatureState::Verified, Level::Ok, "`bin/web.exe` of web verifies", None),
        (SignatureState::Unsigned, Level::Ok, "yet to be signed", None),
        (bad, Level::Fail, "does not verify: MISMATCH!!!", Some("`rm '/c/1.exe'`")),
        (SignatureState::NoTool { tool: "signtool" }, Level::Fail, "not here", Some("install")),
    ] {
        let mut needs = needs(|_| ());
        let service = instance().service().clone();
        needs.signatures = vec![Signature { service, file: "bin/web.exe".into(), state }];
        let all = check(&facts(GOOD), &needs);
        let row = all.iter().find(|it| it.check == "signature").unwrap();
        assert_eq!(row.level, level, "{row:?}");
        assert!(row.found.contains(found) && row.found.contains("bin/web.exe"), "{row:?}");
        let told = row.mend.as_deref();
        assert!(told.is_some() == mend.is_some(), "{row:?}");
        assert!(mend.is_none_or(|it| told.is_some_and(|told| told.contains(it))), "{row:?}");
    }
    let without = check(&facts(GOOD), &needs(|_| ()));
    assert!(without.iter().all(|it| it.check != "signature"), "the control");
}

#[test]
fn what_can_be_mended_from_afar_is_named_as_a_command() {
    let mended = [
        ("no_user=orders", "user:orders", "useradd --system --no-create-home"),
        ("no_group=www", "group:www", "groupadd --system www"),
        ("synced=no", "time-sync", "timedatectl set-ntp true"),
        ("net.core.somaxconn=128", "sysctl:net.core.somaxconn=4096", "sysctl -w net.core"),
        ("fs.nr_open=4999", "sysctl:fs.nr_open=5000", "sysctl -w fs.nr_open=5000"),
    ];
    for (line, word, command) in mended {
        let found = check(&facts(&but(line)), &needs(|_| ()));
        let mends: Vec<_> = found.iter().filter_map(|finding| finding.apply.clone()).collect();
        assert_eq!(mends.iter().map(Mend::word).collect::<Vec<_>>(), [word]);
        assert!(format!("{}", mends[0]).starts_with(command), "{}", mends[0]);
    }
    // A number is no name to give to anybody, and where there is no systemd it sets no clock.
    let numbered =
        check(&facts(&but("no_user=4711")), &needs(|spec| spec.user = Some("4711".into())));
    let alone = check(&facts(&but("synced=no").replace("timedatectl=yes", "")), &needs(|_| ()));
    for found in [numbered, alone] {
        assert_ne!(worst(&found), Level::Ok);
        assert!(found.iter().all(|finding| finding.apply.is_none()), "{found:?}");
    }
}

#[test]
fn the_questions_are_all_that_is_needed() {
    let asked = needs(|_| ()).questions();
    let expected =
        ["port:80", "port:8100", "user:orders", "group:www", "path:/lib64/ld-linux-x86-64.so.2"];
    assert_eq!(asked, expected);
}

#[test]
fn a_clock_is_off_by_what_is_between_and_no_more_sure_than_the_trip() {
    let clock = |at_ms, step_ms| Clock { at_ms, step_ms };
    let cases = [
        (clock(1000, 1), (1000, 1000), 0, 1),
        (clock(1500, 1), (1000, 1100), 450, 51),
        (clock(500, 1), (1000, 1100), -550, 51),
        (clock(1000, 1000), (1400, 1600), 0, 600),
        (clock(1000, 1), (1100, 1000), -100, 1),
    ];
    for (clock, (asked_ms, answered_ms), ms, within_ms) in cases {
        assert_eq!(clock.offset(asked_ms, answered_ms), Offset { ms, within_ms }, "{clock:?}");
    }
}

#[test]
fn versions_of_glibc_are_ordered_by_their_numbers() {
    let version = |text: &str| text.parse::<Glibc>();
    assert!(version("2.9").unwrap() < version("2.34").unwrap());
    assert!(version("2.2.5").unwrap() < version("2.3").unwrap());
    assert_eq!(format!("{} {}", version("2.2.5").unwrap(), version("2.36").unwrap()), "2.2.5 2.36");
    for bad in ["", "2", "2.x", "2.1.2.3", "PRIVATE", "-1.2"] {
        assert_eq!(version(bad), Err(needs::GlibcError), "{bad}");
    }
}

/// What a value may look like, or not.
const VALUE: &str = "[0-9]{0,22}[ .a-z,-]{0,3}[0-9]{0,6}|\\PC{0,20}";

proptest! {
    #[test]
    fn whatever_a_host_says_is_read_and_judged(bytes in any::<Vec<u8>>()) {
        let _ = check(&Facts::parse(&bytes), &needs(|_| ()));
    }

    #[test]
    fn whatever_a_host_says_of_what_is_asked_is_read_and_judged(
        values in prop::collection::vec((0..GOOD.lines().count(), VALUE), 0..40),
        asked_ms in any::<u64>(),
        answered_ms in any::<u64>(),
    ) {
        let pairs = GOOD.lines().filter_map(|line| line.split_once('='));
        let keys: Vec<&str> = pairs.map(|(key, _)| key).collect();
        let mut text = String::from(GOOD);
        for (n, value) in values {
            let key = keys.get(n).copied().unwrap_or("listen");
            text.push_str(&format!("{key}={value}\n"));
        }
        let mut facts = Facts::parse(text.as_bytes());
        facts.offset = facts.clock.map(|clock| clock.offset(asked_ms, answered_ms));
        for finding in check(&facts, &needs(|_| ())) {
            prop_assert!(!finding.found.is_empty() || finding.level == Level::Ok, "{:?}", finding);
        }
    }
}
