//! Who is at the other end of a connection on this host.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};

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

fn has_open(pid: u32, link: &str) -> bool {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|fd| fs::read_link(fd).is_ok_and(|target| target.to_str() == Some(link)))
}

/// The inode of the socket at the server's end; `None` while nobody has taken the connection.
fn inode_of(server: SocketAddr, client: SocketAddr) -> io::Result<Option<u64>> {
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
            let mut child = std::process::Command::new("sleep").arg("9").spawn().unwrap();
            assert!(!holds_connection(child.id(), server, client).unwrap());
            child.kill().unwrap();
            child.wait().unwrap();
            drop(taken);
        }
    }
}
