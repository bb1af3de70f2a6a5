//! What is old on a host goes, and what is needed stays.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::fleet::{Fleet, GOOD, QUICK, until};

/// So many states of a service can be gone back to.
const KEEP: usize = 5;

/// More deploys than that.
const DEPLOYS_N: usize = 7;

impl Fleet {
    /// The releases on a host.
    fn releases(&self, n: usize) -> BTreeSet<String> {
        let entries = fs::read_dir(self.root(n).join("releases")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn has_releases(&self, n: usize, expected: &BTreeSet<String>) {
        until("what is old was collected", || (self.releases(n) == *expected).then_some(()));
    }

    fn entries(&self) -> Vec<Value> {
        let told: Value = serde_json::from_str(&self.ends(0, &["history", "--json"])).unwrap();
        told["h0"]["entries"].as_array().unwrap().clone()
    }

    /// What a service had in each entry of the history.
    fn released(&self, service: &str) -> Vec<String> {
        let release = |entry: &Value| entry["releases"][service].as_str().unwrap().to_owned();
        self.entries().iter().map(release).collect()
    }

    fn back_to(&self, code: i32, n: &str) -> String {
        self.ends(code, &[&["rollback", "web", "--to", n], &QUICK[..]].concat())
    }
}

#[test]
fn the_last_releases_stay_to_go_back_to_and_a_way_back_that_is_gone_is_refused() {
    let Some(fleet) = Fleet::get("collect", 1) else { return };
    for n in 1..=DEPLOYS_N {
        fleet.release(&format!("v{n}"), GOOD);
        fleet.deploy(0, &[]);
    }
    let released = fleet.released("web");
    let kept: BTreeSet<String> = released[DEPLOYS_N - KEEP..].iter().cloned().collect();
    assert_eq!(kept.len(), KEEP);
    fleet.has_releases(0, &kept);
    fleet.all_serve("v7");
    let events = String::from_utf8(fleet.on(0, &["events"]).stdout).unwrap();
    assert!(events.contains("of what was old removed: release "), "{events}");
    // The oldest that is left is a way back.
    fleet.back_to(0, "3");
    fleet.all_serve("v3");
    fleet.has_releases(0, &kept);
    // One that is not is refused before anything is changed.
    let entries = fleet.entries();
    let said = fleet.back_to(6, "2");
    assert!(said.contains("`web` cannot be brought back to that"), "{said}");
    assert!(said.contains(&format!("its release {} is not there", &released[1][..12])), "{said}");
    assert_eq!(fleet.entries(), entries);
    fleet.all_serve("v3");
    // What is lacking is brought again by a deploy, and all works on.
    fleet.release("v2", GOOD);
    fleet.deploy(0, &[]);
    fleet.all_serve("v2");
    until("the newest came in the place of the oldest", || {
        let releases = fleet.releases(0);
        (releases.len() == KEEP && releases.contains(&released[1])).then_some(())
    });
}

#[test]
fn what_a_run_still_goes_by_stays_for_as_long_as_it_goes_on() {
    let Some(fleet) = Fleet::get("collect_run", 1) else { return };
    let deploy = |n: usize| {
        fleet.release(&format!("v{n}"), GOOD);
        let file = fleet.folder.join("stead.toml");
        let text = fs::read_to_string(&file).unwrap();
        let job = "[service.job]\nfiles = [\"job\"]\nuser = \"root\"\n\
                   run = [\"/bin/sleep\", \"100000\"]\nschedule = { every = \"1s\" }\n";
        fs::write(&file, format!("{text}{job}on = [\"h0\"]\n")).unwrap();
        fs::write(fleet.folder.join("job"), format!("job {n}")).unwrap();
        fleet.deploy(0, &[]);
    };
    let pid = || {
        let status: Value =
            serde_json::from_slice(&fleet.on(0, &["status", "--json"]).stdout).unwrap();
        let instances = status["instances"].as_array().unwrap();
        let job = instances.iter().find(|it| it["name"] == "job.0")?;
        job["pid"].as_u64()
    };
    deploy(1);
    let first = until("the job runs", pid);
    (2..=DEPLOYS_N).for_each(deploy);
    let last = |service: &str, n: usize| {
        let released = fleet.released(service);
        released[released.len() - n..].iter().cloned().collect::<BTreeSet<_>>()
    };
    // The job still goes by the first of its releases; those of the other service are collected.
    let all: BTreeSet<_> = last("web", KEEP).union(&last("job", DEPLOYS_N)).cloned().collect();
    fleet.has_releases(0, &all);
    assert_eq!(pid(), Some(first));
    let folder = fs::read_link(format!("/proc/{first}/cwd")).unwrap();
    assert!(folder.is_dir(), "{}", folder.display());
    // Control: once that run has ended, the next look takes what only it had kept.
    assert!(fleet.on(0, &["stop", "job"]).status.success());
    let all: BTreeSet<_> = last("web", KEEP).union(&last("job", KEEP)).cloned().collect();
    fleet.has_releases(0, &all);
}
