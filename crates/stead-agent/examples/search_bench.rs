//! Searches a gigabyte of log and compares with `rg` on the same bytes in one file.
//!
//! `cargo run --release -p stead-agent --example search_bench -- FOLDER [ROUNDS]` makes its data
//! below FOLDER and deletes it afterwards. Both run in turn, on a warm cache.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use stead_agent::logs::Query;
use stead_wire::log::Entry;

const SEGMENT_LEN: u64 = 8 << 20;
const SEGMENTS: u32 = 128;
/// Lines of one batch.
const BATCH_LINES: u64 = 32;
const ROUNDS: usize = 15;

/// Name and pattern; each line has its number in it, so that rare lines can be named.
const PATTERNS: [(&str, &str); 6] = [
    ("literal, 1 line", "id=00004000017 "),
    ("literal, absent", "no such thing"),
    ("case-insensitive", "(?i)ID=0000400001[0-9] USER"),
    ("classes", r"id=\d+7777777 user=\w+-\d+ status=5\d\d"),
    ("alternation", "id=00001234567|id=00007654321|panicked at"),
    ("1 line in 100", r"status=50[34] "),
];

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1);
    let root = args.next().ok_or_else(|| io::Error::other("which folder for the data?"))?;
    let rounds = args.next().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    let root = Path::new(&root).join("search-bench");
    let folder = root.join("log");
    let joined = root.join("joined.log");
    fs::create_dir_all(&folder)?;
    let done = write_all(&folder, &joined).and_then(|()| compare(&folder, &joined, rounds));
    fs::remove_dir_all(&root)?;
    done
}

fn write_all(folder: &Path, joined: &Path) -> io::Result<()> {
    let mut joined = BufWriter::new(File::create(joined)?);
    let mut number: u64 = 0;
    for segment in 1..=SEGMENTS {
        let mut log = BufWriter::new(File::create(folder.join(format!("out.{segment:08}.log")))?);
        let mut index = BufWriter::new(File::create(folder.join(format!("out.{segment:08}.idx")))?);
        let mut offset = 0;
        while offset < SEGMENT_LEN {
            if number.is_multiple_of(BATCH_LINES) || offset == 0 {
                let entry = Entry { offset, time_us: 1_000_000 + number * 100, dropped: 0 };
                index.write_all(&entry.to_bytes())?;
            }
            // A multiplicative hash, for texts that differ.
            let hash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            let status = if hash.is_multiple_of(100) { 503 } else { 200 + hash % 5 };
            let line = format!(
                "2031-05-06T07:08:09.{:06}Z INFO orders::http: request id={number:011} \
                 user=u-{} status={status} path=/v1/orders/{hash:x} took={}us\n",
                number % 1_000_000,
                hash % 9973,
                hash % 50_000,
            );
            log.write_all(line.as_bytes())?;
            joined.write_all(line.as_bytes())?;
            offset += line.len() as u64;
            number += 1;
        }
    }
    joined.flush()
}

fn compare(folder: &Path, joined: &Path, rounds: usize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{} bytes, {rounds} rounds", fs::metadata(joined)?.len())?;
    for (name, pattern) in PATTERNS {
        let (mut own_ms, mut rg_ms) = (Vec::new(), Vec::new());
        for round in 0..=rounds {
            let (theirs, rg_lines) = time(|| rg(joined, pattern))?;
            let (ours, own_lines) = time(|| own(folder, Some(pattern), |_| ()))?;
            assert_eq!(own_lines, rg_lines, "{pattern}");
            // The first round warms the cache.
            if round > 0 {
                rg_ms.push(theirs);
                own_ms.push(ours);
            }
        }
        let lines = own(folder, Some(pattern), |_| ())?;
        let (own, rg) = (Spread::of(own_ms), Spread::of(rg_ms));
        let ratio = own.median / rg.median;
        writeln!(out, "{name:<20} lines {lines:>6}  own {own}  rg {rg}  ratio {ratio:.2}")?;
    }
    let mut bytes = 0;
    let (all_ms, lines) = time(|| own(folder, None, |len| bytes += len))?;
    writeln!(out, "all lines: {lines} in {all_ms:.0} ms, {bytes} bytes")?;
    let (last_ms, _) = time(|| last(folder, None))?;
    let (found_ms, _) = time(|| last(folder, Some("status=503")))?;
    writeln!(out, "last 20: {last_ms:.2} ms; last 20 of a pattern: {found_ms:.2} ms")?;
    let since_us = 1_000_000 + 4_000_000 * 100;
    let query =
        Query { since_us: Some(since_us), until_us: Some(since_us + 3200), ..query(folder, None) };
    let (window_ms, lines) = time(|| run(query, |_| ()))?;
    writeln!(out, "a window of {lines} lines: {window_ms:.2} ms")?;
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        for line in status.lines().filter(|line| line.starts_with("VmHWM")) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

fn query(folder: &Path, pattern: Option<&str>) -> Query {
    let name = "orders.0".parse().expect("it is a name");
    Query {
        instances: vec![(name, folder.into())],
        pattern: pattern.map(str::to_owned),
        ..Query::default()
    }
}

fn own(folder: &Path, pattern: Option<&str>, seen: impl FnMut(usize)) -> io::Result<usize> {
    run(query(folder, pattern), seen)
}

fn last(folder: &Path, pattern: Option<&str>) -> io::Result<usize> {
    run(Query { limit_last: Some(20), ..query(folder, pattern) }, |_| ())
}

fn run(query: Query, mut seen: impl FnMut(usize)) -> io::Result<usize> {
    let mut lines = 0;
    query.check().map_err(io::Error::other)?.run(&mut |line| {
        seen(line.line.len());
        lines += 1;
        ControlFlow::Continue(())
    })?;
    Ok(lines)
}

fn rg(joined: &Path, pattern: &str) -> io::Result<usize> {
    let mut command = Command::new("rg");
    command.args(["--no-config", "-N", pattern]).arg(joined).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut output = child.stdout.take().expect("it is piped");
    let (mut lines, mut block) = (0, vec![0; 64 << 10]);
    loop {
        let read = output.read(&mut block)?;
        if read == 0 {
            child.wait()?;
            return Ok(lines);
        }
        lines += block[..read].iter().filter(|byte| **byte == b'\n').count();
    }
}

fn time<T>(run: impl FnOnce() -> io::Result<T>) -> io::Result<(f64, T)> {
    let started = Instant::now();
    let result = run()?;
    Ok((started.elapsed().as_secs_f64() * 1e3, result))
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let most = samples.last().copied().unwrap_or_default();
        Self { least: samples[0], median: samples[samples.len() / 2], most }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>5.0} ms ({:.0}..{:.0})", self.median, self.least, self.most)
    }
}
