//! Who is at the other end of the socket, and what they may do.

use std::fs;

use axum::http::Method;
use tokio::net::UnixStream;

/// What someone may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Peer {
    /// Root, or the user the agent runs as: everything.
    Owner,
    /// A member of the socket's group: look.
    Reader,
    Stranger {
        uid: Option<u32>,
    },
}

impl Peer {
    /// Asks the kernel who has connected.
    pub(super) fn of(stream: &UnixStream, socket_gid: u32) -> Self {
        let Ok(credentials) = stream.peer_cred() else { return Self::Stranger { uid: None } };
        let (uid, gid) = (credentials.uid(), credentials.gid());
        let groups = || credentials.pid().map(groups_of).unwrap_or_default();
        if uid == 0 || uid == stead_proc::own_uid() {
            Self::Owner
        } else if gid == socket_gid || groups().contains(&socket_gid) {
            Self::Reader
        } else {
            Self::Stranger { uid: Some(uid) }
        }
    }

    pub(super) fn may(self, method: &Method) -> bool {
        match self {
            Self::Owner => true,
            Self::Reader => method == Method::GET,
            Self::Stranger { .. } => false,
        }
    }
}

/// The groups of a process beyond its first one; none when it is gone.
fn groups_of(pid: i32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap_or_default();
    line.split_ascii_whitespace().filter_map(|gid| gid.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_do_what() {
        let cases = [
            (Peer::Owner, true, true),
            (Peer::Reader, true, false),
            (Peer::Stranger { uid: Some(7) }, false, false),
        ];
        for (peer, may_get, may_put) in cases {
            assert_eq!((peer.may(&Method::GET), peer.may(&Method::PUT)), (may_get, may_put));
            assert_eq!(peer.may(&Method::POST), may_put);
        }
    }
}
