//! The segments of one stream, as they were when they were listed, read as one text.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use stead_wire::journal::Stream;
use stead_wire::log::Segment;

use super::bound;
use super::index::Index;

/// The most bytes that are one unit of work.
pub(super) const SPAN_LEN: u64 = bound(8 << 20, 100) as u64;

/// Bytes read at once when looking for a line's start backwards.
const BACK_LEN: usize = bound(4096, 16);

/// How many segments are looked for that a listing left out.
const UNSEEN_MAX: usize = 1000;

/// A byte of a stream.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Position {
    /// Of the segment.
    pub(super) number: u32,
    pub(super) offset: u64,
}

/// A part of one segment: the lines whose first byte is in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Span {
    pub(super) from: Position,
    /// In the same segment.
    pub(super) to: u64,
    /// A line starts at `from` whatever is before it; else the byte before tells.
    pub(super) exact: bool,
}

/// One segment. What is written past `len` later is not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Link {
    pub(super) number: u32,
    pub(super) len: u64,
    /// The time of its bytes when its index tells nothing.
    pub(super) modified_us: u64,
}

pub(super) struct Chain {
    folder: PathBuf,
    pub(super) stream: Stream,
    /// By number.
    pub(super) links: Vec<Link>,
}

impl Chain {
    /// The chain of a folder that is not there is empty.
    pub(super) fn list(folder: &Path, stream: Stream) -> io::Result<Self> {
        let mut chain = Self { folder: folder.into(), stream, links: Vec::new() };
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(chain),
            read => read.map_err(|error| named(folder, &error))?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| named(folder, &error))?.file_name();
            let segment = name.to_str().and_then(Segment::from_log_name);
            numbers.extend(segment.filter(|there| there.stream == stream).map(|own| own.number));
        }
        numbers.sort_unstable();
        // A folder that is written to may show a new file and not show an older one.
        let gaps = numbers.windows(2).flat_map(|pair| pair[0] + 1..pair[1]);
        let unseen: Vec<u32> = gaps.take(UNSEEN_MAX).collect();
        numbers.extend(unseen);
        numbers.sort_unstable();
        // Names first, lengths second: a segment that has a successor does not grow any more.
        for number in numbers {
            chain.links.extend(chain.link(number)?);
        }
        Ok(chain)
    }

    /// As it is now.
    pub(super) fn list_again(&self) -> io::Result<Self> {
        Self::list(&self.folder, self.stream)
    }

    /// The segment of this number as it is now; `None` if there is none.
    pub(super) fn link(&self, number: u32) -> io::Result<Option<Link>> {
        let path = self.log_path(number);
        match fs::metadata(&path) {
            Ok(data) => {
                let modified_us = data.modified().map_or(0, micros);
                Ok(Some(Link { number, len: data.len(), modified_us }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(named(&path, &error)),
        }
    }

    /// Where the first segment begins.
    pub(super) fn start(&self) -> Position {
        self.links.first().map_or_else(Position::default, |link| link.start())
    }

    /// Where the last segment ends.
    pub(super) fn end(&self) -> Position {
        self.links.last().map_or_else(Position::default, |link| link.end())
    }

    /// The place of a segment in `links`.
    pub(super) fn place(&self, number: u32) -> Option<usize> {
        self.links.binary_search_by_key(&number, |link| link.number).ok()
    }

    /// The first byte that was stored at `time_us` or later, by binary search over the segments
    /// and then in one index.
    pub(super) fn first_at(&self, time_us: u64) -> io::Result<Position> {
        let (mut low, mut high) = (0, self.links.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let first = self.index(middle)?.first()?;
            let begins_us = first.map_or(self.links[middle].modified_us, |entry| entry.time_us);
            if begins_us < time_us {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let Some(before) = low.checked_sub(1) else { return Ok(self.start()) };
        let link = self.links[before];
        let entry = self.index(before)?.partition(|entry| entry.time_us < time_us)?;
        let offset = entry.map_or(link.len, |(_, entry)| entry.offset.min(link.len));
        Ok(Position { number: link.number, offset })
    }

    /// The work between two places, in order.
    pub(super) fn spans(&self, from: Position, mut exact: bool, to: Position) -> Vec<Span> {
        let mut spans = Vec::new();
        for link in &self.links {
            let end = if link.number == to.number { to.offset.min(link.len) } else { link.len };
            if link.number < from.number || link.number > to.number {
                continue;
            }
            let mut at = if link.number == from.number { from } else { link.start() };
            while at.offset < end {
                let to = end.min(at.offset + SPAN_LEN);
                spans.push(Span { from: at, to, exact });
                at.offset = to;
                exact = false;
            }
        }
        spans
    }

    /// The span of at most `len` bytes right before `to`, but not before `from`.
    pub(super) fn span_before(&self, from: Position, to: Position, len: u64) -> Option<Span> {
        let mut before = self.links.partition_point(|link| link.number <= to.number);
        while let Some(place) = before.checked_sub(1) {
            let link = self.links[place];
            let end = if link.number == to.number { to.offset.min(link.len) } else { link.len };
            let least = if link.number == from.number { from.offset } else { 0 };
            if link.number < from.number {
                return None;
            }
            if end > least {
                let offset = end.saturating_sub(len).max(least);
                let from = Position { number: link.number, offset };
                return Some(Span { from, to: end, exact: false });
            }
            before = place;
        }
        None
    }

    /// `None` if it was deleted.
    pub(super) fn open_log(&self, place: usize) -> io::Result<Option<File>> {
        open(&self.log_path(self.links[place].number))
    }

    pub(super) fn index(&self, place: usize) -> io::Result<Index> {
        let segment = Segment { stream: self.stream, number: self.links[place].number };
        let path = self.folder.join(segment.index_name());
        Index::new(open(&path)?).map_err(|error| named(&path, &error))
    }

    /// Whether a line starts at this offset, and not inside one.
    pub(super) fn starts_line(&self, place: usize, offset: u64) -> io::Result<bool> {
        let mut byte = [b'\n'];
        if offset > 0 {
            if let Some(file) = self.open_log(place)? {
                read_at(&file, offset - 1, &mut byte)?;
            }
            return Ok(byte == *b"\n");
        }
        // Only a line too long for a segment goes on in the next.
        let Some(before) = self.joined_before(place) else { return Ok(true) };
        match self.links[before].len {
            0 => self.starts_line(before, 0),
            len => self.starts_line(before, len),
        }
    }

    /// The place of the segment that this one goes on from, unless it was deleted.
    pub(super) fn joined_before(&self, place: usize) -> Option<usize> {
        let before = place.checked_sub(1)?;
        (self.links[before].number + 1 == self.links[place].number).then_some(before)
    }

    /// Where in its segment the last line starts that starts before `offset`.
    pub(super) fn line_start_before(&self, place: usize, offset: u64) -> io::Result<Option<u64>> {
        let Some(file) = self.open_log(place)? else { return Ok(None) };
        let mut block = [0; BACK_LEN];
        // The line end right before `offset` belongs to the line that is looked for.
        let mut end = offset.saturating_sub(1);
        while end > 0 {
            let from = end.saturating_sub(BACK_LEN as u64);
            let block = &mut block[..(end - from) as usize];
            let read = read_at(&file, from, block)?;
            if let Some(found) = memchr::memrchr(b'\n', &block[..read]) {
                return Ok(Some(from + found as u64 + 1));
            }
            end = from;
        }
        Ok((offset > 0 && self.starts_line(place, 0)?).then_some(0))
    }

    fn log_path(&self, number: u32) -> PathBuf {
        self.folder.join(Segment { stream: self.stream, number }.log_name())
    }
}

impl Link {
    pub(super) fn start(self) -> Position {
        Position { number: self.number, offset: 0 }
    }

    pub(super) fn end(self) -> Position {
        Position { number: self.number, offset: self.len }
    }
}

/// Reads from one place on, into the following segments.
pub(super) struct Tape<'a> {
    chain: &'a Chain,
    place: usize,
    file: Option<File>,
    offset: u64,
}

impl<'a> Tape<'a> {
    /// `None` if its segment was deleted.
    pub(super) fn open(chain: &'a Chain, place: usize, offset: u64) -> io::Result<Option<Self>> {
        let Some(mut file) = chain.open_log(place)? else { return Ok(None) };
        file.seek(SeekFrom::Start(offset))?;
        Ok(Some(Self { chain, place, file: Some(file), offset }))
    }

    /// Reads some bytes; none at the end of the chain and where the next segment is missing.
    pub(super) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while let Some(link) = self.chain.links.get(self.place) {
            let left = link.len.saturating_sub(self.offset);
            let want = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let read = match &mut self.file {
                Some(file) if want > 0 => file.read(&mut bytes[..want])?,
                Some(_) | None => 0,
            };
            if read > 0 {
                self.offset += read as u64;
                return Ok(read);
            }
            let next = self.place + 1;
            if next < self.chain.links.len() {
                if self.chain.joined_before(next).is_none() {
                    return Ok(0);
                }
                let Some(file) = self.chain.open_log(next)? else { return Ok(0) };
                self.file = Some(file);
            }
            self.place = next;
            self.offset = 0;
        }
        Ok(0)
    }

    /// Nothing can come but what is written from now on.
    pub(super) fn at_end(&self) -> bool {
        self.place >= self.chain.links.len()
    }
}

/// Fills the bytes from a place of a file, as far as it goes.
pub(super) fn read_at(mut file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
    file.seek(SeekFrom::Start(offset))?;
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read(&mut bytes[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

/// Microseconds since 1970-01-01 UTC.
pub(super) fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, &error)),
    }
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}
