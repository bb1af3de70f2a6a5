//! What is called between fork and exit may allocate, so only who has one thread may call.

use std::io::{Read, Write, pipe};
use std::os::fd::AsFd;

use stead_proc::{SpawnError, SpawnSpec, spawn_call};

#[test]
fn a_process_with_more_than_one_thread_calls_nothing_in_another() {
    let (mut heard, told) = pipe().unwrap();
    let argv = ["nothing".to_owned()];
    let spec = SpawnSpec {
        argv: &argv,
        directory: "/",
        env: &[],
        account: None,
        umask: 0o022,
        new_privileges: false,
        files: None,
        stdin: None,
        ends_with_us: true,
        out: told.as_fd(),
        err: told.as_fd(),
        holds: [None; 2],
        cgroup: None,
        sandbox: None,
        sockets: &[],
    };
    // The test runner has a thread of its own.
    let call = || drop(std::io::stdout().write_all(b"called\n"));
    let refused = spawn_call(&spec, &call).map(|_| ()).unwrap_err();
    assert!(matches!(refused, SpawnError::Threads), "{refused}");
    drop(told);
    let mut said = String::new();
    heard.read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}
