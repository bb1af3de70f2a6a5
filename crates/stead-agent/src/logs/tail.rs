//! Where the last lines of a query begin.

use std::collections::VecDeque;
use std::io;

use super::bound;
use super::chain::{Position, SPAN_LEN, Span};
use super::merge::{Job, Search, Strand};
use super::scan::Limit;

/// The span searched first, at the end of a stream; each further one is longer.
const FIRST_LEN: u64 = bound(64 << 10, 30) as u64;
const GROWTH: u64 = 4;

/// The place of one of the last lines.
#[derive(Clone, Copy)]
struct Mark {
    time_us: u64,
    strand: usize,
    start: Position,
}

impl Search<'_> {
    /// Gives each strand the work that brings the last `lines` of all strands together, out of
    /// what is between its two places.
    pub(super) fn last_lines(
        &mut self,
        strands: &mut [Strand],
        windows: &[(Position, Position)],
        lines: usize,
    ) -> io::Result<()> {
        let mut last: VecDeque<Mark> = VecDeque::new();
        for (strand, &window) in windows.iter().enumerate() {
            let own = self.last_of(strands, strand, window, lines)?;
            last = merged(&last, &own, lines);
        }
        for (at, strand) in strands.iter_mut().enumerate() {
            let first = last.iter().find(|mark| mark.strand == at).map(|mark| mark.start);
            if let Some(start) = first.or(strand.unfinished.take()) {
                strand.set_work(start, true, windows[at].1);
            }
        }
        Ok(())
    }

    /// The last lines of one strand, searched from its end.
    fn last_of(
        &mut self,
        strands: &mut [Strand],
        strand: usize,
        (from, mut to): (Position, Position),
        lines: usize,
    ) -> io::Result<VecDeque<Mark>> {
        let mut marks = VecDeque::new();
        let mut len = FIRST_LEN;
        while marks.len() < lines && (self.wanted)() {
            let mut jobs: Vec<Job> = Vec::new();
            while jobs.len() < self.buffers.len()
                && let Some(span) = strands[strand].chain.span_before(from, to, len)
            {
                to = span.from;
                len = (len * GROWTH).min(SPAN_LEN);
                jobs.push(Job { strand, span });
            }
            if jobs.is_empty() {
                break;
            }
            let all = self.scan_all(strands, &jobs, Limit::Last(lines))?;
            for (Job { span: Span { from, .. }, .. }, found) in jobs.iter().zip(all) {
                let unfinished = strands[strand].unfinished;
                // The earlier span knows where the line begins that the later is inside of.
                strands[strand].unfinished = found.unfinished.or(unfinished);
                for line in found.lines.iter().rev() {
                    let start = Position { number: from.number, offset: line.offset };
                    marks.push_front(Mark { time_us: line.time_us, strand, start });
                }
            }
        }
        marks.drain(..marks.len().saturating_sub(lines));
        Ok(marks)
    }
}

/// The last of two sequences, in the order in which they are shown.
fn merged(first: &VecDeque<Mark>, second: &VecDeque<Mark>, lines: usize) -> VecDeque<Mark> {
    let (mut first, mut second) = (first.iter().peekable(), second.iter().peekable());
    let mut all = VecDeque::new();
    loop {
        let next = match (first.peek(), second.peek()) {
            (Some(one), Some(other)) if other.time_us < one.time_us => second.next(),
            (Some(_), _) => first.next(),
            (None, _) => second.next(),
        };
        let Some(mark) = next else { return all };
        if all.len() == lines {
            all.pop_front();
        }
        all.push_back(*mark);
    }
}
