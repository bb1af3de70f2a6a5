//! How runs begin.

use std::fs;
use std::time::Duration;

use stead_core::machine::PhaseName;
use stead_core::plan::When;
use stead_wire::journal::{Event, Stream};

use crate::rig::{Rig, eventually, probe};
use crate::{file, probing};

/// Texts that a careless way through a command line, a file name or a console would break.
const TEXTS: [&str; 8] =
    ["", "a b", "say \"hi\"", r"c:\dir\", r#"\\" "#, "中文 参数", "naïve – ЙÜ", "*?%PATH%^&|<>"];

#[test]
fn arguments_environment_and_directory_arrive_as_they_were_named() {
    let said = file("数据 said");
    let said_text = said.to_str().unwrap();
    let mut args = vec!["say", said_text];
    args.extend(TEXTS);
    let mut rig = probing(&args);
    rig.launch.env.insert("GREETING".into(), "你好, Grüße".into());
    rig.start();
    rig.wait_up();
    let text = eventually(|| fs::read_to_string(&said).ok().filter(|text| !text.is_empty()));
    let text = text.unwrap();
    let lines: Vec<&str> = text.split('\n').collect();
    let there = fs::canonicalize(lines[0]).unwrap();
    assert_eq!(there, fs::canonicalize(&rig.folder).unwrap());
    assert_eq!(lines[1], "你好, Grüße");
    assert_eq!(lines[2..], TEXTS);
    let logged = eventually(|| {
        let text = String::from_utf8(rig.output(Stream::Out)).unwrap();
        text.contains("中文 参数").then_some(())
    });
    assert!(logged.is_some(), "the log has it as it was written");
    fs::remove_file(&said).unwrap();
}

#[test]
fn a_folder_of_a_long_path_with_any_letters_is_as_good_as_any() {
    /// The longest path of a folder here, in characters.
    const LONG: usize = 300;
    let mut folder = std::env::temp_dir().join(format!("stead-long-{}", std::process::id()));
    let base = folder.clone();
    let _ = fs::remove_dir_all(&base);
    while folder.to_str().unwrap().chars().count() < LONG {
        folder.push("很长的路径-ü-一二三四五六七八九十");
    }
    let probe = probe();
    let mut rig = Rig::at(&folder, &[&probe, "lines", "1000", "50"]);
    rig.start();
    let pid = rig.wait_up();
    let written = eventually(|| (rig.output(Stream::Out).len() >= 50 * 17).then_some(()));
    assert!(written.is_some(), "output is stored there");
    rig.kill_keeper();
    rig.start();
    assert_eq!(rig.wait_up(), pid, "the run is found again");
    rig.retire();
    drop(rig);
    let _ = fs::remove_dir_all(base);
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let mut rig = Rig::new(&["no-such-program", "--x"]);
    rig.launch.restart.when = When::Never;
    rig.start();
    rig.wait_until("failed", |report| report.phase == PhaseName::Failed);
    let why = |event| if let Event::SpawnFailed { why, .. } = event { Some(why) } else { None };
    let why = rig.events().into_iter().find_map(why);
    assert!(why.as_ref().is_some_and(|why| why.contains("no-such-program")), "{why:?}");
}

#[test]
fn each_failure_is_followed_by_a_longer_wait_up_to_the_longest() {
    let marks = file("backoff");
    let mut rig = probing(&["mark-exit", marks.to_str().unwrap(), "1"]);
    rig.launch.restart.backoff_min = Duration::from_millis(40);
    rig.launch.restart.backoff_max = Duration::from_millis(320);
    rig.start();
    let waits = eventually(|| {
        let waits: Vec<u64> = rig.events().into_iter().filter_map(waited).collect();
        (waits.len() >= 6).then_some(waits)
    });
    let waits = waits.unwrap();
    // Each is drawn from the upper half of its step.
    for (place, wait) in waits.iter().enumerate() {
        let step = (40_u64 << place).min(320);
        assert!((step / 2..=step).contains(wait), "{waits:?}");
    }
    rig.retire();
    fs::remove_file(&marks).unwrap();
}

fn waited(event: Event) -> Option<u64> {
    if let Event::Waiting { delay_ms, .. } = event { Some(delay_ms) } else { None }
}
