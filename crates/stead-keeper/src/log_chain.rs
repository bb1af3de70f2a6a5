//! One stream's output on its way into segments.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use stead_proc::{Moved, Pipe};
use stead_wire::journal::Stream;
use stead_wire::log::{ENTRY_LEN, Entry, Segment};

use crate::faults::{CrashPoint, Faults};
use crate::retention::Retention;

/// The most bytes moved in one go.
const BATCH_LEN_MAX: u64 = 1 << 20;
/// A line may make its segment so much longer before it is cut.
const LINE_LEN_MAX: u64 = 1 << 20;
/// Batches closer than this share an index entry.
const ENTRY_EVERY_US: u64 = 200;

/// The segments of one stream, the newest of them open.
#[derive(Debug)]
pub(crate) struct LogChain {
    stream: Stream,
    folder: PathBuf,
    pipe: Pipe,
    number: u32,
    open: Option<Open>,
    /// Bytes lost since the last index entry.
    dropped: u64,
}

/// The segment that grows.
#[derive(Debug)]
struct Open {
    log: File,
    index: File,
    len: u64,
    last_entry_us: u64,
}

impl LogChain {
    /// Goes on with the newest segment there is.
    pub(crate) fn new(stream: Stream, instance: &Path, pipe: Pipe, newest: Option<u32>) -> Self {
        let folder = instance.join("log");
        let number = newest.unwrap_or(1);
        Self { stream, folder, pipe, number, open: None, dropped: 0 }
    }

    pub(crate) fn stream(&self) -> Stream {
        self.stream
    }

    pub(crate) fn pipe(&self) -> &Pipe {
        &self.pipe
    }

    /// Counts output that was taken out of the pipe and not stored.
    pub(crate) fn note_dropped(&mut self, bytes: u64) {
        self.dropped += bytes;
    }

    /// Stores a batch of what waits in the pipe.
    pub(crate) fn store(
        &mut self,
        retention: &mut Retention,
        faults: &Faults,
        instance: &Path,
    ) -> io::Result<Moved> {
        if self.pipe.waiting() == 0 {
            return Ok(Moved::Nothing);
        }
        let segment_len = retention.segment_len();
        let len = self.open()?.len;
        if len >= segment_len {
            return self.end_segment(retention, faults, instance);
        }
        self.move_batch((segment_len - len).min(BATCH_LEN_MAX), faults, instance)
    }

    /// Completes the last line of a full segment, then begins the next one.
    fn end_segment(
        &mut self,
        retention: &mut Retention,
        faults: &Faults,
        instance: &Path,
    ) -> io::Result<Moved> {
        let (ends_whole, len) = {
            let open = self.open()?;
            (open.ends_at_line_end()?, open.len)
        };
        if !ends_whole && len < retention.segment_len() + LINE_LEN_MAX {
            // Without a line end in sight the whole pipe is part of the line.
            let line_end = self.pipe.first_line_end()?;
            let wanted = line_end.map_or(BATCH_LEN_MAX, |len| len as u64);
            return self.move_batch(wanted, faults, instance);
        }
        let full = Segment { stream: self.stream, number: self.number };
        self.open = None;
        self.number += 1;
        let len = self.open()?.len;
        faults.reach(CrashPoint::Rotated, instance);
        retention.close(full)?;
        self.move_batch((retention.segment_len() - len).min(BATCH_LEN_MAX), faults, instance)
    }

    fn move_batch(&mut self, len_max: u64, faults: &Faults, instance: &Path) -> io::Result<Moved> {
        let dropped = self.dropped;
        let no_splice = faults.no_splice;
        self.open()?;
        let Some(open) = &mut self.open else { return Ok(Moved::Nothing) };
        let offset = open.len;
        let len_max = usize::try_from(len_max).unwrap_or(usize::MAX);
        let moved = if no_splice {
            let between = || faults.reach(CrashPoint::Carrying, instance);
            self.pipe.store_by_copy(&open.log, offset, len_max, between)
        } else {
            self.pipe.store(&open.log, offset, len_max)
        }?;
        let Moved::Bytes(len) = moved else { return Ok(Moved::Nothing) };
        open.len += len as u64;
        faults.reach(CrashPoint::Stored, instance);
        let time_us = wall_us();
        if dropped > 0 || time_us.abs_diff(open.last_entry_us) >= ENTRY_EVERY_US {
            // Without its entry the batch counts as of the one before: no reason to lose more.
            if open.index.write_all(&Entry { offset, time_us, dropped }.to_bytes()).is_ok() {
                open.last_entry_us = time_us;
                self.dropped = 0;
            }
        }
        Ok(moved)
    }

    fn open(&mut self) -> io::Result<&mut Open> {
        if self.open.is_none() {
            let segment = Segment { stream: self.stream, number: self.number };
            self.open = Some(Open::at(&self.folder, segment)?);
        }
        Ok(self.open.as_mut().expect("it was just opened"))
    }
}

impl Open {
    fn at(folder: &Path, segment: Segment) -> io::Result<Self> {
        let options = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            options
        };
        // Not O_APPEND: splice refuses it.
        let log = options().open(folder.join(segment.log_name()))?;
        let index_path = folder.join(segment.index_name());
        let index = OpenOptions::new().append(true).create(true).open(&index_path)?;
        let index_len = index.metadata()?.len();
        let torn = index_len % ENTRY_LEN as u64;
        if torn != 0 {
            stead_proc::cut_file(&index_path, index_len - torn)?;
        }
        let len = log.metadata()?.len();
        Ok(Self { log, index, len, last_entry_us: 0 })
    }

    fn ends_at_line_end(&self) -> io::Result<bool> {
        use std::io::{Read, Seek, SeekFrom};
        if self.len == 0 {
            return Ok(true);
        }
        let mut log = &self.log;
        log.seek(SeekFrom::Start(self.len - 1))?;
        let mut last = [0];
        log.read_exact(&mut last)?;
        Ok(last == *b"\n")
    }
}

fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
