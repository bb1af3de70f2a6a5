//! Several hosts on one machine: network namespaces on a bridge, each with an `sshd` of its own.
//!
//! They share the file system, so what is kept on them needs folders of its own.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The second byte of all addresses; the third counts networks.
const NET: u8 = 77;

/// The last byte of the first host's address; the bridge has 1.
const FIRST: u8 = 11;

/// The most hosts of a network.
const HOSTS_MAX: usize = 40;

/// How long an `sshd` may take to answer, and what is killed to be gone.
const WITHIN: Duration = Duration::from_secs(20);

const LOOK_EVERY: Duration = Duration::from_millis(20);

const SSHD: &str = "/usr/sbin/sshd";

/// What `sshd` parts its rights in; it refuses to start without.
const SSHD_EMPTY: &str = "/run/sshd";

/// Hosts of one network, gone with everything on them when this is dropped.
#[derive(Debug)]
pub struct Hosts {
    net: u8,
    folder: PathBuf,
    sshds: Vec<Option<Child>>,
}

impl Hosts {
    /// Why there can be none here.
    pub fn missing() -> Option<String> {
        let is_missing = |program: &&&str| !Path::new(program).is_file();
        let missing = [SSHD, "/usr/bin/ssh-keygen"].iter().find(is_missing).copied();
        let ip = Command::new("ip").arg("-V").stdout(Stdio::null()).status();
        let missing = missing.or_else(|| ip.is_err().then_some("ip"));
        missing.map(|program| format!("there is no `{program}`"))
    }

    /// Makes so many, with their keys and logs in this folder.
    pub fn make(folder: &Path, hosts_n: usize) -> io::Result<Self> {
        assert!(hosts_n <= HOSTS_MAX, "a network has at most {HOSTS_MAX} hosts");
        fs::create_dir_all(folder)?;
        fs::create_dir_all(SSHD_EMPTY)?;
        // A network whose number is taken belongs to another test, or one that was killed.
        let net =
            (1..=u8::MAX).find(|net| ip(&["link", "add", &bridge(*net), "type", "bridge"]).is_ok());
        let net = net.ok_or_else(|| io::Error::other("no bridge can be made"))?;
        let mut hosts = Self { net, folder: folder.to_owned(), sshds: Vec::new() };
        ip(&["addr", "add", &format!("10.{NET}.{net}.1/24"), "dev", &bridge(net)])?;
        ip(&["link", "set", &bridge(net), "up"])?;
        for key in ["key", "host-key"] {
            let file = folder.join(key);
            let _ = fs::remove_file(&file);
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(file))?;
        }
        for n in 0..hosts_n {
            hosts.make_one(n)?;
        }
        hosts.write_config(hosts_n)?;
        (0..hosts_n).try_for_each(|n| hosts.wait_for(n))?;
        Ok(hosts)
    }

    fn make_one(&mut self, n: usize) -> io::Result<()> {
        let (space, outside) = (self.namespace(n), self.link(n));
        ip(&["netns", "add", &space])?;
        self.sshds.push(None);
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", "eth0", "netns", &space])?;
        ip(&["link", "set", &outside, "master", &bridge(self.net), "up"])?;
        let address = format!("{}/24", self.address(n));
        ip(&["-n", &space, "addr", "add", &address, "dev", "eth0"])?;
        ip(&["-n", &space, "link", "set", "eth0", "up"])?;
        ip(&["-n", &space, "link", "set", "lo", "up"])?;
        let at = |name: &str| self.folder.join(name).display().to_string();
        let config = format!(
            "ListenAddress {}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nPidFile none\n\
             PermitRootLogin yes\nUsePAM no\nMaxStartups 100\nSetEnv HOME={}\n",
            self.address(n),
            at("host-key"),
            at("key.pub"),
            at("home"),
        );
        // What this machine's root has its shell begin with is no part of a host.
        fs::create_dir_all(self.folder.join("home"))?;
        fs::write(self.folder.join(format!("sshd-{n}")), config)?;
        self.start_sshd(n)
    }

    /// What `ssh -F` reads to reach them.
    fn write_config(&self, hosts_n: usize) -> io::Result<()> {
        let key = fs::read_to_string(self.folder.join("host-key.pub"))?;
        let known = (0..hosts_n).map(|n| format!("{} {key}", self.address(n)));
        fs::write(self.folder.join("known"), known.collect::<String>())?;
        let at = |name: &str| self.folder.join(name).display().to_string();
        let config = format!(
            "Host *\n IdentityFile {}\n UserKnownHostsFile {}\n User root\n",
            at("key"),
            at("known"),
        );
        fs::write(self.ssh_config(), config)
    }

    pub fn ssh_config(&self) -> PathBuf {
        self.folder.join("ssh-config")
    }

    pub fn address(&self, n: usize) -> Ipv4Addr {
        let last = u8::try_from(n).map_or(u8::MAX, |n| n + FIRST);
        Ipv4Addr::new(10, NET, self.net, last)
    }

    /// A program on a host.
    pub fn command(&self, n: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(n), program]).stdin(Stdio::null());
        command
    }

    fn start_sshd(&mut self, n: usize) -> io::Result<()> {
        let log = fs::File::create(self.folder.join(format!("sshd-{n}.log")))?;
        let mut sshd = self.command(n, SSHD);
        sshd.args(["-D", "-e", "-f"]).arg(self.folder.join(format!("sshd-{n}")));
        self.sshds[n] = Some(sshd.stdout(Stdio::null()).stderr(log).spawn()?);
        Ok(())
    }

    fn wait_for(&self, n: usize) -> io::Result<()> {
        let until = Instant::now() + WITHIN;
        loop {
            let mut ssh = Command::new("ssh");
            ssh.arg("-F").arg(self.ssh_config()).args(["-o", "BatchMode=yes"]);
            let output = ssh.args([&self.address(n).to_string(), "true"]).output()?;
            if output.status.success() {
                return Ok(());
            }
            if Instant::now() >= until {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(io::Error::other(format!("host {n} does not answer: {said}")));
            }
            sleep(LOOK_EVERY);
        }
    }

    /// Ends everything on a host at once, as a loss of power would.
    pub fn kill(&mut self, n: usize) -> io::Result<()> {
        let until = Instant::now() + WITHIN;
        loop {
            let output = run(Command::new("ip").args(["netns", "pids", &self.namespace(n)]))?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let pids: Vec<&str> = text.split_whitespace().collect();
            if pids.is_empty() {
                break;
            }
            // Some may have ended meanwhile.
            let _ = Command::new("kill").arg("-9").args(&pids).stderr(Stdio::null()).status();
            if Instant::now() >= until {
                return Err(io::Error::other(format!("something on host {n} does not end")));
            }
            sleep(LOOK_EVERY);
        }
        if let Some(mut sshd) = self.sshds[n].take() {
            sshd.wait()?;
        }
        Ok(())
    }

    /// Has a host that was killed take logins again.
    pub fn boot(&mut self, n: usize) -> io::Result<()> {
        self.start_sshd(n)?;
        self.wait_for(n)
    }

    /// Takes a host off the network, or puts it back.
    pub fn connect(&self, n: usize, is_connected: bool) -> io::Result<()> {
        let state = if is_connected { "up" } else { "down" };
        ip(&["link", "set", &self.link(n), state])
    }

    /// Bytes that went to a host and came from it since it was made.
    pub fn traffic(&self, n: usize) -> io::Result<u64> {
        let folder = Path::new("/sys/class/net").join(self.link(n)).join("statistics");
        let both = ["rx_bytes", "tx_bytes"].map(|name| {
            let text = fs::read_to_string(folder.join(name))?;
            text.trim().parse::<u64>().map_err(io::Error::other)
        });
        both.into_iter().sum()
    }

    fn namespace(&self, n: usize) -> String {
        format!("stead-{}-{n}", self.net)
    }

    fn link(&self, n: usize) -> String {
        format!("stead{}v{n}", self.net)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for n in 0..self.sshds.len() {
            let ended = self.kill(n).and_then(|()| ip(&["netns", "del", &self.namespace(n)]));
            if let Err(error) = ended {
                eprintln!("host {n} is left behind: {error}");
            }
        }
        let _ = ip(&["link", "del", &bridge(self.net)]);
    }
}

fn bridge(net: u8) -> String {
    format!("stead{net}b")
}

fn ip(args: &[&str]) -> io::Result<()> {
    run(Command::new("ip").args(args)).map(drop)
}

fn run(command: &mut Command) -> io::Result<Output> {
    let output = command.stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(output),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(io::Error::other(format!("{command:?}: {said}")))
        }
    }
}
