//! What a service writes.

use stead_wire::journal::Stream;

use crate::probing;
use crate::rig::{Rig, eventually};

/// Waits until so many lines of both streams are stored, and says those of one.
pub(crate) fn lines(rig: &Rig, stream: Stream, count: usize) -> Vec<String> {
    let found = eventually(|| {
        let text = String::from_utf8(rig.output(stream)).ok()?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (text.ends_with('\n') && lines.len() >= count).then_some(lines)
    });
    found.unwrap_or_else(|| panic!("only {} bytes of {}", rig.stored_len(stream), stream.as_str()))
}

#[test]
fn every_line_of_both_streams_is_stored_once_and_in_order() {
    let mut rig = probing(&["lines", "4000", "4000"]);
    rig.start();
    for stream in Stream::ALL {
        let expected: Vec<String> =
            (0..4000).map(|n| format!("{} {n:012}", stream.as_str())).collect();
        assert_eq!(lines(&rig, stream, 4000), expected);
    }
    rig.retire();
}

#[test]
fn a_flood_is_stored_to_its_last_byte() {
    const LEN: usize = 8 << 20;
    let mut rig = probing(&["flood", &LEN.to_string()]);
    rig.start();
    let stored = eventually(|| {
        let len = rig.stored_len(Stream::Out);
        (len >= LEN as u64).then_some(())
    });
    assert!(stored.is_some(), "{} of {LEN}", rig.stored_len(Stream::Out));
    let text = String::from_utf8(rig.output(Stream::Out)).unwrap();
    // The last one may be on its way.
    let whole = &text[..=text.rfind('\n').unwrap()];
    for (n, line) in whole.lines().enumerate() {
        assert_eq!(line, format!("{n:012} all work and no play makes a log"));
    }
    rig.retire();
}
