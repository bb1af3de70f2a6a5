//! The service that every supervisor keeps in a benchmark: it says when it began, and waits.
//!
//! `bench-probe [RUNS [flood BYTES]]` appends `PID NANOSECONDS` to the file RUNS (or that named
//! by BENCH_RUNS), of the monotonic clock, read first of all. With `flood` it then writes log
//! lines to stdout as fast as they are taken, and appends a second line at their end.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::{env, process, thread};

use rustix::time::{ClockId, Timespec, clock_gettime};

fn main() -> io::Result<()> {
    let began = clock_gettime(ClockId::Monotonic);
    let mut arguments = env::args_os().skip(1);
    let runs = arguments.next().or_else(|| env::var_os("BENCH_RUNS"));
    let runs = runs.ok_or_else(|| io::Error::other("no file to write to was named"))?;
    stamp(&runs, began)?;
    if arguments.next().is_some_and(|word| word == "flood") {
        let bytes = arguments.next().and_then(|bytes| bytes.to_str()?.parse().ok());
        flood(bytes.ok_or_else(|| io::Error::other("flood wants a number of bytes"))?)?;
        stamp(&runs, clock_gettime(ClockId::Monotonic))?;
    }
    loop {
        thread::park();
    }
}

/// One write of one short line, so that many processes can share the file.
fn stamp(runs: &OsString, at: Timespec) -> io::Result<()> {
    let nanoseconds = i128::from(at.tv_sec) * 1_000_000_000 + i128::from(at.tv_nsec);
    let line = format!("{} {nanoseconds}\n", process::id());
    OpenOptions::new().append(true).create(true).open(runs)?.write_all(line.as_bytes())
}

/// A rare line stands at the end of each 64th block.
const RARE_EVERY: u64 = 64;
const BLOCK_BYTES: usize = 1 << 20;

fn flood(bytes: u64) -> io::Result<()> {
    let common = block(b"INFO  payment 00000000 settled");
    let rare = block(b"WARN  payment 1d2c3b4a refused");
    // Not through the line buffer of `stdout`: whole pipes at a time.
    let mut stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut left = bytes;
    for block_n in 1_u64.. {
        let block = if block_n.is_multiple_of(RARE_EVERY) { &rare } else { &common };
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        for chunk in block[..take].chunks(64 << 10) {
            stdout.write_all(chunk)?;
        }
        left -= take as u64;
        if left == 0 {
            break;
        }
    }
    Ok(())
}

/// A block of lines as services write them, none like the one before; `last` is in the last one.
fn block(last: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut state = 1_u64;
    while block.len() + 256 < BLOCK_BYTES {
        // Any cheap sequence will do; this is Knuth's.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let (request, order, took) = (state >> 32, state >> 48 & 0xfff, state >> 40 & 0xff);
        block.extend_from_slice(
            format!(
                "2026-01-01T00:00:00.000000Z INFO  request {request:08x} GET /orders/{order} \
                 answered 200 in {took} us\n"
            )
            .as_bytes(),
        );
    }
    block.extend_from_slice(b"2026-01-01T00:00:00.000000Z ");
    block.extend_from_slice(last);
    block.resize(BLOCK_BYTES - 1, b'.');
    block.push(b'\n');
    block
}
