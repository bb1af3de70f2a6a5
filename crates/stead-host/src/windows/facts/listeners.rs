//! Ports that are listened at, with who does it, and ports that the system gives to nobody.

#![expect(unsafe_code, reason = "tables of connections have no safe form")]

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use stead_core::check::covers;
use stead_proc::Listed;
use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, NO_ERROR};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GetExtendedTcpTable, TCP_TABLE_OWNER_PID_LISTENER,
};
use windows_sys::Win32::Networking::WinSock::{
    AF_INET, AF_INET6, INVALID_SOCKET, IPPROTO_TCP, SOCK_STREAM, SOCKADDR_IN, WSADATA, WSAEACCES,
    WSAGetLastError, WSAStartup, bind, closesocket, socket,
};

use super::Told;

/// A table that grew each time it was read is given up.
const READS_MAX: u32 = 8;

/// So many processes above one are looked at.
const ABOVE_MAX: u32 = 64;

/// Programs of stead's, by which it is known where who asks may not see their paths.
const KEPT_BY: [&str; 2] = ["stead-keeper.exe", "stead.exe"];

/// Folders of the root that have stead's own programs.
const KITS: [&str; 2] = ["programs", "kit"];

/// A socket that listens.
struct Listening {
    port: u16,
    is_everywhere: bool,
    pid: u32,
}

pub(super) fn tell(told: &mut Told<'_>, root: &Path, ports: &[u16]) -> io::Result<()> {
    let all = stead_proc::processes();
    let root = stead_proc::one_path(root).unwrap_or_else(|_| root.to_owned());
    let mut taken = BTreeSet::new();
    for family in [&V4, &V6] {
        let listening = family.listening().unwrap_or_default();
        for Listening { port, is_everywhere, pid } in listening {
            if !ports.contains(&port) {
                continue;
            }
            taken.insert(port);
            let place = if is_everywhere { "any" } else { "one" };
            let listed = all.iter().find(|it| it.pid == pid);
            let holder = match listed {
                None => "unknown",
                Some(_) if is_ours(pid, &all, &root) => "own",
                Some(_) => "other",
            };
            let program = listed.map_or("-", |it| it.program.as_str());
            told.say("listen", format_args!("{port} {place} {holder} {pid} {program}"))?;
        }
    }
    for port in ports.iter().filter(|port| !taken.contains(port) && is_refused(**port)) {
        told.say("windows.refused_port", port)?;
    }
    Ok(())
}

/// Whether a program of this root is it, or an ancestor of it.
fn is_ours(pid: u32, all: &[Listed], root: &Path) -> bool {
    let mut above = pid;
    for _ in 0..ABOVE_MAX {
        let Some(listed) = all.iter().find(|it| it.pid == above) else { return false };
        let is_of_kit = match stead_proc::program_of(above) {
            Ok(program) => {
                let program = program.to_string_lossy().into_owned();
                let kits = KITS.map(|kit| root.join(kit).to_string_lossy().into_owned());
                kits.iter().any(|kit| covers(kit, &program))
            }
            Err(_) => KEPT_BY.iter().any(|name| listed.program.eq_ignore_ascii_case(name)),
        };
        if is_of_kit {
            return true;
        }
        let (Ok(own), Ok(parent)) =
            (stead_proc::start_ticks(above), stead_proc::start_ticks(listed.parent))
        else {
            return false;
        };
        // A pid may name a parent that ended long before: nothing begins before its parent.
        if parent > own {
            return false;
        }
        above = listed.parent;
    }
    false
}

/// A version of IP, and where the rows of its table have what, in numbers of four bytes.
struct Family {
    number: u16,
    row_len: usize,
    /// As many as its addresses have.
    address_len: usize,
    port_at: usize,
    pid_at: usize,
}

const V4: Family = Family { number: AF_INET, row_len: 6, address_len: 1, port_at: 2, pid_at: 5 };
const V6: Family = Family { number: AF_INET6, row_len: 14, address_len: 4, port_at: 5, pid_at: 13 };

impl Family {
    fn listening(&self) -> io::Result<Vec<Listening>> {
        let mut memory: Vec<u32> = Vec::new();
        for _ in 0..READS_MAX {
            let mut len = u32::try_from(size_of_val(memory.as_slice())).unwrap_or(u32::MAX);
            let (into, family) = (memory.as_mut_ptr().cast(), u32::from(self.number));
            // SAFETY: the buffer has so many bytes.
            let answer = unsafe {
                let rows = TCP_TABLE_OWNER_PID_LISTENER;
                GetExtendedTcpTable(into, &raw mut len, 0, family, rows, 0)
            };
            match answer {
                NO_ERROR => return Ok(self.rows(&memory)),
                ERROR_INSUFFICIENT_BUFFER => memory = vec![0; len.div_ceil(4) as usize + 64],
                error => return Err(io::Error::from_raw_os_error(error as i32)),
            }
        }
        Err(io::Error::other("the table of listeners grows faster than it can be read"))
    }

    /// A count, and then so many rows. Those of IPv4 begin with a state, those of IPv6 with the
    /// address.
    fn rows(&self, memory: &[u32]) -> Vec<Listening> {
        let Some((count, numbers)) = memory.split_first() else { return Vec::new() };
        let address_at = if self.number == AF_INET { 1 } else { 0 };
        let rows = numbers.chunks_exact(self.row_len).take(*count as usize);
        rows.map(|row| Listening {
            port: u16::from_be((row[self.port_at] & 0xffff) as u16),
            is_everywhere: row[address_at..][..self.address_len].iter().all(|it| *it == 0),
            pid: row[self.pid_at],
        })
        .collect()
    }
}

/// Whether the system gives a port that nobody has to nobody. It is asked for and given back, and
/// never listened at.
fn is_refused(port: u16) -> bool {
    let address =
        SOCKADDR_IN { sin_family: AF_INET, sin_port: port.to_be(), ..SOCKADDR_IN::default() };
    let mut data = WSADATA::default();
    // SAFETY: the data is ours to write, the address is as long as is said, and the socket is
    // closed once, here.
    unsafe {
        if WSAStartup(0x0202, &raw mut data) != 0 {
            return false;
        }
        let own = socket(i32::from(AF_INET), SOCK_STREAM, IPPROTO_TCP);
        if own == INVALID_SOCKET {
            return false;
        }
        let len = size_of::<SOCKADDR_IN>() as i32;
        let answer = bind(own, (&raw const address).cast(), len);
        let is_refused = answer != 0 && WSAGetLastError() == WSAEACCES;
        closesocket(own);
        is_refused
    }
}
