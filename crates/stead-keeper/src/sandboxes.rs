//! The sandboxes of the launches that have runs: prepared once each, before the first run.

use std::path::Path;

use stead_core::launch::Launch;
use stead_proc::Sandbox;
use stead_wire::file;

/// At most the launch that holds and the next one have runs.
const KEPT_MAX: usize = 2;

/// What was prepared, by the mark of its launch.
#[derive(Debug, Default)]
pub(crate) struct Sandboxes(Vec<(u32, Result<Sandbox, String>)>);

impl Sandboxes {
    /// Prepares what a launch asks for, unless that was done.
    pub(crate) fn prepare(&mut self, folder: &Path, launch: &Launch) {
        let mark = file::mark(launch);
        let is_there = self.0.iter().any(|(known, prepared)| *known == mark && prepared.is_ok());
        if launch.sandbox.is_none() || is_there {
            return;
        }
        let prepared = prepare(folder, launch);
        if let Some(Ok(sandbox)) = &prepared {
            for why in sandbox.unheld() {
                crate::say(&format!("note: {why}"));
            }
        }
        self.0.retain(|(known, _)| *known != mark);
        if self.0.len() >= KEPT_MAX {
            drop(self.0.remove(0));
        }
        self.0.extend(prepared.map(|prepared| (mark, prepared)));
    }

    /// The sandbox of a launch that was prepared; `None` if it asks for none.
    pub(crate) fn of(&self, launch: &Launch) -> Result<Option<&Sandbox>, String> {
        if launch.sandbox.is_none() {
            return Ok(None);
        }
        let mark = file::mark(launch);
        match self.0.iter().find(|(known, _)| *known == mark) {
            Some((_, Ok(sandbox))) => Ok(Some(sandbox)),
            Some((_, Err(why))) => Err(why.clone()),
            None => Err("it was not prepared".to_owned()),
        }
    }

    /// What this system cannot hold of a launch's sandbox.
    pub(crate) fn unheld(&self, launch: &Launch) -> Vec<String> {
        self.of(launch).ok().flatten().map(|it| it.unheld().to_vec()).unwrap_or_default()
    }
}

/// Prepares the sandbox of a launch; `None` if it asks for none.
pub(crate) fn prepare(folder: &Path, launch: &Launch) -> Option<Result<Sandbox, String>> {
    let wanted = launch.sandbox.as_ref()?;
    let program = Path::new(launch.argv.first().map_or("", String::as_str));
    let streams = ["out", "err"].map(|name| folder.join(name));
    let streams: Vec<&Path> = streams.iter().map(std::path::PathBuf::as_path).collect();
    Some(Sandbox::prepare(wanted, program, &streams).map_err(|error| crate::chain(&error)))
}
