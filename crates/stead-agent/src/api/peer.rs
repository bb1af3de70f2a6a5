//! Who is at the other end of the socket, and what they may do.

use axum::http::Method;
use stead_local::Stream;

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
    /// Asks the system who has connected to a socket of this group.
    pub(super) fn of(stream: &Stream, socket_group: Option<u32>) -> Self {
        match stream.peer() {
            Ok(stead_local::Peer::Owner) => Self::Owner,
            Ok(stead_local::Peer::User { uid, groups }) => {
                if uid == 0 || uid == stead_proc::own_uid() {
                    Self::Owner
                } else if socket_group.is_some_and(|group| groups.contains(&group)) {
                    Self::Reader
                } else {
                    Self::Stranger { uid: Some(uid) }
                }
            }
            Err(_) => Self::Stranger { uid: None },
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
