//! After a stop, nothing that an instance ever started is alive.

use stead_core::machine::{Goal, PhaseName};
use stead_wire::keeper::Request;

use crate::found::{alive_with, kill_with};
use crate::rig::{Rig, eventually, probe};

/// Ways in which processes get out of sight. `TOKEN` stands for an argument nobody else has;
/// `PROBE` for the probe; the number is how many processes with the token there will be.
const TREES: [(&str, &str, usize); 8] = [
    ("a child", "sleep TOKEN & sleep TOKEN", 2),
    ("an orphan", "(sleep TOKEN &) ; exec sleep TOKEN", 2),
    ("a double fork", "(setsid sh -c 'sleep TOKEN &' &) ; exec sleep TOKEN", 2),
    ("a session of its own", "setsid sleep TOKEN & exec sleep TOKEN", 2),
    ("no environment", "env -i setsid sleep TOKEN & exec sleep TOKEN", 2),
    ("TERM ignored", "trap '' TERM; sleep TOKEN & while :; do sleep TOKEN; done", 2),
    ("main gone first", "setsid sleep TOKEN & (sleep TOKEN &) ; trap 'exit 0' TERM; wait", 2),
    ("a chain of 200 forks", "exec PROBE chain 199 TOKEN", 100),
];

fn stop_tree(script: &str, count: usize, flags: &[&str], after_adoption: bool) -> usize {
    let mut rig = Rig::new(&[]).flag(flags);
    // A number of seconds that no other test uses, since it holds this folder's own digits.
    let digits: String =
        rig.folder.to_str().unwrap().chars().filter(char::is_ascii_digit).collect();
    let token = format!("7{digits}");
    let script = script.replace("TOKEN", &token).replace("PROBE", &probe());
    rig.launch.argv = ["/bin/sh", "-c", &script].map(String::from).into();
    // The shell itself has the token in its command line while it runs.
    rig.start();
    rig.wait_up();
    eventually(|| (alive_with(&token).len() >= count).then_some(())).expect("the tree has grown");
    if after_adoption {
        rig.kill_keeper();
        rig.start();
        rig.wait_up();
    }
    rig.ask(&Request::Want { goal: Goal::Down }).unwrap();
    rig.wait_until("down", |r| r.phase == PhaseName::Down);
    let left = alive_with(&token).len();
    kill_with(&token);
    left
}

#[test]
fn after_a_stop_nothing_of_the_tree_lives() {
    for flags in [&[][..], &["--no-cgroup"]] {
        for (what, script, count) in TREES {
            let left = stop_tree(script, count, flags, false);
            assert_eq!(left, 0, "{what}, {flags:?}");
        }
    }
}

#[test]
fn after_a_stop_by_an_adopting_keeper_nothing_of_the_tree_lives() {
    for flags in [&[][..], &["--no-cgroup"]] {
        for (what, script, count) in TREES {
            // Without a cgroup, a process that left its session, its parents and its environment
            // behind cannot be told from any other once its keeper is gone.
            if !flags.is_empty() && what == "no environment" {
                continue;
            }
            let left = stop_tree(script, count, flags, true);
            assert_eq!(left, 0, "{what}, {flags:?}");
        }
    }
}

#[test]
fn control_without_the_tree_kill_every_one_of_these_leaves_something() {
    for (what, script, count) in TREES {
        let left = stop_tree(script, count, &["--fault", "no-tree"], false);
        assert!(left > 0, "{what}");
    }
}

#[test]
fn a_chain_of_forks_is_stopped_while_it_grows() {
    for flags in [&[][..], &["--no-cgroup"]] {
        // Stopped as soon as it has begun: most of the 200 are not there yet.
        assert_eq!(stop_tree("exec PROBE chain 199 TOKEN", 3, flags, false), 0, "{flags:?}");
    }
}

#[test]
fn what_a_crashed_run_leaves_behind_is_gone_before_the_next_one_begins() {
    for flags in [&[][..], &["--no-cgroup"]] {
        let mut rig = Rig::new(&[]).flag(flags);
        let digits: String =
            rig.folder.to_str().unwrap().chars().filter(char::is_ascii_digit).collect();
        let token = format!("8{digits}");
        // The second run counts what the first one left, before it starts anything itself.
        let script = format!(
            "pgrep -cf '^sleep {token}' >> counts; setsid sleep {token} & sleep 0.05; kill -9 $$"
        );
        rig.launch.argv = ["/bin/sh", "-c", &script].map(String::from).into();
        rig.start();
        rig.wait_until("the third run", |r| r.run >= 3);
        rig.ask(&Request::Want { goal: Goal::Down }).unwrap();
        rig.wait_until("down", |r| r.phase == PhaseName::Down);
        let counts = std::fs::read_to_string(rig.folder.join("counts")).unwrap();
        assert!(counts.lines().count() >= 2);
        assert!(counts.lines().all(|count| count == "0"), "{counts:?}");
        assert_eq!(alive_with(&token).len(), 0);
    }
}

/// On kernels from 6.14 on, a cgroup that was killed once kills whatever is begun in it.
#[test]
fn a_run_begun_after_a_kill_lives() {
    let mut rig = Rig::new(&["/bin/sh", "-c", "trap '' TERM; while :; do sleep 0.01; done"]);
    rig.launch.stop.timeout = std::time::Duration::from_millis(20);
    rig.start();
    for run in 2..=6 {
        rig.wait_up();
        if run == 4 {
            rig.kill_keeper();
            rig.start();
            rig.wait_up();
        }
        rig.ask(&Request::Restart).unwrap();
        rig.wait_until("the next run", |r| r.run == run && r.phase == PhaseName::Up);
    }
    rig.ask(&Request::Want { goal: Goal::Down }).unwrap();
    let report = rig.wait_until("down", |r| r.phase == PhaseName::Down);
    assert_eq!((report.run, report.restarts), (6, 0), "none ended by itself");
}
