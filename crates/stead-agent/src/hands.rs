//! What touches the disk on behalf of the agent, on one thread, in order: a slow disk holds up
//! these jobs and not what the agent sees and answers.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use stead_core::launch::Launch;
use stead_core::names::{InstanceName, ServiceName};
use stead_core::plan::Digest;
use stead_core::preflight::{Finding, Preflight};
use stead_proc::{AsHandle as _, FolderLock, NamedSocket, OwnedHandle};
use stead_wire::file;
use stead_wire::frame::{self, Framed};
use stead_wire::journal::{Event, Record};
use tokio::sync::mpsc::Sender;

use crate::accounts::Accounts;
use crate::agent_log::AgentLog;
use crate::collect::{self, Collect, Collected};
use crate::config::{self, ConfigError};
use crate::crash::{Crash, CrashPoint};
use crate::history::{self, NewEntry};
use crate::host::{self, AllWanted};
use crate::kit;
use crate::layout::{InstanceError, Layout};
use crate::message::Message;
use crate::preflight;
use crate::registry::{Keys, RegistryError};
use crate::rollout::{ROLLOUT_FORMAT, Remembered};
use crate::store::{self, Found, Stored};

pub(crate) const LAUNCH_FORMAT: &str = "stead-launch/1";

/// The end of a journal that is read to find its last record.
const TAIL_LEN: u64 = 2 * frame::RECORD_LEN_MAX as u64;

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Job {
    /// Make this the plan.
    Apply(Box<Stored>),
    /// Remove the folder of an instance whose keeper has ended, if the instance was retired.
    Bury {
        instance: InstanceName,
    },
    /// Remove what is old.
    Collect(Box<Collect>),
    /// Have ready what an instance needs to run by this launch, with these ports.
    Prepare {
        instance: InstanceName,
        mark: u32,
        launch: Box<Launch>,
        ports: BTreeMap<String, u16>,
        /// The mark of the launch that all of the instance goes by, if it is one.
        settled: Option<u32>,
    },
    /// Write a line of the host's history.
    Record(Box<NewEntry>),
    /// Store what is remembered of a rollout.
    Remember(Box<Remembered>),
    /// Fill in the host's side of a plan once more: an account may be there by now.
    Resolve(Box<Stored>),
    Start(Box<Start>),
}

/// A keeper to start.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) instance: InstanceName,
    /// What the plan wants; used only when the instance has no launch yet.
    pub(crate) wanted: Option<Box<Launch>>,
    /// The ports that the plan gives it.
    pub(crate) ports: BTreeMap<String, u16>,
    /// What the keeper before held for the instance.
    pub(crate) sockets: Vec<NamedSocket>,
}

/// What a run may be refused by, a sentence each; it is begun all the same.
pub(crate) type Warnings = Vec<String>;

/// Whether the registry is as the services have it that are switched already, or why not.
pub(crate) type Settled = Result<(), String>;

/// What became of a job.
#[derive(Debug)]
pub(crate) enum Done {
    Applied { stored: Box<Stored>, wanted: Result<AllWanted, io::Error>, settled: Settled },
    Buried { instance: InstanceName, retired: bool, settled: Settled },
    Collected(io::Result<Collected>),
    Prepared { instance: InstanceName, mark: u32, prepared: Result<Warnings, String> },
    Recorded { error: io::Error },
    Remembered { next: Box<Remembered>, stored: io::Result<()> },
    Resolved { generation: u64, wanted: AllWanted },
    Started { instance: InstanceName, started: Result<Started, String> },
}

/// A keeper that was started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: u32,
    pub(crate) release: Option<Digest>,
    pub(crate) fifos: Vec<OwnedHandle>,
    /// The launch on disk was no whole one and was written anew: what was wrong.
    pub(crate) damage: Option<Event>,
    /// `None`: its launch was not looked at, since it has had runs.
    pub(crate) warnings: Option<Warnings>,
}

/// What the thread works with.
pub(crate) struct Hands {
    pub(crate) layout: Layout,
    pub(crate) accounts: Accounts,
    pub(crate) keeper: PathBuf,
    pub(crate) keeper_args: Vec<String>,
    pub(crate) crash: Crash,
    /// The services of the plan; `None`: there is none, or none that can be read.
    pub(crate) planned: Option<BTreeSet<ServiceName>>,
}

impl Hands {
    /// Starts the thread; it ends when the returned end is dropped.
    pub(crate) fn start(mut self, to: Sender<Message>) -> io::Result<mpsc::Sender<Job>> {
        let (jobs, waiting) = mpsc::channel::<Job>();
        thread::Builder::new().name("hands".into()).spawn(move || {
            while let Ok(job) = waiting.recv() {
                let Some(done) = self.carry_out(job) else { continue };
                if to.blocking_send(Message::Done(done)).is_err() {
                    return;
                }
            }
        })?;
        Ok(jobs)
    }

    /// Does a job, and says what became of it where somebody waits for that.
    fn carry_out(&mut self, job: Job) -> Option<Done> {
        Some(match job {
            Job::Apply(stored) => {
                let wanted = self.all_wanted(&stored);
                self.crash.at(CrashPoint::BeforePlanWrite);
                let written = store::write_plan(&self.layout.plan(), &stored);
                self.crash.at(CrashPoint::AfterPlanWrite);
                let wanted = written.map(|()| wanted);
                let settled = wanted.as_ref().map_or(Ok(()), |wanted| self.obey(&stored, wanted));
                Done::Applied { stored, wanted, settled }
            }
            Job::Bury { instance } => {
                let retired = self.bury(&instance);
                let settled = if retired { self.settle(&AllWanted::new()) } else { Ok(()) };
                Done::Buried { instance, retired, settled }
            }
            Job::Collect(job) => {
                Done::Collected(collect::collect(&self.layout, &self.keeper, &job))
            }
            Job::Prepare { instance, mark, launch, ports, settled } => {
                let config = launch.config.clone();
                let prepared = self.prepare(&instance, Preflight { launch, ports, first: false });
                let prepared = prepared.map_err(|error| error.to_string());
                if let Some(settled) = settled {
                    // What cannot be removed now is removed with the next change.
                    let _ = config::sweep(&self.layout, &instance, settled, config.as_ref());
                }
                Done::Prepared { instance, mark, prepared }
            }
            Job::Record(entry) => {
                let error = history::append(&self.layout, *entry).err()?;
                Done::Recorded { error }
            }
            Job::Remember(next) => {
                let bytes = file::encode(ROLLOUT_FORMAT, &next);
                Done::Remembered { next, stored: store::replace(&self.layout.rollout(), &bytes) }
            }
            Job::Resolve(stored) => {
                let wanted = self.all_wanted(&stored);
                Done::Resolved { generation: stored.generation, wanted }
            }
            Job::Start(start) => {
                let started = self.start_keeper(&start).map_err(|error| error.to_string());
                Done::Started { instance: start.instance, started }
            }
        })
    }

    fn all_wanted(&mut self, stored: &Stored) -> AllWanted {
        host::all_wanted(&self.layout, kit::folder(&self.keeper), stored, &mut self.accounts)
    }

    fn keys(&self) -> Keys<'_> {
        Keys { layout: &self.layout, crash: self.crash }
    }

    /// Takes note of the plan that holds from now on.
    pub(crate) fn obey(&mut self, stored: &Stored, wanted: &AllWanted) -> Settled {
        let services = stored.plan.instances.keys().map(|name| name.service().clone());
        self.planned = Some(services.collect());
        self.settle(wanted)
    }

    fn settle(&self, wanted: &AllWanted) -> Settled {
        let Some(planned) = &self.planned else { return Ok(()) };
        self.keys().settle(planned, wanted).map_err(|error| error.to_string())
    }

    fn bury(&self, instance: &InstanceName) -> bool {
        let folder = self.layout.instance(instance);
        // The lock is held while the folder goes, so that no keeper can come up in it; where it
        // cannot be, this thread alone starts keepers.
        let Ok(Ok(lock)) = FolderLock::acquire(&folder) else { return false };
        if !is_retired(&folder) {
            return false;
        }
        let _lock = lock.while_removed();
        self.layout.remove_instance(instance).is_ok()
    }

    fn prepare(&self, name: &InstanceName, asked: Preflight) -> Result<Warnings, StartError> {
        let account = asked.launch.account.as_ref();
        self.layout.make_instance(name, account)?;
        config::put(&self.layout, name, account, asked.launch.config.as_ref())?;
        let found = self.preflight(name, &asked).and_then(|warnings| {
            self.keys().set(name.service(), &asked.launch.registry)?;
            Ok(warnings)
        });
        if found.is_err()
            && let Found::Whole(launch) = read_launch(&self.layout.instance(name))
        {
            // The run by the old launch goes on, with what belongs to its account.
            self.layout.make_instance(name, launch.account.as_ref())?;
        }
        found
    }

    /// Looks what a run by this launch would be refused.
    fn preflight(&self, name: &InstanceName, asked: &Preflight) -> Result<Warnings, StartError> {
        let (folder, log) = (self.layout.instance(name), self.layout.log());
        let found = preflight::ask((&self.keeper, &self.keeper_args), &folder, &log, asked);
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                let why = format!("nobody could look what it would be refused: {error}");
                AgentLog::open(&log).say(&format!("`{name}`: {why}"));
                return Ok(vec![why]);
            }
        };
        let (blocking, warning): (Vec<_>, Vec<_>) = found.into_iter().partition(|it| it.blocks);
        let sentences = |found: Vec<Finding>| found.iter().map(ToString::to_string).collect();
        if blocking.is_empty() {
            return Ok(sentences(warning));
        }
        Err(StartError::Refused(sentences(blocking)))
    }

    /// The preflight of an instance that has had no run, and its keys. Of one that is not begun
    /// nothing is left.
    fn first_preflight(&self, start: &Start, launch: &Launch) -> Result<Warnings, StartError> {
        let (launch, ports) = (Box::new(launch.clone()), start.ports.clone());
        let asked = Preflight { launch, ports, first: true };
        let found = self.preflight(&start.instance, &asked).and_then(|warnings| {
            self.keys().set(start.instance.service(), &asked.launch.registry)?;
            Ok(warnings)
        });
        let folder = self.layout.instance(&start.instance);
        if found.is_err()
            && let Ok(Ok(lock)) = FolderLock::acquire(&folder)
        {
            let _lock = lock.while_removed();
            fs::remove_dir_all(&folder).map_err(StartError::Leave)?;
        }
        found
    }

    fn start_keeper(&self, start: &Start) -> Result<Started, StartError> {
        let folder = self.layout.instance(&start.instance);
        let path = folder.join("spec.json");
        let mut damage = None;
        let kept = match read_launch(&folder) {
            // Without a journal nothing has run by it yet, so a newer one may take its place.
            Found::Whole(launch) if folder.join("events").exists() => Some(launch),
            Found::Absent | Found::Whole(_) => None,
            Found::Damaged { why, bytes } => {
                let file = path.to_string_lossy().into_owned();
                damage = Some(Event::Damaged { file, bytes, what: why });
                None
            }
        };
        let is_kept = kept.is_some();
        let is_first = !folder.join("events").exists();
        let launch = kept.or_else(|| start.wanted.clone()).ok_or(StartError::NoLaunch)?;
        let account = launch.account.as_ref();
        self.layout.make_instance(&start.instance, account)?;
        config::put(&self.layout, &start.instance, account, launch.config.as_ref())?;
        let looked = is_first.then(|| self.first_preflight(start, &launch));
        let warnings = looked.transpose()?;
        let open = |fifo: PathBuf| stead_proc::open_fifo(&fifo).map_err(StartError::Fifo);
        let fifos = self.layout.fifos(&start.instance).into_iter().map(open);
        let fifos = fifos.collect::<Result<_, _>>()?;
        if !is_kept {
            if !is_first {
                self.keys().set(start.instance.service(), &launch.registry)?;
            }
            let bytes = file::encode(LAUNCH_FORMAT, &launch);
            store::replace(&path, &bytes).map_err(StartError::Launch)?;
        }
        self.crash.at(CrashPoint::BeforeKeeperSpawn);
        let pid = self.spawn(&folder, &start.sockets).map_err(StartError::Spawn)?;
        self.crash.at(CrashPoint::AfterKeeperSpawn);
        Ok(Started { pid, release: launch.release.clone(), fifos, damage, warnings })
    }

    fn spawn(&self, folder: &Path, sockets: &[NamedSocket]) -> io::Result<u32> {
        let mut args = vec![OsStr::new("--folder"), folder.as_os_str()];
        args.extend(self.keeper_args.iter().map(OsStr::new));
        {
            let sockets: Vec<_> =
                sockets.iter().map(|(name, socket)| (name.as_str(), socket.as_handle())).collect();
            stead_proc::spawn_bare(&self.keeper, &args, Some(&self.layout.log()), &sockets)
        }
    }
}

/// Why a keeper could not be started.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("its pipes could not be opened: {0}")]
    Fifo(io::Error),
    #[error(transparent)]
    Instance(#[from] InstanceError),
    #[error("`spec.json` could not be written: {0}")]
    Launch(io::Error),
    #[error("its folder could not be removed: {0}")]
    Leave(io::Error),
    #[error(
        "its `spec.json` is missing or damaged and the plan does not hold it: nobody knows what it \
         ran; end what may be left of it and remove its folder"
    )]
    NoLaunch,
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("{}", .0.join("; "))]
    Refused(Vec<String>),
    #[error("its keeper could not be started: {0}")]
    Spawn(io::Error),
}

/// The launch that an instance's folder holds.
pub(crate) fn read_launch(folder: &Path) -> Found<Box<Launch>> {
    store::read(&folder.join("spec.json"), LAUNCH_FORMAT)
}

/// Whether the last thing that happened in an instance's folder is that it was retired.
pub(crate) fn is_retired(folder: &Path) -> bool {
    let Ok(bytes) = read_tail(&folder.join("events")) else { return false };
    let records = frame::decode_all::<Record>(&bytes);
    let whole = records.into_iter().rev().find_map(|framed| match framed {
        Framed::Whole(record) => Some(record),
        Framed::Damaged { .. } | Framed::Torn { .. } => None,
    });
    whole.is_some_and(|record| record.event == Event::Retired)
}

fn read_tail(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = fs::File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL_LEN)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_LEN).read_to_end(&mut bytes)?;
    Ok(bytes)
}
