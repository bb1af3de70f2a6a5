//! What goes over the wire instead of a file: compressed, and where the other end has the file of
//! before, only what is new.
//!
//! A content and the one before it are compressed as one, so that what they share costs a
//! reference (the way of `zstd --patch-from`). It is worth nothing without exactly that base.

use std::io::{self, Write as _};

use zstd::stream::write::Encoder;
use zstd::zstd_safe::{DCtx, get_error_name};

/// Fast enough that a network of 1 Gbit/s does not wait for it. With a base, references far back do
/// the most: higher levels took three times as long for patches that were no smaller.
const LEVEL: i32 = 3;

/// The farthest that a reference reaches, as a power of two.
const WINDOW_LOG_MAX: u32 = 30;

/// Why what came is not a content.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("it is not what was compressed")]
    Damaged(#[source] io::Error),
    #[error("it is not {0} bytes long")]
    Length(u64),
}

/// Compresses a content, for an end that has the base.
pub fn compress(content: &[u8], base: Option<&[u8]>) -> io::Result<Vec<u8>> {
    let mut compressed = Vec::new();
    let mut encoder = match base {
        Some(base) => {
            let mut encoder = Encoder::with_ref_prefix(&mut compressed, LEVEL, base)?;
            encoder.long_distance_matching(true)?;
            encoder.window_log(window_log(content.len() + base.len()))?;
            encoder
        }
        None => Encoder::new(&mut compressed, LEVEL)?,
    };
    encoder.set_pledged_src_size(Some(content.len() as u64))?;
    encoder.write_all(content)?;
    encoder.finish()?;
    Ok(compressed)
}

/// The content of this length. Whatever was sent, no more memory than that is filled.
pub fn restore(compressed: &[u8], base: Option<&[u8]>, len: u64) -> Result<Vec<u8>, RestoreError> {
    let mut content = Vec::new();
    let room = usize::try_from(len).ok().and_then(|len| content.try_reserve_exact(len).ok());
    room.ok_or(RestoreError::Length(len))?;
    // In one go, into its place: a stream would hold all of it once more.
    let mut context = DCtx::create();
    let damaged = |code| RestoreError::Damaged(io::Error::other(get_error_name(code)));
    if let Some(base) = base {
        context.ref_prefix(base).map_err(damaged)?;
    }
    match context.decompress(&mut content, compressed) {
        Ok(_) if content.len() as u64 == len => Ok(content),
        Err(code) if get_error_name(code) != TOO_SMALL => Err(damaged(code)),
        Ok(_) | Err(_) => Err(RestoreError::Length(len)),
    }
}

/// How it is told that there is more than there is room for.
const TOO_SMALL: &str = "Destination buffer is too small";

/// The smallest window that holds so many bytes, within what may be asked for.
fn window_log(len: usize) -> u32 {
    const WINDOW_LOG_MIN: u32 = 10;
    (usize::BITS - len.leading_zeros()).clamp(WINDOW_LOG_MIN, WINDOW_LOG_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that do not compress, always the same for a seed.
    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
        reader.fill(&mut bytes);
        bytes
    }

    #[test]
    fn a_content_comes_back_with_and_without_a_base() {
        let base = noise(1, 300_000);
        let mut moved = base.clone();
        moved.splice(1000..1000, noise(2, 777));
        moved.splice(200_000..200_500, []);
        let contents = [Vec::new(), b"x".to_vec(), noise(3, 5), base.clone(), moved];
        for content in &contents {
            for base in [None, Some(&base[..]), Some(&b""[..]), Some(&content[..])] {
                let sent = compress(content, base).unwrap();
                assert_eq!(restore(&sent, base, content.len() as u64).unwrap(), *content);
            }
        }
    }

    #[test]
    fn what_the_base_has_is_not_sent_again() {
        let base = noise(1, 4 << 20);
        let mut content = base.clone();
        content.splice(1 << 20..1 << 20, noise(2, 5000));
        content[3 << 20] ^= 1;
        let patch = compress(&content, Some(&base)).unwrap().len();
        assert!(patch < 10_000, "{patch}");
        // Control: without the base, all of it is.
        assert!(compress(&content, None).unwrap().len() >= content.len());
    }

    #[test]
    fn what_was_cut_changed_or_made_for_another_base_is_never_taken_for_the_content() {
        let (base, content) = (noise(1, 5000), [noise(1, 4000), noise(2, 300)].concat());
        let sent = compress(&content, Some(&base)).unwrap();
        let len = content.len() as u64;
        let is_whole = |sent: &[u8], base: Option<&[u8]>| {
            restore(sent, base, len).is_ok_and(|restored| restored == content)
        };
        assert!(is_whole(&sent, Some(&base)));
        assert!(!is_whole(&sent, Some(&noise(9, 5000))) && !is_whole(&sent, None));
        for place in 0..sent.len() {
            assert!(!is_whole(&sent[..place], Some(&base)), "cut at {place}");
        }
    }

    #[test]
    fn a_bomb_fills_no_more_than_was_announced() {
        let bomb = compress(&vec![0; 64 << 20], None).unwrap();
        assert!(bomb.len() < 100_000);
        assert!(matches!(restore(&bomb, None, 1000), Err(RestoreError::Length(1000))));
    }
}
