//! What stands between clients and backend: nothing, HAProxy, or the front.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stead_wire::front::{Reply, Request, Set};

use crate::bench::clock::wait_for;
use crate::bench::procfs::Process;
use crate::process;

const START_LIMIT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Subject {
    Direct,
    Haproxy,
    /// Moves bytes without copying them where it can.
    HaproxySplice,
    Stead,
}

impl Subject {
    pub(super) const ALL: [Self; 4] =
        [Self::Direct, Self::Haproxy, Self::HaproxySplice, Self::Stead];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Haproxy => "haproxy",
            Self::HaproxySplice => "haproxy, splice-auto",
            Self::Stead => "stead-front",
        }
    }

    pub(super) fn is_there(self) -> bool {
        match self {
            Self::Direct | Self::Stead => true,
            Self::Haproxy | Self::HaproxySplice => process::find("haproxy").is_some(),
        }
    }

    /// Starts it in front of a backend.
    pub(super) fn start(self, folder: &Path, front: &Path, origin: SocketAddr) -> Result<Standing> {
        let address = match self {
            Self::Direct => origin,
            Self::Haproxy | Self::HaproxySplice | Self::Stead => free_address()?,
        };
        let child = match self {
            Self::Direct => None,
            Self::Haproxy => Some(haproxy(folder, address, origin, "")?),
            Self::HaproxySplice => Some(haproxy(folder, address, origin, "option splice-auto")?),
            Self::Stead => Some(stead(folder, front, address, origin)?),
        };
        let standing = Standing { address, child };
        wait_for(self.name(), START_LIMIT, || Ok(TcpStream::connect(address).ok()))?;
        Ok(standing)
    }
}

/// A running subject; it ends when it is dropped.
pub(super) struct Standing {
    pub(super) address: SocketAddr,
    child: Option<Child>,
}

impl Standing {
    fn process(&self) -> Option<Process> {
        Process::of(i32::try_from(self.child.as_ref()?.id()).ok()?)
    }

    /// What it has spent so far.
    pub(super) fn cpu_seconds(&self) -> Option<f64> {
        self.process()?.cpu_seconds()
    }

    pub(super) fn pss_bytes(&self) -> Option<u64> {
        self.process()?.pss_bytes()
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.child.iter_mut().for_each(end);
    }
}

/// A backend in a process of its own; it ends when this is dropped.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    child: Child,
}

impl Origin {
    pub(super) fn start(load: &Path) -> Result<Self> {
        let mut command = Command::new(load);
        command.arg("origin").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the backend")?;
        let line = first_line(&mut child)?;
        let address = line.parse().with_context(|| format!("`{line}` is no address"))?;
        Ok(Self { address, child })
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// The first line that a program says, which is awaited.
pub(super) fn first_line(child: &mut Child) -> Result<String> {
    let stdout = child.stdout.as_mut().context("its output is not read")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).context("cannot read what it says")?;
    Ok(line.trim_end().to_owned())
}

pub(super) fn end(child: &mut Child) {
    // That it ended by itself would have shown in the figures.
    let _ended = child.kill();
    let _status = child.wait();
}

fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot find a free port")?;
    Ok(listener.local_addr()?)
}

fn haproxy(folder: &Path, at: SocketAddr, origin: SocketAddr, more: &str) -> Result<Child> {
    let config = folder.join("haproxy.cfg");
    let text = format!(
        "global\n nbthread 2\n maxconn 4000\n\
         defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n \
         {more}\n\
         frontend in\n bind {at}\n default_backend out\n\
         backend out\n balance leastconn\n server one {origin}\n"
    );
    fs::write(&config, text).context("cannot write haproxy.cfg")?;
    let log = File::create(folder.join("haproxy.log"))?;
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(&config).stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log).spawn().context("cannot start haproxy")
}

fn stead(folder: &Path, front: &Path, at: SocketAddr, origin: SocketAddr) -> Result<Child> {
    let control = folder.join("control");
    let mut command = Command::new(front);
    command.arg("--control").arg(&control).args(["--listen", &at.to_string()]);
    let child = command.stdin(Stdio::null()).spawn().context("cannot start stead-front")?;
    let stream = wait_for("the front's control socket", START_LIMIT, || {
        Ok(UnixStream::connect(&control).ok())
    })?;
    let mut line = serde_json::to_vec(&Request::Set(Set { backends: vec![origin] }))?;
    line.push(b'\n');
    (&stream).write_all(&line)?;
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply)?;
    ensure!(serde_json::from_str::<Reply>(&reply)? == Reply::Done, "refused: {reply}");
    Ok(child)
}
