//! How runs begin, and the ladder by which they are brought to an end.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use stead_core::launch::{Account, LaunchStopHow};
use stead_core::machine::{Goal, PhaseName};
use stead_core::plan::{Umask, When};
use stead_core::signal::Signal;
use stead_wire::journal::{Event, Stream};
use stead_wire::keeper::Request;

use crate::rig::{Rig, eventually, probe};

fn shell(script: &str) -> Rig {
    Rig::new(&["/bin/sh", "-c", script])
}

fn out(rig: &Rig) -> String {
    String::from_utf8(rig.output(Stream::Out)).unwrap()
}

/// Waits until the service has said this much.
fn said(rig: &Rig, lines: usize) -> Vec<String> {
    let found = eventually(|| {
        let all: Vec<String> = out(rig).lines().map(String::from).collect();
        (all.len() >= lines).then_some(all)
    });
    found.unwrap_or_else(|| panic!("only said {:?}; {:?}", out(rig), rig.report()))
}

#[test]
fn a_run_inherits_nothing_but_what_it_is_given() {
    let script = "env | sort; umask; pwd; id -u; cat /proc/self/oom_score_adj; \
                  grep -E 'NoNewPrivs|SigIgn|SigBlk' /proc/self/status; \
                  ls -l /proc/self/fd | wc -l; \
                  echo end; exec sleep 1000";
    let mut rig = shell(script);
    rig.launch.env = BTreeMap::from(
        [("PATH", "/usr/bin:/bin"), ("A", "b c")].map(|(k, v)| (k.into(), v.into())),
    );
    rig.launch.umask = Umask(0o077);
    rig.start();
    let said = said(&rig, 14);
    let folder = rig.folder.to_str().unwrap();
    let run = format!("STEAD_RUN={folder}#1");
    let pwd = format!("PWD={folder}");
    let env = ["A=b c", "PATH=/usr/bin:/bin", &pwd, "STEAD_INSTANCE=probe.0", &run];
    assert_eq!(said[..5], env);
    assert_eq!(said[5..7], ["0077", folder]);
    assert_eq!(said[8], "100", "killed before its keeper when memory runs out");
    let status = said[9..12].join(" ").replace('\t', " ");
    assert_eq!(status, "SigBlk: 0000000000000000 SigIgn: 0000000000000000 NoNewPrivs: 1");
    // 0, 1, 2, the folder that ls itself reads, and the line `total`.
    assert_eq!(said[12].trim(), "5", "no descriptor leaked");
}

#[test]
fn a_keeper_is_killed_after_its_service_when_memory_runs_out() {
    let mut rig = Rig::new(&[&probe(), "sleep"]);
    rig.start();
    let service = rig.wait_up();
    let score = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap();
        text.trim().parse::<i32>().unwrap()
    };
    // A root without CAP_SYS_RESOURCE may not go below zero, and a keeper of it neither.
    let mut may = Command::new("/bin/sh");
    may.args(["-c", "echo -900 > /proc/self/oom_score_adj"]);
    let expected = if may.stderr(Stdio::null()).status().unwrap().success() { -900 } else { 0 };
    assert_eq!((score(rig.keeper_pid()), score(service)), (expected, 100));
}

#[test]
fn a_run_has_the_account_it_is_given_and_no_other_groups() {
    if !stead_proc::is_root() {
        return stead_lab::skipped("an account of its own", "not root");
    }
    let account = Account { uid: 1_900_000_123, gid: 1_900_000_124, groups: vec![1_900_000_124] };
    let mut rig = shell("id -u; id -g; id -G; echo again > /dev/stdout; exec sleep 1000");
    for stream in Stream::ALL {
        stead_proc::make_fifo(&rig.folder.join(stream.as_str()), Some(&account)).unwrap();
    }
    rig.launch.directory = "/".into();
    rig.launch.account = Some(account);
    rig.start();
    assert_eq!(said(&rig, 4), ["1900000123", "1900000124", "1900000124", "again"]);
}

#[test]
fn what_cannot_start_says_which_step_failed_and_why() {
    let file = env!("CARGO_MANIFEST_DIR").to_owned() + "/Cargo.toml";
    let cases: [(&[&str], &str, &str); 5] = [
        (&["no-such-program"], "/", "`no-such-program` is in none of the folders of PATH"),
        (&["./no-such-file"], "/", "could not run its program: No such file or directory"),
        (&[&file], "/", "could not run its program: Permission denied"),
        (&["/bin/true"], "/no/such/folder", "could not enter its directory: No such file"),
        (&["/bin/true", "a\0b"], "/", "an argument or variable holds a NUL byte"),
    ];
    for (argv, directory, expected) in cases {
        let mut rig = Rig::new(argv);
        rig.launch.directory = directory.into();
        rig.launch.restart.backoff_max = Duration::from_millis(50);
        rig.start();
        let report = rig.wait_until("tried again and again", |r| r.run >= 3);
        let reason = report.last_exit.unwrap().reason;
        assert!(reason.starts_with(&format!("could not start: {expected}")), "{reason}");
    }
}

#[test]
fn a_stop_signal_a_hook_and_a_kill_are_the_rungs_of_the_ladder() {
    let hook =
        |script: &str| LaunchStopHow::Hook(["/bin/sh", "-c", script].map(String::from).into());
    let trap = "trap 'echo asked; exit 0' INT; echo ready; while :; do sleep 0.01; done";
    let deaf = "trap '' TERM INT; echo ready; while :; do sleep 0.01; done";
    let cases = [
        ("a signal", trap, LaunchStopHow::Signal(Signal::Int), (Some(0), None), 0),
        ("a hook", trap, hook("kill -INT $STEAD_PID"), (Some(0), None), 0),
        ("a hook that hangs", deaf, hook("sleep 1000"), (None, Some("KILL")), 2),
        (
            "a missing hook",
            "echo ready; exec sleep 1000",
            LaunchStopHow::Hook(vec!["/no/hook".into()]),
            (None, Some("KILL")),
            1,
        ),
        ("deaf", deaf, LaunchStopHow::Signal(Signal::Term), (None, Some("KILL")), 1),
    ];
    for (what, script, how, (code, signal), killed) in cases {
        let mut rig = shell(script);
        rig.launch.stop.how = how;
        rig.start();
        said(&rig, 1);
        rig.ask(&Request::Want { goal: Goal::Down }).unwrap();
        let report = rig.wait_until("down", |r| r.phase == PhaseName::Down);
        let exit = report.last_exit.unwrap();
        assert_eq!((exit.code, exit.signal.as_deref()), (code, signal), "{what}");
        let mut kills = 0;
        for event in rig.events() {
            if let Event::Killed { processes, why, .. } = event
                && why == "did not end in time"
            {
                kills += processes;
            }
        }
        assert!(kills >= killed, "{what}: {kills}");
        rig.ask(&Request::Start).unwrap();
        rig.wait_until("up again", |r| r.run == 2 && r.phase == PhaseName::Up);
    }
}

#[test]
fn the_policy_says_which_ends_are_followed_by_a_new_run() {
    use PhaseName::{Down, Failed, Up};
    for (when, script, phase, restarted) in [
        (When::Never, "exit 0", Down, false),
        (When::Never, "exit 4", Failed, false),
        (When::Failure, "exit 0", Down, false),
        (When::Failure, "[ -e once ] && exec sleep 1000; touch once; exit 4", Up, true),
        (When::Always, "[ -e once ] && exec sleep 1000; touch once; exit 0", Up, true),
    ] {
        let mut rig = shell(script);
        rig.launch.restart.when = when;
        rig.start();
        let run = if restarted { 2 } else { 1 };
        let at_rest = |r: &stead_wire::keeper::Report| r.run == run && r.phase == phase;
        rig.wait_until("at rest", at_rest);
        // A new keeper does not take a finished instance for one that must be started.
        rig.kill_keeper();
        rig.start();
        rig.wait_until("still at rest", at_rest);
    }
}

#[test]
fn an_operators_stop_outlives_the_keeper_and_a_start_ends_it() {
    let mut rig = Rig::new(&[&probe(), "sleep"]);
    rig.start();
    rig.wait_up();
    rig.ask(&Request::Want { goal: Goal::Down }).unwrap();
    rig.wait_until("down", |r| r.phase == PhaseName::Down);
    rig.kill_keeper();
    rig.start();
    rig.wait_until("still down", |r| r.phase == PhaseName::Down && r.goal == Goal::Down);
    rig.ask(&Request::Start).unwrap();
    rig.wait_until("up", |r| r.phase == PhaseName::Up && r.run == 2);
}

#[test]
fn a_new_spec_is_taken_up_by_a_new_run_and_kept_by_the_next_keeper() {
    let mut rig = shell("echo old; exec sleep 1000");
    rig.start();
    said(&rig, 1);
    rig.launch.argv[2] = "echo new; exec sleep 1000".into();
    rig.ask(&Request::Update { launch: Box::new(rig.launch.clone()) }).unwrap();
    assert_eq!(said(&rig, 2), ["old", "new"]);
    let mark = stead_wire::file::mark(&rig.launch);
    rig.wait_until("by the new spec", |r| r.launch_mark == mark && r.run == 2);
    rig.kill_keeper();
    rig.start_as_it_is();
    rig.wait_until("the next keeper has it too", |r| r.launch_mark == mark && r.run == 2);
}

#[test]
fn a_run_begun_by_an_older_spec_is_followed_by_one_begun_by_the_new_one() {
    let mut rig = shell("echo old; exec sleep 1000");
    rig.start();
    said(&rig, 1);
    // As if the keeper was killed after the spec was kept and before the run was replaced.
    rig.kill_keeper();
    rig.launch.argv[2] = "echo new; exec sleep 1000".into();
    rig.start();
    assert_eq!(said(&rig, 2), ["old", "new"]);
}

#[test]
fn a_host_that_goes_down_ends_the_run_by_its_ladder_and_wants_it_still() {
    let mut rig = shell("trap 'echo asked; exit 0' TERM; echo ready; while :; do sleep 0.01; done");
    rig.start();
    said(&rig, 1);
    let keeper = stead_proc::Process::open_any(rig.keeper_pid()).unwrap().unwrap();
    keeper.signal(Signal::Term).unwrap();
    eventually(|| rig.keeper_ended().then_some(())).expect("the keeper ends");
    assert_eq!(out(&rig), "ready\nasked\n");
    rig.start();
    rig.wait_until("up after the boot", |r| r.run == 2 && r.phase == PhaseName::Up);
}

#[test]
fn a_request_that_is_none_is_refused_and_harms_nothing() {
    use std::io::{Read, Write};
    let mut rig = Rig::new(&[&probe(), "sleep"]);
    rig.start();
    let service = rig.wait_up();
    for bytes in [&b"{}\n"[..], b"\xff\xfe\n", b"{\"do\":\"dance\"}\n", b"\n", &[b'x'; 3 << 20]] {
        let mut stream =
            std::os::unix::net::UnixStream::connect(rig.folder.join("keeper.sock")).unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let refused = answer.contains("not a request this keeper knows");
        assert!(refused || bytes.len() > 1 << 20, "{answer}");
    }
    assert_eq!(rig.wait_up(), service);
    assert_eq!(rig.report().unwrap().keeper_pid, rig.keeper_pid());
}

#[test]
fn a_spec_torn_or_flipped_anywhere_starts_nothing_and_is_named() {
    let mut rig = Rig::new(&["/bin/sh", "-c", "echo started >> started; exec sleep 1000"]);
    let bytes = stead_wire::file::encode("stead-launch/1", &rig.launch);
    let started = rig.folder.join("started");
    for place in (0..bytes.len() - 1).step_by(41) {
        for bad in [bytes[..place].to_vec(), flipped(&bytes, place)] {
            fs::write(rig.folder.join("spec.json"), bad).unwrap();
            rig.start_as_it_is();
            eventually(|| rig.keeper_ended().then_some(())).expect("it does not keep anything");
            assert!(!Path::new(&started).exists(), "{place}");
        }
    }
}

fn flipped(bytes: &[u8], place: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[place] ^= 1;
    bytes
}
