//! Every check has a host that it passes, and one that differs in one fact and does not.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::check::{Binary, Level, Program, System, check, worst};
use crate::names::InstanceName;
use crate::plan::{Enforce, Plan, Spec};
use crate::units::{Bytes, MilliCpu};

/// A host on which all is well.
const GOOD: &str = "\
clock=1700000000.000000000
login=Administrator
system=Windows
kernel=10.0.20348.2402
machine=x86_64
cores=4
synced=yes
memory_kib=8388608
available_kib=4194304
root=C:\\ProgramData\\stead
root_state=absent
root_on=C:\\ProgramData
disk_free_kib=10485760
mount_point=C:\\
mount_options=rw
file_system=NTFS
listen=8100 any own 77 orders.exe
user=orders
windows.administrator=yes
windows.services=yes
windows.up_s=86400
windows.load_percent=3
windows.disk_kib=104857600
windows.drive=fixed
windows.sshd=auto
windows.reboot=no
windows.firewall=domain, private, public
windows.let_in=8100
windows.defender=yes
windows.defender_excluded=yes
windows.long_paths=no
windows.code_page=1252
stead-end
";

/// What the same host says that differs in this one fact.
fn but(line: &str) -> String {
    let (key, _) = line.split_once('=').unwrap();
    let others = GOOD.lines().filter(|good| !good.starts_with(&format!("{key}=")));
    others.map(|it| format!("{it}\n")).chain([format!("{line}\n")]).collect()
}

fn facts(text: &str) -> Facts {
    let mut facts = Facts::parse(text.as_bytes());
    let asked_ms = 1_700_000_000_000;
    facts.offset = facts.clock.map(|clock| clock.offset(asked_ms - 10, asked_ms + 10));
    facts
}

fn needs() -> Needs {
    let instance: InstanceName = "web.0".parse().unwrap();
    let mut spec = Spec::of(vec!["web.exe".parse().unwrap()]);
    spec.user = Some("orders".into());
    spec.group = Some("Users".into());
    spec.ports = [("http".into(), 8100), ("low".into(), 80)].into();
    spec.limits.memory = Some(Bytes(1 << 30));
    spec.limits.processes = Some(400);
    spec.limits.enforce = Enforce::Must;
    spec.requests.memory = Some(Bytes(1 << 30));
    spec.requests.cpu = Some(MilliCpu(2000));
    let service = instance.service().clone();
    let instances = [(instance, spec)].into();
    let plan = Plan { fleet: "shop".parse().unwrap(), host: "win1".parse().unwrap(), instances };
    let binary = program(System::Windows, "x86_64");
    let program = Program { service, file: "target/web.exe".into(), binary: Some(binary) };
    Needs {
        plan,
        system: System::Windows,
        machine: "x86_64",
        is_remote: true,
        release_bytes: 20 << 20,
        programs: vec![program],
        signatures: Vec::new(),
    }
}

fn program(system: System, machine: &'static str) -> Binary {
    Binary { system, machine: Some(machine), ..Binary::default() }
}

fn of(findings: &[Finding], name: &str) -> Level {
    let of_check: Vec<_> = findings.iter().filter(|it| it.check == name).cloned().collect();
    assert!(!of_check.is_empty(), "nothing of {name}");
    worst(&of_check)
}

/// A check, how bad it finds the fact, and the fact.
const CASES: [(&str, Level, &str); 45] = [
    ("capacity", Level::Fail, "cores=1"),
    ("capacity", Level::Fail, "memory_kib=524288"),
    ("capacity", Level::Warn, "cores=many"),
    ("clock", Level::Fail, "clock=1700000005.012"),
    ("clock", Level::Warn, "clock=1699999999.800"),
    ("clock", Level::Warn, "clock=now"),
    ("code-page", Level::Ok, "windows.code_page=65001"),
    ("defender", Level::Ok, "windows.defender=no"),
    ("defender", Level::Warn, "windows.defender_excluded=no"),
    ("disk-space", Level::Fail, "disk_free_kib=20479"),
    ("disk-space", Level::Warn, "disk_free_kib=225279"),
    ("disk-space", Level::Warn, "disk_free_kib=much"),
    ("drive", Level::Fail, "mount_options=ro"),
    ("drive", Level::Warn, "windows.drive=ram"),
    ("drive", Level::Warn, "windows.drive=remote"),
    ("drive", Level::Warn, "windows.drive=removable"),
    ("file-system", Level::Fail, "file_system=FAT32"),
    ("file-system", Level::Ok, "file_system=ReFS"),
    ("firewall", Level::Ok, "listen=8100 one own 77 orders.exe"),
    ("firewall", Level::Ok, "windows.firewall=off"),
    ("firewall", Level::Warn, "windows.let_in=8101"),
    ("group", Level::Fail, "no_group=Users"),
    ("long-paths", Level::Ok, "windows.long_paths=yes"),
    ("memory", Level::Warn, "memory_kib=1048575"),
    ("port", Level::Fail, "listen=80 any other 4 System"),
    ("port", Level::Fail, "listen=8100 any other 77 nginx.exe"),
    ("port", Level::Ok, "listen=8101 any other 77 nginx.exe"),
    ("port", Level::Warn, "listen=8100 one other 77 nginx.exe"),
    ("reboot", Level::Warn, "windows.reboot=servicing, renames"),
    ("refused-port", Level::Fail, "windows.refused_port=8100"),
    ("refused-port", Level::Ok, "windows.refused_port=8101"),
    ("root", Level::Fail, "root_state=closed"),
    ("root", Level::Fail, "root_state=forbidden"),
    ("root", Level::Fail, "root_state=blocked"),
    ("root", Level::Ok, "root_state=writable"),
    ("service", Level::Fail, "windows.services=no"),
    ("ssh-server", Level::Warn, "windows.sshd=manual"),
    ("system", Level::Fail, "machine=aarch64"),
    ("system", Level::Fail, "system=Linux"),
    ("system", Level::Warn, "system="),
    ("time-sync", Level::Warn, "synced=no"),
    ("user", Level::Fail, "no_user=orders"),
    ("user", Level::Fail, "windows.administrator=no"),
    ("version", Level::Warn, "kernel=6.3.9600"),
    ("version", Level::Warn, "kernel=unknown"),
];

#[test]
fn every_check_passes_one_windows_and_not_its_twin_that_differs_in_one_fact() {
    let needs = needs();
    let good = check(&facts(GOOD), &needs);
    let bad: Vec<_> = good.iter().filter(|it| it.level != Level::Ok).collect();
    assert!(bad.is_empty(), "{bad:?}");
    for (name, level, line) in CASES {
        let found = check(&facts(&but(line)), &needs);
        assert_eq!(of(&found, name), level, "{name} by {line}: {found:?}");
        for finding in found {
            assert_eq!(finding.mend.is_none(), finding.level == Level::Ok, "{finding:?}");
            assert_eq!(finding.apply, None, "nothing is mended there from afar");
            // What is told to be tried there is there.
            let mend = finding.mend.unwrap_or_default();
            for word in ["sudo", "sysctl", "systemctl", "chronyc", "kill ", "useradd", "`df`"] {
                assert!(!mend.contains(word) || mend.contains("taskkill "), "{mend}");
            }
        }
    }
    let bad_cases = CASES.iter().filter(|(_, level, _)| *level != Level::Ok);
    let tried: BTreeSet<&str> = bad_cases
        .map(|(name, _, _)| *name)
        .chain(["code-page", "long-paths", "program-machine", "program-system"])
        .collect();
    assert_eq!(tried, good.iter().map(|finding| finding.check).collect());
}

#[test]
fn what_a_host_does_not_tell_is_not_held_against_it() {
    let silent: String =
        GOOD.lines().filter(|it| !it.starts_with(PREFIX)).collect::<Vec<_>>().join("\n");
    let found = check(&facts(&silent), &needs());
    let names: BTreeSet<&str> = found.iter().map(|it| it.check).collect();
    let unknown = ["service", "long-paths", "ssh-server", "reboot", "firewall", "defender"];
    assert!(unknown.iter().all(|name| !names.contains(name)), "{names:?}");
    // Who may read exclusions is an administrator.
    let unread = check(&facts(&but("windows.defender_excluded=")), &needs());
    assert!(unread.iter().all(|it| it.check != "defender"));
}

#[test]
fn checks_of_one_system_are_not_made_on_the_other() {
    let (on_windows, on_linux) = (needs(), Needs { system: System::Linux, ..needs() });
    let names = |needs: &Needs| -> BTreeSet<&str> {
        check(&facts(GOOD), needs).iter().map(|it| it.check).collect()
    };
    let of_linux = ["sudo", "kernel", "cgroup", "systemd", "glibc", "selinux", "low-port", "mount"];
    let of_windows = ["version", "service", "defender", "firewall", "reboot", "program-system"];
    let (there, here) = (names(&on_windows), names(&on_linux));
    assert!(of_linux.iter().all(|name| !there.contains(name)), "{there:?}");
    assert!(of_windows.iter().all(|name| !here.contains(name)), "{here:?}");
    // Control: each is made where it belongs.
    assert!(["cgroup", "systemd", "glibc", "selinux"].iter().all(|name| here.contains(name)));
    assert!(of_windows.iter().all(|name| there.contains(name)));
}

#[test]
fn a_program_for_another_system_or_processor_is_told_before_it_is_brought() {
    let on = |machine: &str| facts(&but(&format!("machine={machine}")));
    for (system, its, machine, expected) in [
        (System::Windows, "x86_64", "x86_64", (Level::Ok, Level::Ok)),
        (System::Windows, "i686", "x86_64", (Level::Ok, Level::Ok)),
        (System::Windows, "x86_64", "aarch64", (Level::Ok, Level::Ok)),
        (System::Windows, "aarch64", "x86_64", (Level::Ok, Level::Fail)),
        (System::Windows, "armv7l", "aarch64", (Level::Ok, Level::Fail)),
        (System::Linux, "x86_64", "x86_64", (Level::Fail, Level::Ok)),
        (System::Linux, "aarch64", "x86_64", (Level::Fail, Level::Ok)),
    ] {
        let mut needs = needs();
        needs.programs[0].binary = Some(program(system, its));
        let found = check(&on(machine), &needs);
        let levels = (of(&found, "program-system"), of(&found, "program-machine"));
        assert_eq!(levels, expected, "{system:?} {its} on {machine}");
    }
    // Nobody is asked for what loads a program for another system.
    let mut needs = needs();
    let interpreter = Some("/lib64/ld-linux-x86-64.so.2".into());
    needs.programs[0].binary = Some(Binary { interpreter, ..program(System::Linux, "x86_64") });
    assert!(needs.questions().iter().all(|it| !it.starts_with("path:")));
}

#[test]
fn an_agent_that_nobody_brings_may_do_without_a_service() {
    let near = Needs { is_remote: false, ..needs() };
    assert_eq!(of(&check(&facts(&but("windows.services=no")), &near), "service"), Level::Warn);
}

#[test]
fn a_root_that_leaves_no_room_for_names_is_told_where_long_paths_are_off() {
    let deep = format!("root=C:\\{}", "d".repeat(110));
    let text = but(&deep);
    assert_eq!(of(&check(&facts(&text), &needs()), "long-paths"), Level::Warn);
    let on = text.replace("long_paths=no", "long_paths=yes");
    assert_eq!(of(&check(&facts(&on), &needs()), "long-paths"), Level::Ok, "the control");
}

#[test]
fn a_port_is_let_in_by_a_rule_that_is_about_it_and_active() {
    const RULE: &str = "v2.30|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=8100|Name=web|";
    for (from, to, expected) in [
        ("", "", true),
        ("LPort=8100", "LPort=8090,8100", true),
        ("LPort=8100", "LPort2_10=8000-8200", true),
        ("LPort=8100", "LPort=80|LPort=8100", true),
        ("|LPort=8100", "", true),
        ("|Protocol=6|LPort=8100", "", true),
        ("LPort=8100", "LPort=8101", false),
        ("LPort=8100", "LPort=RPC", false),
        ("Action=Allow", "Action=Block", false),
        ("Active=TRUE", "Active=FALSE", false),
        ("Dir=In", "Dir=Out", false),
        ("Protocol=6", "Protocol=17", false),
        ("Name=web", "App=C:\\nginx.exe|Name=web", false),
        ("Name=web", "RA4=LocalSubnet|Name=web", false),
        (RULE, "", false),
    ] {
        let rule = if from.is_empty() { RULE.into() } else { RULE.replace(from, to) };
        assert_eq!(lets_in(&rule, 8100), expected, "{rule}");
    }
}

#[test]
fn accounts_and_paths_are_known_by_any_spelling() {
    for (name, expected) in [
        ("LocalService", true),
        ("NT AUTHORITY\\LocalService", true),
        ("nt authority\\network service", true),
        ("SYSTEM", true),
        ("orders", false),
        (".\\LocalService2", false),
    ] {
        assert_eq!(is_known_account(name), expected, "{name}");
    }
    for (above, path, expected) in [
        ("C:\\ProgramData", "c:\\programdata\\stead", true),
        ("C:\\ProgramData\\stead\\", "C:/ProgramData/stead", true),
        ("C:\\", "C:\\stead", true),
        ("C:\\ProgramData\\st", "C:\\ProgramData\\stead", false),
        ("C:\\ProgramData\\stead\\data", "C:\\ProgramData\\stead", false),
        ("", "C:\\stead", false),
    ] {
        assert_eq!(covers(above, path), expected, "{above} {path}");
    }
}

proptest! {
    #[test]
    fn whatever_a_windows_says_is_read_and_judged(
        values in prop::collection::vec((0..GOOD.lines().count(), "\\PC{0,20}"), 0..40),
        rule in "\\PC{0,60}",
    ) {
        let pairs = GOOD.lines().filter_map(|line| line.split_once('='));
        let keys: Vec<&str> = pairs.map(|(key, _)| key).collect();
        let mut text = String::from(GOOD);
        for (n, value) in values {
            let key = keys.get(n).copied().unwrap_or("listen");
            text.push_str(&format!("{key}={value}\n"));
        }
        let _ = (check(&facts(&text), &needs()), lets_in(&rule, 8100), covers(&rule, &rule));
    }
}
