//! PM2: one Node.js process that is the parent of all. It is installed from npm, not globally.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Bed, Peer, Running};
use crate::{process, say};

/// The release that is measured, so that figures of two days can be compared.
const RELEASE: &str = "pm2@7.0.4";

pub(in crate::bench) struct Pm2 {
    program: PathBuf,
}

impl Pm2 {
    pub(in crate::bench) const NAME: &str = "pm2";

    /// Installs it below `folder` if it is not there yet and npm is.
    pub(in crate::bench) fn install(folder: &Path) -> Self {
        let program = folder.join("node_modules/.bin/pm2");
        if !program.is_file() && process::find("npm").is_some() {
            say::progress(format_args!("installing {RELEASE} in {}", folder.display()));
            let mut npm = Command::new("npm");
            npm.arg("install").arg("--prefix").arg(folder);
            npm.args(["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error", RELEASE]);
            if let Err(error) = process::output(&mut npm) {
                say::progress(format_args!("{error:#}"));
            }
        }
        Self { program }
    }

    fn command(&self, bed: &Bed) -> Command {
        let mut command = Command::new(&self.program);
        command.env("PM2_HOME", bed.folder.join("pm2")).env("PM2_DISABLE_VERSION_CHECK", "true");
        command.current_dir(&bed.folder);
        command
    }
}

impl Peer for Pm2 {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn terms(&self) -> &'static str {
        "fork mode, restart_delay 0, vizion off (it would look for git at each restart)"
    }

    fn missing(&self) -> Option<String> {
        (!self.program.is_file()).then(|| "npm did not install it".to_owned())
    }

    fn start(&self, bed: &Bed) -> Result<Running> {
        let apps: Vec<_> = (0..bed.instances_n)
            .map(|n| {
                json!({
                    "name": format!("probe-{n}"),
                    "script": bed.probe,
                    "args": [bed.runs()],
                    "interpreter": "none",
                    "exec_mode": "fork",
                    "min_uptime": 100,
                    "max_restarts": 1_000_000,
                    "restart_delay": 0,
                    "vizion": false,
                    "pmx": false,
                })
            })
            .collect();
        let file = bed.write("ecosystem.config.json", &json!({ "apps": apps }).to_string())?;
        process::output(self.command(bed).arg("start").arg(file))?;
        let pid = fs::read_to_string(bed.folder.join("pm2/pm2.pid")).context("no pid of PM2")?;
        let pid = pid.trim().parse().context("the pid of PM2 is no number")?;
        let mut kill = self.command(bed);
        kill.arg("kill");
        Running::background(pid, vec![kill], bed)
    }
}
