//! The sockets of an instance that outlive its runs, and its keeper: those it listens at, and the
//! one it says things at.
//!
//! The agent holds duplicates of them and gives them to the next keeper, so that no connection that
//! waits to be taken and no word is lost with a keeper.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use stead_core::launch::{Launch, LaunchSocket};
use stead_proc::{
    AsHandle, Handle, NamedSocket, NotifySocket, OwnedHandle, Process, open_listener,
};

/// The name of the socket of `sd_notify` among the others; no port can have it.
const NOTIFY: &str = "@notify";

/// What a keeper holds for its instance.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    listening: Vec<Listening>,
    notify: Option<NotifySocket>,
}

#[derive(Debug)]
struct Listening {
    /// `ADDRESS PORT`: what it is bound to, whatever the plan calls it.
    bound: String,
    socket: OwnedHandle,
}

fn bound(socket: &LaunchSocket) -> String {
    format!("{} {}", socket.address, socket.port)
}

fn open_or_take_back(ip: IpAddr, port: u16, holders: &[&Process]) -> Result<OwnedHandle, String> {
    let error = match open_listener(ip, port) {
        Ok(socket) => return Ok(socket),
        Err(error) => error,
    };
    let address = SocketAddr::new(ip, port);
    // One that may not be looked into has nothing for us.
    let found = holders.iter().find_map(|holder| holder.listener(address).ok().flatten());
    found.ok_or_else(|| error.to_string())
}

impl Sockets {
    /// Takes those that were handed to this keeper.
    pub(crate) fn from_carried(carried: Vec<NamedSocket>) -> Self {
        let mut sockets = Self::default();
        for (name, socket) in carried {
            if name == NOTIFY {
                sockets.notify = NotifySocket::from_socket(socket).ok();
            } else {
                sockets.listening.push(Listening { bound: name, socket });
            }
        }
        sockets
    }

    /// Opens what a launch needs and is not open yet. What one of these processes of the instance
    /// listens with already is taken back from it: its keeper and the agent have both died, and
    /// the port is still taken. Says what could not be opened, and why.
    pub(crate) fn open(
        &mut self,
        folder: &Path,
        launch: &Launch,
        holders: &[&Process],
    ) -> Vec<String> {
        let mut troubles = Vec::new();
        for wanted in &launch.listen {
            let name = bound(wanted);
            if self.listening.iter().any(|it| it.bound == name) {
                continue;
            }
            let LaunchSocket { address, port, .. } = wanted;
            let opened = address
                .parse::<IpAddr>()
                .map_err(|error| error.to_string())
                .and_then(|ip| open_or_take_back(ip, *port, holders));
            match opened {
                Ok(socket) => self.listening.push(Listening { bound: name, socket }),
                Err(why) => troubles.push(format!("`{address}` port {port}: {why}")),
            }
        }
        if launch.notify && self.notify.is_none() {
            match NotifySocket::open(folder) {
                Ok(socket) => self.notify = Some(socket),
                Err(error) => troubles.push(format!("the socket it is to notify at: {error}")),
            }
        }
        troubles
    }

    /// Closes what none of these launches needs any more.
    pub(crate) fn keep_only(&mut self, launches: &[&Launch]) {
        let wanted = |name: &str| {
            launches.iter().flat_map(|launch| &launch.listen).any(|it| bound(it) == name)
        };
        self.listening.retain(|listening| wanted(&listening.bound));
        if !launches.iter().any(|launch| launch.notify) {
            self.notify = None;
        }
    }

    /// What a run is handed, in the order of its launch; or which one is missing.
    pub(crate) fn of(&self, launch: &Launch) -> Result<Vec<Handle<'_>>, String> {
        let find = |wanted: &LaunchSocket| {
            let name = bound(wanted);
            let found = self.listening.iter().find(|listening| listening.bound == name);
            let missing = || format!("`{}` port {}", wanted.address, wanted.port);
            found.map(|listening| listening.socket.as_handle()).ok_or_else(missing)
        };
        launch.listen.iter().map(find).collect()
    }

    pub(crate) fn notify(&self) -> Option<&NotifySocket> {
        self.notify.as_ref()
    }

    /// All of them by the names that [`Self::from_carried`] knows them by.
    pub(crate) fn named(&self) -> Vec<(&str, Handle<'_>)> {
        let listening = self.listening.iter().map(|it| (it.bound.as_str(), it.socket.as_handle()));
        listening.chain(self.notify.iter().map(|socket| (NOTIFY, socket.as_handle()))).collect()
    }
}
