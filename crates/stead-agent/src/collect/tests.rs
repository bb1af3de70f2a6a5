//! What goes from a disk, and what stays.

use std::thread;

use stead_core::launch::{HostSide, launch};
use stead_core::plan::Spec;
use stead_core::template::Places;
use stead_release::lock::Putting;
use stead_wire::rollout::Outcome;

use super::*;
use crate::history::NewEntry;
use crate::testing::{TempRoot, plan, spec};

/// A host whose keeper's program is in the first of its kits.
struct Rig {
    root: TempRoot,
    layout: Layout,
    keeper: PathBuf,
}

fn digest(n: u8) -> Digest {
    Digest::try_from(format!("{n:064x}")).unwrap()
}

/// A spec with the release, the configuration and the secret of a number.
fn numbered(n: u8) -> Spec {
    Spec { release: Some(digest(n)), config: Some(digest(n)), ..spec(&["./web"]) }
}

fn web(n: u8) -> Plan {
    plan([("web.0", numbered(n))])
}

impl Rig {
    fn new(test: &str) -> Self {
        let root = TempRoot::new(&format!("collect-{test}"));
        let layout = root.layout();
        for folder in [layout.secrets(), layout.incoming(), layout.programs()] {
            fs::create_dir_all(folder).unwrap();
        }
        let keeper = layout.kit(digest(1).as_str()).join("stead-keeper");
        Self { root, layout, keeper }
    }

    /// Deploys that left the releases and configurations of these numbers, one after the other.
    fn deployed(&self, numbers: std::ops::RangeInclusive<u8>) {
        for n in numbers {
            self.release(n);
            self.records(n, Outcome::Committed);
        }
    }

    fn records(&self, n: u8, outcome: Outcome) {
        let (who, what, commit, plan) = (String::new(), String::new(), None, web(n));
        let entry = NewEntry { who, what, commit, outcome, epoch: 1, plan };
        history::append(&self.layout, entry).unwrap();
    }

    fn release(&self, n: u8) {
        for folder in [self.layout.releases(), self.layout.packed_configs()] {
            let release = folder.join(digest(n).as_str()).join("bin");
            fs::create_dir_all(&release).unwrap();
            fs::write(release.join("web"), [n; 10]).unwrap();
            // As packed: nobody may write to it, and its own user removes it all the same.
            stead_proc::set_mode(&release, 0o555).unwrap();
        }
    }

    /// The launch of this number is the one that the instance holds; says its mark.
    fn holds(&self, n: u8) -> u32 {
        let name: InstanceName = "web.0".parse().unwrap();
        let ports = BTreeMap::new();
        let places = Places { config: "", data: "", kit: "", ports: &ports, release: "", tmp: "" };
        let env = BTreeMap::new();
        let host = HostSide { places, account: None, env, isolates: false, secrets: "" };
        let launch = launch(&name, &numbered(n), host);
        fs::create_dir_all(self.layout.instance(&name)).unwrap();
        let bytes = file::encode(LAUNCH_FORMAT, &launch);
        fs::write(self.layout.instance(&name).join("spec.json"), bytes).unwrap();
        file::mark(&launch)
    }

    fn collect(&self, now: u8, mark: Option<u32>) -> Collected {
        let settled = mark.map(|mark| ("web.0".parse().unwrap(), mark)).into_iter().collect();
        let collect = Collect { plans: vec![web(now)], settled };
        super::collect(&self.layout, &self.keeper, &collect).unwrap()
    }

    /// The numbers of the releases that are there; the configurations are the same.
    #[track_caller]
    fn numbers(&self) -> Vec<u8> {
        let numbers = |folder: PathBuf| {
            let names = listed(&folder).unwrap();
            names.map(|path| u8::from_str_radix(name(&path), 16).unwrap()).collect::<Vec<_>>()
        };
        let releases = numbers(self.layout.releases());
        assert_eq!(numbers(self.layout.packed_configs()), releases);
        releases
    }
}

/// Makes a file or folder look as if nobody had touched it for a day.
fn age(path: &Path) {
    let day_ago = SystemTime::now() - Duration::from_secs(86_400);
    fs::File::open(path).unwrap().set_modified(day_ago).unwrap();
}

#[test]
fn the_last_releases_stay_and_what_is_removed_is_named_with_its_size() {
    let rig = Rig::new("last");
    rig.deployed(1..=9);
    rig.records(2, Outcome::Reverted("it crashed".into()));
    let mark = rig.holds(9);
    let collected = rig.collect(9, Some(mark));
    assert_eq!(rig.numbers(), [5, 6, 7, 8, 9]);
    assert_eq!((collected.removed.len(), collected.bytes), (8, 80));
    assert_eq!(collected.removed[0], "release 000000000000");
    assert_eq!(collected.again_after, None);
    let again = rig.collect(9, Some(mark));
    assert!(again.removed.is_empty() && again.bytes == 0);
}

#[test]
fn what_a_run_goes_by_stays_and_all_of_it_while_that_is_not_known() {
    let rig = Rig::new("runs");
    rig.deployed(1..=9);
    // The keeper was heard to go by a launch that its folder does not hold any more.
    let mark = rig.holds(2);
    let collected = rig.collect(9, Some(mark ^ 1));
    assert_eq!(rig.numbers(), (1..=9).collect::<Vec<_>>());
    assert_eq!(collected.again_after, Some(AGAIN_AFTER_RUN));
    rig.collect(9, None);
    assert_eq!(rig.numbers(), (1..=9).collect::<Vec<_>>());
    rig.collect(9, Some(mark));
    assert_eq!(rig.numbers(), [2, 5, 6, 7, 8, 9]);
    // Control: it was kept for that launch alone.
    let mark = rig.holds(9);
    rig.collect(9, Some(mark));
    assert_eq!(rig.numbers(), [5, 6, 7, 8, 9]);
}

#[test]
fn a_damaged_history_keeps_everything_while_a_run_goes_by_nobody_knows_what() {
    let rig = Rig::new("damaged");
    rig.deployed(1..=9);
    fs::write(rig.layout.history().join("00000002.json"), "torn").unwrap();
    let mark = rig.holds(9);
    assert!(rig.collect(9, None).removed.is_empty());
    rig.collect(9, Some(mark));
    assert_eq!(rig.numbers(), [5, 6, 7, 8, 9]);
}

#[test]
fn what_a_crash_has_left_out_of_its_place_goes_the_next_time() {
    let rig = Rig::new("crash");
    rig.deployed(1..=1);
    let mark = rig.holds(1);
    let left = rig.layout.releases().join(format!("{}{GONE}", digest(7).as_str()));
    fs::create_dir_all(left.join("bin")).unwrap();
    let half = rig.layout.releases().join(format!("{}.tmp-77", digest(8).as_str()));
    fs::create_dir_all(&half).unwrap();
    rig.collect(1, Some(mark));
    // What somebody puts together at this moment is not touched.
    assert!(!left.exists() && half.exists());
    fs::remove_dir(half).unwrap();
    assert_eq!(rig.numbers(), [1]);
}

#[test]
fn contents_secrets_and_programs_go_once_they_are_old_and_nothing_needs_them() {
    let rig = Rig::new("rest");
    rig.deployed(9..=9);
    let mark = rig.holds(9);
    let [old, fresh] = [1, 2].map(|n| rig.layout.incoming().join(digest(n).as_str()));
    let secret = rig.layout.secrets().join(digest(3).as_str());
    for path in [&old, &fresh, &secret] {
        fs::write(path, "12345").unwrap();
    }
    age(&old);
    let kits = [1, 2, 3, 4].map(|n| rig.layout.kit(digest(n).as_str()));
    let programs = ["aa", "bb", "cc", "dd", "ee.new-7"].map(|it| rig.layout.programs().join(it));
    kits.iter().chain(&programs).for_each(|folder| fs::create_dir_all(folder).unwrap());
    // Without a name for it nobody knows which of them is in use.
    programs[..3].iter().for_each(|folder| age(folder));
    rig.collect(9, Some(mark));
    assert!(programs.iter().all(|folder| folder.exists()));
    assert!(!old.exists() && fresh.exists() && !secret.exists());
    for (name, to) in [("current", "bb"), ("previous", "cc")] {
        stead_proc::set_pointer(&rig.layout.programs().join(name), to).unwrap();
    }
    age(&kits[0]);
    age(&kits[1]);
    age(&kits[3]);
    rig.collect(9, Some(mark));
    let there = |paths: &[PathBuf]| paths.iter().map(|it| it.exists()).collect::<Vec<_>>();
    assert_eq!(there(&programs), [false, true, true, true, true], "a fresh one stays, too");
    // The keeper's own, one of the two that are old, and the one that has just come.
    let kept = there(&kits);
    assert!(kept[0] && kept[2] && kept[1] != kept[3], "{kept:?}");
}

#[test]
fn nothing_goes_that_was_just_found_to_be_there() {
    let rig = Rig::new("race");
    rig.deployed(1..=9);
    let mark = rig.holds(9);
    // An operator finds the first release on the host, and does not bring it again.
    let putting = Putting::begin(rig.layout.root()).unwrap();
    let collected = rig.collect(9, Some(mark));
    assert!(collected.removed.is_empty() && collected.again_after.is_some());
    assert_eq!(rig.numbers(), (1..=9).collect::<Vec<_>>());
    // Its plan was taken: from here on that keeps it.
    drop(putting);
    let settled = [("web.0".parse().unwrap(), mark)].into();
    let collect = Collect { plans: vec![web(9), web(1)], settled };
    super::collect(&rig.layout, &rig.keeper, &collect).unwrap();
    assert_eq!(rig.numbers(), [1, 5, 6, 7, 8, 9]);
}

#[test]
fn who_puts_while_another_collects_loses_nothing_that_it_saw() {
    let rig = Rig::new("both");
    rig.deployed(1..=9);
    let mark = rig.holds(9);
    let layout = rig.layout.clone();
    // Puts the same old releases again and again, and looks whether they stay where it saw them.
    let putting = thread::spawn(move || {
        for round in 0..200_u32 {
            let place = layout.release(&digest(u8::try_from(round % 4).unwrap() + 1));
            let _putting = Putting::begin(layout.root()).unwrap();
            if !place.is_dir() {
                fs::create_dir_all(place.join("bin")).unwrap();
            }
            for _ in 0..20 {
                assert!(place.join("bin").is_dir(), "round {round}");
                thread::yield_now();
            }
        }
    });
    let mut collected_n = 0;
    while !putting.is_finished() {
        collected_n += rig.collect(9, Some(mark)).removed.len();
        thread::yield_now();
    }
    putting.join().unwrap();
    assert!(collected_n > 0, "they were never collected: nothing was tried");
    drop(rig.root);
}
