//! Keepers that are killed, and what the next one finds.

use std::fs;

use stead_core::machine::PhaseName;
use stead_core::signal::Signal;
use stead_proc::Process;
use stead_wire::journal::{Event, Stream};

use crate::logs::lines;
use crate::rig::{Rig, born, eventually, is_alive};
use crate::{file, probing};

#[test]
fn the_service_of_a_killed_keeper_lives_on_and_is_adopted() {
    let mut rig = probing(&["lines", "2000", "6000"]);
    rig.start();
    let main = born(rig.wait_up());
    for kill in 0..5 {
        lines(&rig, Stream::Out, 200 * (kill + 1));
        rig.kill_keeper();
        assert!(is_alive(main), "at kill {kill}");
        rig.start();
        assert_eq!(rig.wait_up(), main.0);
    }
    let stored = lines(&rig, Stream::Out, 6000);
    let mut missing = (0..6000).map(|n| format!("out {n:012}"));
    let all: std::collections::BTreeSet<&str> = stored.iter().map(String::as_str).collect();
    assert_eq!(missing.find(|line| !all.contains(line.as_str())), None, "no line is lost");
    let restarts = rig.report().unwrap().restarts;
    assert_eq!(restarts, 0, "the service never noticed");
    rig.retire();
    assert!(!is_alive(main), "the last keeper ends what the first began");
}

#[test]
fn control_without_adoption_there_is_a_second_copy() {
    let marks = file("second");
    let mut rig = probing(&["mark", marks.to_str().unwrap()]);
    rig.start();
    let main = born(rig.wait_up());
    rig.kill_keeper();
    rig = rig.flag(&["--fault", "no-adoption", "--fault", "no-tree"]);
    // What empties the place of a run before the next one would end it, too.
    rig.flags.push("--no-cgroup".to_owned());
    rig.start();
    rig.wait_until("another run", |report| report.pid.is_some_and(|pid| pid != main.0));
    assert!(is_alive(main));
    Process::open(main.0, main.1).unwrap().unwrap().signal(Signal::Kill).unwrap();
    rig.retire();
    fs::remove_file(&marks).unwrap();
}

#[test]
fn how_an_adopted_service_ended_is_told() {
    let mut rig = probing(&["sleep"]);
    rig.start();
    let pid = rig.wait_up();
    rig.kill_keeper();
    rig.start();
    assert_eq!(rig.wait_up(), pid);
    Process::open_any(pid).unwrap().unwrap().signal(Signal::Kill).unwrap();
    rig.wait_until("the next run", |report| report.run == 2 && report.phase == PhaseName::Up);
    let ended = |event: &Event| matches!(event, Event::Exited { pid: of, .. } if *of == pid);
    assert!(rig.events().iter().any(ended));
    rig.retire();
}

/// Lives with keepers that each die at one of the numbered points; says the pids that began.
fn live_through(points: &[u32], flags: &[&str]) -> usize {
    let marks = file(&format!("points-{}-{}", points[0], flags.len()));
    let mut rig = probing(&["mark", marks.to_str().unwrap()]).flag(flags);
    for point in points {
        rig.flags.extend(["--crash-at".to_owned(), point.to_string()]);
    }
    rig.start();
    let crashed = |rig: &Rig, point: u32| rig.folder.join(format!("crashed-{point:02}")).exists();
    let up = eventually(|| {
        rig.start_if_ended();
        let all = points.iter().all(|point| crashed(&rig, *point));
        (all && rig.report()?.phase == PhaseName::Up).then_some(())
    });
    up.unwrap_or_else(|| panic!("not up after {points:?}: {:?}", rig.events()));
    let text = eventually(|| fs::read_to_string(&marks).ok().filter(|text| !text.is_empty()));
    let began: Vec<u32> = text.unwrap().lines().filter_map(|line| line.parse().ok()).collect();
    let alive = |pid: &&u32| Process::open_any(**pid).unwrap().is_some();
    let copies = began.iter().filter(alive).count();
    rig.retire();
    let _ = fs::remove_file(&marks);
    copies
}

#[test]
fn killed_around_a_start_there_is_one_copy_and_never_a_second() {
    // From before the process is made until it is known to run.
    for point in 1..=5 {
        assert_eq!(live_through(&[point], &[]), 1, "at point {point}");
    }
}

#[test]
fn a_pid_that_has_come_round_is_not_taken_for_the_process_that_had_it() {
    let mut rig = probing(&["sleep"]);
    rig.start();
    let (pid, start_ticks) = born(rig.wait_up());
    assert!(Process::open(pid, start_ticks).unwrap().is_some());
    for other in [start_ticks - 1, start_ticks + 1, 0] {
        assert!(Process::open(pid, other).unwrap().is_none(), "control: {other}");
    }
    rig.retire();
    assert!(Process::open(pid, start_ticks).unwrap().is_none(), "it is gone");
}
