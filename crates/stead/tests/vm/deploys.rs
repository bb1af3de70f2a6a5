//! The way of a release to a host with systemd, from the first contact to the next boot.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use stead_lab::Vm;

use crate::place::{Place, program, until};

const PORT: u16 = 8100;

/// An operator beside the VM, with a fleet file of one service on it.
struct Operator {
    ssh: String,
    folder: PathBuf,
    programs: PathBuf,
}

impl Operator {
    fn new(vm: &Vm) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm-operator");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(program("stead-probe"), folder.join("server")).unwrap();
        let programs = program("stead").parent().unwrap().to_owned();
        let ssh = format!("ssh -F {}", vm.ssh_config().display());
        Self { ssh, folder, programs }
    }

    /// The same operator with another build of stead: a program may have anything behind its end.
    fn with_next_stead(&self) -> Self {
        let programs = self.folder.join("next");
        fs::create_dir_all(&programs).unwrap();
        for name in ["stead", "stead-keeper", "stead-front"] {
            let mut bytes = fs::read(self.programs.join(name)).unwrap();
            bytes.extend(b"next");
            let path = programs.join(name);
            fs::write(&path, bytes).unwrap();
            stead_proc::set_mode(&path, 0o755).unwrap();
        }
        Self { ssh: self.ssh.clone(), folder: self.folder.clone(), programs }
    }

    /// Writes the fleet file: what the service answers with, and what its configuration says.
    fn write(&self, version: &str, config: &str) {
        let text = format!(
            "name = \"walk\"\n[host.vm]\naddress = \"root@vm\"\n[service.web]\n\
             files = [\"server\", \"version\"]\nconfig = [\"motto\"]\n\
             reload = {{ signal = \"HUP\" }}\n\
             run = [\"./server\", \"serve\", \"port={{port.http}}\", \"say={version}\", \
             \"reads={{config}}/motto\"]\non = [\"vm\"]\nport.http = {PORT}\n\
             ready = {{ http = \"/healthz\", every = \"200ms\" }}\n"
        );
        fs::write(self.folder.join("stead.toml"), text).unwrap();
        fs::write(self.folder.join("version"), version).unwrap();
        fs::write(self.folder.join("motto"), config).unwrap();
    }

    #[track_caller]
    fn stead(&self, args: &[&str]) -> String {
        let output = Command::new(self.programs.join("stead"))
            .args(args)
            .current_dir(&self.folder)
            .env("STEAD_SSH", &self.ssh)
            .env("XDG_CACHE_HOME", self.folder.join("cache"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let host = || self.on_host("/var/lib/stead/programs/current/stead events | tail -n 40");
        assert_eq!(output.status.code(), Some(0), "stead {args:?}: {text}{}", host());
        text
    }

    /// What a command says on the host.
    fn on_host(&self, script: &str) -> String {
        let mut words = self.ssh.split(' ');
        let mut ssh = Command::new(words.next().unwrap());
        let output = ssh.args(words).args(["vm", script]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    fn deploy(&self) -> String {
        self.stead(&["deploy", "--bake", "0s"])
    }
}

impl Place {
    /// The answer of the service, which ends with the version and the motto.
    fn answer(&self) -> String {
        let ask = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{PORT} && \
             printf 'GET / HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n' >&3 && cat <&3"
        );
        let said = self.vm().try_sh(&format!("bash -c \"{ask}\"")).unwrap();
        said.out.trim_end().to_owned()
    }

    #[track_caller]
    fn until_answers(&self, end: &str) {
        until(&format!("it answers {end}"), || self.answer().ends_with(end).then_some(()));
    }

    fn agent(&self) -> (u64, String) {
        let status: Value = serde_json::from_str(&self.kit("status --json")).unwrap();
        let current = self.sh("readlink /var/lib/stead/programs/current");
        (status["agent"]["pid"].as_u64().unwrap(), current)
    }

    /// The stead that was brought there.
    fn kit(&self, args: &str) -> String {
        self.sh(&format!("/var/lib/stead/programs/current/stead {args}"))
    }

    fn web(&self) -> u64 {
        let status: Value = serde_json::from_str(&self.kit("status --json")).unwrap();
        status["instances"][0]["pid"].as_u64().unwrap()
    }
}

#[test]
fn a_host_with_systemd_is_contacted_deployed_upgraded_rolled_back_and_rebooted() {
    let Some(mut place) = Place::get("a_host_with_systemd_is_deployed_to") else { return };
    let operator = Operator::new(place.vm());
    operator.write("v1", "first");
    assert!(operator.stead(&["plan"]).contains("+ web.0"));
    assert_eq!(place.sh("ls -A /var/lib/stead 2>/dev/null || true"), "", "a plan only looks");
    assert!(operator.deploy().contains("stead was brought to vm"));
    place.until_answers("v1 first");
    assert_eq!(place.sh("systemctl is-enabled stead-agent"), "enabled");
    // A release takes the place of another one in a run of its own.
    let first = place.web();
    operator.write("v2", "first");
    operator.deploy();
    place.until_answers("v2 first");
    let second = place.web();
    assert_ne!(first, second);
    // A configuration is read by the run that is up.
    operator.write("v2", "second");
    assert!(operator.stead(&["plan"]).contains("config"));
    operator.deploy();
    place.until_answers("v2 second");
    assert_eq!(place.web(), second);
    // Another stead takes over the host from the one before, and the run stays.
    let agent = place.agent();
    let next = operator.with_next_stead();
    assert!(next.deploy().contains("stead was brought to vm"));
    let upgraded = place.agent();
    assert!(agent.0 != upgraded.0 && agent.1 != upgraded.1, "{agent:?} {upgraded:?}");
    assert_eq!(place.web(), second);
    place.until_answers("v2 second");
    next.stead(&["rollback", "web", "--to", "1", "--bake", "0s"]);
    place.until_answers("v1 first");
    place.vm_mut().reboot().unwrap();
    place.until_answers("v1 first");
    assert_eq!(place.agent().1, upgraded.1);
    // Control: without the unit a boot brings nothing back. A deploy does.
    place.sh("systemctl disable --now stead-agent 2>&1");
    place.vm_mut().reboot().unwrap();
    assert_eq!(place.answer(), "");
    next.deploy();
    place.until_answers("v2 second");
}
