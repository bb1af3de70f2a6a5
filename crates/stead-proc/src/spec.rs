//! What is to be started, and why it was not.

use std::ffi::NulError;
use std::io;

use stead_core::launch::Account;

use crate::{Handle, Sandbox};

/// What to start.
#[derive(Debug)]
pub struct SpawnSpec<'a> {
    /// Program and arguments. A program without `/` is looked up in the PATH of `env`.
    pub argv: &'a [String],
    pub directory: &'a str,
    /// The whole environment.
    pub env: &'a [(String, String)],
    pub account: Option<&'a Account>,
    pub umask: u16,
    pub new_privileges: bool,
    /// How many files each of its processes may hold open; `None`: as many as this one's own.
    pub files: Option<u64>,
    /// `None`: nothing to read.
    pub stdin: Option<Handle<'a>>,
    /// It is killed when the thread that makes it ends.
    pub ends_with_us: bool,
    pub out: Handle<'a>,
    pub err: Handle<'a>,
    /// What it holds besides, so that these outlive this process; see [`crate::StreamEnds`].
    pub holds: [Option<Handle<'a>>; 2],
    /// The folder of the cgroup it begins in.
    pub cgroup: Option<Handle<'a>>,
    /// `None`: whatever its account may.
    pub sandbox: Option<&'a Sandbox>,
    /// Sockets that it finds from descriptor 3 on. Where `env` holds `LISTEN_PID`, its value
    /// becomes the pid of the process.
    pub sockets: &'a [Handle<'a>],
}

/// Why there is no process.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("could not make a process")]
    Fork(#[source] io::Error),
    #[error("the new process was gone before it could be identified")]
    Lost,
    #[error("`{program}` is in none of the folders of PATH ({path})")]
    NotInPath { program: String, path: String },
    #[error("an argument or variable holds a NUL byte")]
    Nul(#[from] NulError),
    #[error("could not make a pipe")]
    Pipe(#[source] io::Error),
    #[error("there is nothing to run")]
    Empty,
    #[error("a process with more than one thread calls nothing in another")]
    Threads,
    #[error("this system cannot give it {0}")]
    Unsupported(&'static str),
}

/// Why a released process did not come to run its program.
#[derive(Debug, thiserror::Error)]
#[error("could not {step}")]
pub struct ExecFailed {
    pub step: &'static str,
    pub source: io::Error,
}
