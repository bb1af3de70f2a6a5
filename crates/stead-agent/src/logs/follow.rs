//! Showing what is written while someone waits for it.

use std::io;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::chain::{Chain, Position, micros};
use super::merge::{Search, Strand};

/// How often the streams are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// After this long without more of it, an unfinished line is shown as it is.
const SILENCE: Duration = Duration::from_millis(500);

/// How far the following of one stream has come.
struct Followed {
    /// Everything before was shown or was not wanted.
    next: Position,
    /// A line starts at `next` whatever is before it.
    exact: bool,
    grown_at: Instant,
    /// There is more, whose index entry was not there yet at the last look.
    held: bool,
}

impl Search<'_> {
    /// Goes on after the first merge until nobody wants more or, with `until_us`, until then.
    pub(super) fn follow(&mut self, strands: &mut [Strand]) -> io::Result<()> {
        let mut followed: Vec<Followed> = strands.iter_mut().map(Followed::new).collect();
        loop {
            thread::sleep(LOOK_INTERVAL);
            let now_us = micros(SystemTime::now());
            let mut looked = Vec::new();
            for (strand, own) in strands.iter_mut().zip(&mut followed) {
                looked.push(own.look(strand)?);
            }
            if self.merge(strands)?.is_break() {
                return Ok(());
            }
            if self.sieve.until_us.is_some_and(|until_us| now_us >= until_us) {
                return Ok(());
            }
            for ((strand, own), looked) in strands.iter_mut().zip(&mut followed).zip(looked) {
                if looked {
                    own.go_on(strand);
                }
            }
        }
    }
}

impl Followed {
    fn new(strand: &mut Strand) -> Self {
        let mut own =
            Self { next: strand.chain.end(), exact: false, grown_at: Instant::now(), held: false };
        own.go_on(strand);
        own
    }

    /// After a merge: where the next one goes on.
    fn go_on(&mut self, strand: &mut Strand) {
        let unfinished = strand.unfinished.take();
        // What follows a line that was shown unfinished is shown as a line of its own.
        self.exact = unfinished.is_some() || strand.as_is;
        self.next = unfinished.unwrap_or(strand.chain.end());
        strand.as_is = false;
        strand.begun = true;
    }

    /// Gives the strand its next work; false if there is none.
    fn look(&mut self, strand: &mut Strand) -> io::Result<bool> {
        let before = strand.chain.end();
        self.refresh(strand)?;
        let end = strand.chain.end();
        let grown = end != before;
        if grown {
            self.grown_at = Instant::now();
        }
        let silent = self.grown_at.elapsed() >= SILENCE;
        if self.next >= end || !(grown || self.held || silent) {
            return Ok(false);
        }
        // A batch's entry comes right after its bytes: better a look later than a time too early.
        self.held = grown && !self.held && lacks_time(&strand.chain, before)?;
        if self.held {
            return Ok(false);
        }
        strand.as_is = silent;
        strand.set_work(self.next, self.exact, end);
        Ok(true)
    }

    /// Lists the segments again if something changed.
    fn refresh(&mut self, strand: &mut Strand) -> io::Result<()> {
        let chain = &strand.chain;
        if let Some(newest) = chain.links.last()
            && let Some(now) = chain.link(newest.number)?
            && now.len == newest.len
            && chain.link(newest.number.saturating_add(1))?.is_none()
        {
            return Ok(());
        }
        let fresh = chain.list_again()?;
        let old = std::mem::replace(&mut strand.chain, fresh);
        let (start, end) = (strand.chain.start(), strand.chain.end());
        if strand.chain.links.is_empty() {
            return Ok(());
        }
        if end.number < self.next.number {
            // The folder was made anew.
            (self.next, self.exact) = (start, true);
        } else if end < self.next {
            (self.next, self.exact) = (end, true);
        } else {
            strand.gone += self.unread(&old, start);
        }
        Ok(())
    }

    /// The bytes that were deleted before they were read, as far as they were seen, but at least
    /// one if whole segments came and went unseen.
    fn unread(&self, old: &Chain, start: Position) -> u64 {
        let Some(newest) = old.links.last() else { return 0 };
        let gone = old.links.iter().filter(|link| link.number < start.number);
        let seen: u64 = gone
            .filter(|link| link.number >= self.next.number)
            .map(|link| {
                let read = if link.number == self.next.number { self.next.offset } else { 0 };
                link.len.saturating_sub(read)
            })
            .sum();
        seen.max(u64::from(start.number > newest.number.saturating_add(1)))
    }
}

/// Whether the newest bytes may lack their index entry.
fn lacks_time(chain: &Chain, before: Position) -> io::Result<bool> {
    let Some(newest) = chain.links.len().checked_sub(1) else { return Ok(false) };
    if chain.end().number != before.number {
        return Ok(false);
    }
    let last = chain.index(newest)?.last()?;
    Ok(last.is_some_and(|entry| entry.offset < before.offset))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use stead_wire::journal::Stream;
    use stead_wire::log::Entry;

    use super::*;

    #[test]
    fn bytes_whose_entry_is_late_wait_for_one_look() {
        let root = tempfile::tempdir().unwrap();
        let write = |text: &str, entries: &[Entry]| {
            fs::write(root.path().join("out.00000001.log"), text).unwrap();
            let index: Vec<u8> = entries.iter().flat_map(|entry| entry.to_bytes()).collect();
            fs::write(root.path().join("out.00000001.idx"), index).unwrap();
        };
        let first = Entry { offset: 0, time_us: 1, dropped: 0 };
        let second = Entry { offset: 2, time_us: 2, dropped: 0 };
        for late in [vec![first, second], vec![first]] {
            write("a\n", &[first]);
            let chain = Chain::list(root.path(), Stream::Out).unwrap();
            let mut strand = Strand::new("orders.0".to_owned(), chain);
            let mut followed = Followed::new(&mut strand);
            write("a\nb\n", &[first]);
            assert!(!followed.look(&mut strand).unwrap());
            write("a\nb\n", &late);
            assert!(followed.look(&mut strand).unwrap());
            followed.go_on(&mut strand);
            // With its entry, it waits for nothing.
            write("a\nb\nc\n", &[first, second, Entry { offset: 4, time_us: 3, dropped: 0 }]);
            assert!(followed.look(&mut strand).unwrap());
        }
    }
}
