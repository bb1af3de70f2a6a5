//! The way of real services to five hosts: the shop in Rust and a service in Go, from the first
//! contact on.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::fleet::{Fleet, until};

const HOSTS_N: usize = 5;

/// What a shop is asked for.
const ORDER: &str = r#"{"customer":"ada","item":"tea","quantity":2,"cents":900}"#;

/// The fleet file of the examples, on five hosts by a tier.
struct Walk {
    fleet: Fleet,
    programs: PathBuf,
}

impl Walk {
    fn new() -> Option<Self> {
        let fleet = Fleet::get("walk", HOSTS_N)?;
        if Command::new("go").arg("version").output().is_err() {
            stead_lab::skipped("walk", "there is no `go`");
            return None;
        }
        let mut tier = String::new();
        for n in 0..HOSTS_N {
            let (address, root) = (fleet.hosts.address(n), fleet.root(n));
            writeln!(tier, "[host.h{n}]\naddress = \"{address}\"\nroot = {root:?}").unwrap();
        }
        fs::write(fleet.folder.join("five.toml"), tier).unwrap();
        let programs = Path::new(&crate::fleet::stead()).parent().unwrap().to_owned();
        let walk = Self { fleet, programs };
        walk.write("", "first");
        Some(walk)
    }

    /// Writes the fleet file, with these further arguments for the orders, and a configuration.
    fn write(&self, options: &str, motto: &str) {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
        let example = |name: &str| {
            fs::read_to_string(workspace.join("examples").join(name).join("stead.toml")).unwrap()
        };
        let cargo = format!("cargo build --manifest-path {}/Cargo.toml", workspace.display());
        let go = format!(
            "cd {}/examples/go-clock && go build -o {}/go-clock",
            workspace.display(),
            self.fleet.folder.display()
        );
        let shop = example("shop")
            .replace("cargo build", &cargo)
            .replace("../../target", &format!("{}/target", workspace.display()))
            .replace("\"{data}\", \"--faults\"]", &format!("\"{{data}}\", \"--faults\"{options}]"));
        let clock = example("go-clock").replace("go build", &go).replace("-o go-clock .", ".");
        let clock = clock.split_once("[service.clock]").unwrap().1;
        let motto_service = "[service.motto]\nfiles = [\"server\"]\nconfig = [\"motto\"]\n\
            run = [\"./server\", \"serve\", \"port={port.http}\", \"reads={config}/motto\"]\n\
            port.http = 8200\nready = { http = \"/healthz\" }\nreload = { signal = \"HUP\" }\n";
        let text = format!("{shop}\n[service.clock]{clock}\n{motto_service}");
        fs::write(self.fleet.folder.join("stead.toml"), text).unwrap();
        fs::write(self.fleet.folder.join("motto"), motto).unwrap();
    }

    /// From here on another build of stead is used: a program may have anything behind its end.
    fn upgrade(&mut self) {
        let next = self.fleet.folder.join("next");
        fs::create_dir_all(&next).unwrap();
        for name in ["stead", "stead-keeper", "stead-front"] {
            let mut bytes = fs::read(self.programs.join(name)).unwrap();
            bytes.extend(b"next");
            fs::write(next.join(name), bytes).unwrap();
            stead_proc::set_mode(&next.join(name), 0o755).unwrap();
        }
        self.programs = next;
    }

    #[track_caller]
    fn stead(&self, args: &[&str]) -> String {
        let ssh = format!("ssh -F {}", self.fleet.hosts.ssh_config().display());
        let mut command = Command::new(self.programs.join("stead"));
        command.current_dir(&self.fleet.folder).env("STEAD_SSH", ssh);
        command.args(args).args(["--tier", "five", "--wave", "100%", "--bake", "0s"]);
        let Output { status, stdout, stderr } = command.output().unwrap();
        let text = String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned();
        assert_eq!(status.code(), Some(0), "stead {args:?}: {text}");
        text
    }

    /// What a service answers on a host.
    fn ask(&self, n: usize, port: u16, args: &[&str], path: &str) -> String {
        let mut curl = self.fleet.hosts.command(n, "curl");
        curl.args(["-s", "-m", "5"]).args(args);
        let output = curl.arg(format!("http://127.0.0.1:{port}{path}")).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Places an order on a host, and says its number.
    #[track_caller]
    fn order(&self, n: usize) -> String {
        let json = ["-H", "Content-Type: application/json", "-d", ORDER];
        let answer = self.ask(n, 8080, &json, "/orders");
        let order: Value = serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{answer}"));
        order["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    #[track_caller]
    fn all_answer(&self, motto: &str) {
        for n in 0..HOSTS_N {
            until(&format!("h{n} answers"), || {
                let is_there = self.ask(n, 8080, &[], "/healthz").contains("ok")
                    && self.ask(n, 8070, &[], "/debug/vars").contains("memstats")
                    && self.ask(n, 8200, &[], "/").trim_end().ends_with(motto);
                is_there.then_some(())
            });
            self.order(n);
        }
    }

    /// The main process of each instance of a host, but for the agent's.
    fn pids(&self, n: usize) -> Vec<(String, u64)> {
        let output = self.fleet.on(n, &["status", "--json"]);
        let status: Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = status["instances"].as_array().unwrap();
        let pid = |it: &Value| (it["name"].to_string(), it["pid"].as_u64().unwrap_or(0));
        all.iter().map(pid).collect()
    }

    fn arguments(&self, n: usize, instance: &str) -> String {
        let pids = self.pids(n);
        let (_, pid) = pids.iter().find(|(name, _)| name.contains(instance)).unwrap();
        fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().replace('\0', " ")
    }
}

#[test]
fn the_shop_and_a_service_in_go_come_to_five_hosts_and_go_the_whole_way() {
    let Some(mut walk) = Walk::new() else { return };
    let said = walk.stead(&["deploy"]);
    assert!(said.contains("stead was brought to h0, h1, h2, h3, h4"), "{said}");
    walk.all_answer("first");
    // A configuration is read by the runs that are up, and nothing else notices.
    let before: Vec<_> = (0..HOSTS_N).map(|n| walk.pids(n)).collect();
    walk.write("", "second");
    walk.stead(&["deploy"]);
    walk.all_answer("second");
    // Another stead takes over every host, and every run stays.
    walk.upgrade();
    assert!(walk.stead(&["deploy"]).contains("stead was brought to h0, h1, h2, h3, h4"));
    walk.all_answer("second");
    let after: Vec<_> = (0..HOSTS_N).map(|n| walk.pids(n)).collect();
    assert_eq!(before, after);
    // One service is changed and brought back; it alone has fresh runs.
    walk.write(", \"--keep\", \"1000\"", "second");
    walk.stead(&["deploy"]);
    walk.all_answer("second");
    assert!(walk.arguments(4, "orders.2").contains("--keep 1000"));
    walk.stead(&["rollback", "orders"]);
    walk.all_answer("second");
    assert!(!walk.arguments(4, "orders.2").contains("--keep"));
    let of = |pids: &[(String, u64)], service: &str| -> Vec<u64> {
        pids.iter().filter(|(name, _)| name.contains(service)).map(|(_, pid)| *pid).collect()
    };
    let now = walk.pids(4);
    assert_eq!(of(&now, "clock"), of(&after[4], "clock"));
    assert_ne!(of(&now, "orders"), of(&after[4], "orders"));
    // A host that went down is brought back, with what it had stored.
    let order = walk.order(2);
    walk.fleet.hosts.kill(2).unwrap();
    walk.fleet.hosts.boot(2).unwrap();
    walk.write("", "second");
    walk.stead(&["deploy"]);
    walk.all_answer("second");
    let found = walk.ask(2, 8080, &[], &format!("/orders/{order}"));
    assert!(found.contains(&order), "{found}");
}
