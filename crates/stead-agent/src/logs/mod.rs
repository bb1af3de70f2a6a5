//! Reading and searching what instances wrote.
//!
//! [`Query::check`] makes sure that a query can be run, [`Checked::run`] runs it on the calling
//! thread: it lists each stream's segments (`chain`), finds the window in their indexes by binary
//! search (`index`), searches spans of them block by block and in parallel (`scan`, `pattern`),
//! merges the streams by time (`merge`), and looks for more while someone follows (`follow`).
//!
//! - The segments of a stream are read as one text: a line may go from one into the next.
//! - The order within a stream is never changed, whatever its clock did.
//! - Segments may be deleted at any moment; what was deleted unread amid what is shown is counted
//!   as dropped.

mod chain;
mod follow;
mod index;
mod merge;
mod pattern;
mod query;
mod scan;
mod tail;
#[cfg(test)]
mod tests;

pub use pattern::{PATTERN_LEN_MAX, PatternError};
pub use query::{Checked, LIMIT_LAST_MAX, Query};
pub use scan::{CUT_MARK, LINE_LEN_MAX};

/// Small bounds let tests cross each of them with little data.
const fn bound(bytes: usize, in_tests: usize) -> usize {
    if cfg!(test) { in_tests } else { bytes }
}
