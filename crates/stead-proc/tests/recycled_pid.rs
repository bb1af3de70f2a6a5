//! A pid is used again, on purpose: whoever has it now is never taken for whoever had it.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::io;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use stead_core::signal::Signal;
use stead_proc::{Process, Tree, kill_tree, members, start_ticks};

/// Makes a sibling of this test with this very pid, which sleeps for ever. A child would belong to
/// the test's own tree by descent.
#[expect(unsafe_code, reason = "choosing a pid has no safe form")]
fn impostor(pid: u32) -> io::Result<()> {
    let set_tid = [i32::try_from(pid).unwrap()];
    // SAFETY: all zeroes is a valid clone_args; the kernel is told its size; the child only sleeps.
    unsafe {
        let mut args: libc::clone_args = std::mem::zeroed();
        args.flags = libc::CLONE_PARENT as u64;
        args.set_tid = set_tid.as_ptr() as u64;
        args.set_tid_size = 1;
        match libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) {
            -1 => Err(io::Error::last_os_error()),
            0 => loop {
                libc::pause();
            },
            made => {
                assert_eq!(made, i64::from(pid), "the pids collide");
                Ok(())
            }
        }
    }
}

#[test]
fn a_process_with_a_pid_that_was_used_before_is_never_signalled() {
    let mut first = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    let pid = first.id();
    let ticks = start_ticks(pid).unwrap().unwrap();
    let held = Process::open(pid, ticks).unwrap().unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    // The clock by which births are told apart must have moved on.
    while stead_proc::boot_ms() <= stead_proc::start_ms(ticks) + 20 {
        thread::sleep(Duration::from_millis(1)); // bounded poll
    }
    if let Err(error) = impostor(pid) {
        return stead_lab::skipped("a pid used again", &error.to_string());
    }
    let born = start_ticks(pid).unwrap().expect("the impostor lives");
    assert_ne!(born, ticks);

    assert!(Process::open(pid, ticks).unwrap().is_none(), "it is not the process that was meant");
    assert!(!held.signal(Signal::Kill).unwrap(), "a hold on the dead one reaches nobody");
    let tree =
        Tree { cgroup: None, main: Some((pid, ticks)), mark: "STEAD_RUN=nobody#1", alone: true };
    assert_eq!(members(&tree).unwrap().len(), 0);
    assert_eq!(kill_tree(&tree).unwrap(), 0);
    assert_eq!(start_ticks(pid).unwrap(), Some(born), "it was never signalled");

    // The control: by the pid alone it is the impostor who is hit.
    let by_pid = Process::open_any(pid).unwrap().unwrap();
    assert!(by_pid.signal(Signal::Kill).unwrap());
    while start_ticks(pid).unwrap() == Some(born) {
        thread::sleep(Duration::from_millis(1)); // bounded poll
    }
}
