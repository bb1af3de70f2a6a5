//! What happens while a process waits.

use crate::Process;

/// A signal that a process is told of by reading.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fires {
    /// A child ended.
    Child,
    /// Somebody wants this process to end.
    End,
}

/// What one transfer did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Moved {
    /// Nothing was there.
    Nothing,
    Bytes(usize),
}

/// What a run holds of one of its streams, by the numbers that it has for the two ends. Where pipes
/// have no path, whoever comes after a dead keeper takes them up there.
#[derive(Clone, Copy, Debug)]
pub struct StreamEnds<'a> {
    pub process: &'a Process,
    pub read: u64,
    pub write: u64,
}
