//! Tries what no service should be able to do, and says of each try what came of it: one line
//! `TRY ERRNO`, where 0 is that it was done. Nothing it does harms the host: calls that would be
//! dangerous get arguments that are refused for another reason than for lack of rights.
//!
//! Tries: `read=PATH`, `list=PATH`, `write=PATH`, `chown=PATH`, `seize=PID`, `peek=PID`,
//! `signal=PID`, `bind=PORT`, `mount=PATH`, `module`, `reboot`, `unshare`, `raw-socket`,
//! `hostname`, `clock`, `keyring`, `privileges`, `gain=CAPABILITY` by its number. Sleeps
//! afterwards.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::time::Duration;

use libc::{c_long, syscall};

pub(crate) fn try_all(tries: &[&str]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for tried in tries {
        let errno = match attempt(tried) {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(-1),
        };
        writeln!(out, "{tried} {errno}")?;
    }
    writeln!(out, "all tried")?;
    out.flush()?;
    drop(out);
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn attempt(tried: &str) -> io::Result<()> {
    let (kind, value) = tried.split_once('=').unwrap_or((tried, ""));
    let number = || value.parse::<c_long>().unwrap_or(-1);
    match kind {
        "read" => fs::read(value).map(drop),
        "list" => fs::read_dir(value).map(drop),
        "write" => OpenOptions::new().create(true).append(true).open(value).map(drop),
        "chown" => std::os::unix::fs::chown(value, Some(12345), None),
        "bind" => {
            let port = u16::try_from(number()).unwrap_or(0);
            TcpListener::bind(("127.0.0.1", port)).map(drop)
        }
        "gain" => gain(u32::try_from(number()).unwrap_or(0)),
        "mount" => mount(value),
        "privileges" => privileges(),
        "raw-socket" => {
            told(call(libc::SYS_socket, [libc::AF_INET.into(), libc::SOCK_RAW.into(), 1, 0, 0]))
        }
        // SEIZE does not stop it, and ends with us.
        "seize" => told(call(libc::SYS_ptrace, [0x4206, number(), 0, 0, 0])),
        // Nothing is read: there is nowhere to read it to.
        "peek" => told(call(libc::SYS_process_vm_readv, [number(), 0, 0, 0, 0])),
        "signal" => told(call(libc::SYS_kill, [number(), 0, 0, 0, 0])),
        "module" => told(call(libc::SYS_init_module, [0, 0, 0, 0, 0])),
        // The wrong magic numbers.
        "reboot" => told(call(libc::SYS_reboot, [1, 2, 3, 0, 0])),
        "unshare" => told(call(libc::SYS_unshare, [libc::CLONE_NEWNS.into(), 0, 0, 0, 0])),
        // A name of no length that there could be.
        "hostname" => told(call(libc::SYS_sethostname, [0, 1 << 20, 0, 0, 0])),
        // To nothing: nothing is set.
        "clock" => told(call(libc::SYS_settimeofday, [0, 0, 0, 0, 0])),
        // The number of one's own keyring.
        "keyring" => told(call(libc::SYS_keyctl, [0, -2, 0, 0, 0])),
        _ => Err(io::Error::from_raw_os_error(libc::ENOSYS)),
    }
}

fn call(number: c_long, [a, b, c, d, e]: [c_long; 5]) -> c_long {
    // The sixth is a set of flags, where there is one.
    const NO_FLAGS: c_long = 0;
    #[expect(unsafe_code, reason = "what is tried has no safe form")]
    // SAFETY: every pointer among the arguments is null, which the kernel refuses or ignores.
    unsafe {
        syscall(number, a, b, c, d, e, NO_FLAGS)
    }
}

fn told(result: c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn mount(target: &str) -> io::Result<()> {
    let target = CString::new(target)?;
    #[expect(unsafe_code, reason = "what is tried has no safe form")]
    // SAFETY: the texts are there for as long as the call takes.
    let result = unsafe {
        libc::mount(c"none".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null())
    };
    told(result.into())
}

/// Gives itself a capability, and asks whether it has it.
fn gain(capability: u32) -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`, for this process.
    const HEADER: [u32; 2] = [0x2008_0522, 0];
    /// Effective, permitted, inheritable, for each 32 capabilities.
    type Sets = [[u32; 3]; 2];
    let (mut header, mut sets): ([u32; 2], Sets) = (HEADER, [[0; 3]; 2]);
    #[expect(unsafe_code, reason = "what is tried has no safe form")]
    // SAFETY: header and sets are as long as this version of the call has them.
    let result = unsafe { syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr()) };
    told(result)?;
    let word = sets.get_mut(capability as usize / 32).ok_or(io::ErrorKind::InvalidInput)?;
    let bit = 1 << (capability % 32);
    (word[0], word[1]) = (word[0] | bit, word[1] | bit);
    header = HEADER;
    #[expect(unsafe_code, reason = "what is tried has no safe form")]
    // SAFETY: as above; the kernel only reads them.
    let result = unsafe { syscall(libc::SYS_capset, header.as_mut_ptr(), sets.as_ptr()) };
    told(result)
}

/// Whether a set-user-id program would get what it is set to.
fn privileges() -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    drop(File::open("/proc/self/status")?);
    if status.lines().any(|line| line == "NoNewPrivs:\t1") {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    Ok(())
}
