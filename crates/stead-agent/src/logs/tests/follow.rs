//! Claims about following, with a writer that is at work meanwhile.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use stead_wire::api::LogLine;
use stead_wire::journal::Stream;
use stead_wire::log::Segment;

use super::{Writer, micros, query};
use crate::logs::Query;

/// Every wait here ends long before, unless something is broken.
const DEADLINE: Duration = Duration::from_secs(30);

/// Follows while `body` reads what comes.
fn following(query: Query, body: impl FnOnce(&Receiver<LogLine>)) {
    let wanted = AtomicBool::new(true);
    let checked = Query { follow: true, ..query }.check().unwrap();
    thread::scope(|scope| {
        let (lines, received) = channel();
        let wanted = &wanted;
        let reader = scope.spawn(move || {
            let mut sink = |line| match lines.send(line) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            };
            checked.run_while(&|| wanted.load(Ordering::Relaxed), &mut sink).unwrap();
        });
        body(&received);
        // Lines that are shown twice would come now.
        wanted.store(false, Ordering::Relaxed);
        reader.join().unwrap();
        assert_eq!(received.try_iter().map(|line| line.line).collect::<Vec<_>>(), [""; 0]);
    });
}

fn next(received: &Receiver<LogLine>) -> LogLine {
    received.recv_timeout(DEADLINE).unwrap()
}

#[test]
fn a_follower_misses_and_repeats_nothing_while_segments_rotate_fast() {
    const LINES: u64 = 20_000;
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("log");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writers = Stream::ALL.map(|stream| Writer::new(&folder, stream));
            for number in 0..LINES {
                let writer = &mut writers[(number % 2) as usize];
                let line = format!("line {number}\n");
                // Bytes come in pieces, and their entry after them.
                let (head, tail) = line.split_at(number as usize % line.len());
                writer.batch(number, 0, head);
                writer.bytes(tail);
                if number % 7 < 2 {
                    writer.rotate();
                }
            }
        });
        // The folder may not be there yet.
        following(query(std::slice::from_ref(&folder)), |received| {
            let mut due = [0, 1];
            for _ in 0..LINES {
                let line = next(received);
                let place = usize::from(line.stream == Stream::Err);
                assert_eq!(line.line, format!("line {}", due[place]));
                assert_eq!(line.dropped_before, 0);
                due[place] += 2;
            }
        });
    });
}

#[test]
fn what_a_follower_misses_is_counted_as_dropped() {
    const LINES: u64 = 6_000;
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().to_owned();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = Writer::new(&folder, Stream::Out);
            for number in 0..LINES {
                writer.batch(number, 0, format!("{number}\n"));
                if number % 20 == 19 {
                    writer.rotate();
                    if let Some(number) = writer.segment.number.checked_sub(3).filter(|n| *n > 0) {
                        let old = Segment { number, ..writer.segment };
                        fs::remove_file(folder.join(old.log_name())).unwrap();
                        let _ = fs::remove_file(folder.join(old.index_name()));
                    }
                }
            }
        });
        following(query(std::slice::from_ref(&folder)), |received| {
            let mut before: Option<u64> = None;
            loop {
                let line = next(received);
                let number: u64 = line.line.parse().unwrap();
                assert!(before.is_none_or(|before| number > before), "{before:?} {number}");
                if before.is_some_and(|before| number > before + 1) {
                    assert!(line.dropped_before > 0, "{before:?} {number}");
                }
                before = Some(number);
                if number == LINES - 1 {
                    break;
                }
            }
        });
    });
}

#[test]
fn an_unfinished_line_is_shown_when_it_ends_or_falls_silent() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(root.path(), Stream::Out);
    writer.batch(1, 0, "first\nhalf");
    following(query(&[root.path().into()]), |received| {
        assert_eq!(next(received).line, "first");
        writer.batch(2, 0, " a line\n");
        let line = next(received);
        assert_eq!((line.line.as_str(), line.time_us), ("half a line", 1));
        let written_at = Instant::now();
        writer.batch(3, 0, "password: ");
        assert_eq!(next(received).line, "password: ");
        assert!(written_at.elapsed() >= Duration::from_millis(500));
        writer.batch(4, 0, "secret\n");
        let line = next(received);
        assert_eq!((line.line.as_str(), line.time_us), ("secret", 4));
        // What is shown unfinished at a segment's end goes on in the next.
        writer.batch(5, 0, "x");
        assert_eq!(next(received).line, "x");
        writer.rotate();
        writer.batch(6, 0, "y\n");
        assert_eq!(next(received).line, "y");
    });
}

#[test]
fn a_follower_begins_with_the_last_lines_and_filters_what_comes() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(root.path(), Stream::Out);
    writer.batch(1, 0, "yes 1\nno\nyes 2\nyes 3\nno\nye");
    let last = Query {
        limit_last: Some(2),
        pattern: Some("^yes".to_owned()),
        ..query(&[root.path().into()])
    };
    following(last, |received| {
        for expected in ["yes 2", "yes 3"] {
            assert_eq!(next(received).line, expected);
        }
        writer.batch(2, 5, "s 4\nno\nyes 5\n");
        assert_eq!(next(received).line, "yes 4");
        assert_eq!(next(received).line, "yes 5");
    });
}

#[test]
fn following_ends_at_the_end_of_the_window() {
    let root = tempfile::tempdir().unwrap();
    let mut writer = Writer::new(root.path(), Stream::Out);
    let now_us = micros(SystemTime::now());
    writer.batch(now_us, 0, "now\n");
    let until_us = Some(now_us + 300_000);
    let query = Query { follow: true, until_us, ..query(&[root.path().into()]) };
    let mut seen = 0;
    let mut sink = |_| {
        seen += 1;
        ControlFlow::Continue(())
    };
    query.check().unwrap().run(&mut sink).unwrap();
    assert_eq!(seen, 1);
    assert!(micros(SystemTime::now()) >= now_us + 300_000);
}

#[test]
fn a_log_that_is_begun_anew_is_followed_from_its_start() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("log");
    let mut writer = Writer::new(&folder, Stream::Out);
    writer.rotate();
    writer.batch(1, 0, "old\n");
    following(query(std::slice::from_ref(&folder)), |received| {
        assert_eq!(next(received).line, "old");
        let anew: &Path = &root.path().join("anew");
        Writer::new(anew, Stream::Out).batch(2, 0, "new\n");
        fs::rename(&folder, root.path().join("away")).unwrap();
        fs::rename(anew, &folder).unwrap();
        assert_eq!(next(received).line, "new");
    });
}
