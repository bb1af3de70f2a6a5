//! How runs end, and everything that they started with them.

use std::fs;
use std::time::Duration;

use stead_core::machine::{Goal, PhaseName};
use stead_core::plan::When;
use stead_core::signal::Signal;
use stead_proc::Process;
use stead_wire::journal::{Event, Exit};
use stead_wire::keeper::Request;

use crate::rig::{Rig, born, eventually, is_alive};
use crate::{file, pids_in, probing};

fn exits(rig: &Rig) -> Vec<Exit> {
    let exit = |event| if let Event::Exited { exit, .. } = event { Some(exit) } else { None };
    rig.events().into_iter().filter_map(exit).collect()
}

#[test]
fn the_exit_code_of_a_run_is_told_as_it_was() {
    for code in [0, 1, 3, 77, 255] {
        let marks = file(&format!("code-{code}"));
        let mut rig = probing(&["mark-exit", marks.to_str().unwrap(), &code.to_string()]);
        rig.launch.restart.when = When::Never;
        rig.start();
        let exit = eventually(|| exits(&rig).pop()).expect("it ends");
        assert_eq!((exit.code, exit.signal), (Some(code), None));
        assert_eq!(exit.reason, format!("exit code {code}"));
        rig.retire();
        fs::remove_file(&marks).unwrap();
    }
}

#[test]
fn a_service_that_is_asked_to_end_sees_it_and_ends_by_itself() {
    let told = file("told");
    let mut rig = probing(&["told", told.to_str().unwrap()]);
    rig.launch.stop.timeout = Duration::from_secs(20);
    rig.start();
    rig.wait_up();
    let waits = eventually(|| {
        let said = rig.output(stead_wire::journal::Stream::Out);
        (!said.is_empty()).then_some(())
    });
    waits.expect("it says that it waits");
    rig.ask(&Request::Want { goal: Goal::Down }).unwrap();
    rig.wait_until("down", |report| report.phase == PhaseName::Down);
    let written = fs::read_to_string(&told);
    assert_eq!(written.ok().as_deref(), Some("told\n"), "{:?}", rig.events());
    let exit = exits(&rig).pop().unwrap();
    assert_eq!(exit.code, Some(0), "{exit:?}");
    assert!(!rig.events().iter().any(|event| matches!(event, Event::Killed { .. })));
    rig.retire();
    fs::remove_file(&told).unwrap();
}

#[test]
fn a_service_that_does_not_end_in_time_is_killed_and_that_is_told() {
    let mut rig = probing(&["deaf"]);
    rig.launch.stop.timeout = Duration::from_millis(200);
    rig.start();
    let main = born(rig.wait_up());
    let said =
        eventually(|| (!rig.output(stead_wire::journal::Stream::Out).is_empty()).then_some(()));
    said.expect("it says that it does not listen");
    rig.ask(&Request::Want { goal: Goal::Down }).unwrap();
    rig.wait_until("down", |report| report.phase == PhaseName::Down);
    assert!(!is_alive(main));
    let killed = |event: &Event| matches!(event, Event::Killed { why, .. } if why.contains("time"));
    assert!(rig.events().iter().any(killed), "{:?}", rig.events());
    rig.retire();
}

#[test]
fn what_a_run_started_ends_with_it_however_far_it_is_from_its_parents() {
    let marks = file("orphans");
    let mut rig = probing(&["orphans", marks.to_str().unwrap(), "3"]);
    rig.start();
    let main = rig.wait_up();
    let all = pids_in(&marks, 4);
    assert_eq!(all[0].0, main);
    rig.ask(&Request::Want { goal: Goal::Down }).unwrap();
    rig.wait_until("down", |report| report.phase == PhaseName::Down);
    assert!(!all.iter().any(|process| is_alive(*process)));
    rig.retire();
    fs::remove_file(&marks).unwrap();
}

#[test]
fn what_a_run_left_behind_is_gone_before_the_next_one_begins() {
    let marks = file("left");
    let mut rig = probing(&["orphans", marks.to_str().unwrap(), "2"]);
    rig.start();
    let main = rig.wait_up();
    let first = pids_in(&marks, 3);
    Process::open_any(main).unwrap().unwrap().signal(Signal::Kill).unwrap();
    rig.wait_until("the next run", |report| report.run == 2 && report.pid.is_some());
    assert!(!first.iter().any(|process| is_alive(*process)));
    let killed = exits(&rig).remove(0);
    assert!(!killed.is_success(), "{killed:?}");
    rig.retire();
    fs::remove_file(&marks).unwrap();
}

#[test]
fn control_if_the_main_process_alone_is_killed_others_live_on() {
    let marks = file("left-alive");
    let mut rig = probing(&["orphans", marks.to_str().unwrap(), "2"]);
    rig = rig.flag(&["--fault", "no-tree"]);
    rig.start();
    let main = rig.wait_up();
    let all = pids_in(&marks, 3);
    Process::open_any(main).unwrap().unwrap().signal(Signal::Kill).unwrap();
    rig.wait_until("the next run", |report| report.run >= 2);
    assert!(all[1..].iter().any(|process| is_alive(*process)));
    rig.kill_keeper();
    // Those of later runs as well.
    let gone = eventually(|| {
        let text = fs::read_to_string(&marks).unwrap();
        let pids = text.lines().filter_map(|line| line.parse().ok());
        let alive: Vec<Process> = pids.filter_map(|pid| Process::open_any(pid).unwrap()).collect();
        alive.iter().for_each(|process| drop(process.signal(Signal::Kill)));
        alive.is_empty().then_some(())
    });
    gone.expect("killed processes end");
    fs::remove_file(&marks).unwrap();
}
