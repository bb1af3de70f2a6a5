//! The files of an instance's output.
//!
//! The bytes a service writes are stored as they are in segments, `out.00000001.log` and so on;
//! beside each stands an index, `out.00000001.idx`, of fixed-size entries: from which byte on the
//! output was stored when. Entries are in order of offset; a damaged entry is skipped by itself.

use crate::journal::Stream;

/// Bytes of an index entry on disk.
pub const ENTRY_LEN: usize = 32;

/// One batch of output: the bytes from `offset` on, up to the next entry's, came at `time_us`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Entry {
    pub offset: u64,
    /// Microseconds since 1970-01-01 UTC.
    pub time_us: u64,
    /// Bytes that were lost right before `offset`.
    pub dropped: u64,
}

/// The kind of entry; room for others.
const KIND: u32 = 1;

impl Entry {
    pub fn to_bytes(self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.time_us.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.dropped.to_le_bytes());
        bytes[24..28].copy_from_slice(&KIND.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` for bytes that are no whole entry of a known kind.
    pub fn from_bytes(bytes: &[u8; ENTRY_LEN]) -> Option<Self> {
        let word = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let half = |at: usize| bytes[at..at + 4].try_into().map(u32::from_le_bytes).ok();
        if half(24)? != KIND || half(28)? != crc32fast::hash(&bytes[..28]) {
            return None;
        }
        Some(Self { offset: word(0)?, time_us: word(8)?, dropped: word(16)? })
    }
}

/// What an index holds, in order, and how many of its bytes were damaged or torn.
pub fn decode_index(bytes: &[u8]) -> (Vec<Entry>, u64) {
    let (entries, torn) = bytes.as_chunks::<ENTRY_LEN>();
    let mut found: Vec<Entry> = entries.iter().filter_map(Entry::from_bytes).collect();
    // An index that was written after a clock or disk mishap is still searched by offset.
    found.sort_by_key(|entry| entry.offset);
    let damaged = (entries.len() - found.len()) * ENTRY_LEN + torn.len();
    (found, damaged as u64)
}

/// The number and the file names of a segment.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Segment {
    pub stream: Stream,
    pub number: u32,
}

impl Segment {
    pub fn log_name(self) -> String {
        format!("{}.{:08}.log", self.stream.as_str(), self.number)
    }

    pub fn index_name(self) -> String {
        format!("{}.{:08}.idx", self.stream.as_str(), self.number)
    }

    /// The segment whose log file has this name.
    pub fn from_log_name(name: &str) -> Option<Self> {
        let (stream, rest) = name.split_once('.')?;
        let stream = Stream::ALL.into_iter().find(|known| known.as_str() == stream)?;
        let number = rest.strip_suffix(".log")?.parse().ok()?;
        let segment = Self { stream, number };
        (segment.log_name() == name).then_some(segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_torn_or_flipped_at_any_byte_loses_only_what_was_hit() {
        let entries: Vec<Entry> =
            (0..4).map(|n| Entry { offset: n * 100, time_us: 7 + n, dropped: n % 2 }).collect();
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_bytes()).collect();
        assert_eq!(decode_index(&bytes), (entries.clone(), 0));
        for cut in 0..bytes.len() {
            let (kept, damaged) = decode_index(&bytes[..cut]);
            assert_eq!(kept, entries[..cut / ENTRY_LEN]);
            assert_eq!(damaged as usize, cut % ENTRY_LEN);
        }
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << bit;
                let mut expected = entries.clone();
                expected.remove(place / ENTRY_LEN);
                assert_eq!(decode_index(&flipped), (expected, ENTRY_LEN as u64));
            }
        }
    }

    #[test]
    fn a_segment_has_one_file_name() {
        let segment = Segment { stream: Stream::Err, number: 12 };
        assert_eq!(segment.log_name(), "err.00000012.log");
        assert_eq!(Segment::from_log_name("err.00000012.log"), Some(segment));
        for name in ["err.12.log", "err.00000012.idx", "in.00000012.log", "x", "out..log"] {
            assert_eq!(Segment::from_log_name(name), None, "{name}");
        }
    }
}
