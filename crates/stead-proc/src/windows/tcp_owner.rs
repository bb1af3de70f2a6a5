//! Who is at the other end of a connection on this host, and who listens.

#![expect(unsafe_code, reason = "the table of connections has no safe form")]

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

use windows_sys::Win32::Foundation::{ERROR_INSUFFICIENT_BUFFER, NO_ERROR};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GetExtendedTcpTable, MIB_TCP_STATE_LISTEN, MIB_TCPROW_OWNER_PID, TCP_TABLE_OWNER_PID_ALL,
};
use windows_sys::Win32::Networking::WinSock::AF_INET;

use super::place::processes;

/// A table that grew each time it was read is given up.
const READS_MAX: u32 = 8;

/// Whether a process or a descendant of it holds the server's end of a TCP connection between these
/// two addresses of this host.
pub fn holds_connection(pid: u32, server: SocketAddr, client: SocketAddr) -> io::Result<bool> {
    let ends = |row: &MIB_TCPROW_OWNER_PID| {
        let local = address(row.dwLocalAddr, row.dwLocalPort);
        local == server && address(row.dwRemoteAddr, row.dwRemotePort) == client
    };
    let Some(owner) = table()?.iter().find(|row| ends(row)).map(|row| row.dwOwningPid) else {
        return Ok(false);
    };
    let all = processes();
    let mut inside = BTreeSet::from([pid]);
    loop {
        let new = all.iter().filter(|it| inside.contains(&it.parent) && !inside.contains(&it.pid));
        let new: Vec<u32> = new.map(|it| it.pid).collect();
        if new.is_empty() {
            break;
        }
        inside.extend(new);
    }
    Ok(inside.contains(&owner))
}

/// A process that listens at a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    pub pid: u32,
    pub program: String,
}

/// Who listens at a TCP port on all addresses, if the system says that.
pub fn listener_everywhere(port: u16) -> io::Result<Option<Listener>> {
    let everywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
    let listens = |row: &&MIB_TCPROW_OWNER_PID| {
        let state = row.dwState == MIB_TCP_STATE_LISTEN as u32;
        state && address(row.dwLocalAddr, row.dwLocalPort) == everywhere
    };
    let Some(pid) = table()?.iter().find(listens).map(|row| row.dwOwningPid) else {
        return Ok(None);
    };
    let program = processes().into_iter().find(|it| it.pid == pid).map(|it| it.program);
    Ok(Some(Listener { pid, program: program.unwrap_or_default() }))
}

/// As the table has them: the address by its bytes, the port in the lower two, both as sent.
fn address(address: u32, port: u32) -> SocketAddr {
    let port = u16::from_be((port & 0xffff) as u16);
    SocketAddrV4::new(Ipv4Addr::from(address.to_ne_bytes()), port).into()
}

/// All TCP connections of IPv4, and what listens.
fn table() -> io::Result<Vec<MIB_TCPROW_OWNER_PID>> {
    let mut memory: Vec<u32> = Vec::new();
    for _ in 0..READS_MAX {
        let mut len = u32::try_from(size_of_val(memory.as_slice())).unwrap_or(u32::MAX);
        let into = memory.as_mut_ptr().cast();
        let family = u32::from(AF_INET);
        // SAFETY: the buffer has so many bytes.
        let answer = unsafe {
            GetExtendedTcpTable(into, &raw mut len, 0, family, TCP_TABLE_OWNER_PID_ALL, 0)
        };
        match answer {
            NO_ERROR => return Ok(rows(&memory)),
            ERROR_INSUFFICIENT_BUFFER => memory = vec![0; len.div_ceil(4) as usize + 64],
            error => return Err(io::Error::from_raw_os_error(error as i32)),
        }
    }
    Err(io::Error::other("the table of connections grows faster than it can be read"))
}

/// A count, and then so many rows of six numbers.
fn rows(memory: &[u32]) -> Vec<MIB_TCPROW_OWNER_PID> {
    const NUMBERS: usize = 6;
    let Some((count, numbers)) = memory.split_first() else { return Vec::new() };
    let rows = numbers.chunks_exact(NUMBERS).take(*count as usize);
    rows.map(|row| MIB_TCPROW_OWNER_PID {
        dwState: row[0],
        dwLocalAddr: row[1],
        dwLocalPort: row[2],
        dwRemoteAddr: row[3],
        dwRemotePort: row[4],
        dwOwningPid: row[5],
    })
    .collect()
}
