//! Hosts to deploy to, and what is known of them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use stead_lab::Hosts;

use crate::bench::clock::wait_for;
use crate::process as run;
use crate::workspace::make;

/// A host answers what it serves within this.
const SERVES_WITHIN: Duration = Duration::from_secs(20);

/// Between two deploys, so that what one leaves to be done is not the other's.
const REST: Duration = Duration::from_millis(1500);

pub(super) struct Bed {
    pub(super) hosts: Hosts,
    pub(super) hosts_n: usize,
    /// What the operator has: programs to deploy, playbooks, caches.
    pub(super) operator: PathBuf,
    /// What hosts have: a folder each.
    remote: PathBuf,
}

impl Bed {
    pub(super) fn make(folder: &Path, hosts_n: usize) -> Result<Self> {
        make(folder)?;
        let hosts = Hosts::make(&folder.join("lab"), hosts_n).context("no hosts can be made")?;
        let [operator, remote] = ["operator", "remote"].map(|name| folder.join(name));
        Ok(Self { hosts, hosts_n, operator, remote })
    }

    /// Ends everything on every host, and forgets all that was ever brought there.
    pub(super) fn wipe(&mut self) -> Result<()> {
        (0..self.hosts_n).try_for_each(|n| self.hosts.kill(n))?;
        for folder in [&self.operator, &self.remote] {
            if folder.exists() {
                fs::remove_dir_all(folder)
                    .with_context(|| format!("cannot remove {}", folder.display()))?;
            }
        }
        make(&self.operator)?;
        (0..self.hosts_n).try_for_each(|n| make(&self.remote(n)))?;
        (0..self.hosts_n).try_for_each(|n| Ok(self.hosts.boot(n)?))
    }

    /// Waits until what went before is on the disk and over.
    pub(super) fn rest(&self) -> Result<()> {
        run::run(&mut Command::new("sync"))?;
        thread::sleep(REST);
        Ok(())
    }

    /// The folder of a host.
    pub(super) fn remote(&self, n: usize) -> PathBuf {
        self.remote.join(self.hosts.address(n).to_string())
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        (0..self.hosts_n).map(|n| self.hosts.address(n).to_string()).collect()
    }

    /// Bytes that all hosts have sent and got so far.
    pub(super) fn traffic(&self) -> Result<u64> {
        let all = (0..self.hosts_n).map(|n| self.hosts.traffic(n));
        Ok(all.sum::<std::io::Result<u64>>()?)
    }

    /// Fails unless every host answers with this version.
    pub(super) fn all_serve(&self, port: u16, version: usize) -> Result<()> {
        let wanted = version.to_string();
        for n in 0..self.hosts_n {
            let what = format!("host {n} serves version {version}");
            wait_for(&what, SERVES_WITHIN, || Ok(self.served(n, port)?.eq(&wanted).then_some(())))?;
        }
        Ok(())
    }

    fn served(&self, n: usize, port: u16) -> Result<String> {
        let mut stream = TcpStream::connect((self.hosts.address(n), port))?;
        stream.set_read_timeout(Some(SERVES_WITHIN))?;
        stream.write_all(b"GET /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        match text.split_once("\r\n\r\n") {
            Some((_, body)) => Ok(body.to_owned()),
            None => bail!("host {n} answers without an end of its head: {text:?}"),
        }
    }
}
