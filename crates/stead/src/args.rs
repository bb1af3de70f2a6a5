//! The command line as it is typed.

mod fleet;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use stead_core::signal::Signal;
use stead_core::units::parse_duration;

use crate::exit;
use crate::moment::Moment;

pub(crate) use fleet::{
    CheckArgs, DeployArgs, DiffArgs, HistoryArgs, PackArgs, PlanArgs, RollbackArgs, ScopeArgs,
    TierArg,
};

const FLEET_FILE: &str = "stead.toml";
const EVERYWHERE: &str = "Options of every command";

/// Keeps compiled services up: what runs, how and where is said in one file.
#[derive(Debug, Parser)]
#[command(name = "stead", version, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_long_help = exit::table())]
pub(crate) struct Cli {
    /// The folder that holds all state; or set STEAD_ROOT
    ///
    /// Several agents can run on one machine, each with its own root. The default is
    /// /var/lib/stead for root and $XDG_STATE_HOME/stead (~/.local/state/stead) for others.
    #[arg(long, global = true, value_name = "DIR", help_heading = EVERYWHERE)]
    pub(crate) root: Option<PathBuf>,

    /// Whether to write in colour; NO_COLOR is honoured
    #[arg(long, global = true, value_name = "WHEN", help_heading = EVERYWHERE)]
    #[arg(value_enum, default_value_t)]
    pub(crate) color: ColorChoice,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When to write in colour.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build, pack and run the fleet, and wait until it is up
    Up(UpArgs),
    /// Show what `up` or `deploy` would change, and why; changes nothing
    Plan(PlanArgs),
    /// Look whether hosts are fit for what is to run on them; changes nothing without --apply
    ///
    /// It needs nothing of stead on the hosts. What would make a deploy or a service fail ends it
    /// with 6; advice does not.
    Check(CheckArgs),
    /// Bring the fleet to all its hosts, over SSH: everywhere, or nowhere
    ///
    /// Every host is given what it needs before any is switched. Then hosts are switched wave by
    /// wave; what does not become ready, crashes or is interrupted brings back every host that was
    /// switched. A host that hears nothing for two minutes takes a switch back by itself.
    Deploy(DeployArgs),
    /// Write what a deploy would bring to folders or zip files: for an installer, or by hand
    ///
    /// It builds and signs as a deploy does, and asks no host. Each service becomes one for each
    /// system of its hosts, called SERVICE-SYSTEM-RELEASE.
    Pack(PackArgs),
    /// Bring a service back to what it ran before, on all its hosts
    ///
    /// A deploy like any other: in waves, behind the gate, and nowhere if it fails somewhere.
    Rollback(RollbackArgs),
    /// Show what ran when on each host of the fleet, and who brought it there
    History(HistoryArgs),
    /// Show what differs in a service between two entries of its hosts' history
    ///
    /// Without a number it is the last entry in which the service was otherwise, against what runs
    /// now; with one, that entry against now.
    Diff(DiffArgs),
    /// Show every instance: phase, pid, restarts, memory, CPU, release
    Status(StatusArgs),
    /// Write a fleet file from systemd units, PM2, NSSM, WinSW or a Procfile
    ///
    /// What could not be carried over is listed in the comments of each service.
    Import(ImportArgs),
    /// Show what services wrote, merged across instances by time
    ///
    /// On a terminal control characters are shown, not obeyed: escape looks like ^[. Into a pipe or
    /// a file each line goes as it was written, but that bytes which are not UTF-8 are replaced.
    Logs(LogsArgs),
    /// Start services or instances now, whatever backoff or failure they are in
    Start(ActArgs),
    /// Stop services or instances; they stay down until started
    Stop(ActArgs),
    /// Give services or instances a fresh run
    Restart(ActArgs),
    /// Tell services or instances to read their configuration again
    Reload(ReloadArgs),
    /// Run a program in the place of a run: its account, environment, folder and limits
    Exec(ExecArgs),
    /// Send a signal to the main process of services or instances
    Signal(SignalArgs),
    /// Stop everything, what needs others first
    Down(DownArgs),
    /// Say why a service or an instance is in the phase it is in
    Why(WhyArgs),
    /// Show the journal of everything that happened
    Events(EventsArgs),
    /// The daemon that looks after this host
    #[command(subcommand)]
    Agent(AgentCommand),
    /// The key that signs what is brought to hosts
    #[command(subcommand)]
    Key(KeyCommand),
    /// Print a completion script for a shell
    Completions { shell: Shell },
    /// Print the manual page, or write one per command into a folder
    Man {
        /// The folder; it is made if it is not there
        dir: Option<PathBuf>,
    },
    /// Be the far end of the way to this host
    #[command(hide = true)]
    Relay,
    /// Tell what this host is and has, as `stead check` asks hosts with Windows for it
    #[command(hide = true)]
    Facts {
        /// `port:8100`, `user:orders`, `group:www` or `path:C:\tools`
        questions: Vec<String>,
    },
    /// Print the JSON schema of the fleet file
    #[command(hide = true)]
    Schema,
    /// Print the OpenAPI description of the agent
    #[command(hide = true)]
    Openapi,
}

#[derive(Args, Debug)]
pub(crate) struct UpArgs {
    /// The fleet file
    #[arg(default_value = FLEET_FILE)]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) tier: TierArg,

    /// Leave once everything is up, and leave it running
    ///
    /// Without it, `up` shows the fleet until Ctrl-C, and then stops what it started.
    #[arg(long, short)]
    pub(crate) detach: bool,

    /// How long everything may take to be up
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(crate) wait: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Keep showing it until Ctrl-C
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) watch: bool,
}

#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    /// Services (`orders`) or instances (`orders.0`)
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Go on with what is written from now on; begins with the last 10 lines
    ///
    /// --since or --last say otherwise where to begin.
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// From when on: `10m` ago, a time of day, a date and time, or RFC 3339
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<Moment>,

    /// Until when, written like --since
    #[arg(long, value_name = "TIME", conflicts_with = "follow")]
    pub(crate) until: Option<Moment>,

    /// Only lines that match this regular expression
    #[arg(long, value_name = "REGEX")]
    pub(crate) grep: Option<String>,

    /// Only one of the two streams
    #[arg(long, value_enum)]
    pub(crate) stream: Option<StreamChoice>,

    /// Only the last N lines
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) last: Option<u64>,

    /// Print newline-delimited JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum StreamChoice {
    Out,
    Err,
}

#[derive(Args, Debug)]
pub(crate) struct ActArgs {
    /// Services (`orders`) or instances (`orders.0`)
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// How long it may take to be so; `0s` does not wait
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(crate) wait: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct SignalArgs {
    /// TERM, INT, QUIT, HUP, USR1, USR2, KILL, STOP, CONT, …; with or without SIG
    pub(crate) signal: Signal,

    /// Services (`orders`) or instances (`orders.0`)
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ReloadArgs {
    /// Services (`orders`) or instances (`orders.0`)
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ExecArgs {
    /// An instance (`orders.0`), or a service: then its first instance that runs
    pub(crate) name: String,

    /// The program and its arguments; its exit code becomes that of this command
    #[arg(required = true, last = true, value_name = "PROGRAM")]
    pub(crate) command: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct DownArgs {
    /// How long to wait for it, `0s` not at all; it goes on without
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(crate) wait: Duration,
}

#[derive(Args, Debug)]
pub(crate) struct WhyArgs {
    /// A service (`orders`) or an instance (`orders.0`)
    pub(crate) name: String,

    /// Print JSON: a list, one for each instance
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct EventsArgs {
    /// A service (`orders`) or an instance (`orders.0`)
    pub(crate) name: Option<String>,

    /// Go on with what happens from now on
    #[arg(long, short)]
    pub(crate) follow: bool,

    /// Print newline-delimited JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// Units by name (`nginx`, `postgresql@15-main`) or path, `ecosystem.config.js` or its JSON,
    /// what `nssm dump NAME` printed, WinSW's XML, a Procfile
    #[arg(required = true, value_name = "FROM")]
    pub(crate) from: Vec<String>,

    /// What it is, where the name does not tell
    #[arg(long, value_enum)]
    pub(crate) kind: Option<ImportKind>,

    /// Write the fleet file there, instead of printing it; a file that is there stays
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ImportKind {
    Nssm,
    Pm2,
    Procfile,
    Systemd,
    Winsw,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Be the agent of this root, in the foreground
    Run(AgentRunArgs),
    /// Make the agent a service of this host, from the boot on; or upgrade it to this version
    ///
    /// A service of systemd, or of Windows, where it takes an elevated prompt. Services run on
    /// while an agent is installed, upgraded or removed. An upgrade whose agent does not answer is
    /// taken back.
    Install,
    /// Print which programs these are
    #[command(hide = true)]
    Kit,
    /// Put this very program and those beside it below the root, if they are this kit
    #[command(hide = true)]
    Put { kit: String, mark: String },
    /// Take the agent out of the service manager; what it keeps runs on
    Uninstall,
    /// Go back to the programs of before
    #[command(hide = true)]
    Revert,
    /// List, add or remove the keys by which this host takes plans; with none, it takes any
    Trust(TrustArgs),
    /// Show the agent itself
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make one, and print the public key for `stead agent trust`
    New {
        /// The file for it; one that is there is left as it is
        file: PathBuf,
    },
    /// Print the public key of one
    Show { file: PathBuf },
}

#[derive(Args, Debug)]
pub(crate) struct TrustArgs {
    /// The public key to trust; all that are trusted are listed without it
    pub(crate) key: Option<String>,

    /// Do not trust it any more
    #[arg(long, requires = "key")]
    pub(crate) remove: bool,
}

#[derive(Args, Debug)]
pub(crate) struct AgentRunArgs {
    /// End once `stead down` has stopped everything
    #[arg(long)]
    pub(crate) until_down: bool,

    /// The keeper program; else STEAD_KEEPER_BIN, else the one beside this program
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) keeper: Option<PathBuf>,

    /// Be the service of this name of the host's service manager, which started this
    #[arg(long, hide = true, value_name = "NAME", conflicts_with = "until_down")]
    pub(crate) service: Option<String>,

    /// Tests: an argument for every keeper
    #[arg(long, hide = true, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) keeper_arg: Vec<String>,

    /// Tests: crash at the Nth place where a crash is dangerous
    #[arg(long, hide = true, value_name = "N")]
    pub(crate) crash_at: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_commands_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_help_text_is_as_it_was_last_read() {
        let mut all = String::new();
        let mut command = Cli::command().term_width(90);
        command.build();
        collect_help(&mut command, &mut all);
        insta::assert_snapshot!("help", all);
    }

    fn collect_help(command: &mut clap::Command, all: &mut String) {
        all.push_str(&format!("──── {}\n", command.get_bin_name().unwrap_or("stead")));
        all.push_str(&command.render_help().to_string());
        all.push('\n');
        for sub in command.get_subcommands_mut() {
            collect_help(sub, all);
        }
    }
}
