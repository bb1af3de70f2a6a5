//! What a process may do where it is now. Each asks the kernel and changes nothing.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

/// Asks `execveat` whether it would, without doing it (Linux 6.14).
const AT_EXECVE_CHECK: libc::c_int = 0x10000;

/// Whether this process may run a file as its program: by the file's mode, by how its file system
/// is mounted, by the sandbox.
pub fn may_execute(path: &Path) -> io::Result<()> {
    match execute_check(path) {
        // A kernel that does not know the question, or a filter that does not let it through.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => (),
        known => return known,
    }
    access(path, Access::EXEC_OK)?;
    // A sandbox that keeps a file from being run keeps it from being read, too, though its mode
    // lets both through.
    if access(path, Access::READ_OK).is_ok() { File::open(path).map(drop) } else { Ok(()) }
}

fn execute_check(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let argv = [path.as_ptr(), std::ptr::null()];
    let env: [*const libc::c_char; 1] = [std::ptr::null()];
    #[expect(unsafe_code, reason = "the question has no wrapper in the C library")]
    // SAFETY: text and lists end with a zero; with this flag the call returns in any case, and a
    // kernel without it refuses it.
    let asked = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            libc::AT_FDCWD,
            path.as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            AT_EXECVE_CHECK,
        )
    };
    if asked == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Whether the mode of a file or folder lets this process read it; no sandbox is asked.
pub fn mode_lets_read(path: &Path) -> bool {
    access(path, Access::READ_OK).is_ok()
}

/// As [`mode_lets_read`], for writing.
pub fn mode_lets_write(path: &Path) -> bool {
    access(path, Access::WRITE_OK).is_ok()
}

/// Whether this process may take a TCP port on all addresses; it is given back at once, and nobody
/// could connect to it meanwhile.
pub fn may_take_port(port: u16) -> io::Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    Ok(bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?)
}

/// The process that started this one.
pub fn parent_pid() -> u32 {
    std::os::unix::process::parent_id()
}

/// The capabilities that processes of this one may ever have, one bit each.
pub fn capability_bounds() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let bounds = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let bounds = bounds.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    bounds.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_run_and_what_is_none_may_not() {
        may_execute(Path::new("/bin/sh")).unwrap();
        let kind = |path| may_execute(Path::new(path)).unwrap_err().kind();
        assert_eq!(kind("/bin/no-such-program"), io::ErrorKind::NotFound);
        assert_eq!(kind("/etc/passwd"), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_port_that_somebody_listens_at_cannot_be_taken() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(may_take_port(port).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        may_take_port(port).unwrap();
        may_take_port(port).unwrap();
    }
}
