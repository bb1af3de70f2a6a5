//! A file that is replaced as a whole: JSON in an envelope with a format name and a checksum.
//!
//! ```text
//! {"format":"stead-plan/1","crc32":"5d1ef0a3","body":{…}}
//! ```

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    format: &'a str,
    crc32: &'a str,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// Why bytes are not such a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("its body does not fit its checksum")]
    Checksum,
    #[error("its body does not fit its format: {0}")]
    Body(serde_json::Error),
    #[error("it is not whole: {0}")]
    Envelope(serde_json::Error),
    #[error("it is of format `{found}`, not `{expected}`")]
    Format { found: String, expected: &'static str },
}

/// The bytes of a file of this format.
pub fn encode<T: Serialize>(format: &'static str, body: &T) -> Vec<u8> {
    let body = serde_json::value::to_raw_value(body).expect("filed types always serialize");
    let crc32 = checksum(&body);
    let envelope = Envelope { format, crc32: &crc32, body: &body };
    let mut bytes = serde_json::to_vec(&envelope).expect("an envelope always serializes");
    bytes.push(b'\n');
    bytes
}

/// Reads a file of this format.
pub fn decode<T: DeserializeOwned>(format: &'static str, bytes: &[u8]) -> Result<T, FileError> {
    let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(FileError::Envelope)?;
    if envelope.format != format {
        return Err(FileError::Format { found: envelope.format.into(), expected: format });
    }
    if checksum(envelope.body) != envelope.crc32 {
        return Err(FileError::Checksum);
    }
    serde_json::from_str(envelope.body.get()).map_err(FileError::Body)
}

/// A short mark of a value: equal values have equal marks. Not a defence against malice.
pub fn mark<T: Serialize>(value: &T) -> u32 {
    crc32fast::hash(&serde_json::to_vec(value).expect("marked types always serialize"))
}

fn checksum(body: &RawValue) -> String {
    format!("{:08x}", crc32fast::hash(body.get().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: &str = "stead-test/1";

    #[test]
    fn a_file_torn_or_flipped_at_any_byte_is_refused() {
        let body: Vec<String> = ["a", "\"{}\"", "é\n"].map(String::from).into();
        let bytes = encode(FORMAT, &body);
        assert_eq!(decode::<Vec<String>>(FORMAT, &bytes).unwrap(), body);
        // The line end after the envelope is no part of the value.
        for cut in 0..bytes.len() - 1 {
            assert!(decode::<Vec<String>>(FORMAT, &bytes[..cut]).is_err(), "cut at {cut}");
        }
        for place in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << bit;
                // Whatever is taken for whole is what was written.
                if let Ok(read) = decode::<Vec<String>>(FORMAT, &flipped) {
                    assert_eq!((read, place), (body.clone(), bytes.len() - 1), "{place}.{bit}");
                }
            }
        }
    }

    #[test]
    fn a_file_of_another_format_is_named() {
        let bytes = encode("stead-other/1", &1);
        let error = decode::<u32>(FORMAT, &bytes).unwrap_err().to_string();
        assert_eq!(error, "it is of format `stead-other/1`, not `stead-test/1`");
    }
}
