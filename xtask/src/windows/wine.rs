//! Windows programs under Wine, in a prefix of the workspace's own.

use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::toolchain::{self, MINGW};
use crate::packages::{self, Package};
use crate::{process, say, workspace};

const WINE: &str = "/usr/lib/wine/wine64";
const SERVER: &str = "/usr/lib/wine/wineserver";
const PACKAGE: Package = Package { name: "wine64", program: WINE, reason: "runs Windows programs" };

/// For so long a server that nobody ends outlives the last program: what is killed here leaves
/// nothing behind for good, and a program that follows another finds Windows running.
const LINGER_SECONDS: u32 = 60;

/// The file that is written last into a prefix: whose home is in it.
const WHOLE: &str = "whole";

/// The part of Windows that Wine 8 lacks, from the prefix and from the workspace.
const PRNG: &str = "drive_c/windows/system32/bcryptprimitives.dll";
const PRNG_SOURCE: &str = "xtask/src/windows/bcryptprimitives.c";

/// What Wine brings and is not to start: the first writes menus into the user's home, the second
/// stands between a crash and its exit code, the others are asked for in a window.
const OVERRIDES: &str = "winemenubuilder.exe,winedbg.exe,mscoree,mshtml=d";

/// What Windows calls whoever runs its programs: all that is tried there is tried with a name that
/// code pages have no letters for.
const USER: &str = "张三";

/// The accounts of this machine with that name, beside the prefix.
const ACCOUNTS: &str = "passwd";

/// Whoever runs Windows programs has this number, to begin with or in a namespace of its own.
const ROOT_UID: u32 = 0;

/// Where Wine would find a screen.
const SCREENS: [&str; 2] = ["DISPLAY", "WAYLAND_DISPLAY"];

/// A Windows that is running until this is dropped.
pub(super) struct Prefix {
    folder: PathBuf,
    /// Held as long as this lives: whoever ends the server ends all programs of the prefix.
    _lock: File,
    /// A program that waits. Wine ends the services of Windows once nothing else runs.
    waits: Option<Child>,
}

impl Prefix {
    /// Makes the prefix if there is none, and starts its server.
    pub(super) fn open() -> Result<Self> {
        ready()?;
        let above = toolchain::folder()?;
        workspace::make(&above)?;
        let (folder, lock) = (above.join("wine"), lock(&above.join("wine.lock"))?);
        let mut prefix = Self { folder, _lock: lock, waits: None };
        let accounts = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let own = prefix.folder.with_file_name(ACCOUNTS);
        fs::write(&own, renamed(&accounts))
            .with_context(|| format!("cannot write {}", own.display()))?;
        // What was killed may have left programs behind.
        prefix.end()?;
        if remove_half_made(&prefix.folder)? {
            prefix.make()?;
        }
        prefix.start()?;
        Ok(prefix)
    }

    /// A command that runs a Windows program. Paths are this machine's; the exit code is the
    /// program's, its lowest eight bits.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = command(WINE, &self.folder);
        command.arg(program);
        command
    }

    /// A command of this machine that finds Wine and the prefix.
    pub(super) fn beside(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = command(program, &self.folder);
        command.env("STEAD_WINE", WINE);
        command
    }

    fn make(&self) -> Result<()> {
        say::progress("Wine makes a prefix, which takes some seconds and 700 MB");
        workspace::make(&self.folder)?;
        process::run(silent(command(WINE, &self.folder).args(["wineboot", "--init"])))?;
        // What it has configured is on the disk only when it has ended.
        self.end()?;
        let prng = self.folder.join(PRNG);
        if !prng.exists() {
            let mut build = Command::new(MINGW.program);
            build.args(["-shared", "-O2", "-s", "-o"]).arg(prng);
            process::run(build.arg(workspace::root().join(PRNG_SOURCE)).arg("-ladvapi32"))?;
        }
        fs::write(self.folder.join(WHOLE), USER).context("cannot mark the prefix as whole")
    }

    /// Starts the services of Windows, as any first program does: to ask for it would start them
    /// twice. They keep the streams of that program, and whoever reads those of a later one would
    /// wait for the end of the services.
    fn start(&mut self) -> Result<()> {
        let linger = format!("-p{LINGER_SECONDS}");
        process::run(silent(command(SERVER, &self.folder).arg(linger)))?;
        process::run(silent(command(WINE, &self.folder).args(["cmd", "/c", "exit"])))?;
        let mut waits = command(WINE, &self.folder);
        let waits = silent(waits.arg("cmd")).stdin(Stdio::piped()).spawn();
        self.waits = Some(waits.with_context(|| format!("cannot start `{WINE}`"))?);
        Ok(())
    }

    /// Ends all programs of this prefix, and its server. Those of others go on.
    fn end(&self) -> Result<()> {
        if !self.folder.exists() {
            return Ok(());
        }
        // That there was no server is told by a failure.
        let ended = silent(command(SERVER, &self.folder).arg("-k")).status();
        ended.with_context(|| format!("cannot start `{SERVER}`")).map(drop)
    }
}

impl Drop for Prefix {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            say::progress(format_args!("Wine goes on for {LINGER_SECONDS} s: {error}"));
        }
        if let Some(waits) = &mut self.waits {
            // It ends with its input, if not with its server.
            drop(waits.stdin.take());
            let _ = waits.wait();
        }
    }
}

/// Makes Wine present, or fails.
pub(super) fn ready() -> Result<()> {
    packages::require(&[MINGW, PACKAGE])
}

/// Fails where another holds the prefix.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another `cargo xtask windows` uses Wine; let it end")
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Says whether the prefix is to be made; what an interrupted run has left of it goes away.
fn remove_half_made(folder: &Path) -> Result<bool> {
    if fs::read_to_string(folder.join(WHOLE)).is_ok_and(|user| user == USER) {
        return Ok(false);
    }
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(true)
}

/// One of Wine's own programs, or one that starts them, in this prefix.
fn command(program: impl AsRef<OsStr>, prefix: &Path) -> Command {
    let mut command = named(program, &prefix.with_file_name(ACCOUNTS));
    surround(&mut command, prefix);
    command
}

/// A program that takes the user to be called as these accounts say. Wine asks nothing else.
fn named(program: impl AsRef<OsStr>, accounts: &Path) -> Command {
    let mut command = Command::new("unshare");
    if fs::metadata("/proc/self").is_ok_and(|own| own.uid() != ROOT_UID) {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/passwd && exec \"$@\""]);
    command.arg(accounts).arg(program);
    command
}

/// The accounts of this machine, with another name for whoever runs Windows programs.
fn renamed(accounts: &str) -> String {
    let rename = |line: &str| match line.split(':').nth(2) {
        Some(uid) if uid == ROOT_UID.to_string() => {
            let rest = line.find(':').map_or("", |end| &line[end..]);
            format!("{USER}{rest}\n")
        }
        _ => format!("{line}\n"),
    };
    accounts.lines().map(rename).collect()
}

fn surround<'a>(command: &'a mut Command, prefix: &Path) -> &'a mut Command {
    command.env("WINEPREFIX", prefix).env("WINEDEBUG", "-all");
    command.env("WINEARCH", "win64").env("WINEDLLOVERRIDES", OVERRIDES);
    for name in SCREENS {
        command.env_remove(name);
    }
    command
}

fn silent(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_without_its_mark_is_made_anew_and_a_whole_one_is_kept() {
        let folder = tempfile::tempdir().expect("a folder can be made").path().join("wine");
        assert!(remove_half_made(&folder).expect("nothing is in the way"));

        fs::create_dir_all(folder.join("drive_c")).expect("a folder can be made");
        assert!(remove_half_made(&folder).expect("it can be removed"));
        assert!(!folder.exists());

        fs::create_dir_all(&folder).expect("a folder can be made");
        fs::write(folder.join(WHOLE), "another").expect("a file can be written");
        assert!(remove_half_made(&folder).expect("it can be removed"));

        fs::create_dir_all(&folder).expect("a folder can be made");
        fs::write(folder.join(WHOLE), USER).expect("a file can be written");
        assert!(!remove_half_made(&folder).expect("it is only looked at"));
        assert!(folder.exists());
    }

    #[test]
    fn a_prefix_is_held_by_one_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("lock");
        let held = lock(&path).expect("nobody holds it");
        assert!(lock(&path).is_err());
        drop(held);
        assert!(lock(&path).is_ok());
    }

    #[test]
    fn whoever_runs_programs_has_another_name_and_all_others_keep_theirs() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:\n";
        let expected = "张三:x:0:0:root:/root:/bin/sh\nada:x:1000:1000::/home/ada:\n";
        assert_eq!(renamed(accounts), expected);
    }

    #[test]
    fn programs_see_their_own_prefix_and_no_screen() {
        let command = command(WINE, Path::new("prefix"));
        let env: Vec<_> = command.get_envs().collect();
        assert!(env.contains(&("WINEPREFIX".as_ref(), Some("prefix".as_ref()))));
        for name in SCREENS {
            assert!(env.contains(&(name.as_ref(), None)), "{name} stays");
        }
    }
}
