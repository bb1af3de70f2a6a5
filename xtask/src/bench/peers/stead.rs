//! stead, driven as its users drive it: by its command line and a fleet file.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::{Bed, Peer, Running};
use crate::process;

#[derive(Clone)]
pub(in crate::bench) struct Stead {
    pub(in crate::bench) program: PathBuf,
}

/// The part of `stead status --json` that is needed here.
#[derive(Deserialize)]
struct Status {
    agent: Agent,
}

#[derive(Deserialize)]
struct Agent {
    pid: i32,
}

impl Stead {
    pub(in crate::bench) const NAME: &str = "stead";

    /// `stead` with the state of this bed.
    pub(in crate::bench) fn command(&self, bed: &Bed) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(bed.folder.join("root"));
        command
    }

    /// Starts one service that writes so many bytes to its stdout.
    pub(in crate::bench) fn start_flood(&self, bed: &Bed, bytes: u64) -> Result<Running> {
        let run = [text(&bed.probe)?, text(&bed.runs())?, "flood".to_owned(), bytes.to_string()];
        // Room for all of it: the cap on logs is not what is measured.
        self.up(bed, &service("flood", 1, &run, "log = { keep = \"8GiB\" }\n"))
    }

    fn up(&self, bed: &Bed, fleet: &str) -> Result<Running> {
        let file = bed.write("stead.toml", fleet)?;
        let mut down = self.command(bed);
        down.arg("down");
        match self.up_detached(bed, &file) {
            Ok(pid) => Running::background(pid, vec![down], bed),
            Err(error) => {
                // Whatever did start must not stay; the first error is the one that counts.
                let _second = process::output(&mut down);
                Err(error)
            }
        }
    }

    /// Returns the agent's pid.
    fn up_detached(&self, bed: &Bed, file: &Path) -> Result<i32> {
        process::output(self.command(bed).arg("up").arg(file).arg("--detach"))?;
        let status = process::output(self.command(bed).args(["status", "--json"]))?;
        let status: Status =
            serde_json::from_slice(&status).context("`stead status --json` said something else")?;
        Ok(status.agent.pid)
    }
}

impl Peer for Stead {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn terms(&self) -> &'static str {
        "restart always at its defaults but reset_after = 1s, the least it takes"
    }

    fn missing(&self) -> Option<String> {
        let found = self.program.is_file();
        (!found).then(|| format!("{} was not built", self.program.display()))
    }

    fn start(&self, bed: &Bed) -> Result<Running> {
        let run = [text(&bed.probe)?, text(&bed.runs())?];
        let restart = "restart = { when = \"always\", reset_after = \"1s\" }\n";
        self.up(bed, &service("probe", bed.instances_n, &run, restart))
    }
}

/// A fleet file with one service. The peers run theirs as this user, so stead does, too.
fn service(name: &str, count: usize, run: &[String], more: &str) -> String {
    let is_root = rustix::process::geteuid().is_root();
    let user = if is_root { "user = \"root\"\n" } else { "" };
    format!(
        "name = \"bench\"\n\
         \n\
         [service.{name}]\n\
         run = {run:?}\n\
         count = {count}\n\
         {user}{more}"
    )
}

fn text(path: &Path) -> Result<String> {
    let text = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_file_has_one_service_and_its_count() {
        let run = ["/bin/probe".to_owned(), "/runs".to_owned()];
        let fleet = service("probe", 3, &run, "");
        assert!(fleet.contains("[service.probe]\nrun = [\"/bin/probe\", \"/runs\"]\ncount = 3\n"));
    }
}
