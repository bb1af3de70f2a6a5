//! Being an agent, from start to end.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use stead_core::probe::Damper;
use stead_core::units::Millis;
use stead_local::{ChildrenEnd, Interrupts, Listener};
use stead_proc::FolderLock;
use stead_wire::journal::Event;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::accounts::Accounts;
use crate::agent::Agent;
use crate::agent_log::AgentLog;
use crate::api::{self, Api};
use crate::crash::Crash;
use crate::hands::Hands;
use crate::host::{self, AllWanted};
use crate::journal::Journal;
use crate::kit;
use crate::layout::{Layout, PASS_THROUGH};
use crate::message::{MESSAGES_MAX, Message};
use crate::plan_change::instances_max;
use crate::rollout::{ROLLOUT_FORMAT, Rollout};
use crate::status::Own;
use crate::store::{self, Found};

/// What an agent is told at its start.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// All state is below; made if it is not there.
    pub root: PathBuf,
    /// What this host is called; `None`: as its system calls it.
    pub host: Option<String>,
    /// The keeper that instances get; copied into the kit.
    pub keeper_program: PathBuf,
    /// End once everything was told to go down and has.
    pub until_down: bool,
    /// For tests: more arguments for every keeper.
    pub keeper_args: Vec<String>,
    /// For tests: the number of the [`crate::CrashPoint`] to die at.
    pub crash_at: Option<u32>,
}

/// Why an agent ended. Keepers and services that are left go on in any case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ended {
    /// It was told to go down; these instances had not ended in time.
    Down { left: Vec<String> },
    /// By a signal, or the end of its console.
    Signalled,
}

/// Why there is no agent.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("another agent{} has the root `{}`", holder(*pid), root.display())]
    Held { root: PathBuf, pid: Option<u32> },
    #[error("could not open the journal `{}`", path.display())]
    Journal { path: PathBuf, source: io::Error },
    #[error("could not put the keeper `{}` into the kit", program.display())]
    Kit { program: PathBuf, source: io::Error },
    #[error("could not listen on `{}`", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("could not lock the root `{}`", root.display())]
    Lock { root: PathBuf, source: io::Error },
    #[error("could not make the folders of the root `{}`", root.display())]
    Root { root: PathBuf, source: io::Error },
    #[error("could not start the threads of the agent")]
    Runtime { source: io::Error },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

/// Threads for status and readers; more would be memory for nothing.
const THREADS_MAX: usize = 24;

/// Idle threads end soon: each has memory of its own.
const THREAD_KEPT: Duration = Duration::from_secs(2);

/// What readers may take to notice that the agent ends.
const THREADS_END_WITHIN: Duration = Duration::from_secs(1);

/// Is an agent until it is told to end. Blocks the thread.
pub fn run(options: Options) -> Result<Ended, AgentError> {
    stead_proc::lean_memory();
    stead_proc::raise_open_files();
    let (layout, _lock) = take_root(&options.root)?;
    let kit = |source| AgentError::Kit { program: options.keeper_program.clone(), source };
    let keeper = kit::install(&layout, &options.keeper_program).map_err(kit)?;
    let journal = Journal::open(&layout.events())
        .map_err(|source| AgentError::Journal { path: layout.events(), source })?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS_MAX)
        .thread_keep_alive(THREAD_KEPT)
        .build()
        .map_err(|source| AgentError::Runtime { source })?;
    let ended = runtime.block_on(be(&options, layout.clone(), keeper, journal));
    runtime.shutdown_timeout(THREADS_END_WITHIN);
    // Only ours can be there: the root is still locked.
    let _ = std::fs::remove_file(layout.socket());
    ended
}

fn take_root(root: &Path) -> Result<(Layout, FolderLock), AgentError> {
    let make = |source| AgentError::Root { root: root.to_path_buf(), source };
    stead_proc::make_folders(root, PASS_THROUGH).map_err(make)?;
    // Services are started with paths below it, which must not depend on where the agent was.
    let root = stead_proc::one_path(root).map_err(make)?;
    stead_host::take_root(&root).map_err(make)?;
    let lock = FolderLock::acquire(&root);
    let lock = lock.map_err(|source| AgentError::Lock { root: root.clone(), source })?;
    let lock = lock.map_err(|pid| AgentError::Held { root: root.clone(), pid })?;
    let layout = Layout::new(root);
    layout.make_root().map_err(make)?;
    Ok((layout, lock))
}

async fn be(
    options: &Options,
    layout: Layout,
    keeper: PathBuf,
    journal: Journal,
) -> Result<Ended, AgentError> {
    let runtime = |source| AgentError::Runtime { source };
    let mut ends = Interrupts::listen_to_all().map_err(runtime)?;
    let children = ChildrenEnd::watch().map_err(runtime)?;
    let socket = layout.socket();
    let listener =
        api::bind(&socket).map_err(|source| AgentError::Listen { path: socket, source })?;
    let (messages, mut waiting) = mpsc::channel(MESSAGES_MAX);
    let mut agent = agent(options, layout, keeper, journal, &messages).map_err(runtime)?;
    agent.adopt();
    tokio::spawn(tell_of_children(children, messages.clone()));
    let (end, ending) = watch::channel(());
    let serving = serve(&agent, listener, messages, ending);
    // Whoever started it may wait for this.
    if let Err(error) = stead_proc::notify("READY=1") {
        agent.log.say(&format!("cannot say that it is ready: {error}"));
    }
    let ended = agent.run(&mut waiting, pin!(ends.next())).await;
    if ended == Ended::Signalled && stead_proc::host_ends() {
        agent.log.say("the host goes down: all services are told to end");
        agent.end_host();
    }
    agent.say_ended(&ended);
    drop(end);
    agent.answer_last(&mut waiting, serving, &ended).await;
    Ok(ended)
}

fn serve(
    agent: &Agent,
    listener: Listener,
    messages: mpsc::Sender<Message>,
    ending: watch::Receiver<()>,
) -> JoinHandle<()> {
    let root = agent.layout.root().to_string_lossy().into_owned();
    let keeper = agent.keeper.to_string_lossy().into_owned();
    let own = Own { host: agent.host.clone(), root, keeper };
    let api = Api::new(messages, agent.layout.clone(), own);
    tokio::spawn(api::serve(listener, api, ending))
}

/// The agent with what it knows from the disk.
fn agent(
    options: &Options,
    layout: Layout,
    keeper: PathBuf,
    mut journal: Journal,
    messages: &mpsc::Sender<Message>,
) -> io::Result<Agent> {
    let (pid, version) = (std::process::id(), env!("CARGO_PKG_VERSION").to_owned());
    let mut log = AgentLog::open(&layout.log());
    log.say(&format!("agent {version} starts as process {pid}"));
    journal.note(Event::AgentStarted { pid, version });
    let (mut accounts, accounts_damage) = Accounts::load(&layout);
    let found = store::read_plan(&layout.plan());
    let wanted = match &found {
        Found::Whole(stored) => {
            host::all_wanted(&layout, kit::folder(&keeper), stored, &mut accounts)
        }
        Found::Absent | Found::Damaged { .. } => AllWanted::new(),
    };
    let mut hands = Hands {
        layout: layout.clone(),
        accounts,
        keeper: keeper.clone(),
        keeper_args: options.keeper_args.clone(),
        crash: Crash(options.crash_at),
        planned: None,
    };
    let settled = match &found {
        Found::Whole(stored) => hands.obey(stored, &wanted),
        Found::Absent | Found::Damaged { .. } => Ok(()),
    };
    let mut agent = Agent {
        host: options.host.clone().unwrap_or_else(stead_proc::host_name),
        until_down: options.until_down,
        instances_max: instances_max(stead_proc::open_files_max()),
        capacity: crate::capacity(),
        keeper,
        crash: Crash(options.crash_at),
        hands: hands.start(messages.clone())?,
        journal,
        log,
        messages: messages.clone(),
        stored: None,
        wanted,
        resolve_at: None,
        kept: BTreeMap::new(),
        unstarted: BTreeMap::new(),
        change: None,
        down: None,
        rollout: Rollout::default(),
        collect_at: None,
        ended: None,
        links: 0,
        fronts: BTreeMap::new(),
        damper: Damper::new(Millis(stead_proc::boot_ms())),
        troubles: BTreeMap::new(),
        layout,
    };
    if let Some(why) = accounts_damage {
        let trouble = format!("accounts.json is damaged ({why}); the owners of `data` stand in");
        agent.note_damage("accounts.json", 0, &why, trouble);
    }
    agent.settled(settled);
    remember(&mut agent, found);
    if stead_proc::is_root()
        && let Some(closed) = agent.layout.closed_above()
    {
        let trouble = format!(
            "services that do not run as root cannot reach their files: `{}` is closed to others",
            closed.display()
        );
        agent.log.say(&trouble);
        agent.troubles.insert("root".into(), trouble);
    }
    Ok(agent)
}

/// What the disk says of its plan and of rollouts.
fn remember(agent: &mut Agent, found: Found<store::Stored>) {
    match found {
        Found::Absent => (),
        Found::Damaged { why, bytes } => {
            let trouble = format!(
                "plan.json is damaged ({why}): what runs is kept, nothing is stopped, until a new \
                 plan comes"
            );
            agent.note_damage("plan.json", bytes, &why, trouble);
        }
        Found::Whole(stored) => agent.stored = Some(stored),
    }
    match store::read(&agent.layout.rollout(), ROLLOUT_FORMAT) {
        Found::Absent => (),
        Found::Damaged { why, bytes } => {
            let trouble = format!("rollout.json is damaged ({why}): the next rollout begins anew");
            agent.note_damage("rollout.json", bytes, &why, trouble);
        }
        Found::Whole(remembered) => agent.rollout = Rollout::new(remembered),
    }
}

impl Agent {
    fn say_ended(&mut self, ended: &Ended) {
        let why = match ended {
            Ended::Down { left } if left.is_empty() => "everything is down".to_owned(),
            Ended::Down { left } => format!("told to go down; still there: {}", left.join(", ")),
            Ended::Signalled => "told by a signal; keepers and services go on".to_owned(),
        };
        self.log.say(&format!("agent ends: {why}"));
        self.journal.note(Event::AgentStopped { pid: std::process::id() });
        self.journal.flush();
    }
}

async fn tell_of_children(mut children: ChildrenEnd, messages: mpsc::Sender<Message>) {
    loop {
        children.next().await;
        if messages.send(Message::ChildEnded).await.is_err() {
            return;
        }
    }
}
