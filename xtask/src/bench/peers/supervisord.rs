//! supervisord: one Python process that is the parent of all.

use std::process::Command;

use anyhow::Result;
use rustix::process::Signal;

use super::{Bed, Peer, Running};
use crate::process;

pub(in crate::bench) struct Supervisord;

impl Peer for Supervisord {
    fn name(&self) -> &'static str {
        "supervisord"
    }

    fn terms(&self) -> &'static str {
        "autorestart=true, startsecs=0, logs to files; it looks once a second by design"
    }

    fn missing(&self) -> Option<String> {
        let found = process::find("supervisord");
        found.is_none().then(|| "supervisord is not on PATH".to_owned())
    }

    fn start(&self, bed: &Bed) -> Result<Running> {
        let Bed { folder, probe, instances_n } = bed;
        let (folder, probe, runs) = (folder.display(), probe.display(), bed.runs());
        let configuration = format!(
            "[supervisord]\n\
             nodaemon=true\n\
             logfile={folder}/supervisord.log\n\
             pidfile={folder}/supervisord.pid\n\
             childlogdir={folder}\n\
             \n\
             [program:probe]\n\
             command={probe} {runs}\n\
             process_name=probe-%(process_num)d\n\
             numprocs={instances_n}\n\
             autorestart=true\n\
             startsecs=0\n",
            runs = runs.display(),
        );
        let file = bed.write("supervisord.conf", &configuration)?;
        let mut command = Command::new("supervisord");
        command.arg("--nodaemon").arg("--configuration").arg(file);
        Running::foreground(&mut command, Signal::TERM, bed)
    }
}
