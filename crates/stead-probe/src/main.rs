//! `stead-probe`: a service that does what a test or a bench needs, well or badly.
//!
//! It depends on nothing but the standard library and knows nothing of stead, so that what it shows
//! is what any service would.

mod hostile;
mod load;
mod notify;
mod serve;

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: stead-probe WHAT [ARGS]

  lines RATE [COUNT]     numbered lines on both streams, RATE a second each, one write per line
  flood BYTES            numbered lines on stdout as fast as they go, then sleep
  mark FILE              append `pid` to FILE as the first thing, then sleep
  mark-exit FILE CODE    append `pid` to FILE, then exit with CODE
  chain N TOKEN          start a process that does the same with N - 1, then sleep
  serve [OPTION=VALUE]..  answer HTTP; see serve.rs
  hostile TRY..          try what no service should be able to do; see hostile.rs
  load OPTION=VALUE..     ask at a fixed rate until standard input ends; see load.rs
  sleep                  sleep";

/// Steps in which a steady writer catches up with its rate.
const PACE: Duration = Duration::from_micros(500);

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<u64>().ok();
    let done = match args[..] {
        ["lines", rate] if number(rate).is_some() => lines(number(rate), None),
        ["lines", rate, count] if number(rate).is_some() => lines(number(rate), number(count)),
        ["flood", bytes] if number(bytes).is_some() => flood(number(bytes)),
        ["mark", file] => mark(file).and_then(|()| sleep()),
        ["mark-exit", file, code] => {
            let code = code.parse().unwrap_or(1);
            return mark(file).map_or(ExitCode::FAILURE, |()| ExitCode::from(code));
        }
        ["chain", left, token] if number(left).is_some() => chain(number(left), token),
        ["serve", ref options @ ..] => serve::serve(options),
        ["hostile", ref tries @ ..] => hostile::try_all(tries),
        ["load", ref options @ ..] => load::load(options),
        ["sleep"] => sleep(),
        _ => {
            let _ = writeln!(io::stderr(), "{USAGE}");
            return ExitCode::from(2);
        }
    };
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes line n of both streams when it is due; never faster, and slower only when it is made to
/// wait. Each line is one write, as an unbuffered logger does it.
fn lines(rate: Option<u64>, count: Option<u64>) -> io::Result<()> {
    let rate = rate.unwrap_or(1).max(1);
    let count = count.unwrap_or(u64::MAX);
    let began = Instant::now();
    let (mut out, mut err) = (unbuffered("/dev/stdout")?, unbuffered("/dev/stderr")?);
    let mut written = 0;
    while written < count {
        let due = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX) * rate / 1_000_000;
        while written < due.min(count) {
            out.write_all(format!("out {written:012}\n").as_bytes())?;
            err.write_all(format!("err {written:012}\n").as_bytes())?;
            written += 1;
        }
        thread::sleep(PACE);
    }
    sleep()
}

/// Opening `/dev/stdout` again is what shells and many services do; std would buffer by line.
fn unbuffered(path: &str) -> io::Result<std::fs::File> {
    OpenOptions::new().write(true).open(path)
}

fn flood(bytes: Option<u64>) -> io::Result<()> {
    /// Lines written at once.
    const BATCH: u64 = 1000;
    let bytes = bytes.unwrap_or(0);
    let mut out = unbuffered("/dev/stdout")?;
    let mut written = 0;
    let mut line = 0_u64;
    while written < bytes {
        let batch: String = (line..line + BATCH)
            .map(|n| format!("{n:012} all work and no play makes a log\n"))
            .collect();
        out.write_all(batch.as_bytes())?;
        written += batch.len() as u64;
        line += BATCH;
    }
    sleep()
}

fn mark(file: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(file)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

fn chain(left: Option<u64>, token: &str) -> io::Result<()> {
    let left = left.unwrap_or(0);
    if left > 0 {
        let next = (left - 1).to_string();
        let mut command = Command::new(env::current_exe()?);
        command.args(["chain", &next, token]).stdin(Stdio::null()).spawn()?;
    }
    sleep()
}

fn sleep() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}
