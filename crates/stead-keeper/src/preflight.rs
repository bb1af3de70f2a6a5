//! `stead-keeper --preflight`: looks, in the place where a run is to be, what it would be refused.
//! It is no keeper and touches none: what it looks at comes over standard input, what it has found
//! goes to standard output, a line each.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use stead_core::launch::Launch;
use stead_core::preflight::{Preflight, ProgramWhy, Refused};
use stead_proc::{SpawnError, SpawnSpec, find_program, may_execute, spawn_call, wait};

use crate::Options;

/// The most that is read of what is to be looked at.
const ASKED_LEN_MAX: u64 = 1 << 20;

/// The most that is read of what was found.
const FOUND_LEN_MAX: u64 = 1 << 20;

/// As much of a script's first line as the kernel reads.
const FIRST_LINE_LEN_MAX: u64 = 256;

/// Why nothing is known about what a run would be refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PreflightError {
    #[error("could not read what is to be looked at")]
    Asked(#[source] io::Error),
    #[error("what is to be looked at has no known form")]
    Form(#[source] serde_json::Error),
    #[error("could not make a process")]
    Spawn(#[source] SpawnError),
    #[error("could not hear what it has found")]
    Hear(#[source] io::Error),
    #[error("could not say what it has found")]
    Say(#[source] io::Error),
}

/// Says what a run would be refused.
pub(crate) fn preflight(options: &Options) -> Result<(), PreflightError> {
    if options.faults.no_preflight {
        return Ok(());
    }
    let mut asked = Vec::new();
    let read = io::stdin().take(ASKED_LEN_MAX).read_to_end(&mut asked);
    read.map_err(PreflightError::Asked)?;
    let asked: Preflight = serde_json::from_slice(&asked).map_err(PreflightError::Form)?;
    let mut said = io::stdout().lock();
    for refused in look(&options.folder, &asked)? {
        say_line(&mut said, &refused.finding()).map_err(PreflightError::Say)?;
    }
    Ok(())
}

fn look(folder: &Path, asked: &Preflight) -> Result<Vec<Refused>, PreflightError> {
    let launch = &*asked.launch;
    let path = launch.env.get("PATH").map_or("", String::as_str);
    // Whoever makes the run looks it up, before it is in its place.
    let program = find_program(launch.argv.first().map_or("", String::as_str), path);
    let Ok(program) = program else {
        let program = launch.argv.first().cloned().unwrap_or_default();
        return Ok(vec![Refused::NotInPath { program, path: path.to_owned() }]);
    };
    let outside =
        Outside { is_there: Path::new(&launch.directory).join(&program).exists(), program };
    in_its_place(folder, launch, &|| from_inside(launch, &outside))
}

/// What is known before its place is entered.
struct Outside {
    program: PathBuf,
    is_there: bool,
}

/// Calls this in the place of a run and says what it has found there.
fn in_its_place(
    folder: &Path,
    launch: &Launch,
    look: &dyn Fn() -> Vec<Refused>,
) -> Result<Vec<Refused>, PreflightError> {
    let place = |why: String| Ok(vec![Refused::Place { why }]);
    let sandbox = match crate::sandboxes::prepare(folder, launch).transpose() {
        Ok(sandbox) => sandbox,
        Err(why) => return place(format!("its sandbox could not be prepared: {why}")),
    };
    let (heard, told) = io::pipe().map_err(PreflightError::Hear)?;
    let env: Vec<(String, String)> = launch.env.clone().into_iter().collect();
    let held = spawn_call(
        &SpawnSpec {
            argv: &launch.argv,
            // Its own is looked at from there.
            directory: "/",
            env: &env,
            account: launch.account.as_ref(),
            umask: launch.umask.0,
            new_privileges: launch.new_privileges,
            files: crate::limits::files(&launch.limits),
            stdin: None,
            ends_with_us: true,
            sandbox: sandbox.as_ref(),
            out: told.as_fd(),
            err: io::stderr().as_fd(),
            cgroup: None,
            sockets: &[],
        },
        &|| {
            for refused in look() {
                // Who does not hear it takes it for nothing, as if there were no preflight.
                let _ = say_line(&mut io::stdout(), &refused);
            }
        },
    );
    let progress = held.map_err(PreflightError::Spawn)?.release();
    drop(told);
    let mut refused = Vec::new();
    for line in BufReader::new(heard.take(FOUND_LEN_MAX)).lines() {
        let line = line.map_err(PreflightError::Hear)?;
        refused.push(serde_json::from_str(&line).map_err(PreflightError::Form)?);
    }
    // Its streams have ended, so it has ended, or does at once.
    wait(&[progress.as_fd()], None).map_err(PreflightError::Hear)?;
    match progress.poll() {
        Some(Err(error)) => place(crate::chain(&error)),
        Some(Ok(())) | None => Ok(refused),
    }
}

/// A line of JSON.
fn say_line<T: serde::Serialize>(to: &mut dyn Write, value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// What a run would be refused, seen from its place.
fn from_inside(launch: &Launch, outside: &Outside) -> Vec<Refused> {
    if let Err(error) = std::env::set_current_dir(&launch.directory) {
        let why = error.to_string();
        return vec![Refused::Directory { path: launch.directory.clone(), why }];
    }
    program(outside).into_iter().collect()
}

fn program(outside: &Outside) -> Option<Refused> {
    let Outside { program, is_there } = outside;
    let name = program.display().to_string();
    let why = |why| Some(Refused::Program { program: name.clone(), why });
    match fs::metadata(program) {
        Err(_) if *is_there => return why(ProgramWhy::Hidden),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return why(ProgramWhy::Missing),
        Err(error) => return why(ProgramWhy::Refused(error.to_string())),
        Ok(meta) if !meta.is_file() => return why(ProgramWhy::NotAFile),
        Ok(_) => (),
    }
    if let Err(error) = may_execute(program) {
        return why(ProgramWhy::Refused(error.to_string()));
    }
    let interpreter = interpreter(program)?;
    let runs = fs::metadata(&interpreter).and_then(|_| may_execute(Path::new(&interpreter)));
    let why = runs.err()?.to_string();
    Some(Refused::Interpreter { program: name, interpreter, why })
}

/// The program that a script names in its first line; `None` if it is none, or cannot be read.
fn interpreter(program: &Path) -> Option<String> {
    let mut first = Vec::new();
    File::open(program).ok()?.take(FIRST_LINE_LEN_MAX).read_to_end(&mut first).ok()?;
    let line = first.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    Some(line.split_whitespace().next()?.to_owned())
}
