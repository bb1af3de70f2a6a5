//! The history of a host: a file for each change of what it runs, each with the digest of the one
//! before it, so that nobody can take one out unseen.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use stead_core::keep::Past;
use stead_core::plan::Plan;
use stead_wire::file;
use stead_wire::rollout::{History, HistoryEntry, Outcome};

use crate::clock::wall_ms;
use crate::layout::Layout;
use crate::store;

const FORMAT: &str = "stead-history/1";

/// More entries are not read, nor kept: a deploy an hour for a year.
const ENTRIES_MAX: u64 = 10_000;

/// A change as it happens.
#[derive(Debug)]
pub(crate) struct NewEntry {
    pub(crate) who: String,
    pub(crate) what: String,
    pub(crate) commit: Option<String>,
    pub(crate) outcome: Outcome,
    pub(crate) epoch: u64,
    pub(crate) plan: Plan,
}

impl NewEntry {
    /// A plan that came without a rollout.
    pub(crate) fn put(plan: &Plan) -> Self {
        let (who, what) = (String::new(), "up".to_owned());
        Self { who, what, commit: None, outcome: Outcome::Put, epoch: 0, plan: plan.clone() }
    }
}

/// Writes an entry after the last one.
pub(crate) fn append(layout: &Layout, new: NewEntry) -> io::Result<()> {
    let folder = layout.history();
    let last = numbers(&folder)?.last().copied();
    let before = match last {
        Some(n) => digest(&fs::read(path(&folder, n))?),
        None => String::new(),
    };
    let n = last.unwrap_or(0) + 1;
    let plan = serde_json::to_vec(&new.plan).expect("plans always serialize");
    let entry = HistoryEntry {
        n,
        at: wall_ms(),
        who: new.who,
        what: new.what,
        outcome: new.outcome,
        fleet: new.plan.fleet.to_string(),
        epoch: new.epoch,
        commit: new.commit,
        plan_digest: digest(&plan),
        releases: releases(&new.plan),
        before,
        plan: Some(new.plan),
    };
    store::replace(&path(&folder, n), &file::encode(FORMAT, &entry))?;
    // What is too old to be read is of no use any more.
    match n.checked_sub(ENTRIES_MAX) {
        Some(old @ 1..) => fs::remove_file(path(&folder, old)),
        Some(0) | None => Ok(()),
    }
}

/// Reads the history, the newest entry last. Plans are big and left out, but for the entry `n`.
pub(crate) fn read(layout: &Layout, n: Option<u64>) -> io::Result<History> {
    let folder = layout.history();
    let (mut entries, mut is_unbroken) = (Vec::new(), true);
    let mut before: Option<(u64, String)> = None;
    for number in numbers(&folder)? {
        let bytes = fs::read(path(&folder, number))?;
        let Ok(mut entry) = file::decode::<HistoryEntry>(FORMAT, &bytes) else {
            is_unbroken = false;
            before = Some((number, digest(&bytes)));
            continue;
        };
        is_unbroken &= match &before {
            Some((last, expected)) => number == last + 1 && entry.before == *expected,
            // The oldest that is kept follows one that is gone, unless it is the very first.
            None => number > 1 || entry.before.is_empty(),
        };
        before = Some((number, digest(&bytes)));
        if n != Some(number) {
            entry.plan = None;
        }
        entries.push(entry);
    }
    Ok(History { entries, is_unbroken })
}

/// The plans of the history, the newest first, read one by one: all of them would be too much
/// memory. Counts the entries that cannot be read, or are missing.
pub(crate) fn plans<'a>(
    layout: &Layout,
    unread_n: &'a Cell<u64>,
) -> io::Result<impl Iterator<Item = Past> + use<'a>> {
    let folder = layout.history();
    let numbers = numbers(&folder)?;
    let gaps = numbers.windows(2).map(|pair| pair[1] - pair[0] - 1);
    unread_n.set(gaps.sum());
    Ok(numbers.into_iter().rev().filter_map(move |n| {
        let bytes = fs::read(path(&folder, n)).ok();
        let entry = bytes.and_then(|it| file::decode::<HistoryEntry>(FORMAT, &it).ok());
        let past = entry.and_then(|entry| {
            let is_reverted = match entry.outcome {
                Outcome::Committed | Outcome::Put => false,
                Outcome::Reverted(_) => true,
            };
            Some(Past { plan: entry.plan?, is_reverted })
        });
        if past.is_none() {
            unread_n.set(unread_n.get() + 1);
        }
        past
    }))
}

fn releases(plan: &Plan) -> BTreeMap<String, String> {
    let named = plan.instances.iter().filter_map(|(name, spec)| {
        Some((name.service().to_string(), spec.release.as_ref()?.as_str().to_owned()))
    });
    named.collect()
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn path(folder: &Path, n: u64) -> PathBuf {
    folder.join(format!("{n:08}.json"))
}

/// The numbers of the entries that are there, the oldest first.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".json"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TempRoot, plan, spec};

    fn entry(what: &str, outcome: Outcome) -> NewEntry {
        let (who, what) = ("ann@desk".to_owned(), what.to_owned());
        let plan = plan([("web.0", spec(&["./web"]))]);
        NewEntry { who, what, commit: None, outcome, epoch: 1, plan }
    }

    #[test]
    fn entries_are_chained_and_one_that_is_changed_or_missing_is_seen() {
        let root = TempRoot::new("history");
        let layout = root.layout();
        layout.make_root().unwrap();
        for what in ["one", "two", "three"] {
            append(&layout, entry(what, Outcome::Committed)).unwrap();
        }
        let whole = read(&layout, Some(2)).unwrap();
        let whats: Vec<&str> = whole.entries.iter().map(|entry| &*entry.what).collect();
        assert_eq!((whats.as_slice(), whole.is_unbroken), (&["one", "two", "three"][..], true));
        let with_plan: Vec<bool> = whole.entries.iter().map(|it| it.plan.is_some()).collect();
        assert_eq!(with_plan, [false, true, false]);
        let second = path(&layout.history(), 2);
        let kept = fs::read(&second).unwrap();
        // A change that keeps the file itself right is still seen by the one after it.
        let mut forged: HistoryEntry = file::decode(FORMAT, &kept).unwrap();
        forged.who = "eve@desk".into();
        fs::write(&second, file::encode(FORMAT, &forged)).unwrap();
        assert!(!read(&layout, None).unwrap().is_unbroken);
        fs::write(&second, &kept).unwrap();
        assert!(read(&layout, None).unwrap().is_unbroken);
        fs::remove_file(&second).unwrap();
        assert!(!read(&layout, None).unwrap().is_unbroken);
    }
}
