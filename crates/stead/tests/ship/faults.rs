//! What goes wrong on the way to a host and on its disk.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::fleet::{Fleet, GOOD, QUICK};

/// Bytes that compress badly, so that many of them go over the wire.
const PAYLOAD_LEN: usize = 1 << 20;

/// The connection is cut after each multiple of so many bytes.
const CUT_EVERY: usize = 64 << 10;

impl Fleet {
    /// Has `ssh` replaced by this script around it; `$ssh` is the real one with its options.
    fn way(&self, script: &str) -> String {
        let path = self.folder.join("way");
        let ssh = format!("ssh -F {}", self.hosts.ssh_config().display());
        fs::write(&path, format!("#!/bin/bash\nssh='{ssh}'\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }

    /// Has the release hold so much that differs from all before.
    fn payload(&self, seed: u64) {
        let mut bytes = vec![0; PAYLOAD_LEN];
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for byte in &mut bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_le_bytes()[0];
        }
        fs::write(self.folder.join("version"), bytes).unwrap();
    }

    /// Deploys over a way of this kind.
    fn over(&self, script: &str) -> (Option<i32>, String) {
        let mut command = self.command(&[&["deploy"], &QUICK[..]].concat());
        let output = command.env("STEAD_SSH", self.way(script)).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }
}

/// A way that ends after so many bytes; what was sent before reaches the host.
fn cut(after: usize) -> String {
    format!(
        "perl -e 'my $left = {after}; \
         while ($left && (my $n = sysread(STDIN, my $x, $left < 65536 ? $left : 65536))) {{ \
         syswrite(STDOUT, $x); $left -= $n }}' | exec $ssh \"$@\""
    )
}

#[test]
fn a_connection_that_is_cut_anywhere_in_a_transfer_changes_nothing_and_the_next_one_goes_through() {
    let Some(fleet) = Fleet::get("cut", 1) else { return };
    fleet.release("v1", GOOD);
    fleet.deploy(0, &[]);
    let mut cuts_n = 0;
    for after in (CUT_EVERY..).step_by(CUT_EVERY) {
        fleet.release("v2", GOOD);
        fleet.payload(after as u64);
        // Whatever was sent before the cut reaches the host.
        let (code, said) = fleet.over(&cut(after));
        if code == Some(0) {
            break;
        }
        cuts_n += 1;
        assert_eq!(code, Some(4), "cut after {after}: {said}");
        assert_eq!(fleet.serves(0).as_deref(), Some("v1"), "cut after {after}: {said}");
        assert!(cuts_n < 100, "it never goes through");
    }
    assert!(cuts_n >= PAYLOAD_LEN / CUT_EVERY, "{cuts_n}");
    fleet.all_serve("v2");
    eprintln!("cut at {cuts_n} places, {CUT_EVERY} bytes apart");
}

#[test]
fn a_content_that_comes_damaged_is_refused_and_nothing_is_changed() {
    let Some(fleet) = Fleet::get("damaged", 1) else { return };
    // A byte in the middle of what goes to the host is another one.
    let flip = |at: usize| {
        format!(
            "perl -e 'my $n = 0; \
             while (sysread(STDIN, my $x, 65536)) {{ \
             if ($n <= {at} && {at} < $n + length $x) {{ substr($x, {at} - $n, 1) ^= chr(1) }} \
             $n += length $x; syswrite(STDOUT, $x) }}' | exec $ssh \"$@\""
        )
    };
    fleet.release("v1", GOOD);
    fleet.deploy(0, &[]);
    fleet.release("v2", GOOD);
    fleet.payload(1);
    let (code, said) = fleet.over(&flip(PAYLOAD_LEN / 2));
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("could not take a content"), "{said}");
    assert_eq!(fleet.serves(0).as_deref(), Some("v1"));
    // Control: over the same way, with no byte changed.
    let (code, said) = fleet.over(&flip(usize::MAX >> 1));
    assert_eq!(code, Some(0), "{said}");
    fleet.all_serve("v2");
}

/// A file system of its own, gone when this is dropped.
struct Mount(std::path::PathBuf);

impl Mount {
    fn small(at: std::path::PathBuf, size: &str) -> Self {
        fs::create_dir_all(&at).unwrap();
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&at);
        assert!(mount.status().unwrap().success());
        Self(at)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).stderr(Stdio::null()).status();
    }
}

#[test]
fn a_full_disk_refuses_the_release_and_the_host_serves_on() {
    let Some(mut fleet) = Fleet::get("full", 2) else { return };
    fleet.release("v1", GOOD);
    fleet.deploy(0, &[]);
    // Where releases come in there is room for little. A host sees what was mounted before it.
    fleet.hosts.kill(1).unwrap();
    let mount = Mount::small(fleet.root(1).join("incoming"), "256k");
    fleet.hosts.boot(1).unwrap();
    fleet.release("v2", GOOD);
    fleet.payload(1);
    let said = fleet.deploy(6, &[]);
    assert!(said.contains("host `h1`") && said.contains("No space left"), "{said}");
    // The agent that the deploy has begun there runs what was there.
    fleet.all_serve("v1");
    fleet.hosts.kill(1).unwrap();
    drop(mount);
    fleet.hosts.boot(1).unwrap();
    fleet.deploy(0, &[]);
    fleet.all_serve("v2");
}

#[test]
fn a_release_that_is_far_worse_than_the_one_before_is_brought_back_in_the_bake() {
    let Some(fleet) = Fleet::get("worse", 2) else { return };
    fleet.release("v1", GOOD);
    fleet.deploy(0, &[]);
    let bad = [
        ("leaks", "\"leak=40\"", "of memory, where the old had"),
        ("spins", "\"spin=2\"", "cores, where the old used"),
        ("errs", "\"errors=20\"", "logs errors,"),
    ];
    for (version, option, why) in bad {
        fleet.release(version, &format!(", {option}"));
        let said = fleet.ends(5, &["deploy", "--bake", "20s"]);
        assert!(said.contains(why) && said.contains("it is as it was"), "{said}");
        assert_eq!(fleet.served(), vec![Some("v1".to_owned()); 2], "{said}");
    }
    // Control: nothing else holds it back.
    fleet.release("errs", ", \"errors=20\"");
    fleet.ends(0, &["deploy", "--bake", "3s", "--wave", "100%", "--compare", "false"]);
    fleet.all_serve("errs");
}
