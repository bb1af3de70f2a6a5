//! Ways of bringing a program to hosts and having it run there.
//!
//! Each ends once every host serves. The scripts are what teams have: nothing in them waits for
//! what it does not need.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::bed::Bed;
use crate::process;

/// What ends the run of before, begins another one, and waits until it answers.
const RESTART: &str = "\
cd \"$1\" || exit 1
if pid=$(cat pid 2>/dev/null); then
  kill -TERM \"$pid\" 2>/dev/null
  while kill -0 \"$pid\" 2>/dev/null; do sleep 0.02; done
fi
setsid ./orders --listen \"0.0.0.0:$2\" --data data >>log 2>&1 </dev/null &
echo $! >pid
for n in $(seq 400); do
  curl -sf -o /dev/null \"http://127.0.0.1:$2/healthz\" && exit 0
  sleep 0.05
done
exit 1
";

pub(super) trait Way {
    fn name(&self) -> &'static str;

    /// How it was told to do it.
    fn terms(&self) -> &'static str;

    /// What is not there of what it takes.
    fn missing(&self) -> Option<String>;

    /// Where its service listens, if it has one.
    fn port(&self) -> Option<u16>;

    /// Writes what the operator needs for all deploys.
    fn prepare(&self, bed: &Bed) -> Result<()>;

    /// Has a program be the next one to deploy.
    fn place(&self, bed: &Bed, program: &Path) -> Result<()> {
        let to = folder(self.name(), bed)?.join("orders");
        fs::copy(program, &to).with_context(|| format!("cannot write {}", to.display()))?;
        Ok(())
    }

    fn deploy(&self, bed: &Bed) -> Result<()>;
}

/// A way's folder on the operator's machine.
fn folder(name: &str, bed: &Bed) -> Result<PathBuf> {
    let folder = bed.operator.join(name.replace(' ', "-"));
    crate::workspace::make(&folder)?;
    Ok(folder)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn lacks(programs: &[&str]) -> Option<String> {
    programs.iter().find(|program| process::find(program).is_none()).map(|it| format!("`{it}`"))
}

/// Runs it quietly; what it says is part of the error.
fn quietly(command: &mut Command) -> Result<()> {
    process::output(command.stdin(Stdio::null())).map(drop)
}

/// Runs a command for all hosts at once, with the address of each in the place of `@`.
fn on_all(bed: &Bed, command: &str) -> Result<()> {
    let (hosts, hosts_n) = (bed.addresses().join(" "), bed.hosts_n);
    let script = format!("printf '%s\\n' {hosts} | xargs -P {hosts_n} -I@ {command}");
    quietly(Command::new("sh").args(["-c", &script]))
}

/// The floor of every other way: one connection to each host, at once, and nothing done there.
pub(super) struct Ssh;

impl Way for Ssh {
    fn name(&self) -> &'static str {
        "ssh true"
    }

    fn terms(&self) -> &'static str {
        "a floor: connects to all hosts at once, and does nothing there"
    }

    fn missing(&self) -> Option<String> {
        lacks(&["ssh"])
    }

    fn port(&self) -> Option<u16> {
        None
    }

    fn prepare(&self, bed: &Bed) -> Result<()> {
        folder(self.name(), bed).map(drop)
    }

    fn deploy(&self, bed: &Bed) -> Result<()> {
        on_all(bed, &format!("ssh -F {} @ true", bed.hosts.ssh_config().display()))
    }
}

/// `rsync -z` and a restart, to all hosts at once.
pub(super) struct Rsync;

impl Rsync {
    pub(super) const NAME: &'static str = "rsync";
    const PORT: u16 = 8110;
}

impl Way for Rsync {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn terms(&self) -> &'static str {
        "`rsync -z`, then a restart over ssh, by a script, all hosts at once; no way back"
    }

    fn missing(&self) -> Option<String> {
        lacks(&["rsync", "ssh", "curl"])
    }

    fn port(&self) -> Option<u16> {
        Some(Self::PORT)
    }

    fn prepare(&self, bed: &Bed) -> Result<()> {
        let (own, port) = (folder(self.name(), bed)?, Self::PORT);
        let (at, lab) = (own.display(), bed.hosts.ssh_config().display().to_string());
        write(&own.join("restart.sh"), RESTART)?;
        let there = bed.remote(0);
        let there = there.parent().expect("it is a folder of all hosts").display();
        let one = format!(
            "set -e\nrsync -z -e 'ssh -F {lab}' --mkpath {at}/orders $1:{there}/$1/rsync/orders\n\
             ssh -F {lab} $1 sh {at}/restart.sh {there}/$1/rsync {port}\n"
        );
        write(&own.join("one.sh"), &one)
    }

    fn deploy(&self, bed: &Bed) -> Result<()> {
        on_all(bed, &format!("sh {}/one.sh @", folder(self.name(), bed)?.display()))
    }
}

/// A playbook: copy, and a restart where something was copied.
pub(super) struct Ansible;

impl Ansible {
    pub(super) const NAME: &'static str = "Ansible";
    const PORT: u16 = 8120;
}

impl Way for Ansible {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn terms(&self) -> &'static str {
        "`copy` and a restart, no facts, a fork for each host, pipelining, connections that stay"
    }

    fn missing(&self) -> Option<String> {
        lacks(&["ansible-playbook", "ssh", "curl"])
    }

    fn port(&self) -> Option<u16> {
        Some(Self::PORT)
    }

    fn prepare(&self, bed: &Bed) -> Result<()> {
        let (own, port) = (folder(self.name(), bed)?, Self::PORT);
        write(&own.join("restart.sh"), RESTART)?;
        let config = format!(
            "[defaults]\nforks = {}\ngathering = explicit\ninventory = hosts\n\
             interpreter_python = /usr/bin/python3\n\
             [ssh_connection]\npipelining = True\ncontrol_path_dir = /tmp/.stead-bench-{}\n\
             ssh_args = -F {} -o ControlMaster=auto -o ControlPersist=60s\n",
            bed.hosts_n,
            std::process::id(),
            bed.hosts.ssh_config().display()
        );
        write(&own.join("ansible.cfg"), &config)?;
        let mut hosts = String::new();
        for n in 0..bed.hosts_n {
            let (address, there) = (bed.hosts.address(n), bed.remote(n));
            writeln!(hosts, "{address} there={}/ansible", there.display())?;
        }
        write(&own.join("hosts"), &hosts)?;
        let play = format!(
            "- hosts: all\n  gather_facts: false\n  tasks:\n\
             \x20   - file: {{ path: '{{{{ there }}}}', state: directory }}\n\
             \x20   - copy: {{ src: orders, dest: '{{{{ there }}}}/orders', mode: '0755' }}\n\
             \x20     register: copied\n\
             \x20   - command: sh {}/restart.sh {{{{ there }}}} {port}\n\
             \x20     when: copied.changed\n",
            own.display()
        );
        write(&own.join("deploy.yml"), &play)
    }

    fn deploy(&self, bed: &Bed) -> Result<()> {
        let own = folder(self.name(), bed)?;
        quietly(
            Command::new("ansible-playbook")
                .arg("deploy.yml")
                .current_dir(&own)
                .env("HOME", &own)
                .env("LC_ALL", "C.UTF-8"),
        )
    }
}

/// `stead deploy`, to all hosts at once.
pub(super) struct Stead {
    pub(super) program: PathBuf,
}

impl Stead {
    pub(super) const NAME: &'static str = "stead";
    const PORT: u16 = 8100;
}

impl Way for Stead {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn terms(&self) -> &'static str {
        "`stead deploy --canary 0 --wave 100% --bake 0s`: all hosts at once as the others do it, \
         each with its way back"
    }

    fn missing(&self) -> Option<String> {
        lacks(&["ssh"])
    }

    fn port(&self) -> Option<u16> {
        Some(Self::PORT)
    }

    fn prepare(&self, bed: &Bed) -> Result<()> {
        let mut text = String::from("name = \"shop\"\n");
        for n in 0..bed.hosts_n {
            let (address, root) = (bed.hosts.address(n), bed.remote(n).join("stead"));
            writeln!(text, "[host.h{n}]\naddress = \"{address}\"\nroot = {root:?}")?;
        }
        let on: Vec<String> = (0..bed.hosts_n).map(|n| format!("h{n}")).collect();
        writeln!(
            text,
            "[service.orders]\nfiles = [\"orders\"]\non = {on:?}\nport.http = {}\n\
             run = [\"./orders\", \"--listen\", \"0.0.0.0:{{port.http}}\", \
             \"--data\", \"{{data}}\"]\n\
             ready = {{ http = \"/healthz\" }}",
            Self::PORT
        )?;
        write(&folder(self.name(), bed)?.join("stead.toml"), &text)
    }

    fn deploy(&self, bed: &Bed) -> Result<()> {
        let own = folder(self.name(), bed)?;
        quietly(
            Command::new(&self.program)
                .args(["deploy", "--canary", "0", "--wave", "100%", "--bake", "0s"])
                .current_dir(&own)
                .env("XDG_CACHE_HOME", own.join("cache"))
                .env("STEAD_SSH", format!("ssh -F {}", bed.hosts.ssh_config().display())),
        )
    }
}
