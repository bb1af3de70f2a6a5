//! What a process may do: whatever its account may.

use std::io;
use std::path::Path;

use stead_core::sandbox::LaunchSandbox;

/// Nothing that could be put on.
#[derive(Debug)]
pub struct Sandbox {
    unheld: Vec<String>,
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("could not keep it to its files")]
    Files(#[source] io::Error),
}

impl Sandbox {
    /// Prepares none, and says so.
    pub fn prepare(
        _wanted: &LaunchSandbox,
        _program: &Path,
        _streams: &[&Path],
    ) -> Result<Self, SandboxError> {
        let why = "its sandbox cannot be held on Windows: it may do what its account may";
        Ok(Self { unheld: vec![why.to_owned()] })
    }

    /// What this system cannot hold, a sentence each.
    pub fn unheld(&self) -> &[String] {
        &self.unheld
    }
}
