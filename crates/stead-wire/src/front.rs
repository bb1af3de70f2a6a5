//! What is said over the control socket of a front: one JSON value per line, both ways.
//!
//! A front answers each request with one reply, in order, and says nothing by itself.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The longest line either side takes, in bytes: [`BACKENDS_MAX`] addresses with room to spare.
pub const LINE_LEN_MAX: usize = 16 << 10;

/// The most backends that a front chooses from.
pub const BACKENDS_MAX: usize = 256;

/// The format of the file in which a front keeps its set, see [`crate::file`]; its body is a
/// [`Set`].
pub const SET_FORMAT: &str = "stead-front-set/1";

/// What is asked of a front.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Request {
    Report,
    /// New connections go to these alone; `Done` says that it is so.
    Set(Set),
}

/// The backends that new connections go to. None is a set, too: then clients wait.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Set {
    pub backends: Vec<SocketAddr>,
}

/// What a front says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "say")]
pub enum Reply {
    Done,
    Refused { why: String },
    Report(Report),
}

/// Where connections are now, and what became of them since this front began.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Report {
    /// The set, in the order in which it was given.
    pub backends: Vec<Backend>,
    /// Left the set and still have connections.
    pub draining: Vec<Backend>,
    /// Clients that no backend has taken so far.
    pub waiting: u64,
    /// Clients that came.
    pub accepted: u64,
    /// Clients that were closed because no backend took them.
    pub refused: u64,
    /// Clients that were joined to a backend.
    pub joined: u64,
    /// Connections that a backend which had left the set ended while an answer was due.
    #[serde(default)]
    pub cut: u64,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Backend {
    pub address: SocketAddr,
    /// Those that are being made are among them.
    pub connections: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_documented() {
        let set = r#"{"do":"set","backends":["127.0.0.1:8101","[::1]:8102"]}"#;
        let request: Request = serde_json::from_str(set).unwrap();
        assert_eq!(serde_json::to_string(&request).unwrap(), set);
        let line = serde_json::from_str::<Request>(r#"{"do":"report"}"#).unwrap();
        assert_eq!(line, Request::Report);
        let one = Backend { address: "127.0.0.1:8101".parse().unwrap(), connections: 2 };
        let report = Report { backends: vec![one], joined: 3, ..Report::default() };
        assert_eq!(
            serde_json::to_string(&Reply::Report(report)).unwrap(),
            "{\"say\":\"report\",\
             \"backends\":[{\"address\":\"127.0.0.1:8101\",\"connections\":2}],\
             \"draining\":[],\"waiting\":0,\"accepted\":0,\"refused\":0,\"joined\":3,\"cut\":0}"
        );
        assert_eq!(serde_json::to_string(&Reply::Done).unwrap(), r#"{"say":"done"}"#);
    }

    #[test]
    fn the_largest_set_fits_into_a_line() {
        let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535";
        let longest: SocketAddr = longest.parse().unwrap();
        let request = Request::Set(Set { backends: vec![longest; BACKENDS_MAX] });
        assert!(serde_json::to_vec(&request).unwrap().len() < LINE_LEN_MAX);
    }
}
