//! `stead-probe`: a service that does what a test or a bench needs, well or badly.
//!
//! It depends on nothing but the standard library and knows nothing of stead, so that what it shows
//! is what any service would.

mod load;
mod os;
mod serve;

use std::env;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: stead-probe WHAT [ARGS]

  lines RATE [COUNT]     numbered lines on both streams, RATE a second each, one write per line
  flood BYTES            numbered lines on stdout as fast as they go, then sleep
  mark FILE              append `pid` to FILE as the first thing, then sleep
  mark-exit FILE CODE    append `pid` to FILE, then exit with CODE
  told FILE              append `told` to FILE when asked to end, then exit with 0
  fill MIB               say whether so much memory can be had, then sleep
  start-many N           start so many that sleep, say how many there are with this one, then sleep
  spin MS                say what share of a core this one got in so long, then sleep
  deaf                   do not end when asked to
  say FILE [ARGS]..      write to FILE, a line each: the directory, `GREETING`, and the arguments
  user FILE              write to FILE what the system calls the user, then sleep
  orphans FILE N         append `pid` to FILE; start a process that starts one with N - 1 and ends
  chain N TOKEN          start a process that does the same with N - 1, then sleep
  serve [OPTION=VALUE]..  answer HTTP; see serve.rs
  hostile TRY..          try what no service should be able to do; see os/hostile.rs
  shell LINE             run a line as an SSH server has it run by a login shell
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
        ["told", file] => told(file),
        ["deaf"] => deaf(),
        ["fill", mib] if number(mib).is_some() => fill(number(mib)),
        ["start-many", count] if number(count).is_some() => start_many(number(count)),
        ["spin", millis] if number(millis).is_some() => spin(number(millis)),
        ["say", file, ref rest @ ..] => say(file, rest),
        ["user", file] => {
            os::user().and_then(|name| std::fs::write(file, name)).and_then(|()| sleep())
        }
        ["orphans", file, left] if number(left).is_some() => orphans(file, number(left)),
        ["start", ref rest @ ..] => start(rest),
        ["serve", ref options @ ..] => serve::serve(options),
        ["hostile", ref tries @ ..] => os::hostile::try_all(tries),
        ["load", ref options @ ..] => load::load(options),
        ["shell", line] => {
            let code = os::shell(line).status().ok().and_then(|status| status.code());
            return ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
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
    let [mut out, mut err] = os::streams()?;
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

fn flood(bytes: Option<u64>) -> io::Result<()> {
    /// Lines written at once.
    const BATCH: u64 = 1000;
    let bytes = bytes.unwrap_or(0);
    let [mut out, _] = os::streams()?;
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

/// Ends well once it is asked to.
fn told(file: &str) -> io::Result<()> {
    let is_told = Arc::new(AtomicBool::new(false));
    os::note_end(&is_told)?;
    writeln!(io::stdout(), "waits to be told")?;
    while !is_told.load(Ordering::Relaxed) {
        thread::sleep(PACE);
    }
    OpenOptions::new().append(true).create(true).open(file)?.write_all(b"told\n")
}

fn fill(mib: Option<u64>) -> io::Result<()> {
    let len = usize::try_from(mib.unwrap_or(0) << 20).unwrap_or(usize::MAX);
    let mut memory: Vec<u8> = Vec::new();
    let said = match memory.try_reserve_exact(len) {
        Ok(()) => {
            memory.resize(len, 1);
            "had"
        }
        Err(_) => "refused",
    };
    writeln!(io::stdout(), "{said} {}", memory.len())?;
    sleep()
}

fn start_many(count: Option<u64>) -> io::Result<()> {
    let start = |_| {
        let mut command = Command::new(env::current_exe().ok()?);
        command.arg("sleep").stdin(Stdio::null()).spawn().ok()
    };
    let began: Vec<_> = (0..count.unwrap_or(0)).filter_map(start).collect();
    writeln!(io::stdout(), "{} processes", began.len() + 1)?;
    sleep()
}

/// What is got of a core is told by how far a count comes, against how far it came before anybody
/// could slow it down.
fn spin(millis: Option<u64>) -> io::Result<()> {
    const FIRST: Duration = Duration::from_millis(5);
    let whole = Duration::from_millis(millis.unwrap_or(0));
    let began = Instant::now();
    let (mut count, mut at_first) = (0_u64, 0);
    while began.elapsed() < whole {
        count += 1;
        if began.elapsed() < FIRST {
            at_first = count;
        }
    }
    let wanted = at_first as u128 * whole.as_micros() / FIRST.as_micros();
    writeln!(io::stdout(), "milli {}", u128::from(count) * 1000 / wanted.max(1))?;
    sleep()
}

fn deaf() -> io::Result<()> {
    os::note_end(&Arc::default())?;
    writeln!(io::stdout(), "does not listen")?;
    sleep()
}

fn say(file: &str, rest: &[&str]) -> io::Result<()> {
    let directory = env::current_dir()?.display().to_string();
    let mut lines = vec![directory, env::var("GREETING").unwrap_or_default()];
    lines.extend(rest.iter().map(|arg| (*arg).to_owned()));
    writeln!(io::stdout(), "{}", lines.join(" "))?;
    std::fs::write(file, lines.join("\n"))?;
    sleep()
}

/// Each of them has lost its parent: nothing but where it came from tells whose it is.
fn orphans(file: &str, left: Option<u64>) -> io::Result<()> {
    mark(file)?;
    let left = left.unwrap_or(0);
    if left > 0 {
        let next = (left - 1).to_string();
        let mut between = Command::new(env::current_exe()?);
        between.args(["start", "orphans", file, &next]).stdin(Stdio::null());
        between.spawn()?.wait()?;
    }
    sleep()
}

fn start(rest: &[&str]) -> io::Result<()> {
    Command::new(env::current_exe()?).args(rest).stdin(Stdio::null()).spawn().map(drop)
}

fn sleep() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}
