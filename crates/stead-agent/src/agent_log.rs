//! The agent's own log: plain lines, and keepers' last words on stderr.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::clock;
use crate::layout::Layout;

/// Past this size the log is moved to `agent.log.1`, whose content before that is lost.
const LOG_LEN_MAX: u64 = 1 << 20;

/// Appends a line to the log of the agent of a root, for one that has none open: it did not begin,
/// and who started it shows nobody what it says.
pub fn say_in_log(root: &Path, text: &str) {
    AgentLog::open(&Layout::new(root.to_owned()).log()).say(text);
}

/// An open log. What cannot be written is lost: no service waits for it.
#[derive(Debug)]
pub(crate) struct AgentLog {
    path: PathBuf,
    file: Option<File>,
}

impl AgentLog {
    pub(crate) fn open(path: &Path) -> Self {
        let file = stead_proc::append_file(path, 0o640);
        Self { path: path.to_path_buf(), file: file.ok() }
    }

    /// Appends a line with the time.
    pub(crate) fn say(&mut self, text: &str) {
        let Some(file) = &mut self.file else { return };
        let line = format!("{} {}\n", clock::rfc3339(clock::wall_ms()), text.replace('\n', " "));
        let _ = file.write_all(line.as_bytes());
        if file.metadata().is_ok_and(|meta| meta.len() > LOG_LEN_MAX) {
            // Copied and emptied, not renamed: keepers append to this very file.
            let _ = fs::copy(&self.path, self.path.with_extension("log.1"));
            let _ = stead_proc::cut_file(&self.path, 0);
        }
    }
}
