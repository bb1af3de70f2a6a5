//! What stead's processes and files say to each other.
//!
//! Types and their bytes, no decisions. Every format carries a version; a version reads the files
//! of the one before it.

pub mod api;
pub mod file;
pub mod frame;
pub mod front;
pub mod journal;
pub mod keeper;
pub mod log;
pub mod rollout;
pub mod ship;

/// A moment by the wall clock: milliseconds since 1970-01-01 UTC.
pub type WallMs = u64;

/// The version of the API, the keeper's protocol and the journal.
pub const WIRE_VERSION: u32 = 1;
