//! Which segments of an instance's output are kept.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use stead_wire::log::Segment;

/// Bytes of a segment, as a share of what is kept in all.
const SEGMENTS_PER_LOG: u64 = 16;
const SEGMENT_LEN_MIN: u64 = 64 << 10;
const SEGMENT_LEN_MAX: u64 = 8 << 20;

/// The segments that are closed, oldest first.
#[derive(Debug)]
pub(crate) struct Retention {
    folder: PathBuf,
    keep: u64,
    closed: VecDeque<(Segment, u64)>,
    closed_bytes: u64,
}

impl Retention {
    /// Finds what is in the folder. The newest segment of each stream is open, not closed.
    pub(crate) fn scan(folder: &Path, keep: u64) -> io::Result<(Self, Vec<Segment>)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let segment = entry.file_name().to_str().and_then(Segment::from_log_name);
            if let Some(segment) = segment {
                found.push((entry.metadata()?.modified()?, segment));
            }
        }
        found.sort();
        let newest = |segment: &Segment| {
            let same = found.iter().filter(|(_, other)| other.stream == segment.stream);
            same.map(|(_, other)| other.number).max() == Some(segment.number)
        };
        let (open, closed): (Vec<_>, Vec<_>) = found.iter().copied().partition(|(_, s)| newest(s));
        let mut retention =
            Self { folder: folder.to_owned(), keep, closed: VecDeque::new(), closed_bytes: 0 };
        for (_, segment) in closed {
            retention.close(segment)?;
        }
        Ok((retention, open.into_iter().map(|(_, segment)| segment).collect()))
    }

    /// Keeps so much from now on, and deletes what is too much for that.
    pub(crate) fn set_keep(&mut self, keep: u64) -> io::Result<()> {
        if self.keep == keep {
            return Ok(());
        }
        self.keep = keep;
        self.trim()
    }

    /// When a segment is long enough to be closed.
    pub(crate) fn segment_len(&self) -> u64 {
        (self.keep / SEGMENTS_PER_LOG).clamp(SEGMENT_LEN_MIN, SEGMENT_LEN_MAX)
    }

    /// Counts a segment as closed, and deletes the oldest ones that are too much.
    pub(crate) fn close(&mut self, segment: Segment) -> io::Result<()> {
        let len = |name: String| fs::metadata(self.folder.join(name)).map_or(0, |meta| meta.len());
        let bytes = len(segment.log_name()) + len(segment.index_name());
        self.closed.push_back((segment, bytes));
        self.closed_bytes += bytes;
        self.trim()
    }

    fn trim(&mut self) -> io::Result<()> {
        // Both streams may fill an open segment before the next one closes.
        let room = self.keep.saturating_sub(2 * self.segment_len());
        while self.closed_bytes > room
            && let Some((oldest, bytes)) = self.closed.pop_front()
        {
            self.closed_bytes -= bytes;
            remove(&self.folder.join(oldest.log_name()))?;
            remove(&self.folder.join(oldest.index_name()))?;
        }
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
