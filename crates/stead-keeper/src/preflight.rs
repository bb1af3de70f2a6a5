//! `stead-keeper --preflight`: looks, in the place where a run is to be, what it would be refused.
//! It is no keeper and touches none: what it looks at comes over standard input, what it has found
//! goes to standard output, a line each.

mod inside;
mod outside;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use stead_core::launch::Launch;
use stead_core::preflight::{Preflight, Refused};
use stead_proc::{AsHandle, SpawnError, SpawnSpec, spawn_call, wait};

use crate::Options;
use outside::{Outside, name_holder};

/// The most that is read of what is to be looked at.
const ASKED_LEN_MAX: u64 = 1 << 20;

/// The most that is read of what was found.
const FOUND_LEN_MAX: u64 = 1 << 20;

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
    for refused in look(&options.folder, &asked)? {
        say_line(&mut io::stdout(), &refused.finding()).map_err(PreflightError::Say)?;
    }
    Ok(())
}

fn look(folder: &Path, asked: &Preflight) -> Result<Vec<Refused>, PreflightError> {
    let launch = &*asked.launch;
    let mut refused = Vec::new();
    let Some(outside) = Outside::look(folder, asked, &mut refused) else { return Ok(refused) };
    // Who cannot have its capabilities does not come to its place.
    if refused.iter().any(|refused| refused.finding().blocks) {
        return Ok(refused);
    }
    let found = in_its_place(folder, launch, &|| inside::look(launch, &outside))?;
    refused.extend(found.into_iter().filter_map(|it| name_holder(it, folder, asked.first)));
    Ok(refused)
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
            out: told.as_handle(),
            err: io::stderr().as_handle(),
            holds: [None; 2],
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
    let progress = match held {
        // Where nobody else can look, a run has no other place than this process.
        Err(SpawnError::Unsupported(_)) => return Ok(look()),
        held => held.map_err(PreflightError::Spawn)?.release(),
    };
    drop(told);
    let mut refused = Vec::new();
    for line in BufReader::new(heard.take(FOUND_LEN_MAX)).lines() {
        let line = line.map_err(PreflightError::Hear)?;
        refused.push(serde_json::from_str(&line).map_err(PreflightError::Form)?);
    }
    // Its streams have ended, so it has ended, or does at once.
    wait(&[progress.as_handle()], None).map_err(PreflightError::Hear)?;
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
