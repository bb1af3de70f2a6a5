//! A disk that is full, and one that does not answer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use stead_core::machine::PhaseName;
use stead_core::signal::Signal;
use stead_wire::journal::{Event, Stream};
use stead_wire::keeper::Request;

use stead_lab::skipped;

use crate::rig::{Rig, eventually, probe};

/// A file system of our own, unmounted in the end.
struct Mount {
    place: PathBuf,
    image: Option<PathBuf>,
    frozen: bool,
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {said}")) }
}

impl Mount {
    fn place(name: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("stead-{name}-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        place
    }

    /// Memory that holds so much and no more.
    fn tmpfs(name: &str, size: &str) -> Result<Self, String> {
        let place = Self::place(name);
        let options = format!("size={size}");
        run("mount", &["-t", "tmpfs", "-o", &options, "none", text(&place)])?;
        Ok(Self { place, image: None, frozen: false })
    }

    /// ext4 in a file on a loop device.
    fn ext4(name: &str) -> Result<Self, String> {
        let place = Self::place(name);
        let image = place.with_extension("img");
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        run("mkfs.ext4", &["-q", "-F", text(&image)])?;
        run("mount", &["-o", "loop", text(&image), text(&place)])?;
        Ok(Self { place, image: Some(image), frozen: false })
    }

    fn freeze(&mut self) -> Result<(), String> {
        run("fsfreeze", &["--freeze", text(&self.place)])?;
        self.frozen = true;
        Ok(())
    }

    fn thaw(&mut self) {
        if self.frozen {
            run("fsfreeze", &["--unfreeze", text(&self.place)]).unwrap();
            self.frozen = false;
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.thaw();
        eventually(|| run("umount", &[text(&self.place)]).ok());
        let _ = fs::remove_dir(&self.place);
        if let Some(image) = &self.image {
            let _ = fs::remove_file(image);
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// How many lines the service has come to write, by what it says elsewhere.
fn progress(file: &Path) -> u64 {
    fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// A service that writes lines for ever and keeps its count in a file on another disk.
fn counting(count: &Path) -> String {
    let count = text(count);
    format!(
        "i=0; while :; do j=0; while [ $j -lt 200 ]; do \
         echo \"line $i xxxxxxxxxxxxxxxxxxxxxxxxxx\"; \
         i=$((i+1)); j=$((j+1)); done; echo $i > {count}.new; mv {count}.new {count}; done"
    )
}

fn crash_and_come_back(rig: &Rig) {
    let run = rig.wait_until("up", |r| r.phase == PhaseName::Up).run;
    rig.ask(&Request::Signal { signal: Signal::Kill }).unwrap();
    rig.wait_until("the crash is answered", |r| r.run > run && r.phase == PhaseName::Up);
}

fn keeps_writing(rig: &Rig, count: &Path) -> bool {
    let before = progress(count);
    let went_on = eventually(|| (progress(count).abs_diff(before) > 20_000).then_some(()));
    assert!(rig.report().is_some(), "the keeper answers");
    went_on.is_some()
}

#[test]
fn a_full_disk_stops_neither_the_service_nor_its_restarts_and_is_told() {
    let mount = match Mount::tmpfs("full", "1m") {
        Ok(mount) => mount,
        Err(why) => return skipped("a full disk", &why),
    };
    let count = std::env::temp_dir().join(format!("stead-full-count-{}", std::process::id()));
    let mut rig = Rig::at(&mount.place.join("instance"), &["/bin/sh", "-c", &counting(&count)]);
    let ballast = mount.place.join("ballast");
    fs::write(&ballast, vec![0; 256 << 10]).unwrap();
    rig.start();
    let full = rig.wait_until("output is dropped", |r| r.log.dropped_bytes > 0);
    assert!(full.log.stalled.unwrap().contains("No space left"), "it says why");
    assert!(keeps_writing(&rig, &count), "the service writes on");
    crash_and_come_back(&rig);
    fs::remove_file(&ballast).unwrap();
    let stored = rig.report().unwrap().log.stored_bytes;
    rig.wait_until("stored again", |r| r.log.stored_bytes > stored);
    let told = |event: &Event| matches!(event, Event::Dropped { bytes, .. } if *bytes > 0);
    eventually(|| rig.events().iter().any(told).then_some(())).expect("the journal tells");
    rig.retire();
    let _ = fs::remove_file(count);
    drop(rig);
}

fn freeze_under(flags: &[&str], name: &str) -> Result<(bool, Rig, Mount), String> {
    let mut mount = Mount::ext4(name)?;
    let count = std::env::temp_dir().join(format!("stead-{name}-count-{}", std::process::id()));
    let folder = mount.place.join("instance");
    let mut rig = Rig::at(&folder, &["/bin/sh", "-c", &counting(&count)]).flag(flags);
    // A service that starts in a folder on the frozen disk can: only writes wait.
    rig.launch.log.keep = stead_core::units::Bytes(48 << 20);
    rig.start();
    rig.wait_up();
    eventually(|| (progress(&count) > 1000).then_some(())).unwrap();
    mount.freeze()?;
    // A pipeful goes through before anything waits.
    let before = progress(&count);
    let mut went_on = false;
    for _ in 0..3 {
        let at = progress(&count);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(4);
        while std::time::Instant::now() < deadline && progress(&count) < at + 20_000 {
            std::thread::sleep(std::time::Duration::from_millis(5)); // bounded poll
        }
        went_on = progress(&count) >= at + 20_000;
    }
    assert!(progress(&count) >= before);
    let _ = fs::remove_file(&count);
    Ok((went_on, rig, mount))
}

#[test]
fn a_frozen_disk_stops_neither_the_service_nor_its_restarts_and_all_goes_on_after() {
    let (went_on, mut rig, mut mount) = match freeze_under(&[], "frozen") {
        Ok(frozen) => frozen,
        Err(why) => return skipped("a frozen file system", &why),
    };
    assert!(went_on, "the service writes on");
    let stuck = rig.wait_until("dropped", |r| r.log.dropped_bytes > 0 && r.log.stalled.is_some());
    assert_eq!(stuck.log.stalled.as_deref(), Some("the disk does not answer"));
    crash_and_come_back(&rig);
    let stored = rig.report().unwrap().log.stored_bytes;
    mount.thaw();
    rig.wait_until("stored again", |r| r.log.stored_bytes > stored && r.log.stalled.is_none());
    let lost = |event: &Event| matches!(event, Event::Dropped { .. });
    eventually(|| rig.events().iter().any(lost).then_some(())).expect("the journal tells");
    let stalled = |event: &Event| matches!(event, Event::JournalStalled { .. });
    assert!(rig.events().iter().any(stalled), "the start that did not wait is in the journal");
    let indexed = || {
        rig.segments(Stream::Out).iter().any(|(segment, _)| {
            let index = fs::read(rig.folder.join("log").join(segment.index_name())).unwrap();
            stead_wire::log::decode_index(&index).0.iter().any(|entry| entry.dropped > 0)
        })
    };
    eventually(|| indexed().then_some(())).expect("the gap is in the index");
    rig.retire();
    drop(rig);
}

#[test]
fn control_without_the_takeover_a_frozen_disk_stops_the_service() {
    match freeze_under(&["--fault", "no-takeover"], "frozen-control") {
        Ok((went_on, rig, mut mount)) => {
            assert!(!went_on, "the service waits for the disk");
            mount.thaw();
            drop(rig);
        }
        Err(why) => skipped("a frozen file system, control", &why),
    }
}

#[test]
fn a_keeper_killed_while_the_disk_is_frozen_is_followed_by_one_that_takes_over() {
    let (_, mut rig, mut mount) = match freeze_under(&[], "frozen-kill") {
        Ok(frozen) => frozen,
        Err(why) => return skipped("a keeper killed on a frozen file system", &why),
    };
    // Begun while the journal could not be written: only its mark tells.
    crash_and_come_back(&rig);
    let before = rig.report().unwrap();
    // The disk thread is in a write that no signal ends, so the keeper lingers until the thaw.
    rig.signal_keeper_kill();
    mount.thaw();
    rig.reap_keeper();
    rig.start();
    let after = rig.wait_until("up", |r| r.phase == PhaseName::Up);
    assert_eq!((after.pid, after.run), (before.pid, before.run), "the same run");
    rig.retire();
    drop(rig);
}

#[test]
fn what_the_disk_held_before_it_was_full_is_read_by_the_next_keeper() {
    let mount = match Mount::tmpfs("full-restart", "1m") {
        Ok(mount) => mount,
        Err(why) => return skipped("a full disk at a keeper's start", &why),
    };
    let folder = mount.place.join("instance");
    let mut rig = Rig::at(&folder, &[&probe(), "sleep"]);
    rig.start();
    let service = rig.wait_up();
    let ballast = mount.place.join("ballast");
    let _ = fs::write(&ballast, vec![0; 2 << 20]);
    rig.kill_keeper();
    rig.start_as_it_is();
    assert_eq!(rig.wait_up(), service, "taken over although nothing can be written");
    fs::remove_file(&ballast).unwrap();
    rig.retire();
    drop(rig);
}
