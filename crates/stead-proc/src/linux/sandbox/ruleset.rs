//! The files that may be opened, as a Landlock ruleset.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use stead_core::sandbox::LaunchSandbox;

use super::SandboxError;

/// What programs need to run at all, and what says nothing that is not for everyone.
const READ: [&str; 13] = [
    "/bin", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/opt", "/proc", "/run",
    "/sbin", "/sys",
];
/// As above; apart, since it is by far the largest.
const READ_USR: &str = "/usr";

/// Devices that keep nothing, and memory that is shared by name.
const WRITE: [&str; 9] = [
    "/dev/full",
    "/dev/null",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/random",
    "/dev/shm",
    "/dev/tty",
    "/dev/urandom",
    "/dev/zero",
];
const TMP: [&str; 2] = ["/tmp", "/var/tmp"];

// Rights, as `linux/landlock.h` numbers them.
const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// Everything that the first version knew.
const FIRST: u64 = (1 << 13) - 1;
/// What can be done to a file that is no folder.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

/// Signals stay among processes of the same sandbox (version 6, Linux 6.12).
const SCOPE_SIGNAL: u64 = 1 << 1;

const CREATE_VERSION: u32 = 1;
const RULE_PATH_BENEATH: i32 = 1;

#[repr(C)]
struct RulesetAttr {
    handled_fs: u64,
    handled_net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: RawFd,
}

/// The version of Landlock that the kernel has; 0 for none.
fn version() -> i64 {
    #[expect(unsafe_code, reason = "Landlock has no wrapper in the C library")]
    // SAFETY: without attributes the call only tells the version.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, CREATE_VERSION)
    };
    version.max(0)
}

/// Prepares the ruleset; `None` where nothing is to be held or can be.
pub(super) fn prepare(
    wanted: &LaunchSandbox,
    program: &Path,
    streams: &[&Path],
    unheld: &mut Vec<String>,
) -> Result<Option<OwnedFd>, SandboxError> {
    let version = version();
    let files = wanted.files.as_ref();
    if version == 0 {
        if files.is_some() {
            unheld.push("it may open whatever its account may: this kernel has no Landlock".into());
        }
        return Ok(None);
    }
    if version < 6 && !wanted.any_signals {
        let why = "this kernel is older than 6.12";
        unheld.push(format!("it may signal whatever its account may: {why}"));
    }
    let mut handled = FIRST;
    for (since, right) in [(2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)] {
        handled |= if version >= since { right } else { 0 };
    }
    let scoped = if version >= 6 && !wanted.any_signals { SCOPE_SIGNAL } else { 0 };
    let handled_fs = if files.is_some() { handled } else { 0 };
    if handled_fs == 0 && scoped == 0 {
        return Ok(None);
    }
    let ruleset = create(&RulesetAttr { handled_fs, handled_net: 0, scoped }, version);
    let ruleset = Ruleset { fd: ruleset.map_err(SandboxError::Files)?, handled: handled_fs };
    let Some(files) = files else { return Ok(Some(ruleset.fd)) };
    let read = EXECUTE | READ_FILE | READ_DIR;
    for path in READ.iter().chain([&READ_USR]) {
        ruleset.allow_if_there(Path::new(path), read | IOCTL_DEV)?;
    }
    for path in WRITE {
        ruleset.allow_if_there(Path::new(path), handled)?;
    }
    if wanted.tmp.is_none()
        && files.write.iter().all(|path| !TMP.iter().any(|tmp| path.starts_with(tmp)))
    {
        for path in TMP {
            ruleset.allow_if_there(Path::new(path), handled)?;
        }
    }
    ruleset.allow_if_there(program, read)?;
    for path in streams {
        ruleset.allow_if_there(path, READ_FILE | WRITE_FILE | TRUNCATE)?;
    }
    for path in &files.read {
        ruleset.allow_if_there(Path::new(path), read)?;
    }
    for path in &files.write {
        ruleset.allow_if_there(Path::new(path), handled)?;
    }
    Ok(Some(ruleset.fd))
}

fn create(attr: &RulesetAttr, version: i64) -> io::Result<OwnedFd> {
    // Older kernels take no fields that they do not know.
    let len = match version {
        ..4 => 8,
        4 | 5 => 16,
        _ => size_of::<RulesetAttr>(),
    };
    #[expect(unsafe_code, reason = "Landlock has no wrapper in the C library")]
    // SAFETY: the attributes are as long as the kernel is told, at least.
    let fd = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, attr, len, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    #[expect(unsafe_code, reason = "the kernel has just made it, for us alone")]
    // SAFETY: nobody else has this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

struct Ruleset {
    fd: OwnedFd,
    handled: u64,
}

impl Ruleset {
    /// What is not there cannot be opened anyway.
    fn allow_if_there(&self, path: &Path, rights: u64) -> Result<(), SandboxError> {
        let failed = |source| SandboxError::Path { path: path.display().to_string(), source };
        let opened = match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
            Ok(opened) => opened,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(failed(error.into())),
        };
        let stat = rustix::fs::fstat(&opened).map_err(|error| failed(error.into()))?;
        let is_folder = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
        let rights = rights & self.handled & if is_folder { u64::MAX } else { OF_FILES };
        let rule = PathBeneath { allowed: rights, parent: opened.as_raw_fd() };
        let ruleset = self.fd.as_raw_fd();
        #[expect(unsafe_code, reason = "Landlock has no wrapper in the C library")]
        // SAFETY: both descriptors are open and the rule has the form that its kind asks for.
        let added = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                ruleset,
                RULE_PATH_BENEATH,
                &raw const rule,
                0,
            )
        };
        if added == 0 { Ok(()) } else { Err(failed(io::Error::last_os_error())) }
    }
}
