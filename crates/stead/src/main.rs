//! `stead`: the command line. Arguments, rendering, exit codes; facts come from the agent.

mod act;
mod agent;
mod args;
mod cache;
mod check;
mod client;
mod crash;
mod deploy;
mod diff;
mod exec;
mod exit;
mod failure;
mod fleet_file;
mod history;
mod hosts;
mod import;
mod install;
mod interrupts;
mod keys;
mod kit;
mod manual;
mod moment;
mod names;
mod pack;
mod plan;
mod progress;
mod reach;
mod relay;
mod render;
mod root;
#[cfg(test)]
mod samples;
mod screen;
mod secrets;
mod show;
mod sign;
mod up;
mod wait;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;

use crate::act::Turn;
use crate::args::{AgentCommand, Cli, Command};
use crate::client::Client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::screen::Screen;

/// What every command works with.
pub(crate) struct Context {
    /// The root as told; [`Context::client`] finds it otherwise.
    root: Option<PathBuf>,
    pub(crate) screen: Screen,
}

impl Context {
    /// The agent of the root.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        root::find(self.root.as_deref()).map(|root| Client::new(&root))
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help that nobody can read is no reason to fail.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let mut ctx = Context { root: cli.root, screen: Screen::new(cli.color) };
    match carry_out(&mut ctx, cli.command) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            let text = failure.render(ctx.screen.paint_notes);
            let _ = io::stderr().lock().write_all(text.as_bytes());
            failure.exit().into()
        }
    }
}

fn carry_out(ctx: &mut Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Agent(AgentCommand::Run(args)) => agent::run(ctx, args),
        Command::Agent(AgentCommand::Install) => wait_for(install::install(ctx)),
        Command::Agent(AgentCommand::Kit) => {
            ctx.screen.write(&format!("{}\n", kit::Kit::own()?.digest()))
        }
        Command::Agent(AgentCommand::Put { kit, mark }) => {
            kit::put(ctx.client()?.root(), &kit, &mark)
        }
        Command::Agent(AgentCommand::Uninstall) => install::uninstall(ctx),
        Command::Agent(AgentCommand::Revert) => install::revert(ctx),
        Command::Agent(AgentCommand::Trust(args)) => keys::trust(ctx, &args),
        Command::Agent(AgentCommand::Status { json }) => wait_for(show::agent(ctx, json)),
        Command::Check(args) => wait_for(check::check(ctx, args)),
        Command::Completions { shell } => manual::completions(&mut ctx.screen, shell),
        Command::Deploy(args) => attend(async |ints| deploy::deploy(ctx, ints, args).await),
        Command::Diff(args) => wait_for(diff::diff(ctx, args)),
        Command::Down(args) => attend(async |ints| act::down(ctx, ints, args.wait).await),
        Command::Events(args) => wait_for(show::events(ctx, args)),
        Command::Facts { questions } => facts(ctx, &questions),
        Command::Exec(args) => exec::exec(ctx, &args),
        Command::History(args) => wait_for(history::history(ctx, args)),
        Command::Import(args) => import::import(ctx, &args),
        Command::Key(command) => keys::key(ctx, command),
        Command::Logs(args) => wait_for(show::logs(ctx, args)),
        Command::Man { dir } => manual::pages(&mut ctx.screen, dir.as_deref()),
        Command::Openapi => ctx.screen.json(&stead_agent::openapi()),
        Command::Pack(args) => attend(async |ints| pack::pack(ctx, ints, args).await),
        Command::Plan(args) => wait_for(plan::plan(ctx, args)),
        Command::Relay => wait_for(relay::relay(ctx.client()?)),
        Command::Reload(args) => wait_for(act::reload(ctx, args)),
        Command::Restart(args) => wait_for(act::turn(ctx, Turn::Restart, args)),
        Command::Rollback(args) => attend(async |ints| deploy::rollback(ctx, ints, args).await),
        Command::Schema => ctx.screen.json(&stead_fleet::schema()),
        Command::Signal(args) => wait_for(act::signal(ctx, args)),
        Command::Start(args) => wait_for(act::turn(ctx, Turn::Start, args)),
        Command::Status(args) => wait_for(show::status(ctx, args)),
        Command::Stop(args) => wait_for(act::turn(ctx, Turn::Stop, args)),
        Command::Up(args) => attend(async |ints| up::up(ctx, ints, args).await),
        Command::Why(args) => wait_for(show::why(ctx, args)),
    }
}

/// Tells what this host is and has.
fn facts(ctx: &Context, questions: &[String]) -> Result<(), Failure> {
    let root = root::find(ctx.root.as_deref())?;
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    Ok(stead_host::tell_facts(&root, questions, &mut from, &mut to)?)
}

/// Does work that an interrupt simply ends.
fn wait_for(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    attend(async |interrupts| interrupts.or(work).await)
}

/// Does work that answers interrupts itself.
fn attend(work: impl AsyncFnOnce(&mut Interrupts) -> Result<(), Failure>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| Failure::Runtime { source })?;
    runtime.block_on(async { work(&mut Interrupts::listen()?).await })
}
