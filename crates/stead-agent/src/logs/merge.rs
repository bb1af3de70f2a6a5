//! Merging the lines of many streams by time, while several threads search ahead.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use stead_wire::api::LogLine;

use super::bound;
use super::chain::{Chain, Position, Span};
use super::scan::{Found, Limit, Sieve, scan};

/// Threads of one search.
const THREADS_MAX: usize = 4;

/// Spans searched at once, in all streams together; more than threads, so that none waits long.
const ROUND_SPANS_MAX: usize = 32;

/// What found lines may take in memory before no more is searched ahead, in bytes.
const HELD_LEN_MAX: usize = bound(8 << 20, 2000);

/// The bounds of what one scan may find, in bytes; in between, it depends on how many streams
/// there are.
const FOUND_LEN_MIN: usize = bound(8 << 10, 64);
const FOUND_LEN_MAX: usize = bound(256 << 10, 200);

/// One stream of one instance on its way through the merge.
pub(super) struct Strand {
    pub(super) instance: String,
    pub(super) chain: Chain,
    /// In order.
    pub(super) work: VecDeque<Work>,
    /// A line that the stream ends in is shown.
    pub(super) as_is: bool,
    /// Where the line starts that the stream ended in and that was not shown.
    pub(super) unfinished: Option<Position>,
    /// Bytes that were deleted unread since the last line that was shown.
    pub(super) gone: u64,
    /// What is deleted from now on leaves a hole in what is shown.
    pub(super) begun: bool,
}

pub(super) enum Work {
    Done(Found),
    Todo(Span),
}

/// What every search of one query shares.
pub(super) struct Search<'a> {
    pub(super) sieve: Sieve,
    /// Whether anyone still wants the lines.
    pub(super) wanted: &'a dyn Fn() -> bool,
    pub(super) sink: &'a mut dyn FnMut(LogLine) -> ControlFlow<()>,
    /// One per thread.
    pub(super) buffers: Vec<Vec<u8>>,
}

pub(super) struct Job {
    pub(super) strand: usize,
    pub(super) span: Span,
}

impl Search<'_> {
    /// A buffer for each thread that pays: reading without searching is fast enough.
    pub(super) fn buffers(sieve: &Sieve) -> Vec<Vec<u8>> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = if sieve.pattern.is_some() { cores.min(THREADS_MAX) } else { 1 };
        vec![Vec::new(); threads]
    }

    /// Does all work of the strands and shows what it brings; breaks when nobody wants more.
    pub(super) fn merge(&mut self, strands: &mut [Strand]) -> io::Result<ControlFlow<()>> {
        let found_len = (HELD_LEN_MAX / strands.len().max(1)).clamp(FOUND_LEN_MIN, FOUND_LEN_MAX);
        let mut round = Round { found_len, held: 0, spans: self.buffers.len() };
        // Those that have a line ready, by its time; of two at one time, the first strand's.
        let mut ready = BinaryHeap::new();
        let mut waiting: Vec<usize> = (0..strands.len()).collect();
        loop {
            while !waiting.is_empty() {
                if !(self.wanted)() {
                    return Ok(ControlFlow::Break(()));
                }
                self.search(strands, &waiting, &mut round)?;
                waiting.retain(|&at| match strands[at].next_time(&mut round.held) {
                    Next::Line(time_us) => {
                        ready.push(Reverse((time_us, at)));
                        false
                    }
                    Next::Nothing => false,
                    Next::Search => true,
                });
            }
            let Some(Reverse((_, at))) = ready.pop() else { return Ok(ControlFlow::Continue(())) };
            let strand = &mut strands[at];
            if let Some(line) = strand.take()
                && (self.sink)(line).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            match strand.next_time(&mut round.held) {
                Next::Line(time_us) => ready.push(Reverse((time_us, at))),
                Next::Nothing => (),
                Next::Search => waiting.push(at),
            }
        }
    }

    /// Searches the next spans of each strand that has no line ready.
    fn search(
        &mut self,
        strands: &mut [Strand],
        waiting: &[usize],
        round: &mut Round,
    ) -> io::Result<()> {
        let ahead = if round.held < HELD_LEN_MAX { round.spans / waiting.len() } else { 1 };
        let mut jobs = Vec::new();
        for &strand in waiting {
            for _ in 0..ahead.max(1) {
                // Not past what is found already: that would be held for long.
                let Some(&Work::Todo(span)) = strands[strand].work.front() else { break };
                strands[strand].work.pop_front();
                jobs.push(Job { strand, span });
            }
        }
        let all = self.scan_all(strands, &jobs, Limit::Bytes(round.found_len))?;
        let found_len: usize = all.iter().map(|found| found.size).sum();
        round.held += found_len;
        // The rarer a pattern, the further ahead is worth searching.
        let spans = if found_len < round.found_len { round.spans * 2 } else { self.buffers.len() };
        round.spans = if self.buffers.len() == 1 { 1 } else { spans.min(ROUND_SPANS_MAX) };
        for (job, found) in jobs.iter().zip(all).rev() {
            strands[job.strand].put_back(found);
        }
        Ok(())
    }

    /// Scans spans, on as many threads as there are buffers; what is found is in their order.
    pub(super) fn scan_all(
        &mut self,
        strands: &[Strand],
        jobs: &[Job],
        limit: Limit,
    ) -> io::Result<Vec<Found>> {
        let (sieve, next) = (&self.sieve, AtomicUsize::new(0));
        let scan_some = |buffer: &mut Vec<u8>| {
            let mut mine = Vec::new();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(Job { strand, span }) = jobs.get(at) else { return mine };
                let Strand { chain, as_is, .. } = &strands[*strand];
                mine.push((at, scan(chain, *span, sieve, limit, *as_is, buffer)));
            }
        };
        let threads = self.buffers.len().min(jobs.len());
        let mut all = thread::scope(|scope| {
            let Some((first, others)) = self.buffers[..threads].split_first_mut() else {
                return Vec::new();
            };
            let scan_some = &scan_some;
            let others: Vec<_> =
                others.iter_mut().map(|buffer| scope.spawn(move || scan_some(buffer))).collect();
            let mut all = scan_some(first);
            for other in others {
                all.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            }
            all
        });
        all.sort_unstable_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, found)| found).collect()
    }
}

/// What one merge remembers between its searches.
struct Round {
    /// What one scan may find, in bytes.
    found_len: usize,
    /// The size of everything found and not yet shown.
    held: usize,
    /// How many spans the next round searches.
    spans: usize,
}

enum Next {
    /// A line of this time is ready.
    Line(u64),
    Nothing,
    Search,
}

impl Strand {
    pub(super) fn new(instance: String, chain: Chain) -> Self {
        Self {
            instance,
            chain,
            work: VecDeque::new(),
            as_is: true,
            unfinished: None,
            gone: 0,
            begun: false,
        }
    }

    /// Work to do, instead of what there was.
    pub(super) fn set_work(&mut self, from: Position, exact: bool, to: Position) {
        self.work = self.chain.spans(from, exact, to).into_iter().map(Work::Todo).collect();
    }

    fn put_back(&mut self, mut found: Found) {
        if let Some(rest) = found.rest.take() {
            self.work.push_front(Work::Todo(rest));
        }
        self.work.push_front(Work::Done(found));
    }

    /// What comes next, passing over scans that are used up.
    fn next_time(&mut self, held: &mut usize) -> Next {
        loop {
            match self.work.front_mut() {
                Some(Work::Done(found)) => {
                    if self.begun {
                        self.gone += found.gone;
                    }
                    found.gone = 0;
                    if let Some(line) = found.lines.front() {
                        return Next::Line(line.time_us);
                    }
                    // No line starts after one that goes on to the end of the stream.
                    self.unfinished = self.unfinished.or(found.unfinished);
                    *held = held.saturating_sub(found.size);
                    self.work.pop_front();
                }
                Some(Work::Todo(_)) => return Next::Search,
                None => return Next::Nothing,
            }
        }
    }

    fn take(&mut self) -> Option<LogLine> {
        let Some(Work::Done(found)) = self.work.front_mut() else { return None };
        let (line, text) = found.take()?;
        let gone = std::mem::take(&mut self.gone);
        self.begun = true;
        Some(LogLine {
            instance: self.instance.clone(),
            stream: self.chain.stream,
            time_us: line.time_us,
            line: String::from_utf8_lossy(text).into_owned(),
            dropped_before: line.dropped.saturating_add(gone),
        })
    }
}
