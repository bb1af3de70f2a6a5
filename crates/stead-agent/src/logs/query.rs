//! What someone wants to read, and reading it.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use stead_core::names::InstanceName;
use stead_wire::api::LogLine;
use stead_wire::journal::Stream;

use super::chain::{Chain, Position};
use super::merge::{Search, Strand};
use super::pattern::{Pattern, PatternError};
use super::scan::Sieve;

/// The most lines that [`Query::limit_last`] brings.
pub const LIMIT_LAST_MAX: usize = 100_000;

/// Which lines of which instances are wanted.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Each with the folder its log is in. Lines of one time come in this order.
    pub instances: Vec<(InstanceName, PathBuf)>,
    /// Lines stored then or later; microseconds since 1970-01-01 UTC.
    pub since_us: Option<u64>,
    /// Lines stored before.
    pub until_us: Option<u64>,
    /// A regular expression that a line must match somewhere.
    pub pattern: Option<String>,
    /// One of the streams; else both.
    pub stream: Option<Stream>,
    /// Go on with what is written from now on.
    pub follow: bool,
    /// Of the lines that are there, the last ones; no more than [`LIMIT_LAST_MAX`].
    pub limit_last: Option<usize>,
}

/// A query that can be run.
#[derive(Debug)]
pub struct Checked {
    query: Query,
    pattern: Option<Pattern>,
}

impl Query {
    pub fn check(self) -> Result<Checked, PatternError> {
        let pattern = self.pattern.as_deref().map(Pattern::parse).transpose()?;
        Ok(Checked { query: self, pattern })
    }
}

impl Checked {
    /// Shows the lines until there are no more or the sink breaks. Blocks.
    pub fn run(self, sink: &mut dyn FnMut(LogLine) -> ControlFlow<()>) -> io::Result<()> {
        self.run_while(&|| true, sink)
    }

    /// Like [`Checked::run`], but ends also soon after `wanted` says no: a follower whose instances
    /// are silent, or who searches for what is rare, would not notice else that nobody waits.
    pub fn run_while(
        self,
        wanted: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(LogLine) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let Self { query, pattern } = self;
        let mut strands = Vec::new();
        let mut windows = Vec::new();
        for (instance, folder) in &query.instances {
            for stream in Stream::ALL {
                if query.stream.is_some_and(|only| only != stream) {
                    continue;
                }
                let chain = Chain::list(folder, stream)?;
                windows.push(window(&chain, query.since_us, query.until_us)?);
                let mut strand = Strand::new(instance.to_string(), chain);
                strand.as_is = !query.follow;
                strands.push(strand);
            }
        }
        let sieve = Sieve { pattern, since_us: query.since_us, until_us: query.until_us };
        let buffers = Search::buffers(&sieve);
        let mut search = Search { sieve, wanted, sink, buffers };
        match query.limit_last {
            Some(lines) => {
                search.last_lines(&mut strands, &windows, lines.min(LIMIT_LAST_MAX))?;
            }
            None => {
                for (strand, (from, to)) in strands.iter_mut().zip(windows) {
                    strand.set_work(from, false, to);
                }
            }
        }
        if search.merge(&mut strands)?.is_continue() && query.follow {
            search.follow(&mut strands)?;
        }
        Ok(())
    }
}

/// From where and up to where the lines of a time span are.
fn window(
    chain: &Chain,
    since_us: Option<u64>,
    until_us: Option<u64>,
) -> io::Result<(Position, Position)> {
    let from = since_us.map(|time_us| chain.first_at(time_us)).transpose()?;
    let to = until_us.map(|time_us| chain.first_at(time_us)).transpose()?;
    Ok((from.unwrap_or(chain.start()), to.unwrap_or(chain.end())))
}
