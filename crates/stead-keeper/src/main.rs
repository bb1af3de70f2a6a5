//! `stead-keeper`: the parent of one instance.
//!
//! One keeper per instance, so that nothing but its own service can harm an instance: not a crash
//! of the agent, not an upgrade of stead, not another service. It starts the runs, stores their
//! output, restarts what ends, and can itself be killed at any moment: the next keeper takes over
//! the running tree.
//!
//! Threads: the main one decides and is the only owner of the instance; the disk one writes journal
//! and output, since a write to a stuck file system cannot be given up. Neither ever waits for the
//! other without a limit.

mod beginning;
mod control;
mod current;
mod disk;
mod enter;
mod faults;
mod journal_file;
mod keeper;
mod limits;
mod log_chain;
mod preflight;
mod recover;
mod replace;
mod requests;
mod retention;
mod sandboxes;
mod secrets;
mod sockets;
mod state;
mod times;
mod words;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use faults::Faults;

const USAGE: &str = "usage: stead-keeper --folder DIR

stead's agent starts one keeper for each instance; it is of no use by itself.

options:
  --folder DIR    the instance's folder, which holds its spec.json
  --enter RUN:PID:SIDE PROGRAM [ARGS]..
                  run a program in the place of a run, and end with its exit code and all it
                  has started
  --preflight     say what a run would be refused, by what comes over standard input
  --within MS     with `--enter`, and before it: kill what takes longer
  --no-cgroup     find the tree of a run by descent, session and environment alone
  --fault NAME    for tests: leave out one protection
  --crash-at N    for tests: be killed once at the point with this number, or at `all` of them
  --version       print the version";

/// What the command line asks for.
#[derive(Debug)]
struct Options {
    folder: PathBuf,
    no_cgroup: bool,
    faults: Faults,
    args: Vec<String>,
    /// Be no keeper.
    enter: Option<Entered>,
    /// Be no keeper, either.
    preflight: bool,
}

/// A program to be run in the place of a run.
#[derive(Debug)]
struct Entered {
    run: u64,
    /// The main process of the run.
    pid: u32,
    /// It has the second of two ports of each name.
    second: bool,
    /// Killed then, with all it has started.
    within: Option<Duration>,
    argv: Vec<String>,
}

impl Entered {
    /// `RUN:PID:SIDE`, where the side is 0 or 1.
    fn parse(text: &str, argv: Vec<String>) -> Result<Self, String> {
        let bad = || format!("`{text}` is not RUN:PID:SIDE");
        let numbers: Vec<u64> = text.split(':').filter_map(|part| part.parse().ok()).collect();
        let [run, pid, side] = numbers[..] else { return Err(bad()) };
        let pid = u32::try_from(pid).map_err(|_| bad())?;
        if argv.is_empty() {
            return Err("`--enter` needs a program".to_owned());
        }
        Ok(Self { run, pid, second: side == 1, within: None, argv })
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--version") {
        say(&format!("stead-keeper {}", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    let options = match parse(args) {
        Ok(options) => options,
        Err(error) => {
            say(&format!("error: {error}\n\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    if let Some(entered) = &options.enter {
        return match enter::enter(&options, entered) {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                say(&format!(
                    "error: `{}` cannot run\n  because {}",
                    entered.argv[0],
                    chain(&error)
                ));
                ExitCode::from(CANNOT_RUN)
            }
        };
    }
    if options.preflight {
        return match preflight::preflight(&options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&format!("error: there is no preflight\n  because {}", chain(&error)));
                ExitCode::FAILURE
            }
        };
    }
    match keeper::keep(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: the keeper cannot go on\n  because {}", chain(&error)));
            ExitCode::FAILURE
        }
    }
}

/// As shells have it.
const CANNOT_RUN: u8 = 127;

/// Everything a keeper says itself goes to its error stream, which the agent stores.
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

fn parse(args: Vec<String>) -> Result<Options, String> {
    let mut folder = None;
    let mut no_cgroup = false;
    let mut faults = Faults::default();
    let mut enter: Option<Entered> = None;
    let mut within = None;
    let mut preflight = false;
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("`{arg}` needs a value"));
        match arg.as_str() {
            "--folder" => folder = Some(PathBuf::from(value()?)),
            "--no-cgroup" => no_cgroup = true,
            "--preflight" => preflight = true,
            "--enter" => {
                let place = value()?.clone();
                enter = Some(Entered::parse(&place, rest.by_ref().cloned().collect())?);
            }
            "--within" => within = Some(milliseconds(value()?)?),
            "--fault" => faults.leave_out(value()?)?,
            "--crash-at" => faults.crash_at(value()?)?,
            _ => return Err(format!("unknown argument `{arg}`")),
        }
    }
    let folder = folder.ok_or("`--folder` is missing")?;
    let enter = enter.map(|enter| Entered { within, ..enter });
    Ok(Options { folder, no_cgroup, faults, args, enter, preflight })
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    let number = text.parse().map_err(|_| format!("`{text}` is no number of milliseconds"))?;
    Ok(Duration::from_millis(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Options, String> {
        parse(text.split_whitespace().map(String::from).collect())
    }

    #[test]
    fn a_wrong_command_line_is_named() {
        for (text, said) in [
            ("", "`--folder` is missing"),
            ("--folder", "`--folder` needs a value"),
            ("--folder x --enter 1:2 /bin/true", "`1:2` is not RUN:PID:SIDE"),
            ("--folder x --enter 1:2:0", "`--enter` needs a program"),
            ("--folder x --within soon", "`soon` is no number of milliseconds"),
            ("--folder x --what", "unknown argument `--what`"),
            ("--folder x --fault nothing", "there is no fault `nothing`"),
            ("--folder x --crash-at 99", "there is no crash point `99`"),
        ] {
            assert!(parse_text(text).unwrap_err().starts_with(said), "{text}");
        }
        assert!(parse_text("--folder x --no-cgroup --crash-at 1").unwrap().no_cgroup);
    }
}
