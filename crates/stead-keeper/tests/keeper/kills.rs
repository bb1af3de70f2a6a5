//! A keeper may be killed at any moment.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

use stead_core::machine::{Goal, PhaseName};
use stead_core::signal::Signal;
use stead_wire::journal::{Event, Stream};
use stead_wire::keeper::Request;

use crate::found::{alive_with, kill_with};
use crate::rig::{Rig, born, eventually, is_alive, keeper, probe};

/// Numbered lines a second, on each of the two streams.
const RATE: u64 = 25_000;

/// How the numbers of a stream's lines differ from 0, 1, 2, …
#[derive(Debug, Default, Eq, PartialEq)]
struct Faults {
    lost: u64,
    doubled_or_reordered: u64,
    torn: u64,
}

fn faults_of(output: &[u8], stream: &str) -> (u64, Faults) {
    let mut faults = Faults::default();
    let mut next = 0;
    for line in output.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let text = std::str::from_utf8(line).ok();
        let number = text.and_then(|text| text.strip_prefix(stream)?.trim().parse::<u64>().ok());
        match number.filter(|_| line.len() == stream.len() + 13) {
            Some(number) if number == next => next += 1,
            Some(number) if number > next => {
                faults.lost += number - next;
                next = number + 1;
            }
            Some(_) => faults.doubled_or_reordered += 1,
            None => faults.torn += 1,
        }
    }
    (next, faults)
}

fn kill_keepers(rig: &mut Rig, kills: u32) -> Faults {
    rig.start();
    let service = eventually(|| {
        rig.start_if_ended();
        rig.report()?.pid
    });
    let service = service.expect("it comes up");
    let began = Instant::now();
    for kill in 1..=kills {
        let before = rig.stored_len(Stream::Out);
        // Killed while it moves output, at a moment that differs each time.
        eventually(|| {
            rig.start_if_ended();
            (rig.stored_len(Stream::Out) != before).then_some(())
        })
        .expect("output flows");
        if !rig.keeper_ended() {
            rig.kill_keeper();
        }
        let up = eventually(|| {
            rig.start_if_ended();
            rig.report().filter(|r| r.phase == PhaseName::Up)?.pid
        });
        assert_eq!(up, Some(service), "the same process after kill {kill}");
    }
    let elapsed = began.elapsed();
    // What is in the pipes when the service is frozen still has to arrive.
    rig.ask(&Request::Signal { signal: Signal::Stop }).unwrap();
    let mut last = (0, 0);
    eventually(|| {
        let now = (rig.stored_len(Stream::Out), rig.stored_len(Stream::Err));
        let same = now == last;
        last = now;
        same.then_some(())
    });
    let (out_n, out) = faults_of(&rig.output(Stream::Out), "out");
    let (err_n, err) = faults_of(&rig.output(Stream::Err), "err");
    let rate = (out_n + err_n) as f64 / elapsed.as_secs_f64();
    let _ = writeln!(
        // Past the test harness, which would keep it to itself.
        std::io::stderr(),
        "{kills} kills, {out_n} + {err_n} lines, {rate:.0} lines/s, {out:?}, {err:?}"
    );
    let starts = rig.events().iter().filter(|e| matches!(e, Event::Starting { .. })).count();
    assert_eq!(starts, 1, "no second copy was ever started");
    Faults {
        lost: out.lost + err.lost,
        doubled_or_reordered: out.doubled_or_reordered + err.doubled_or_reordered,
        torn: out.torn + err.torn,
    }
}

#[test]
fn killed_keepers_cost_no_line_and_the_service_never_notices() {
    let mut rig = Rig::new(&[&probe(), "lines", &RATE.to_string()]);
    assert_eq!(kill_keepers(&mut rig, 100), Faults::default());
    rig.ask(&Request::Signal { signal: Signal::Kill }).unwrap();
    rig.wait_until("the next exit is noticed", |r| r.run == 2 && r.phase == PhaseName::Up);
}

#[test]
fn killed_right_after_it_stored_or_rotated_a_keeper_loses_no_line() {
    let mut rig = Rig::new(&[&probe(), "lines", &RATE.to_string()]);
    rig.launch.log.keep = stead_core::units::Bytes(64 << 20);
    rig.flags = ["--crash-at", "15", "--crash-at", "16"].map(String::from).into();
    let faults = kill_keepers(&mut rig, 20);
    let crashed = |n: u32| rig.folder.join(format!("crashed-{n}")).exists();
    assert!(crashed(15), "killed between file and index");
    assert_eq!(faults, Faults::default());
}

#[test]
fn control_without_splice_a_killed_keeper_loses_lines() {
    let mut rig = Rig::new(&[&probe(), "lines", &RATE.to_string()]);
    rig.flags = ["--fault", "no-splice", "--crash-at", "17"].map(String::from).into();
    let faults = kill_keepers(&mut rig, 5);
    assert!(faults.lost > 0 || faults.torn > 0, "the test can see a loss: {faults:?}");
}

/// Drives an instance through its whole life while its keeper dies at these points; says the
/// largest number of copies that were alive at once and the points that were reached.
fn live_with_crashes(flags: &[&str]) -> (usize, Vec<String>) {
    let mut rig = Rig::new(&[]).flag(flags);
    // It ignores TERM, so that the ladder is climbed to its end; it leaves a child behind; and it
    // writes, so that output is stored.
    let marks = rig.folder.join("marks").to_str().unwrap().to_owned();
    let script = format!("trap '' TERM; sleep 1000 & echo begin; exec {} mark {marks}", probe());
    rig.launch.argv = ["/bin/sh", "-c", &script].map(String::from).into();
    // As the probe has it, not as the shell has it that is about to become the probe.
    let argument = format!("mark\0{marks}");
    let copies = || alive_with(&argument).len();
    let mut most = 0;
    let mut step = |rig: &mut Rig, what: &str, done: &dyn Fn(&Rig) -> bool| {
        eventually(|| {
            rig.start_if_ended();
            most = most.max(copies());
            done(rig).then_some(())
        })
        .unwrap_or_else(|| panic!("never {what}: {:?}", rig.report()));
    };
    let up = |run: u64| {
        move |rig: &Rig| rig.report().is_some_and(|r| r.run >= run && r.phase == PhaseName::Up)
    };
    step(&mut rig, "up", &up(1));
    step(&mut rig, "marked", &|_| copies() >= 1);
    for goal in [Goal::Down, Goal::Up, Goal::Down, Goal::Up] {
        let phase = if goal == Goal::Up { PhaseName::Up } else { PhaseName::Down };
        // The request may go down with the keeper, so it is made until it is seen to count.
        step(&mut rig, "at its goal", &|rig| {
            let report = rig.report();
            if report.as_ref().is_some_and(|r| r.goal != goal) {
                let _ = rig.ask(&Request::Want { goal });
            }
            report.is_some_and(|r| r.phase == phase)
        });
    }
    let run = rig.report().map_or(0, |report| report.run);
    step(&mut rig, "restarted after a kill", &|rig| {
        let report = rig.report();
        if report.as_ref().is_some_and(|r| r.run == run && r.pid.is_some()) {
            let _ = rig.ask(&Request::Signal { signal: Signal::Kill });
        }
        up(run + 1)(rig)
    });
    let entries = fs::read_dir(&rig.folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut reached: Vec<String> = names.filter(|name| name.starts_with("crashed-")).collect();
    reached.sort();
    let left = copies();
    rig.retire();
    assert!(left <= 1 || most > 1);
    kill_with(&marks);
    (most, reached)
}

#[test]
fn killed_at_every_numbered_point_there_is_never_a_second_copy() {
    for cgroup in [&[][..], &["--no-cgroup"]] {
        let flags = [cgroup, &["--crash-at", "all"]].concat();
        let (most, reached) = live_with_crashes(&flags);
        // Rotation (16) has a test of its own: it needs more output than this.
        let expected: Vec<String> = (1..=15).map(|n| format!("crashed-{n:02}")).collect();
        assert_eq!(reached, expected, "every point was reached");
        assert_eq!(most, 1, "never two copies, {cgroup:?}");
    }
}

#[test]
fn control_without_adoption_there_is_a_second_copy() {
    let flags =
        ["--crash-at", "5", "--fault", "no-adoption", "--fault", "no-scan", "--fault", "no-sweep"];
    assert_eq!(live_with_crashes(&flags).0, 2);
}

#[test]
fn control_without_the_gate_a_process_nobody_knows_of_runs() {
    let flags =
        ["--crash-at", "2", "--fault", "no-gate", "--fault", "no-scan", "--fault", "no-sweep"];
    assert_eq!(live_with_crashes(&flags).0, 2);
}

#[test]
fn with_the_gate_alone_a_keeper_killed_right_after_the_fork_leaves_nothing() {
    let flags = ["--crash-at", "2", "--fault", "no-scan", "--fault", "no-sweep"];
    assert_eq!(live_with_crashes(&flags).0, 1);
}

#[test]
fn a_first_life_whose_journal_ends_after_any_record_is_still_owed_its_run() {
    let probe = probe();
    let argv = [probe.as_str(), "sleep"];
    let mut first = Rig::new(&argv);
    first.start();
    first.wait_up();
    let is_started = |rig: &Rig| rig.events().iter().any(|e| matches!(e, Event::Started { .. }));
    eventually(|| is_started(&first).then_some(())).unwrap();
    let journal = fs::read(first.folder.join("events")).unwrap();
    first.retire();
    let ends = journal.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let mut records = 0;
    for end in ends {
        let mut rig = Rig::new(&argv);
        fs::write(rig.folder.join("events"), &journal[..end]).unwrap();
        rig.start();
        rig.wait_up();
        rig.retire();
        records += 1;
    }
    assert!(records >= 3, "the keeper, the start, the process: {records}");
}

#[test]
fn a_run_the_journal_never_heard_of_is_taken_over() {
    let probe = probe();
    let mut rig = Rig::new(&[&probe, "sleep"]);
    rig.start();
    let service = rig.wait_up();
    rig.kill_keeper();
    fs::remove_file(rig.folder.join("events")).unwrap();
    rig.start();
    assert_eq!(rig.wait_up(), service);
    assert_eq!(rig.report().unwrap().run, 1, "its number is known from its mark");
}

#[test]
fn a_second_keeper_for_the_same_folder_ends_and_changes_nothing() {
    let probe = probe();
    let mut rig = Rig::new(&[&probe, "sleep"]);
    rig.start();
    let service = rig.wait_up();
    let second =
        std::process::Command::new(keeper()).arg("--folder").arg(&rig.folder).output().unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains(&format!("another keeper (pid {})", rig.keeper_pid())), "{said}");
    assert_eq!(rig.wait_up(), service);
}

#[test]
fn a_keeper_becomes_another_version_without_its_service_noticing() {
    let probe = probe();
    let mut rig = Rig::new(&[&probe, "lines", "1000"]);
    rig.start();
    let service = rig.wait_up();
    let keeper_pid = rig.keeper_pid();
    for _ in 0..5 {
        let program = keeper();
        rig.ask(&Request::Upgrade { program }).unwrap();
        let upgrades = |rig: &Rig| {
            rig.events().iter().filter(|e| matches!(e, Event::KeeperUpgraded { .. })).count()
        };
        eventually(|| (upgrades(&rig) > 0).then_some(())).unwrap();
        assert_eq!(rig.wait_up(), service);
        assert_eq!(rig.report().unwrap().keeper_pid, keeper_pid, "the same process");
    }
    // It is still the parent: the exit code is known whatever the kernel.
    rig.ask(&Request::Signal { signal: Signal::Usr1 }).unwrap();
    let report = rig.wait_until("restarted", |r| r.run == 2);
    assert_eq!(report.last_exit.unwrap().signal.as_deref(), Some("USR1"));
    rig.wait_up();
    let refused = rig.ask(&Request::Upgrade { program: "/nowhere".into() });
    assert_eq!(refused, Err("there is no program `/nowhere`".into()));
}

#[test]
fn how_an_adopted_service_ended_is_known_or_said_not_to_be() {
    let probe = probe();
    let mut rig = Rig::new(&[&probe, "sleep"]);
    rig.start();
    let service = rig.wait_up();
    rig.kill_keeper();
    rig.start();
    assert_eq!(rig.wait_up(), service);
    rig.ask(&Request::Signal { signal: Signal::Usr2 }).unwrap();
    let exit = rig.wait_until("restarted", |r| r.run == 2).last_exit.unwrap();
    let known = exit.signal.as_deref() == Some("USR2");
    assert!(known || exit.reason.starts_with("unknown"), "{exit:?}");
}

/// Kills a service whose keeper is gone, and sees it dead.
fn end(service: u32) {
    let born = born(service);
    let process = stead_proc::Process::open(born.0, born.1).unwrap().unwrap();
    process.signal(Signal::Kill).unwrap();
    eventually(|| (!is_alive(born)).then_some(())).unwrap();
}

#[test]
fn an_innocent_process_with_the_pid_of_a_dead_service_is_left_alone() {
    let probe = probe();
    let mut rig = Rig::new(&[&probe, "sleep"]);
    rig.start();
    let service = rig.wait_up();
    let service_born = born(service);
    rig.kill_keeper();
    end(service);
    // The journal now names a pid that another process has: as if it had been used again.
    // Born at another tick of the clock, as a process with a used pid always is.
    let mut innocent = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    while born(innocent.id()).1 == service_born.1 {
        innocent.kill().unwrap();
        innocent.wait().unwrap();
        innocent = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    }
    let born = born(innocent.id());
    let journal = fs::read_to_string(rig.folder.join("events")).unwrap();
    let rewritten: Vec<u8> = journal
        .lines()
        .flat_map(|line| {
            let mut record: stead_wire::journal::Record =
                stead_wire::frame::decode_line(line.as_bytes()).unwrap();
            let memory = record.memory.as_mut().unwrap();
            if let Some(process) = &mut memory.process {
                process.pid = innocent.id();
            }
            stead_wire::frame::encode(&record)
        })
        .collect();
    fs::write(rig.folder.join("events"), rewritten).unwrap();
    rig.start();
    let report = rig.wait_until("a new run", |r| r.run == 2 && r.phase == PhaseName::Up);
    assert_ne!(report.pid, Some(innocent.id()));
    rig.retire();
    assert!(is_alive(born), "it was never signalled");
    innocent.kill().unwrap();
    innocent.wait().unwrap();
}

#[test]
fn a_reboot_starts_what_was_up_and_leaves_down_what_was_down() {
    for (goal, phase) in [(Goal::Up, PhaseName::Up), (Goal::Down, PhaseName::Down)] {
        let probe = probe();
        let mut rig = Rig::new(&[&probe, "sleep"]);
        rig.start();
        let service = rig.wait_up();
        if goal == Goal::Down {
            rig.ask(&Request::Want { goal }).unwrap();
            rig.wait_until("down", |r| r.phase == PhaseName::Down);
        }
        rig.kill_keeper();
        if goal == Goal::Up {
            end(service);
        }
        let journal = fs::read_to_string(rig.folder.join("events")).unwrap();
        let rebooted: Vec<u8> = journal
            .lines()
            .flat_map(|line| {
                let mut record: stead_wire::journal::Record =
                    stead_wire::frame::decode_line(line.as_bytes()).unwrap();
                if let Some(process) = record.memory.as_mut().and_then(|m| m.process.as_mut()) {
                    process.boot = "another-boot".into();
                }
                stead_wire::frame::encode(&record)
            })
            .collect();
        fs::write(rig.folder.join("events"), rebooted).unwrap();
        rig.start();
        rig.wait_until("as before the boot", |r| r.phase == phase && r.goal == goal);
    }
}

/// A keeper that nobody watches must not use the CPU.
#[test]
fn a_keeper_at_rest_is_not_woken() {
    let probe = probe();
    let mut rig = Rig::new(&[&probe, "sleep"]);
    rig.start();
    rig.wait_up();
    let switches = || {
        let text = fs::read_to_string(format!("/proc/{}/status", rig.keeper_pid())).unwrap();
        let line = text.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    // It settles, then nothing happens to it for as long as we look.
    let settled = eventually(|| {
        let before = switches();
        std::thread::sleep(Duration::from_millis(700)); // bounded poll
        (switches() == before).then_some(())
    });
    assert!(settled.is_some(), "it wakes for nothing");
}
