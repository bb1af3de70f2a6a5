//! What a run would be refused, before it is begun: asked of the keeper's program, which goes to
//! the place of the run and looks.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, memfd_create};
use stead_core::preflight::{Finding, Preflight};

/// What takes longer is no preflight any more: a start must not wait for a disk that hangs.
const PREFLIGHT_WITHIN: Duration = Duration::from_secs(5);

/// The most that is read of what it has found.
const FOUND_LEN_MAX: usize = 1 << 20;

/// Asks for it. An error says why nothing is known.
pub(crate) fn ask(
    keeper: (&Path, &[String]),
    folder: &Path,
    log: &Path,
    asked: &Preflight,
) -> io::Result<Vec<Finding>> {
    let mut command = Command::new(keeper.0);
    command.arg("--folder").arg(folder).arg("--preflight").args(keeper.1);
    // No pipe, which could be full while nobody reads.
    let mut stdin = File::from(memfd_create("preflight", MemfdFlags::CLOEXEC)?);
    stdin.write_all(&serde_json::to_vec(asked)?)?;
    stdin.rewind()?;
    command.env_clear().current_dir("/").stdin(stdin).stdout(Stdio::piped());
    command.stderr(OpenOptions::new().append(true).create(true).open(log)?);
    let mut child = command.spawn()?;
    let found = hear(&mut child, Instant::now() + PREFLIGHT_WITHIN);
    // One that has said all has ended, or ends now.
    let _ = child.kill();
    // Where a kill takes its time, nobody waits for it.
    let waiting = thread::Builder::new().name("preflight".into());
    if !stead_proc::reap(child.id())? {
        waiting.spawn(move || drop(child.wait()))?;
    }
    found
}

fn hear(child: &mut Child, until: Instant) -> io::Result<Vec<Finding>> {
    let Some(mut stdout) = child.stdout.take() else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || found.len() > FOUND_LEN_MAX {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if !stead_proc::wait(&[stdout.as_fd()], Some(left))?[0] {
            continue;
        }
        match stdout.read(&mut piece)? {
            0 => break,
            read => found.extend_from_slice(&piece[..read]),
        }
    }
    let lines = found.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(script: &str, within: Duration) -> io::Result<Vec<Finding>> {
        let mut command = Command::new("/bin/sh");
        let mut child = command.args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let heard = hear(&mut child, Instant::now() + within);
        let _ = child.kill();
        child.wait().unwrap();
        heard
    }

    #[test]
    fn what_is_said_in_time_is_taken_and_what_hangs_or_is_garbled_is_an_error() {
        let finding = r#"{"blocks":true,"what":"a","because":"b","try_this":"c"}"#;
        let long = Duration::from_secs(20);
        let found = heard(&format!("echo '{finding}'; echo '{finding}'"), long).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(heard("exit 1", long).unwrap(), []);
        let late = format!("echo '{finding}'; exec sleep 100");
        let late = heard(&late, Duration::from_millis(50)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert!(heard("echo nonsense", long).is_err());
        assert!(heard("yes", long).is_err(), "a flood is not kept");
    }
}
