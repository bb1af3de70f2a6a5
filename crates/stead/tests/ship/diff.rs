//! What differs in a service between two entries of its hosts' history.

use std::fs;

use serde_json::Value;

use crate::fleet::{Fleet, until};

impl Fleet {
    /// A release of this version with a configuration, and variables of which one sounds secret.
    fn with_config(&self, version: &str) {
        let fields = format!(
            "config = [\"app.toml\"]\n\
             env = {{ LEVEL = \"{version}\", API_TOKEN = \"hush-{version}\" }}"
        );
        self.write(version, "\"public\", \"port={port.http}\"", &fields);
        let longer = version.repeat(version.len());
        fs::write(self.folder.join("app.toml"), format!("version = \"{longer}\"\n")).unwrap();
    }

    fn told(&self, code: i32, args: &[&str]) -> Value {
        let output = self.stead(&[&["diff", "web", "--json"], args].concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// The fields that differ in the first instance.
fn fields(told: &Value, host: &str) -> Vec<String> {
    let fields = told[host]["instances"]["web.0"]["fields"].as_array().unwrap();
    fields.iter().map(|field| field["field"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn two_entries_of_the_history_are_compared_by_spec_and_by_file_on_every_host() {
    let Some(fleet) = Fleet::get("diff", 2) else { return };
    fleet.with_config("v1");
    fleet.deploy(0, &[]);
    let said = fleet.ends(0, &["diff", "web"]);
    assert!(said.contains("web on h0, h1: no entry has it otherwise"), "{said}");
    fleet.with_config("v2-longer");
    fleet.deploy(0, &[]);
    fleet.all_serve("v2-longer");
    let now = fleet.ends(0, &["diff", "web"]);
    assert!(now.contains("web on h0, h1: 1 changed"), "{now}");
    assert!(now.contains("from  1  ") && now.contains("to    2, what runs now  "), "{now}");
    assert!(now.contains("env.LEVEL") && now.contains("v1 -> v2-longer"), "{now}");
    assert!(now.contains("(hidden) -> (hidden)") && !now.contains("hush"), "{now}");
    assert!(now.contains("~ version   2 B -> 9 B") || now.contains("~ version  2 B -> 9 B"));
    assert!(now.contains("files of the configuration") && now.contains("~ app.toml"), "{now}");
    assert!(!now.contains("server  "), "what is the same in both is left out: {now}");
    let numbered = fleet.ends(0, &["diff", "web", "1", "2"]);
    assert!(numbered.contains("to    2  ") && numbered.contains("2 B -> 9 B"), "{numbered}");
    // The other way round is the way back.
    let back = fleet.ends(0, &["diff", "web", "2", "1", "--host", "h1"]);
    assert!(back.contains("web on h1: ") && back.contains("9 B -> 2 B"), "{back}");
    let told = fleet.told(0, &["1"]);
    for host in ["h0", "h1"] {
        let expected = ["config", "env.API_TOKEN", "env.LEVEL", "release", "run"];
        assert_eq!(fields(&told, host), expected, "{told}");
        assert_eq!(told[host]["files"][1]["paths"][0]["to"]["len"], 9, "{told}");
        assert_eq!(told[host]["from"]["n"], 1);
    }
    // A release that is gone from a host is said to be, and the rest is told all the same.
    let release = told["h0"]["from"]["releases"][0].as_str().unwrap().to_owned();
    fs::remove_dir_all(fleet.root(0).join("releases").join(&release)).unwrap();
    let said = fleet.ends(0, &["diff", "web", "1"]);
    assert!(said.contains("not known: ") && said.contains("not on this host any more"), "{said}");
    let said = fleet.ends(2, &["diff", "web", "9"]);
    assert!(said.contains("no such entry") && said.contains("`h0`, `h1`: it has 1, 2"), "{said}");
    assert!(fleet.ends(2, &["diff", "wep"]).contains("no service or instance `wep`"));
    assert!(fleet.ends(2, &["diff", "web", "--host", "h7"]).contains("no host `h7`"));
    fleet.hosts.connect(1, false).unwrap();
    let told = fleet.told(4, &[]);
    assert!(told["h1"]["error"].is_string() && !fields(&told, "h0").is_empty(), "{told}");
    fleet.hosts.connect(1, true).unwrap();
    until("both hosts are there", || fleet.stead(&["diff", "web"]).status.success().then_some(()));
}
