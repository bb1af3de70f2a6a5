//! A program that must end with 0.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use stead_core::template::Template;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::Target;

/// The most of its output that is read; the rest is thrown away.
const OUTPUT_LEN_MAX: u64 = 4096;

/// The last line of that, as it is shown.
const SHOWN_LEN_MAX: usize = 200;

/// One program, run in the place of the run: its account, its limits, its sandbox.
pub(super) struct Exec {
    keeper: PathBuf,
    folder: PathBuf,
    /// The run, as the keeper's program is told of it.
    place: String,
    argv: Vec<String>,
}

impl Exec {
    pub(super) fn new(target: &Target, argv: &[Template]) -> Self {
        // Every place was filled in, so what is left are doubled braces.
        let unfilled = |text: &Template| text.plain();
        let argv = argv.iter().map(unfilled).collect();
        let place = format!("{}:{}:{}", target.run, target.pid, u8::from(target.second));
        Self { keeper: target.keeper.clone(), folder: target.folder.clone(), place, argv }
    }

    /// The keeper's program ends it, with all it has started, once it has taken so long: even if
    /// nobody is there any more to hear of it.
    pub(super) async fn ask(&self, within: Duration) -> Result<String, String> {
        let mut command = Command::new(&self.keeper);
        command.arg("--folder").arg(&self.folder);
        command.arg("--within").arg(within.as_millis().to_string());
        command.arg("--enter").arg(&self.place).args(&self.argv);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let read = async {
            if let Some(stdout) = stdout {
                let _ = stdout.take(OUTPUT_LEN_MAX).read_to_end(&mut out).await;
            }
        };
        let read_err = async {
            if let Some(stderr) = stderr {
                let _ = stderr.take(OUTPUT_LEN_MAX).read_to_end(&mut err).await;
            }
        };
        let (status, (), ()) = tokio::join!(child.wait(), read, read_err);
        let status = status.map_err(|error| error.to_string())?;
        let said = last_line(&err).or_else(|| last_line(&out));
        let told = match said {
            Some(line) => format!("{status}: {line}"),
            None => status.to_string(),
        };
        if status.success() { Ok(told) } else { Err(told) }
    }
}

fn last_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(SHOWN_LEN_MAX).collect())
}
