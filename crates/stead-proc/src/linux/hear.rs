//! What a child says.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::process::ChildStdout;
use std::time::{Duration, Instant};

use super::poll::wait;

/// Bytes read at once.
const READ_LEN: usize = 4096;

/// All that a child says until it is silent for good; an error if that takes too long, or is more
/// than `len_max`.
pub fn hear(mut stdout: ChildStdout, within: Duration, len_max: usize) -> io::Result<Vec<u8>> {
    let until = Instant::now() + within;
    let mut heard = Vec::new();
    let mut piece = [0; READ_LEN];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || heard.len() > len_max {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if !wait(&[stdout.as_fd()], Some(left))?[0] {
            continue;
        }
        match stdout.read(&mut piece)? {
            0 => return Ok(heard),
            read => heard.extend_from_slice(&piece[..read]),
        }
    }
}
