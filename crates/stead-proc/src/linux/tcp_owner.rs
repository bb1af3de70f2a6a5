//! Who is at the other end of a connection on this host, and who listens.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, socket_with,
};

use super::procfs::{self, Stat};

/// Whether a process, one of its session or a descendant of it holds the server's end of a TCP
/// connection between these two addresses of this host.
pub fn holds_connection(pid: u32, server: SocketAddr, client: SocketAddr) -> io::Result<bool> {
    let Some(inode) = inode_of(server, client)? else { return Ok(false) };
    let link = format!("socket:[{inode}]");
    let all = procfs::all()?;
    let mut inside: BTreeSet<u32> = BTreeSet::from([pid]);
    loop {
        let new = |stat: &&Stat| {
            !inside.contains(&stat.pid) && (stat.session == pid || inside.contains(&stat.parent))
        };
        let new: Vec<u32> = all.iter().filter(new).map(|stat| stat.pid).collect();
        if new.is_empty() {
            break;
        }
        inside.extend(new);
    }
    Ok(inside.into_iter().any(|pid| has_open(pid, &link)))
}

/// A process that listens at a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    pub pid: u32,
    pub program: String,
}

/// Who listens at a TCP port on all addresses, if that is a process that we may look at.
pub fn listener_everywhere(port: u16) -> io::Result<Option<Listener>> {
    let inodes = inodes_listening(port)?;
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    if links.is_empty() {
        return Ok(None);
    }
    let holds = |stat: &&Stat| links.iter().any(|link| has_open(stat.pid, link));
    let all = procfs::all()?;
    Ok(all.iter().find(holds).map(|stat| {
        let program = fs::read_to_string(format!("/proc/{}/comm", stat.pid)).unwrap_or_default();
        Listener { pid: stat.pid, program: program.trim().to_owned() }
    }))
}

/// The state of a socket that listens, as the kernel's tables show it.
const LISTENS: &str = "0A";

fn inodes_listening(port: u16) -> io::Result<Vec<u64>> {
    let port = format!("{port:04X}");
    let mut inodes = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = match fs::read_to_string(table) {
            Ok(text) => text,
            // Not every machine has the newer family.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, local, _, LISTENS, ..] = fields[..] else { continue };
            let Some((address, its_port)) = local.split_once(':') else { continue };
            if its_port == port && address.bytes().all(|digit| digit == b'0') {
                inodes.extend(fields.get(9).and_then(|inode| inode.parse::<u64>().ok()));
            }
        }
    }
    Ok(inodes)
}

fn has_open(pid: u32, link: &str) -> bool {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|fd| fs::read_link(fd).is_ok_and(|target| target.to_str() == Some(link)))
}

/// The inode of the socket at the server's end; `None` while nobody has taken the connection.
///
/// The kernel is asked for this one connection. Its table of all of them would do, too, but grows
/// with what the whole host does: on a busy one it takes longer to read than a probe may wait.
fn inode_of(server: SocketAddr, client: SocketAddr) -> io::Result<Option<u64>> {
    match inode_by_netlink(server, client) {
        Some(inode) => Ok((inode != 0).then_some(inode)),
        None => inode_in_table(server, client),
    }
}

/// `None` where the kernel does not know the connection or cannot be asked this way.
fn inode_by_netlink(server: SocketAddr, client: SocketAddr) -> Option<u64> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    );
    let socket = socket.ok()?;
    rustix::net::send(&socket, &question(server, client), SendFlags::empty()).ok()?;
    let mut answer = [0; ANSWER_LEN_MAX];
    // It has been answered when `send` returns.
    let (len, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::DONTWAIT).ok()?;
    inode_in_answer(answer.get(..len)?)
}

/// As `linux/netlink.h`, `linux/sock_diag.h` and `linux/inet_diag.h` have it.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const TCP_LISTEN: u8 = 10;
const QUESTION_LEN: u32 = 72;
const ANSWER_LEN_MAX: usize = 1024;

/// A header of 16 bytes, `inet_diag_req_v2`, and in that the two ends, seen from the server's.
fn question(server: SocketAddr, client: SocketAddr) -> Vec<u8> {
    let family = if server.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut bytes = Vec::with_capacity(QUESTION_LEN as usize);
    bytes.extend(QUESTION_LEN.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    // In whatever state, on whatever interface, without a cookie.
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(server.port().to_be_bytes());
    bytes.extend(client.port().to_be_bytes());
    for address in [server, client] {
        let mut words = [0; 16];
        match address.ip() {
            IpAddr::V4(ip) => words[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => words = ip.octets(),
        }
        bytes.extend(words);
    }
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([u8::MAX; 8]);
    bytes
}

/// The inode in an `inet_diag_msg`, 0 for a connection that nobody has taken.
fn inode_in_answer(answer: &[u8]) -> Option<u64> {
    let two = |at: usize| Some([*answer.get(at)?, *answer.get(at + 1)?]);
    let (kind, state) = (u16::from_ne_bytes(two(4)?), *answer.get(17)?);
    // Where there is no connection, who waits for one is what is found.
    if kind != SOCK_DIAG_BY_FAMILY || state == TCP_LISTEN {
        return None;
    }
    let ([a, b], [c, d]) = (two(84)?, two(86)?);
    Some(u32::from_ne_bytes([a, b, c, d]).into())
}

fn inode_in_table(server: SocketAddr, client: SocketAddr) -> io::Result<Option<u64>> {
    let table = if server.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let [server, client] = [server, client].map(shown);
    // A socket that takes both families shows addresses of the older one in the newer one's table.
    for table in [table, "/proc/net/tcp6"] {
        let text = fs::read_to_string(table)?;
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, local, remote, ..] = fields[..] else { continue };
            if local.ends_with(&server) && remote.ends_with(&client) {
                let inode = fields.get(9).and_then(|inode| inode.parse().ok());
                return Ok(inode.filter(|inode| *inode != 0));
            }
        }
    }
    Ok(None)
}

/// An address as the kernel's tables show it: each word of the address in the order of this
/// machine, the port as a number.
fn shown(address: SocketAddr) -> String {
    let words: Vec<u8> = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let words = words.chunks_exact(4).map(|word| {
        let word = [word[0], word[1], word[2], word[3]];
        format!("{:08X}", u32::from_ne_bytes(word))
    });
    format!("{}:{:04X}", words.collect::<String>(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn who_listens_on_all_addresses_is_named() {
        let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
        let loopback = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let found = listener_everywhere(port(&everywhere)).unwrap().unwrap();
        assert_eq!(found.pid, std::process::id());
        assert!(!found.program.is_empty());
        assert_eq!(listener_everywhere(port(&loopback)).unwrap(), None);
    }

    #[test]
    fn the_end_of_a_connection_is_its_holders_once_it_was_taken() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // Not every machine has the newer family.
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let server = listener.local_addr().unwrap();
            let stream = TcpStream::connect(server).unwrap();
            let client = stream.local_addr().unwrap();
            let own = std::process::id();
            assert!(!holds_connection(own, server, client).unwrap(), "nobody has taken it");
            let taken = listener.accept().unwrap();
            assert!(holds_connection(own, server, client).unwrap());
            // However it is asked.
            let asked = inode_by_netlink(server, client);
            assert_eq!(asked, inode_in_table(server, client).unwrap());
            assert!(asked.is_some_and(|inode| inode > 0));
            let mut child = std::process::Command::new("sleep").arg("9").spawn().unwrap();
            assert!(!holds_connection(child.id(), server, client).unwrap());
            child.kill().unwrap();
            child.wait().unwrap();
            drop((taken, stream));
            assert_eq!(inode_by_netlink(server, "127.0.0.1:1".parse().unwrap()), None);
        }
    }
}
