//! Searching one span of a stream, block by block.

use std::collections::VecDeque;
use std::io;

use super::bound;
use super::chain::{Chain, Position, Span, Tape};
use super::index::Index;
use super::pattern::Pattern;

/// The most bytes of a line that are searched and shown.
pub const LINE_LEN_MAX: usize = bound(1 << 20, 96);

/// Stands at the end of a line that was longer than [`LINE_LEN_MAX`].
pub const CUT_MARK: &str = " … (cut at 1 MiB)";

/// Bytes read at once: they stay in a core's cache while they are searched.
const READ_LEN: usize = bound(256 << 10, 40);
const _: () = assert!(READ_LEN < LINE_LEN_MAX, "a long line is found by its reads");

/// Bytes read at once past the end of a span, for the rest of its last line.
const REST_LEN: usize = bound(16 << 10, 7);

/// Which lines are wanted, and how much of them.
pub(super) struct Sieve {
    pub(super) pattern: Option<Pattern>,
    /// Microseconds since 1970-01-01 UTC; this and later.
    pub(super) since_us: Option<u64>,
    /// Before this.
    pub(super) until_us: Option<u64>,
}

/// How much one scan may find.
#[derive(Clone, Copy)]
pub(super) enum Limit {
    /// It stops after as many bytes of lines.
    Bytes(usize),
    /// It keeps as many lines, the last ones, without their text.
    Last(usize),
}

/// A line that is wanted.
pub(super) struct Line {
    /// In the segment of its scan.
    pub(super) offset: u64,
    pub(super) time_us: u64,
    pub(super) dropped: u64,
    text_len: usize,
}

/// What a scan found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) lines: VecDeque<Line>,
    text: Vec<u8>,
    text_taken: usize,
    /// About what the lines take in memory, in bytes, also once they were taken.
    pub(super) size: usize,
    /// What the limit left over.
    pub(super) rest: Option<Span>,
    /// Where the line starts that the stream ends in.
    pub(super) unfinished: Option<Position>,
    /// Bytes that were deleted before they could be read.
    pub(super) gone: u64,
}

impl Found {
    /// Takes the next line, without its line end.
    pub(super) fn take(&mut self) -> Option<(Line, &[u8])> {
        let line = self.lines.pop_front()?;
        let start = self.text_taken;
        self.text_taken += line.text_len;
        Some((line, &self.text[start..self.text_taken]))
    }
}

/// Finds the wanted lines of a span. A line that the stream ends in counts if `as_is`.
pub(super) fn scan(
    chain: &Chain,
    span: Span,
    sieve: &Sieve,
    limit: Limit,
    as_is: bool,
    buffer: &mut Vec<u8>,
) -> io::Result<Found> {
    let gone = || Found { gone: span.to - span.from.offset, ..Found::default() };
    let Some(place) = chain.place(span.from.number) else { return Ok(gone()) };
    let Some(tape) = Tape::open(chain, place, span.from.offset)? else { return Ok(gone()) };
    let read_len = match (&sieve.pattern, limit) {
        // What is read past the limit is read again.
        (None, Limit::Bytes(bytes)) => bytes.min(READ_LEN),
        (Some(_), Limit::Bytes(_)) | (_, Limit::Last(_)) => READ_LEN,
    };
    let scan = Scan {
        chain,
        place,
        span,
        sieve,
        limit,
        read_len,
        tape,
        buffer,
        filled: 0,
        offset: span.from.offset,
        line_before: None,
        index: None,
        found: Found::default(),
    };
    scan.run(as_is)
}

struct Scan<'a> {
    chain: &'a Chain,
    place: usize,
    span: Span,
    sieve: &'a Sieve,
    limit: Limit,
    read_len: usize,
    tape: Tape<'a>,
    buffer: &'a mut Vec<u8>,
    /// Bytes of the buffer in use.
    filled: usize,
    /// Of the buffer's first byte; it goes on counting past the segment's end.
    offset: u64,
    /// Where the line before the buffer's first starts, if it is known.
    line_before: Option<u64>,
    /// Opened for the first line that is found.
    index: Option<Index>,
    found: Found,
}

impl Scan<'_> {
    fn run(mut self, as_is: bool) -> io::Result<Found> {
        let inside =
            !self.span.exact && !self.chain.starts_line(self.place, self.span.from.offset)?;
        if inside && !self.skip_line()? {
            return Ok(self.found);
        }
        // The buffer begins with a line. Its first `searched` bytes hold no line end.
        let mut searched = 0;
        while self.offset < self.span.to {
            let fresh = &self.buffer[searched..self.filled];
            if let Some(end) = self.long_line_end(searched) {
                self.long_line(end)?;
                self.shift(end + 1);
                searched = 0;
            } else if let Some(end) = memchr::memrchr(b'\n', fresh) {
                let lines_end = self.span_end(searched + end + 1);
                if !self.lines(lines_end)? {
                    return Ok(self.found);
                }
                self.shift(lines_end);
                searched = 0;
            } else if self.filled > LINE_LEN_MAX {
                let start = self.offset;
                self.long_line(self.filled)?;
                self.offset += self.filled as u64;
                self.filled = 0;
                searched = 0;
                if !self.skip_line()? {
                    break;
                }
                self.line_before = Some(start);
            } else {
                searched = self.filled;
                if !self.fill()? {
                    self.last_line(as_is)?;
                    break;
                }
            }
        }
        Ok(self.found)
    }

    /// The end of the buffer's first line if it is too long. No other line in it can be: it came
    /// with one read.
    fn long_line_end(&self, searched: usize) -> Option<usize> {
        if self.filled <= LINE_LEN_MAX {
            return None;
        }
        let end = searched + memchr::memchr(b'\n', &self.buffer[searched..self.filled])?;
        (end > LINE_LEN_MAX).then_some(end)
    }

    /// Reads a block more; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let left = self.span.to.saturating_sub(self.offset + self.filled as u64);
        let want = match usize::try_from(left) {
            Ok(0) => REST_LEN,
            Ok(left) => left.min(self.read_len),
            Err(_) => self.read_len,
        };
        if self.buffer.len() < self.filled + want {
            self.buffer.resize(self.filled + want, 0);
        }
        let read = self.tape.read(&mut self.buffer[self.filled..self.filled + want])?;
        self.filled += read;
        Ok(read > 0)
    }

    /// Goes to the start of the next line; false if there is none in the span.
    fn skip_line(&mut self) -> io::Result<bool> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer[..self.filled]) {
                self.buffer.copy_within(end + 1..self.filled, 0);
                self.filled -= end + 1;
                self.offset += end as u64 + 1;
                return Ok(self.offset < self.span.to);
            }
            self.offset += self.filled as u64;
            self.filled = 0;
            if self.offset >= self.span.to || !self.fill()? {
                return Ok(false);
            }
        }
    }

    /// Of whole lines in the buffer, the end of those that start in the span.
    fn span_end(&self, lines_end: usize) -> usize {
        let Ok(left) = usize::try_from(self.span.to - self.offset) else { return lines_end };
        if left >= lines_end {
            return lines_end;
        }
        let last = &self.buffer[left - 1..lines_end];
        memchr::memchr(b'\n', last).map_or(lines_end, |end| left + end)
    }

    /// Takes what is wanted of whole lines; false once the limit is reached.
    fn lines(&mut self, lines_end: usize) -> io::Result<bool> {
        let sieve = self.sieve;
        let mut from = 0;
        while from < lines_end {
            let rest = &self.buffer[..lines_end - 1];
            let line = match &sieve.pattern {
                Some(pattern) => pattern.next_line(rest, from),
                None => {
                    let end = memchr::memchr(b'\n', &rest[from..]);
                    Some(from..end.map_or(rest.len(), |end| from + end))
                }
            };
            let Some(line) = line else { break };
            from = line.end + 1;
            self.take(line.start, line.end, "")?;
            if let Limit::Bytes(bytes) = self.limit
                && self.found.size >= bytes
            {
                let offset = self.offset + from as u64;
                let from = Position { number: self.span.from.number, offset };
                let rest = Span { from, to: self.span.to, exact: true };
                self.found.rest = (offset < rest.to).then_some(rest);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Drops lines from the buffer's start.
    fn shift(&mut self, lines_end: usize) {
        let before = memchr::memrchr(b'\n', &self.buffer[..lines_end - 1]);
        self.line_before = Some(self.offset + before.map_or(0, |end| end as u64 + 1));
        self.buffer.copy_within(lines_end..self.filled, 0);
        self.filled -= lines_end;
        self.offset += lines_end as u64;
    }

    /// Takes the line that the buffer begins with, of which no more is read.
    fn long_line(&mut self, len: usize) -> io::Result<()> {
        let (len, mark) = if len > LINE_LEN_MAX { (LINE_LEN_MAX, CUT_MARK) } else { (len, "") };
        let pattern = self.sieve.pattern.as_ref();
        if pattern.is_none_or(|pattern| pattern.matches(&self.buffer[..len])) {
            self.take(0, len, mark)?;
        }
        Ok(())
    }

    /// The stream ends in the line that the buffer begins with, or a gap follows it.
    fn last_line(&mut self, as_is: bool) -> io::Result<()> {
        if self.filled == 0 {
            return Ok(());
        }
        if as_is || !self.tape.at_end() {
            return self.long_line(self.filled);
        }
        let number = self.span.from.number;
        self.found.unfinished = Some(Position { number, offset: self.offset });
        Ok(())
    }

    fn take(&mut self, start: usize, end: usize, mark: &str) -> io::Result<()> {
        if self.index.is_none() {
            self.index = Some(self.chain.index(self.place)?);
        }
        let index = self.index.as_mut().expect("it was opened right above");
        let offset = self.offset + start as u64;
        let link = self.chain.links[self.place];
        let time_us = index.time_at(offset)?.unwrap_or(link.modified_us);
        if self.sieve.since_us.is_some_and(|since_us| time_us < since_us)
            || self.sieve.until_us.is_some_and(|until_us| time_us >= until_us)
        {
            return Ok(());
        }
        let (mut dropped, mut text_len) = (0, 0);
        match self.limit {
            Limit::Bytes(_) => {
                dropped = self.dropped_before(start)?;
                let text = &mut self.found.text;
                text.extend_from_slice(&self.buffer[start..end]);
                text.extend_from_slice(mark.as_bytes());
                text_len = end - start + mark.len();
                self.found.size += text_len + size_of::<Line>();
            }
            Limit::Last(lines) => {
                if self.found.lines.len() >= lines {
                    self.found.lines.pop_front();
                }
            }
        }
        self.found.lines.push_back(Line { offset, time_us, dropped, text_len });
        Ok(())
    }

    /// The bytes lost since the start of the line before the one at `start` in the buffer.
    fn dropped_before(&mut self, start: usize) -> io::Result<u64> {
        let offset = self.offset + start as u64;
        let mut after = match start.checked_sub(1) {
            Some(line_end) => {
                let before = memchr::memrchr(b'\n', &self.buffer[..line_end]);
                Some(self.offset + before.map_or(0, |end| end as u64 + 1))
            }
            None => self.line_before,
        };
        if after.is_none() {
            after = self.chain.line_start_before(self.place, offset)?;
        }
        let index = self.index.as_mut().expect("a line's time was looked up before");
        let mut dropped = index.dropped(after, offset)?;
        let mut place = self.place;
        while after.is_none()
            && let Some(before) = self.chain.joined_before(place)
        {
            after = self.chain.line_start_before(before, self.chain.links[before].len)?;
            dropped = dropped.saturating_add(self.chain.index(before)?.dropped(after, u64::MAX)?);
            place = before;
        }
        Ok(dropped)
    }
}
