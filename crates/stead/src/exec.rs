//! `stead exec`: a program in the place of a run.

use std::ffi::OsStr;
use std::path::PathBuf;

use stead_wire::api::{InstanceStatus, Status};

use crate::Context;
use crate::args::ExecArgs;
use crate::failure::Failure;
use crate::names;

/// What is to be run where.
struct Place {
    keeper: PathBuf,
    folder: PathBuf,
    /// As the keeper's program takes it: the run, its main process, and which ports it has.
    run: String,
}

/// Becomes the program, with our own streams. Returns only with the reason why not.
pub(crate) fn exec(ctx: &mut Context, args: &ExecArgs) -> Result<(), Failure> {
    let mut place = None;
    crate::wait_for(async {
        place = Some(find(ctx, &args.name).await?);
        Ok(())
    })?;
    let Some(Place { keeper, folder, run }) = place else { return Ok(()) };
    let mut all = vec![OsStr::new("--folder"), folder.as_os_str()];
    all.extend([OsStr::new("--enter"), OsStr::new(&run)]);
    all.extend(args.command.iter().map(OsStr::new));
    let source = stead_proc::become_program(&keeper, &all);
    Err(Failure::Exec { keeper, source })
}

async fn find(ctx: &Context, name: &str) -> Result<Place, Failure> {
    let client = ctx.client()?;
    let status: Status = client.get("/v1/status").await?;
    let meant = names::instances(&status, &[name.to_owned()])?;
    let is_meant = |instance: &&InstanceStatus| meant.contains(&instance.name);
    let up = status.instances.iter().filter(is_meant).find_map(|it| Some((it, it.pid?)));
    let Some((instance, pid)) = up else {
        return Err(Failure::NothingRuns { name: name.to_owned() });
    };
    let side = u8::from(instance.second_ports);
    Ok(Place {
        keeper: PathBuf::from(&status.agent.keeper),
        folder: PathBuf::from(&status.agent.root).join("instances").join(&instance.name),
        run: format!("{}:{pid}:{side}", instance.run),
    })
}
