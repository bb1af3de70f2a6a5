//! What the kernel has told in its log.

use std::collections::VecDeque;
use std::io;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

/// The longest record that the kernel hands out.
const RECORD_LEN_MAX: usize = 8192;

/// Records that are read at most: more than the log of any kernel holds.
const RECORDS_MAX: usize = 1 << 20;

/// The newest `max` lines of the kernel's log that are `wanted`, without waiting for more.
pub fn kernel_lines(max: usize, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let log = open("/dev/kmsg", flags, Mode::empty())?;
    let mut record = vec![0; RECORD_LEN_MAX];
    let mut lines = VecDeque::new();
    for _ in 0..RECORDS_MAX {
        match rustix::io::read(&log, &mut record[..]) {
            Ok(0) | Err(Errno::AGAIN) => break,
            Ok(len) => {
                let text = String::from_utf8_lossy(&record[..len]);
                let line = text.lines().next().unwrap_or_default();
                if wanted(line) {
                    lines.push_back(line.to_owned());
                }
                if lines.len() > max {
                    lines.pop_front();
                }
            }
            // What comes next was overwritten meanwhile, or we were interrupted.
            Err(Errno::PIPE | Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(lines.into())
}
