//! `stead-front`: the front of a service. It takes TCP connections and joins each to a backend.
//!
//! A new release comes up beside the old one, this front is told to send new connections there, and
//! the old one finishes what it has: nobody sees a gap. It is a service itself: a keeper holds its
//! listening socket, so that it can be killed and followed by another one.
//!
//! It knows no HTTP, no plan and no fleet: it is told addresses.
//!
//! Threads: a lane per core, each with its own connections; the main one, which takes orders and
//! signals; and one that writes the set to the disk. None waits for another without a limit.

mod choice;
mod control;
mod disk;
mod front;
mod join;
mod lane;
mod line;
mod options;
mod shared;
mod way;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--version") {
        say(&format!("stead-front {}", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    let options = match options::parse(&args) {
        Ok(options) => options,
        Err(error) => {
            say(&format!("error: {error}\n\n{}", options::USAGE));
            return ExitCode::from(2);
        }
    };
    match front::run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: the front cannot go on\n  because {}", chain(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Everything a front says itself goes to its error stream, which its keeper stores.
fn say(text: &str) {
    use std::io::Write;
    // There is nowhere left to complain to.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// An error with all its causes, from whole to part.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
