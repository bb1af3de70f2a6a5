//! A tree of processes is found and killed as a whole.

use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use stead_proc::{Tree, kill_tree, members, start_ticks};

#[test]
fn a_tree_is_killed_to_its_last_process() {
    let mark = format!("STEAD_RUN=test-{}#1", std::process::id());
    let script = "sleep 1000 & setsid sleep 1000 & wait";
    let start = |mark: &str| {
        let (name, value) = mark.split_once('=').unwrap();
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]).env_clear().env("PATH", "/usr/bin:/bin").env(name, value);
        shell.stdin(Stdio::null()).spawn().unwrap()
    };
    let mut marked = start(&mark);
    let ticks = start_ticks(marked.id()).unwrap().unwrap();
    let tree = Tree { cgroup: None, main: Some((marked.id(), ticks)), mark: &mark, alone: true };
    let mut left = members(&tree).unwrap().len();
    for _ in 0..2000 {
        if left >= 3 {
            break;
        }
        thread::sleep(Duration::from_millis(2)); // bounded poll
        left = members(&tree).unwrap().len();
    }
    assert!(left >= 3, "the shell and both of its children are found, not {left}");
    assert!(kill_tree(&tree).unwrap() >= 3);
    marked.wait().unwrap();
}
