//! The floor under every supervisor: start a program, wait for its end, start it again.
//!
//! One thread, no state, no logs, no decisions. `std` starts the program with `posix_spawn`,
//! which glibc does with a vfork-like clone, so no supervisor can start one for less.

use std::env;
use std::io;
use std::process::Command;

fn main() -> io::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let program = arguments.next().ok_or_else(|| io::Error::other("no program was named"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    loop {
        command.status()?;
    }
}
