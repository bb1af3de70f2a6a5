//! Files that are replaced as a whole, first of all the plan.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stead_core::names::{InstanceName, ServiceName};
use stead_core::plan::Plan;
use stead_wire::file;

const PLAN_FORMAT: &str = "stead-plan/1";

/// The plan that the agent obeys, with what it must not forget about it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Stored {
    /// Counts the plans of this root.
    pub(crate) generation: u64,
    pub(crate) plan: Plan,
    /// Instances that the plan no longer holds and that may still run, with what they need: they
    /// are stopped before what they need, even by an agent that never saw their plan.
    #[serde(default)]
    pub(crate) leaving: BTreeMap<InstanceName, Vec<ServiceName>>,
    /// Variables of the agent's environment as they were when the plan came. An agent that is
    /// started again from another shell must not change, and so restart, a service.
    #[serde(default)]
    pub(crate) inherited: BTreeMap<String, String>,
}

/// What a file that is replaced as a whole was found to be.
#[derive(Debug)]
pub(crate) enum Found<T> {
    Absent,
    /// It is there and says nothing: why, and its length in bytes.
    Damaged {
        why: String,
        bytes: u64,
    },
    Whole(T),
}

pub(crate) fn read_plan(path: &Path) -> Found<Stored> {
    read(path, PLAN_FORMAT)
}

pub(crate) fn write_plan(path: &Path, stored: &Stored) -> io::Result<()> {
    replace(path, &file::encode(PLAN_FORMAT, stored))
}

/// Reads a file of this format.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, format: &'static str) -> Found<T> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Absent,
        Err(error) => return Found::Damaged { why: error.to_string(), bytes: 0 },
    };
    match file::decode(format, &bytes) {
        Ok(body) => Found::Whole(body),
        Err(error) => Found::Damaged { why: error.to_string(), bytes: bytes.len() as u64 },
    }
}

/// Puts these bytes in place of a file so that at any moment, power loss included, either the old
/// or the new ones are there. Readable by the agent alone: environments hold secrets.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut new_name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_os_string();
    new_name.push(".new");
    let new_path = folder.join(new_name);
    let mut new = stead_proc::open_closed_file(&new_path)?;
    new.set_len(0)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    drop(new);
    fs::rename(&new_path, path)?;
    stead_proc::sync_folder(folder)
}
