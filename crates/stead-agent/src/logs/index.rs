//! The index of one segment, read a page at a time: a chatty service's may be larger than memory
//! should hold.

use std::fs::File;
use std::io;

use stead_wire::log::{ENTRY_LEN, Entry};

use super::bound;
use super::chain::read_at;

/// Entries read at once.
const PAGE_ENTRIES: u64 = bound(128, 3) as u64;

/// How far the next line's entry is looked for before a binary search takes over, in entries.
const WALK_MAX: u64 = PAGE_ENTRIES;

/// Damaged entries are passed over; a segment without an index has an empty one.
#[derive(Default)]
pub(super) struct Index {
    file: Option<File>,
    /// Whole or damaged.
    entries: u64,
    page: Vec<u8>,
    page_first: u64,
    near: Option<Near>,
}

/// The entry found last and the one after it: lines are mostly looked up in order.
#[derive(Clone, Copy)]
struct Near {
    number: u64,
    entry: Entry,
    next: Option<(u64, Entry)>,
}

impl Index {
    pub(super) fn new(file: Option<File>) -> io::Result<Self> {
        let len = file.as_ref().map(File::metadata).transpose()?.map_or(0, |data| data.len());
        Ok(Self { file, entries: len / ENTRY_LEN as u64, ..Self::default() })
    }

    /// The first whole entry.
    pub(super) fn first(&mut self) -> io::Result<Option<Entry>> {
        Ok(self.whole_from(0, self.entries)?.map(|(_, entry)| entry))
    }

    /// The last whole entry.
    pub(super) fn last(&mut self) -> io::Result<Option<Entry>> {
        Ok(self.whole_before(self.entries)?.map(|(_, entry)| entry))
    }

    /// The first whole entry that is not `before`, by binary search.
    pub(super) fn partition(
        &mut self,
        before: impl Fn(&Entry) -> bool,
    ) -> io::Result<Option<(u64, Entry)>> {
        let (mut low, mut high) = (0, self.entries);
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            match self.whole_from(middle, high)? {
                Some((number, entry)) if before(&entry) => low = number + 1,
                Some(there) => {
                    found = Some(there);
                    high = middle;
                }
                None => high = middle,
            }
        }
        Ok(found)
    }

    /// When the byte at `offset` was stored; `None` if no whole entry says.
    pub(super) fn time_at(&mut self, offset: u64) -> io::Result<Option<u64>> {
        let covering = match self.covering(offset)? {
            Some(near) => Some(near.entry),
            None => self.first()?,
        };
        Ok(covering.map(|entry| entry.time_us))
    }

    /// The bytes lost after `after` and up to `upto`; without `after`, up to `upto`.
    pub(super) fn dropped(&mut self, after: Option<u64>, upto: u64) -> io::Result<u64> {
        let mut at = self.covering(upto)?.map(|near| (near.number, near.entry));
        let mut sum: u64 = 0;
        while let Some((number, entry)) = at
            && after.is_none_or(|after| entry.offset > after)
        {
            sum = sum.saturating_add(entry.dropped);
            at = self.whole_before(number)?;
        }
        Ok(sum)
    }

    /// The last whole entry whose offset is at most `offset`.
    fn covering(&mut self, offset: u64) -> io::Result<Option<Near>> {
        if let Some(mut near) = self.near
            && near.entry.offset <= offset
        {
            for _ in 0..WALK_MAX {
                let Some((number, entry)) = near.next.filter(|next| next.1.offset <= offset) else {
                    self.near = Some(near);
                    return Ok(Some(near));
                };
                let next = self.whole_from(number + 1, self.entries)?;
                near = Near { number, entry, next };
            }
        }
        let next = self.partition(|entry| entry.offset <= offset)?;
        let end = next.map_or(self.entries, |(number, _)| number);
        let covering = self.whole_before(end)?;
        self.near = covering.map(|(number, entry)| Near { number, entry, next });
        Ok(self.near)
    }

    fn whole_from(&mut self, first: u64, end: u64) -> io::Result<Option<(u64, Entry)>> {
        for number in first..end {
            if let Some(entry) = self.entry(number)? {
                return Ok(Some((number, entry)));
            }
        }
        Ok(None)
    }

    fn whole_before(&mut self, end: u64) -> io::Result<Option<(u64, Entry)>> {
        for number in (0..end).rev() {
            if let Some(entry) = self.entry(number)? {
                return Ok(Some((number, entry)));
            }
        }
        Ok(None)
    }

    /// `None` if it is damaged.
    fn entry(&mut self, number: u64) -> io::Result<Option<Entry>> {
        let page_first = number - number % PAGE_ENTRIES;
        if self.page.is_empty() || self.page_first != page_first {
            let Some(file) = &self.file else { return Ok(None) };
            self.page.resize(PAGE_ENTRIES as usize * ENTRY_LEN, 0);
            let read = read_at(file, page_first * ENTRY_LEN as u64, &mut self.page)?;
            self.page.truncate(read);
            self.page_first = page_first;
        }
        let (entries, _) = self.page.as_chunks::<ENTRY_LEN>();
        Ok(entries.get((number - page_first) as usize).and_then(Entry::from_bytes))
    }
}
