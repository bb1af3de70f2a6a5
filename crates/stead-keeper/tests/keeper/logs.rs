//! What becomes of a service's output.

use std::fs::{self, File};
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use stead_core::units::Bytes;
use stead_wire::journal::Stream;
use stead_wire::keeper::Request;
use stead_wire::log::decode_index;

use crate::rig::{Rig, eventually, probe};

const MIB: u64 = 1 << 20;
/// Bytes of a line of the probe's flood.
const LINE: u64 = 46;

/// Waits until the service's last flooded line is stored.
fn wait_for_line(rig: &Rig, number: u64) {
    let line = format!("{number:012} all work and no play makes a log\n");
    eventually(|| {
        let (_, newest) = rig.segments(Stream::Out).pop()?;
        newest.ends_with(line.as_bytes()).then_some(())
    })
    .unwrap_or_else(|| panic!("line {number} never came: {:?}", rig.report()));
}

/// Lines of a flood of so many bytes, in batches as the probe writes them.
fn flood_lines(bytes: u64) -> u64 {
    bytes.div_ceil(LINE * 1000) * 1000
}

#[test]
fn a_flood_far_past_the_cap_drops_nothing_and_stays_below_it() {
    let keep = 50 * MIB;
    let flood = std::env::var("STEAD_FLOOD_MIB").ok().and_then(|n| n.parse().ok()).unwrap_or(1024);
    let flood: u64 = flood * MIB;
    let mut rig = Rig::new(&[&probe(), "flood", &flood.to_string()]);
    rig.launch.log.keep = Bytes(keep);
    let began = Instant::now();
    rig.start();
    let lines = flood_lines(flood);
    let mut most = 0;
    let stored = eventually(|| {
        most = most.max(folder_len(&rig));
        let stored = rig.report()?.log.stored_bytes;
        (stored >= lines * LINE).then_some(stored)
    });
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(stored, Some(lines * LINE), "every byte was stored once: {:?}", rig.report());
    wait_for_line(&rig, lines - 1);
    assert_eq!(rig.report().unwrap().log.dropped_bytes, 0);
    assert!(most <= keep, "{most} bytes on disk are more than {keep}");
    let _ = writeln!(
        // Past the test harness, which would keep it to itself.
        io::stderr(),
        "flood of {} MiB at {:.0} MB/s, cat into a file {:.0} MB/s, most on disk {} MiB",
        flood / MIB,
        flood as f64 / 1e6 / seconds,
        cat_rate(&rig, flood),
        most / MIB
    );
}

/// The same flood through a pipe and `cat` into a file, in MB a second.
fn cat_rate(rig: &Rig, flood: u64) -> f64 {
    let path = rig.folder.join("cat.out");
    let began = Instant::now();
    let script = format!("{} flood {flood}", probe());
    let mut writer = Command::new("/bin/sh")
        .args(["-c", &format!("exec {script}")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pipe = writer.stdout.take().unwrap();
    let file = File::create(&path).unwrap();
    let mut cat = Command::new("cat").stdin(pipe).stdout(file).spawn().unwrap();
    let bytes = flood_lines(flood) * LINE;
    eventually(|| (fs::metadata(&path).unwrap().len() >= bytes).then_some(())).unwrap();
    let seconds = began.elapsed().as_secs_f64();
    writer.kill().unwrap();
    writer.wait().unwrap();
    cat.wait().unwrap();
    flood as f64 / 1e6 / seconds
}

fn folder_len(rig: &Rig) -> u64 {
    let entries = fs::read_dir(rig.folder.join("log")).unwrap();
    let len = |entry: io::Result<fs::DirEntry>| entry.unwrap().metadata().map_or(0, |m| m.len());
    entries.map(len).sum()
}

#[test]
fn segments_end_at_line_ends_and_their_indexes_fit_them() {
    let flood = 20 * MIB;
    let mut rig = Rig::new(&[&probe(), "flood", &flood.to_string()]);
    rig.launch.log.keep = Bytes(64 * MIB);
    rig.start();
    wait_for_line(&rig, flood_lines(flood) - 1);
    let segments = rig.segments(Stream::Out);
    assert!(segments.len() >= 4, "{} segments", segments.len());
    let mut number = 0;
    for (segment, bytes) in &segments {
        assert_eq!(bytes.last(), Some(&b'\n'), "{}", segment.log_name());
        for line in bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let text = std::str::from_utf8(line).unwrap();
            assert_eq!(text.split(' ').next().unwrap().parse(), Ok(number), "in order");
            number += 1;
        }
        let index = fs::read(rig.folder.join("log").join(segment.index_name())).unwrap();
        let (entries, damaged) = decode_index(&index);
        assert_eq!(damaged, 0);
        assert_eq!(entries.first().map(|entry| entry.offset), Some(0), "from the first byte on");
        assert!(
            entries.windows(2).all(|w| w[0].offset < w[1].offset && w[0].time_us <= w[1].time_us)
        );
        assert!(entries.iter().all(|entry| entry.offset < bytes.len() as u64));
    }
}

#[test]
fn a_torn_index_is_mended_by_the_next_keeper_and_goes_on() {
    let mut rig = Rig::new(&[&probe(), "lines", "500"]);
    rig.start();
    rig.wait_up();
    eventually(|| (rig.stored_len(Stream::Out) > 0).then_some(()));
    rig.kill_keeper();
    let index = rig.folder.join("log/out.00000001.idx");
    let bytes = fs::read(&index).unwrap();
    fs::write(&index, &bytes[..bytes.len() - 5]).unwrap();
    rig.start();
    let before = rig.stored_len(Stream::Out);
    eventually(|| (rig.stored_len(Stream::Out) > before + 1000).then_some(())).unwrap();
    let (entries, damaged) = decode_index(&fs::read(&index).unwrap());
    assert_eq!(damaged, 0, "{} entries", entries.len());
}

#[test]
fn a_line_longer_than_a_segment_is_not_cut() {
    let script = "head -c 300000 /dev/zero | tr '\\0' x; echo; echo end; exec sleep 1000";
    let mut rig = Rig::new(&["/bin/sh", "-c", script]);
    rig.launch.log.keep = Bytes(MIB);
    rig.start();
    eventually(|| rig.output(Stream::Out).ends_with(b"end\n").then_some(())).unwrap();
    let segments = rig.segments(Stream::Out);
    let (_, longest) = segments.iter().max_by_key(|(_, bytes)| bytes.len()).unwrap();
    assert!(longest.len() > 300_000, "the long line is in one segment");
}

#[test]
fn a_smaller_cap_takes_effect_without_a_new_keeper() {
    let flood = 40 * MIB;
    let mut rig = Rig::new(&[&probe(), "flood", &flood.to_string()]);
    rig.launch.log.keep = Bytes(256 * MIB);
    rig.start();
    wait_for_line(&rig, flood_lines(flood) - 1);
    assert!(folder_len(&rig) > 39 * MIB);
    rig.launch.log.keep = Bytes(8 * MIB);
    let before = folder_len(&rig);
    rig.ask(&Request::Update { launch: Box::new(rig.launch.clone()) }).unwrap();
    eventually(|| (folder_len(&rig) < before).then_some(())).unwrap();
    // A new run floods again, and the segment that was open goes as new ones close.
    rig.ask(&Request::Restart).unwrap();
    eventually(|| (folder_len(&rig) <= 8 * MIB).then_some(())).unwrap();
}
