//! Records in an append-only file: one line each, guarded by a checksum.
//!
//! ```text
//! 5d1ef0a3 {"at":1795342670000,"event":"started","run":4}\n
//! ```
//!
//! The line end makes a reader whole again after any damage, so damage costs the records it hits
//! and no others; a torn last line is cut off by the next writer.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest record a reader takes, in bytes with its line end.
pub const RECORD_LEN_MAX: usize = 64 << 10;

const CRC_LEN: usize = 8;

/// One record as the bytes to append.
///
/// The types framed here serialize without error: they hold no maps with keys other than strings.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let json = serde_json::to_vec(record).expect("framed types always serialize");
    let mut line = format!("{:08x} ", crc32fast::hash(&json)).into_bytes();
    line.extend_from_slice(&json);
    line.push(b'\n');
    line
}

/// What a reader finds at one place of a file.
#[derive(Debug, Eq, PartialEq)]
pub enum Framed<T> {
    /// Bytes that are no whole record: torn, flipped, or of an unknown kind.
    Damaged {
        offset: usize,
        len: usize,
    },
    /// Bytes after the last line end: a record that was not finished, or not yet.
    Torn {
        offset: usize,
        len: usize,
    },
    Whole(T),
}

/// Reads every record of a file's bytes, in order.
pub fn decode_all<T: DeserializeOwned>(bytes: &[u8]) -> Vec<Framed<T>> {
    let mut found = Vec::new();
    let mut offset = 0;
    while offset < bytes.len() {
        let rest = &bytes[offset..];
        let Some(len) = rest.iter().position(|b| *b == b'\n').map(|at| at + 1) else {
            found.push(Framed::Torn { offset, len: rest.len() });
            break;
        };
        found.push(match decode_line(&rest[..len - 1]) {
            Some(record) => Framed::Whole(record),
            None => Framed::Damaged { offset, len },
        });
        offset += len;
    }
    found
}

/// Reads one record from its line without the line end.
pub fn decode_line<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let (crc, json) = line.split_at_checked(CRC_LEN)?;
    let json = json.strip_prefix(b" ")?;
    // The writer's own spelling of the number and no other: any flipped bit is noticed.
    let same = crc == format!("{:08x}", crc32fast::hash(json)).as_bytes();
    if same { serde_json::from_slice(json).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (Vec<u8>, Vec<u64>) {
        let numbers: Vec<u64> = (1..=5).map(|n| n * 1_000_003).collect();
        (numbers.iter().flat_map(encode).collect(), numbers)
    }

    fn whole(bytes: &[u8]) -> Vec<u64> {
        let keep = |framed| match framed {
            Framed::Whole(number) => Some(number),
            Framed::Damaged { .. } | Framed::Torn { .. } => None,
        };
        decode_all(bytes).into_iter().filter_map(keep).collect()
    }

    #[test]
    fn a_file_torn_at_any_byte_keeps_every_record_before_it() {
        let (bytes, numbers) = file();
        let record_len = bytes.len() / numbers.len();
        for cut in 0..=bytes.len() {
            assert_eq!(whole(&bytes[..cut]), numbers[..cut / record_len], "cut at {cut}");
        }
    }

    #[test]
    fn a_bit_flipped_anywhere_costs_the_records_it_touches_and_is_said() {
        let (bytes, numbers) = file();
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << bit;
                let kept = whole(&flipped);
                // A flipped line end joins two records; any other flip hits one.
                assert!(kept.len() >= numbers.len() - 2, "{place}.{bit}: {kept:?}");
                assert!(kept.len() < numbers.len(), "{place}.{bit} went unnoticed");
                assert!(kept.iter().all(|number| numbers.contains(number)), "{place}.{bit}");
            }
        }
    }
}
