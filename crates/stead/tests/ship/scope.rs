//! Parts of a fleet, and its tiers.

use std::fs;

use serde_json::Value;

use crate::fleet::{Fleet, GOOD, until};

impl Fleet {
    /// The release of this version, beside another service that has a variable of this value.
    fn with_side(&self, version: &str, value: &str) {
        self.release(version, GOOD);
        let file = self.folder.join("stead.toml");
        let text = fs::read_to_string(&file).unwrap();
        let side = "[service.side]\nrun = [\"/bin/sleep\", \"100000\"]\nuser = \"root\"";
        fs::write(&file, format!("{text}{side}\nenv.VALUE = \"{value}\"\n")).unwrap();
    }

    fn planned(&self, code: i32, args: &[&str]) -> Value {
        let output = self.stead(&[&["plan", "--json"], args].concat());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What a plan would do with an instance on each host.
    fn what(&self, args: &[&str], instance: &str) -> Vec<String> {
        let planned = self.planned(0, args);
        let hosts = planned["hosts"].as_object().unwrap().values();
        let what = hosts.map(|host| host["instances"][instance]["what"].as_str());
        what.map(|what| what.unwrap_or("nothing").to_owned()).collect()
    }

    fn side_has(&self, n: usize, value: &str) {
        until(&format!("side on host {n} has {value}"), || {
            let said = self.on(n, &["exec", "side", "--", "sh", "-c", "echo $VALUE"]);
            (String::from_utf8_lossy(&said.stdout).trim() == value).then_some(())
        });
    }
}

#[test]
fn a_plan_looks_at_every_host_and_changes_none() {
    let Some(fleet) = Fleet::get("plan", 2) else { return };
    fleet.with_side("v1", "1");
    assert_eq!(fleet.what(&[], "web.0"), ["add", "add"]);
    assert!(!fleet.root(0).exists() && !fleet.root(1).exists());
    fleet.deploy(0, &[]);
    assert_eq!(fleet.what(&[], "web.0"), ["keep", "keep"]);
    fleet.with_side("v2", "1");
    assert_eq!(fleet.what(&[], "web.0"), ["change", "change"]);
    assert_eq!(fleet.what(&[], "side.0"), ["keep", "keep"]);
    let said = fleet.ends(0, &["plan", "--host", "h1"]);
    assert!(said.contains("shop on h1: 1 to change, 1 unchanged"), "{said}");
    assert!(!said.contains("h0"), "{said}");
    fleet.hosts.connect(1, false).unwrap();
    let planned = fleet.planned(4, &[]);
    assert_eq!(planned["hosts"]["h0"]["instances"]["web.0"]["what"], "change");
    assert!(planned["hosts"]["h1"]["error"].is_string(), "{planned}");
    fleet.hosts.connect(1, true).unwrap();
    assert_eq!(fleet.served(), vec![Some("v1".to_owned()); 2]);
}

#[test]
fn a_part_of_the_fleet_is_deployed_and_the_rest_stays_as_it_is() {
    let Some(fleet) = Fleet::get("part", 2) else { return };
    fleet.with_side("v1", "1");
    fleet.deploy(0, &[]);
    fleet.with_side("v2", "2");
    fleet.deploy(0, &["--only", "web"]);
    fleet.all_serve("v2");
    (0..2).for_each(|n| fleet.side_has(n, "1"));
    assert_eq!(fleet.what(&["--only", "web"], "side.0"), ["keep", "keep"]);
    // Control: without `--only` it would be changed.
    assert_eq!(fleet.what(&[], "side.0"), ["change", "change"]);
    fleet.with_side("v3", "2");
    fleet.deploy(0, &["--host", "h1"]);
    let served = ["v2", "v3"].map(|version| Some(version.to_owned()));
    until("host 1 has the new", || (fleet.served() == served).then_some(()));
    fleet.side_has(0, "1");
    fleet.side_has(1, "2");
    for (args, said) in [
        (["--only", "wep"], "no service or instance `wep`"),
        (["--host", "h7"], "there is no host `h7`"),
    ] {
        assert!(fleet.deploy(2, &args).contains(said));
    }
    fleet.deploy(0, &[]);
    fleet.all_serve("v3");
    (0..2).for_each(|n| fleet.side_has(n, "2"));
}

#[test]
fn a_tier_changes_what_its_file_says_and_tells_so() {
    let Some(fleet) = Fleet::get("tier", 1) else { return };
    fleet.with_side("v1", "1");
    let tier = "[service.side]\nenv.VALUE = \"production\"\n";
    fs::write(fleet.folder.join("production.toml"), tier).unwrap();
    fleet.deploy(0, &[]);
    fleet.side_has(0, "1");
    let said = fleet.ends(0, &["plan", "--tier", "production"]);
    assert!(said.contains("service.side.env.VALUE  \"1\" -> \"production\""), "{said}");
    assert!(said.contains("env.VALUE  1 -> production"), "{said}");
    fleet.deploy(0, &["--tier", "production"]);
    fleet.side_has(0, "production");
    assert!(fleet.ends(0, &["history"]).contains("deploy of production"));
    assert!(fleet.deploy(3, &["--tier", "staging"]).contains("staging.toml` cannot be read"));
    fs::write(fleet.folder.join("staging.toml"), "[service.side]\ncount = 0\n").unwrap();
    assert!(fleet.deploy(3, &["--tier", "staging"]).contains("staging.toml:2:9"));
    assert!(fleet.deploy(2, &["--tier", "../x"]).contains("a name may not contain"));
    fleet.side_has(0, "production");
}
