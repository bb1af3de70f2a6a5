//! Everything that can stop a command, and how it is told: what, because, try.

mod fleet;
mod sign;

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::PathBuf;

use stead_agent::AgentError;
use stead_core::names::FleetName;
use stead_host::ServiceError;
use stead_wire::api::Refusal;

pub(crate) use self::fleet::{ByHost, FleetFailure};
pub(crate) use self::sign::SignFailure;
use crate::exit::Exit;
use crate::fleet_file::Part;
use crate::screen::{Paint, Tone, show_controls};
use stead_release::release::PackError;

/// Why a command did not do what it was asked. `Display` says what; [`Failure::because`] and
/// [`Failure::try_this`] the rest.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("some instances refused")]
    ActRefused { refused: BTreeMap<String, String> },
    #[error("there can be no agent")]
    Agent { source: AgentError },
    #[error("the agent's answer makes no sense")]
    AgentAnswer { source: Box<dyn Error + Send + Sync> },
    #[error("the agent at `{}` may not be asked", root.display())]
    AgentDenied { root: PathBuf, source: io::Error },
    #[error("the connection to the agent broke")]
    AgentLost { source: Box<dyn Error + Send + Sync> },
    #[error("no agent at `{}`", root.display())]
    AgentMissing { root: PathBuf, source: io::Error },
    #[error("the agent refused: {}", refusal.what)]
    AgentRefused { status: u16, refusal: Box<Refusal> },
    #[error("the agent does not answer")]
    AgentSilent { waited_s: u64 },
    #[error("the agent did not start")]
    AgentStart { why: String, tail: String },
    #[error("the build of service `{service}` failed")]
    Build { service: String, command: String, why: String },
    #[error("the keeper's program `{}` cannot be run", keeper.display())]
    Exec { keeper: PathBuf, source: io::Error },
    #[error("`{from}` cannot be imported")]
    Import { from: String, why: String },
    #[error("could not {step}")]
    Install { step: String, why: String },
    #[error(transparent)]
    Fleet(#[from] FleetFailure),
    #[error("`{file}` is not a valid fleet file")]
    FleetFile { file: String, rendered: String },
    #[error("the fleet file `{}` cannot be read", path.display())]
    FleetRead { path: PathBuf, source: io::Error },
    #[error("interrupted")]
    Interrupted { hint: Option<String> },
    #[error("the key in `{}` cannot be used", path.display())]
    Key { path: PathBuf, why: String },
    #[error("there is no keeper program")]
    KeeperMissing { looked_at: PathBuf },
    #[error("the manual pages cannot be written")]
    Manual { source: io::Error },
    #[error("no host of the fleet is this machine")]
    NoLocalHost,
    #[error("the root cannot be found")]
    NoRoot,
    #[error("nothing of `{name}` runs")]
    NothingRuns { name: String },
    #[error("not {goal}: {}", names.join(", "))]
    NotThere { goal: &'static str, names: Vec<String>, why: String },
    #[error("fleet `{running}` runs at this root, not `{wanted}`")]
    OtherFleet { running: FleetName, wanted: FleetName, root: PathBuf },
    #[error("the output cannot be written")]
    Output { source: io::Error },
    #[error("the reader of the output is gone")]
    OutputClosed,
    #[error("the {} of service `{service}` cannot be packed ({at})", part.noun())]
    Pack { service: String, part: Part, at: String, source: PackError },
    #[error("service `{service}` runs on `{host}` ({address}), which is not this machine")]
    RemoteHost { service: String, host: String, address: String },
    #[error("the root `{}` cannot be used", root.display())]
    Root { root: PathBuf, source: io::Error },
    #[error(transparent)]
    Sign(#[from] SignFailure),
    #[error(transparent)]
    Service(#[from] ServiceError),
    #[error("the secret `{name}` has no value")]
    Secret { name: String, why: String },
    #[error("stead cannot begin to work")]
    Runtime { source: io::Error },
    #[error("there is no service or instance `{name}`")]
    UnknownName { name: String, near: Option<String>, known: Vec<String> },
}

impl Failure {
    pub(crate) fn output(source: io::Error) -> Self {
        let is_closed = source.kind() == io::ErrorKind::BrokenPipe;
        if is_closed { Self::OutputClosed } else { Self::Output { source } }
    }

    /// How the command ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::OutputClosed => Exit::Done,
            Self::AgentAnswer { .. } | Self::Runtime { .. } => Exit::Bug,
            Self::Import { .. } | Self::Manual { .. } | Self::Output { .. } => Exit::Refused,
            Self::NoRoot | Self::UnknownName { .. } => Exit::Usage,
            Self::FleetFile { .. } | Self::FleetRead { .. } => Exit::BadFleetFile,
            Self::AgentLost { .. }
            | Self::AgentMissing { .. }
            | Self::AgentSilent { .. }
            | Self::AgentStart { .. } => Exit::Unreachable,
            Self::Fleet(failure) => failure.exit(),
            Self::Build { .. } | Self::NotThere { .. } | Self::NothingRuns { .. } => Exit::NotReady,
            Self::ActRefused { .. }
            | Self::Agent { .. }
            | Self::AgentDenied { .. }
            | Self::Exec { .. }
            | Self::Install { .. }
            | Self::Key { .. }
            | Self::Secret { .. }
            | Self::Service(_)
            | Self::Sign(_)
            | Self::KeeperMissing { .. }
            | Self::NoLocalHost
            | Self::OtherFleet { .. }
            | Self::RemoteHost { .. }
            | Self::Root { .. } => Exit::Refused,
            Self::AgentRefused { status, .. } => match status {
                // Its words about what was asked, not about whether it may be done.
                400 | 404 | 422 => Exit::Usage,
                408 | 503 | 504 => Exit::Unreachable,
                // The disk of the host is full, not the agent at fault.
                507 => Exit::Refused,
                500.. => Exit::Bug,
                _ => Exit::Refused,
            },
            Self::Interrupted { .. } => Exit::Interrupted,
            Self::Pack { source, .. } if source.is_about_the_files() => Exit::BadFleetFile,
            Self::Pack { .. } => Exit::Refused,
        }
    }

    /// The causes, from the nearest to the deepest.
    pub(crate) fn because(&self) -> Vec<String> {
        let mut causes: Vec<String> = match self {
            Self::ActRefused { refused } => {
                refused.iter().map(|(name, why)| format!("`{name}`: {why}")).collect()
            }
            Self::AgentMissing { root, .. } => {
                vec![format!("nothing listens on `{}`", root.join("agent.sock").display())]
            }
            Self::AgentRefused { refusal, .. } => vec![refusal.because.clone()],
            Self::AgentSilent { waited_s } => vec![format!("it said nothing for {waited_s} s")],
            Self::AgentStart { why, .. } => vec![why.clone()],
            Self::Import { why, .. } | Self::Install { why, .. } => vec![why.clone()],
            Self::Build { command, why, .. } => vec![format!("`{command}` ended with {why}")],
            Self::Key { why, .. } | Self::Secret { why, .. } => vec![why.clone()],
            Self::KeeperMissing { looked_at } => {
                vec![format!("`{}` is not a program", looked_at.display())]
            }
            Self::Service(error) => vec![error.why.clone()],
            Self::NoRoot => {
                vec!["neither --root, STEAD_ROOT, XDG_STATE_HOME nor HOME is set".into()]
            }
            Self::NotThere { why, .. } => vec![why.clone()],
            Self::NothingRuns { .. } => {
                vec!["a program is run in the place of a run, and there is none".into()]
            }
            Self::OtherFleet { .. } => vec!["an agent obeys one plan".into()],
            Self::NoLocalHost | Self::RemoteHost { .. } => {
                vec!["`up` acts on this machine only".into()]
            }
            Self::UnknownName { known, .. } if known.is_empty() => {
                vec!["the fleet has no instances".into()]
            }
            Self::UnknownName { known, .. } => vec![format!("there are: {}", known.join(", "))],
            Self::Agent { .. }
            | Self::AgentAnswer { .. }
            | Self::AgentDenied { .. }
            | Self::AgentLost { .. }
            | Self::Exec { .. }
            | Self::FleetFile { .. }
            | Self::FleetRead { .. }
            | Self::Interrupted { .. }
            | Self::Manual { .. }
            | Self::Output { .. }
            | Self::OutputClosed
            | Self::Pack { .. }
            | Self::Root { .. }
            | Self::Runtime { .. } => Vec::new(),
            // It has told its own causes.
            Self::Fleet(failure) => return failure.because(),
            Self::Sign(failure) => return failure.because(),
        };
        let mut source = self.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        causes.retain(|cause| !cause.is_empty());
        causes
    }

    /// What may help.
    pub(crate) fn try_this(&self) -> Option<String> {
        let text = match self {
            Self::ActRefused { .. } => "`stead status` and `stead why NAME` say where they are",
            Self::Agent { source: AgentError::Held { .. } } => {
                "`stead agent status` asks that one; `--root DIR` names another root"
            }
            Self::AgentDenied { .. } => "run it as the user who started the agent, or as root",
            Self::AgentLost { .. } => "look with `stead status`, then do it again",
            Self::AgentMissing { root, .. } => {
                return Some(format!(
                    "`stead up FILE` starts one; `--root DIR` names another root than `{}`",
                    root.display()
                ));
            }
            Self::AgentRefused { refusal, .. } => return Some(refusal.try_this.clone()),
            Self::AgentSilent { .. } => {
                "do it again; if it stays so, kill the agent: services run on"
            }
            Self::AgentStart { .. } => "`stead agent run` shows in the foreground what holds it up",
            Self::Import { .. } => "`stead import --help` tells what can be read",
            Self::Install { .. } => "`stead agent status` says which agent answers",
            Self::Service(error) => return Some(error.try_this.clone()),
            Self::Build { .. } => "mend what its output names; nothing was changed",
            Self::FleetRead { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "name the file, `stead up path/to/stead.toml`, or write one"
            }
            Self::Interrupted { hint } => return hint.clone(),
            Self::Secret { .. } => "mend its source in the file, or there; nothing was changed",
            Self::Key { .. } => {
                "`stead key new FILE` makes one to sign with, and prints the one to trust"
            }
            Self::KeeperMissing { .. } => {
                "put `stead-keeper` beside `stead`, or name it in STEAD_KEEPER_BIN; \
                 in the source tree `cargo stead …` builds both"
            }
            Self::NoRoot => "`--root DIR`",
            Self::NotThere { .. } => {
                "`stead why NAME` and `stead logs NAME` tell more; it stays as it is until \
                 `stead down`"
            }
            Self::NothingRuns { name } => {
                return Some(format!("`stead why {name}` says why; `stead start {name}`"));
            }
            Self::OtherFleet { running, root, .. } => {
                return Some(format!(
                    "`stead --root {} down` ends `{running}`; or give this fleet a root of its own",
                    root.display()
                ));
            }
            Self::Pack { source, part, .. } => return source.try_this(part.field()),
            Self::NoLocalHost | Self::RemoteHost { .. } => {
                "`stead deploy` brings it to its hosts; without its `address` it runs here"
            }
            Self::Root { .. } => "name a folder that is yours with `--root DIR`",
            Self::UnknownName { near: Some(near), .. } => return Some(format!("`{near}`")),
            Self::Agent { .. }
            | Self::AgentAnswer { .. }
            | Self::Exec { .. }
            | Self::FleetFile { .. }
            | Self::FleetRead { .. }
            | Self::Manual { .. }
            | Self::Output { .. }
            | Self::OutputClosed
            | Self::Runtime { .. }
            | Self::UnknownName { near: None, .. } => return None,
            Self::Fleet(failure) => return failure.try_this(),
            Self::Sign(failure) => return failure.try_this(),
        };
        Some(text.into())
    }

    /// All of it in one line, for where another one is told.
    pub(crate) fn whole(&self) -> String {
        [vec![self.to_string()], self.because()].concat().join(": ")
    }

    /// The whole of it for people; empty for what is no error to them.
    pub(crate) fn render(&self, paint: Paint) -> String {
        // What is wrong with a fleet file is told in its own way, with the lines it is about.
        if let Self::FleetFile { rendered, .. } = self {
            return rendered.clone();
        }
        let mut text = match self.exit() {
            Exit::Done => return String::new(),
            Exit::Interrupted => {
                return self.try_this().map_or_else(String::new, |it| format!("{self}: {it}\n"));
            }
            Exit::BadFleetFile
            | Exit::Bug
            | Exit::NotReady
            | Exit::Refused
            | Exit::Split
            | Exit::Unreachable
            | Exit::Usage => {
                let what = show_controls(&self.to_string());
                format!("{} {what}\n", paint.paint(Tone::Bad, "error:"))
            }
        };
        for cause in self.because() {
            let cause = show_controls(&cause);
            text.push_str(&format!("  {} {cause}\n", paint.paint(Tone::Dim, "because")));
        }
        if let Self::AgentStart { tail, .. } = self
            && !tail.is_empty()
        {
            text.push_str("  its log ends with\n");
            let lines = tail.lines().map(|line| format!("    {}\n", show_controls(line)));
            text.extend(lines);
        }
        if let Some(hint) = self.try_this().filter(|hint| !hint.is_empty()) {
            text.push_str(&format!("  {} {hint}\n", paint.paint(Tone::Dim, "try")));
        }
        text
    }
}

#[cfg(test)]
mod tests;
