//! Claims about reading, checked against a reader that simply reads everything.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::prelude::*;
use stead_wire::api::LogLine;
use stead_wire::journal::Stream;
use stead_wire::log::{ENTRY_LEN, Entry, Segment, decode_index};

use super::chain::micros;
use super::pattern::Pattern;
use super::{CUT_MARK, LINE_LEN_MAX, Query};

mod follow;

/// Writes a stream as a keeper does: bytes, then their entry.
struct Writer {
    folder: PathBuf,
    segment: Segment,
    len: u64,
}

impl Writer {
    fn new(folder: &Path, stream: Stream) -> Self {
        fs::create_dir_all(folder).unwrap();
        let writer = Self { folder: folder.into(), segment: Segment { stream, number: 1 }, len: 0 };
        writer.open(&writer.log());
        writer
    }

    fn log(&self) -> PathBuf {
        self.folder.join(self.segment.log_name())
    }

    fn index(&self) -> PathBuf {
        self.folder.join(self.segment.index_name())
    }

    fn open(&self, path: &Path) -> File {
        OpenOptions::new().append(true).create(true).open(path).unwrap()
    }

    fn bytes(&mut self, bytes: impl AsRef<[u8]>) {
        self.open(&self.log()).write_all(bytes.as_ref()).unwrap();
        self.len += bytes.as_ref().len() as u64;
    }

    fn entry(&self, entry: Entry) {
        self.open(&self.index()).write_all(&entry.to_bytes()).unwrap();
    }

    fn batch(&mut self, time_us: u64, dropped: u64, bytes: impl AsRef<[u8]>) {
        let offset = self.len;
        self.bytes(bytes);
        self.entry(Entry { offset, time_us, dropped });
    }

    fn rotate(&mut self) {
        self.segment.number += 1;
        self.len = 0;
        self.open(&self.log());
    }
}

fn name(instance: u32) -> String {
    format!("orders.{instance}")
}

fn query(folders: &[PathBuf]) -> Query {
    let instances = folders.iter().enumerate();
    let instances =
        instances.map(|(at, folder)| (name(at as u32).parse().unwrap(), folder.clone())).collect();
    Query { instances, ..Query::default() }
}

fn read(query: Query) -> Vec<LogLine> {
    let mut lines = Vec::new();
    let mut sink = |line| {
        lines.push(line);
        ControlFlow::Continue(())
    };
    query.check().unwrap().run(&mut sink).unwrap();
    lines
}

fn texts(lines: &[LogLine]) -> Vec<&str> {
    lines.iter().map(|line| line.line.as_str()).collect()
}

/// What a query must bring, by reading every file whole. Right as long as no clock is set back.
fn expected(query: &Query) -> Vec<LogLine> {
    let pattern = query.pattern.as_deref().map(|text| Pattern::parse(text).unwrap());
    let mut all = Vec::new();
    for (instance, folder) in &query.instances {
        for stream in Stream::ALL.into_iter().filter(|own| query.stream.is_none_or(|s| s == *own)) {
            all.extend(whole_stream(&instance.to_string(), folder, stream));
        }
    }
    all.sort_by_key(|(line, _)| line.time_us);
    let wanted = |(line, bytes): &(LogLine, Vec<u8>)| {
        query.since_us.is_none_or(|since_us| line.time_us >= since_us)
            && query.until_us.is_none_or(|until_us| line.time_us < until_us)
            && pattern.as_ref().is_none_or(|pattern| pattern.matches(bytes))
    };
    let all: Vec<_> = all.into_iter().filter(wanted).map(|(line, _)| line).collect();
    let skipped = all.len().saturating_sub(query.limit_last.unwrap_or(usize::MAX));
    all.into_iter().skip(skipped).collect()
}

fn whole_stream(instance: &str, folder: &Path, stream: Stream) -> Vec<(LogLine, Vec<u8>)> {
    let (mut text, mut times, mut drops) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1.. {
        let segment = Segment { stream, number };
        let Ok(bytes) = fs::read(folder.join(segment.log_name())) else { break };
        let index = fs::read(folder.join(segment.index_name())).unwrap_or_default();
        let (entries, _) = decode_index(&index);
        let modified = fs::metadata(folder.join(segment.log_name())).unwrap().modified().unwrap();
        let head = entries.first().map_or(micros(modified), |entry| entry.time_us);
        times.push((text.len() as u64, head));
        for entry in entries {
            times.push((text.len() as u64 + entry.offset, entry.time_us));
            drops.push((text.len() as u64 + entry.offset, entry.dropped));
        }
        text.extend(bytes);
    }
    let mut lines = Vec::new();
    let (mut start, mut before) = (0, None);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let bytes = line.strip_suffix(b"\n").unwrap_or(line);
        let kept = &bytes[..bytes.len().min(LINE_LEN_MAX)];
        let mark = if kept.len() < bytes.len() { CUT_MARK } else { "" };
        let lost = drops.iter().filter(|(at, _)| *at <= start && before.is_none_or(|b| *at > b));
        lines.push((
            LogLine {
                instance: instance.to_owned(),
                stream,
                time_us: times.iter().rfind(|(at, _)| *at <= start).unwrap().1,
                line: String::from_utf8_lossy(kept).into_owned() + mark,
                dropped_before: lost.map(|(_, dropped)| dropped).sum(),
            },
            kept.to_vec(),
        ));
        before = Some(start);
        start += line.len() as u64;
    }
    lines
}

/// One thing that happens to a stream.
#[derive(Clone, Debug)]
enum Act {
    Batch { later_us: u64, dropped: u64, bytes: Vec<u8> },
    Rotate,
}

fn any_act() -> impl Strategy<Value = Act> {
    let piece = prop_oneof![
        4 => Just(b"\n".to_vec()),
        1 => Just(b"\r\n".to_vec()),
        2 => Just(b"a7".to_vec()),
        1 => Just(b"\xff\xc3".to_vec()),
        1 => Just("é b".into()),
        3 => vec(prop_oneof![Just(b'x'), Just(b'a'), Just(b' ')], 0..12),
        1 => (0..2 * LINE_LEN_MAX).prop_map(|len| vec![b'l'; len]),
    ];
    let bytes = vec(piece, 0..8).prop_map(|pieces| pieces.concat());
    prop_oneof![
        5 => (0..3_u64, prop_oneof![4 => Just(0), 1 => 1..9_u64], bytes)
            .prop_map(|(later_us, dropped, bytes)| Act::Batch { later_us, dropped, bytes }),
        // Also inside lines.
        1 => Just(Act::Rotate),
    ]
}

fn write(folder: &Path, stream: Stream, acts: &[Act]) {
    let mut writer = Writer::new(folder, stream);
    let mut time_us = 10;
    for act in acts {
        match act {
            Act::Batch { later_us, dropped, bytes } => {
                time_us += later_us;
                writer.batch(time_us, *dropped, bytes);
            }
            Act::Rotate => writer.rotate(),
        }
        // What an empty segment says about time must fit too.
        let modified = SystemTime::UNIX_EPOCH + Duration::from_micros(time_us);
        writer.open(&writer.log()).set_modified(modified).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_query_brings_what_a_reader_of_everything_finds(
        streams in vec(vec(any_act(), 0..24), 4),
        since_us in proptest::option::of(5..50_u64),
        until_us in proptest::option::of(5..50_u64),
        pattern in proptest::option::of(
            prop::sample::select(vec!["a", "^$", "x+ a", r"a\d", "l$", r"\S\s\S", "[^x]", "é"]),
        ),
        limit_last in proptest::option::of(0..30_usize),
        stream in prop::sample::select(vec![None, None, Some(Stream::Out), Some(Stream::Err)]),
    ) {
        let root = tempfile::tempdir().unwrap();
        let folders = [root.path().join("0"), root.path().join("1")];
        for (at, acts) in streams.iter().enumerate() {
            write(&folders[at / 2], Stream::ALL[at % 2], acts);
        }
        let pattern = pattern.map(str::to_owned);
        let query =
            Query { since_us, until_us, pattern, limit_last, stream, ..query(&folders) };
        prop_assert_eq!(read(query.clone()), expected(&query));
    }
}

#[test]
fn streams_are_merged_by_time_and_keep_their_order() {
    let root = tempfile::tempdir().unwrap();
    let folders = [root.path().join("0"), root.path().join("1")];
    let mut out = Writer::new(&folders[0], Stream::Out);
    let mut err = Writer::new(&folders[0], Stream::Err);
    let mut other = Writer::new(&folders[1], Stream::Out);
    out.batch(10, 0, "out 10\nout 10 too\n");
    err.batch(10, 0, "err 10\n");
    other.batch(5, 0, "other 5\n");
    err.batch(11, 0, "err 11\n");
    other.batch(10, 0, "other 10\n");
    // Its clock was set back; its lines stay in order.
    out.batch(30, 0, "out 30\n");
    out.batch(7, 0, "out 7\n");
    other.batch(40, 0, "other 40\n");
    let lines = read(query(&folders));
    let expected = [
        "other 5",
        "out 10",
        "out 10 too",
        "err 10",
        "other 10",
        "err 11",
        "out 30",
        "out 7",
        "other 40",
    ];
    assert_eq!(texts(&lines), expected);
}

#[test]
fn a_window_holds_its_first_moment_and_not_its_last() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().to_owned();
    let mut writer = Writer::new(&folder, Stream::Out);
    for time_us in [10, 20, 20, 30, 40] {
        writer.batch(time_us, 0, format!("{time_us}\n"));
        writer.rotate();
    }
    for (since_us, until_us, expected) in [
        (None, Some(10), &[][..]),
        (None, Some(11), &["10"]),
        (Some(10), Some(20), &["10"]),
        (Some(11), Some(21), &["20", "20"]),
        (Some(20), Some(30), &["20", "20"]),
        (Some(40), None, &["40"]),
        (Some(41), None, &[]),
        (Some(30), Some(20), &[]),
    ] {
        let query = Query { since_us, until_us, ..query(std::slice::from_ref(&folder)) };
        assert_eq!(texts(&read(query)), expected, "{since_us:?} to {until_us:?}");
    }
}

#[test]
fn segments_outside_the_window_are_not_opened() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(root.path(), Stream::Out);
    for time_us in 1..=9 {
        writer.batch(time_us * 10, 0, format!("{time_us}\n"));
        // A folder can be opened, but reading it fails. What is right before the window is looked
        // at for how its lines end.
        if !(3..=7).contains(&time_us) {
            fs::remove_file(writer.log()).unwrap();
            fs::create_dir(writer.log()).unwrap();
        }
        if time_us < 9 {
            writer.rotate();
        }
    }
    for (pattern, limit_last) in [(None, None), (Some(r"\d".to_owned()), None), (None, Some(5))] {
        let window = Query {
            since_us: Some(50),
            until_us: Some(70),
            pattern,
            limit_last,
            ..query(&[root.path().into()])
        };
        assert_eq!(texts(&read(window)), ["5", "6"]);
    }
}

#[test]
fn an_index_torn_at_any_byte_or_missing_costs_no_line() {
    let root = tempfile::tempdir().unwrap();
    let folders = [root.path().to_owned()];
    let mut writer = Writer::new(root.path(), Stream::Out);
    for time_us in 1..6 {
        writer.batch(time_us, time_us % 2, format!("{time_us}\nand more\n"));
    }
    let whole = fs::read(writer.index()).unwrap();
    let check = |index: &[u8]| {
        fs::write(writer.index(), index).unwrap();
        let lines = read(query(&folders));
        assert_eq!(lines.len(), 10);
        assert_eq!(lines, expected(&query(&folders)));
    };
    for cut in 0..=whole.len() {
        check(&whole[..cut]);
    }
    for place in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[place] ^= 0x10;
        check(&flipped);
        // Of the damaged entry only its time is lost.
        let number = place / ENTRY_LEN;
        let time_us = if number == 0 { 2 } else { number as u64 };
        assert_eq!(read(query(&folders))[2 * number].time_us, time_us);
    }
    fs::remove_file(writer.index()).unwrap();
    let modified = micros(fs::metadata(writer.log()).unwrap().modified().unwrap());
    let lines = read(query(&folders));
    assert_eq!(lines.len(), 10);
    assert!(lines.iter().all(|line| line.time_us == modified));
}

#[test]
fn what_is_deleted_amid_the_reading_is_counted_as_dropped() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(root.path(), Stream::Out);
    let mut written = 0;
    for number in 0..400 {
        if number % 10 == 9 {
            writer.rotate();
        }
        writer.batch(number, 0, format!("line {number}\n"));
        written += format!("line {number}\n").len();
    }
    let mut lines: Vec<LogLine> = Vec::new();
    let mut sink = |line| {
        if lines.is_empty() {
            for number in 1..30 {
                let segment = Segment { stream: Stream::Out, number };
                fs::remove_file(root.path().join(segment.log_name())).unwrap();
                fs::remove_file(root.path().join(segment.index_name())).unwrap();
            }
        }
        lines.push(line);
        ControlFlow::Continue(())
    };
    query(&[root.path().into()]).check().unwrap().run(&mut sink).unwrap();
    assert_eq!(lines.last().unwrap().line, "line 399");
    assert!(lines.len() >= 110);
    let shown: usize = lines.iter().map(|line| line.line.len() + 1).sum();
    let dropped: u64 = lines.iter().map(|line| line.dropped_before).sum();
    assert!(dropped > 0);
    assert_eq!(shown as u64 + dropped, written as u64);
    let times: Vec<u64> = lines.iter().map(|line| line.time_us).collect();
    assert!(times.is_sorted());
}

#[test]
fn bytes_are_shown_as_they_are_but_for_the_line_end_and_what_is_no_text() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(root.path(), Stream::Err);
    writer.batch(1, 0, b"crlf\r\n\n\x1b[31mred\tb\x00\n\xff\xfe ok\nno end");
    let lines = read(query(&[root.path().into()]));
    assert_eq!(texts(&lines), ["crlf\r", "", "\x1b[31mred\tb\0", "\u{fffd}\u{fffd} ok", "no end"]);
}

#[test]
fn a_line_over_the_limit_is_cut_and_searched_only_as_far_as_it_is_shown() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(root.path(), Stream::Out);
    for len in [LINE_LEN_MAX - 1, LINE_LEN_MAX, LINE_LEN_MAX + 1, 9 * LINE_LEN_MAX] {
        writer.batch(1, 0, format!("{}end\n", "x".repeat(len - 3)));
        // A line that goes on in the next segment.
        writer.batch(1, 0, "y".repeat(len / 2));
        writer.rotate();
        writer.batch(2, 0, format!("{}\n", "y".repeat(len - len / 2)));
    }
    let folders = [root.path().to_owned()];
    let lines = read(query(&folders));
    assert_eq!(lines.len(), 8);
    for (at, line) in lines.iter().enumerate() {
        let text = line.line.strip_suffix(CUT_MARK).unwrap_or(&line.line);
        assert_eq!(text.len() < line.line.len(), at >= 4, "{at}");
        assert_eq!((text.len(), line.time_us), (LINE_LEN_MAX - usize::from(at < 2), 1), "{at}");
    }
    let searched = Query { pattern: Some("end".to_owned()), ..query(&folders) };
    assert_eq!(
        texts(&read(searched.clone())),
        texts(&lines[0..3])[..].iter().step_by(2).copied().collect::<Vec<_>>()
    );
    assert_eq!(read(searched.clone()), expected(&searched));
}

#[test]
fn reading_ends_at_once_when_the_sink_breaks_or_nobody_waits() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(root.path(), Stream::Out);
    writer.batch(1, 0, "one\n".repeat(100));
    for follow in [false, true] {
        let all = Query { follow, ..query(&[root.path().into()]) };
        let mut seen = 0;
        let mut sink = |_| {
            seen += 1;
            if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        all.clone().check().unwrap().run(&mut sink).unwrap();
        assert_eq!(seen, 3);
        all.check().unwrap().run_while(&|| false, &mut |_| panic!("nobody waits")).unwrap();
    }
}

#[test]
fn an_instance_without_a_log_has_no_lines() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(read(query(&[root.path().join("none"), root.path().into()])), []);
}
