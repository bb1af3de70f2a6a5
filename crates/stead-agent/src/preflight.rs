//! What a run would be refused, before it is begun: asked of the keeper's program, which goes to
//! the place of the run and looks.

use std::io::{self, Seek, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

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
    let mut stdin = stead_proc::unnamed_file()?;
    stdin.write_all(&serde_json::to_vec(asked)?)?;
    stdin.rewind()?;
    stead_proc::bare(&mut command)
        .current_dir(stead_proc::top_folder())
        .stdin(stdin)
        .stdout(Stdio::piped());
    command.stderr(stead_proc::append_file(log, 0o640)?);
    let mut child = command.spawn()?;
    let found = hear(&mut child, PREFLIGHT_WITHIN);
    // One that has said all has ended, or ends now.
    let _ = child.kill();
    // Where a kill takes its time, nobody waits for it.
    let waiting = thread::Builder::new().name("preflight".into());
    if !stead_proc::reap(child.id())? {
        waiting.spawn(move || drop(child.wait()))?;
    }
    found
}

fn hear(child: &mut Child, within: Duration) -> io::Result<Vec<Finding>> {
    let Some(stdout) = child.stdout.take() else { return Ok(Vec::new()) };
    let found = stead_proc::hear(stdout, within, FOUND_LEN_MAX)?;
    let lines = found.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    Ok(lines.map(serde_json::from_slice).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(script: &str, within: Duration) -> io::Result<Vec<Finding>> {
        let mut command = Command::new("/bin/sh");
        let mut child = command.args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let heard = hear(&mut child, within);
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
