//! The deciding thread: one loop that turns what happens into inputs of the core's state machine
//! and its actions into what is done.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stead_core::launch::Launch;
use stead_core::machine::{Action, Beside, Goal, Input, Instance, Phase, Policy, RunId, step};
use stead_core::signal::Signal;
use stead_core::units::{Millis, millis};
use stead_proc::{
    AsHandle, CgroupHome, Ended, Fires, FolderLock, Handle, Signals, boot_ms, carried_state,
    random, reap_all, start_ms, wait,
};
use stead_wire::file;
use stead_wire::journal::{Event, Exit, Stream, Timed};

use crate::Options;
use crate::control::Control;
use crate::current::Current;
use crate::disk::{Disk, STUCK_AFTER};
use crate::faults::CrashPoint;
use crate::journal_file::{JournalFile, Remembered};
use crate::limits::Limiter;
use crate::recover::{Recovered, recover};
use crate::replace::Hook;
use crate::sandboxes::Sandboxes;
use crate::sockets::Sockets;
use crate::state::{Told, wall_ms};
use crate::times::timed;

/// How long a start waits for the journal before it goes on without.
pub(crate) const JOURNAL_WAIT_MAX: Duration = Duration::from_millis(250);
/// How often a tree that is being killed is looked at.
const SWEEP_LOOK_EVERY: Duration = Duration::from_millis(5);
/// How often a disk that may be stuck is looked at, and a stuck one's pipes.
const DISK_LOOK_EVERY: Duration = Duration::from_millis(250);
const STUCK_LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long a keeper that ends waits for its disk.
const FINISH_WITHIN: Duration = Duration::from_secs(2);
/// A keeper that had nothing to do for so long gives memory back.
const TRIM_AFTER: Duration = Duration::from_millis(500);
/// How long a keeper waits for the one before it to let go of the folder.
const LOCK_WITHIN: Duration = Duration::from_millis(500);

/// Why a keeper cannot keep its instance.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error("could not enter the folder `{}`", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("another keeper (pid {}) works on `{}`", pid.unwrap_or(0), folder.display())]
    Locked { folder: PathBuf, pid: Option<u32> },
    #[error("could not read `spec.json`")]
    ReadSpec(#[source] io::Error),
    #[error("`spec.json` is not a spec")]
    Spec(#[source] file::FileError),
    #[error("could not {step}")]
    Start { step: &'static str, source: io::Error },
    #[error("could not wait for what happens")]
    Wait(#[source] io::Error),
}

/// A keeper and its instance.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) options: Options,
    pub(crate) folder: PathBuf,
    pub(crate) lock: Option<FolderLock>,
    pub(crate) launch: Launch,
    /// What the run that comes was begun by, until it takes its place.
    pub(crate) next: Option<Launch>,
    /// What is to follow once nothing is beside the run that is up.
    pub(crate) waiting: Option<Launch>,
    /// So is a fresh run, by the launch that holds then.
    pub(crate) fresh_run_waits: bool,
    pub(crate) instance: Instance,
    /// Every run of which something may be alive: the one of the phase and the one beside it.
    pub(crate) runs: Vec<Current>,
    /// Those whose end is waited for, the oldest first.
    pub(crate) hooks: VecDeque<Hook>,
    pub(crate) sockets: Sockets,
    pub(crate) sandboxes: Sandboxes,
    pub(crate) disk: Disk,
    pub(crate) told: Told,
    pub(crate) home: Option<CgroupHome>,
    pub(crate) limiter: Limiter,
    signals: Signals,
    pub(crate) control: Control,
    /// What is to be fed to the machine, with the event to journal once it was.
    inputs: VecDeque<(Input, Option<Event>)>,
    /// When memory that the last work has left is given back.
    trim_at: Option<Millis>,
    /// Where it stands with its times, if it has some.
    pub(crate) timed: Option<Timed>,
    /// The keeper ends when the instance is down: it was told to retire, or the host goes down.
    pub(crate) ending: Option<Ending>,
}

/// Why a keeper ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// The instance is no longer wanted here.
    Retiring,
    /// The host goes down; what was wanted is wanted after the boot.
    Shutdown { goal: Goal },
}

/// Keeps the instance until it is told to retire.
pub(crate) fn keep(options: Options) -> Result<(), KeepError> {
    stead_proc::lean_memory();
    let at = |step| move |source| KeepError::Start { step, source };
    let folder = stead_proc::one_path(&options.folder);
    let folder =
        folder.map_err(|source| KeepError::Folder { folder: options.folder.clone(), source })?;
    let signals = Signals::take_over().map_err(at("take over signals"))?;
    let lock = take_lock(&folder)?;
    stead_proc::become_subreaper().map_err(at("become the reaper of its tree"))?;
    stead_proc::outlive_services();
    let bytes = std::fs::read(folder.join("spec.json")).map_err(KeepError::ReadSpec)?;
    let launch: Launch = file::decode(LAUNCH_FORMAT, &bytes).map_err(KeepError::Spec)?;
    let (journal, remembered) = JournalFile::open(&folder).map_err(at("open its journal"))?;
    let home = match options.no_cgroup {
        true => Err("it was told to use no cgroup".to_owned()),
        false => CgroupHome::make(&folder).map_err(|error| error.to_string()),
    };
    let limiter = Limiter::new(&home);
    let home = home.ok();
    let now = Millis(boot_ms());
    let memory = remembered.memory.as_ref();
    let recovered = recover(&folder, memory, &launch, home.as_ref(), &options.faults, now);
    let recovered = recovered.map_err(at("find out what runs"))?;
    let keep = launch.log.keep.0;
    let held = |stream: Stream| recovered.running.as_ref()?.holds(stream);
    let disk = Disk::start(&folder, journal, keep, options.faults.clone(), held);
    // Not on the stack, of which each caller would keep a copy.
    let mut keeper = Box::new(Keeper {
        disk: disk.map_err(at("start its disk thread"))?,
        control: Control::listen(&folder).map_err(at("listen at keeper.sock"))?,
        told: Told::from_memory(memory),
        instance: recovered.instance,
        next: None,
        waiting: None,
        fresh_run_waits: false,
        runs: Vec::new(),
        hooks: VecDeque::new(),
        sandboxes: Sandboxes::default(),
        sockets: Sockets::from_carried(stead_proc::carried_sockets()),
        inputs: VecDeque::new(),
        trim_at: Some(now + TRIM_AFTER),
        timed: timed(memory.and_then(|memory| memory.timed), &launch),
        ending: None,
        lock: Some(lock),
        options,
        folder,
        launch,
        limiter,
        home,
        signals,
    });
    keeper.take_up(recovered, &remembered).map_err(at("take over its tree"))?;
    keeper.run()
}

/// The format of `spec.json`.
pub(crate) const LAUNCH_FORMAT: &str = "stead-launch/1";

fn take_lock(folder: &Path) -> Result<FolderLock, KeepError> {
    let at = |source| KeepError::Start { step: "lock its folder", source };
    if let Some(file) = carried_state() {
        return FolderLock::from_file(file).map_err(at);
    }
    let deadline = boot_ms() + millis(LOCK_WITHIN);
    loop {
        match FolderLock::acquire(folder).map_err(at)? {
            Ok(lock) => return Ok(lock),
            // A child between fork and exec holds on to a dead keeper's lock for a moment.
            Err(_) if boot_ms() < deadline => std::thread::sleep(SWEEP_LOOK_EVERY),
            Err(pid) => return Err(KeepError::Locked { folder: folder.to_owned(), pid }),
        }
    }
}

impl Keeper {
    /// Goes on where the last keeper left off.
    fn take_up(&mut self, recovered: Recovered, remembered: &Remembered) -> io::Result<()> {
        let Recovered { running, beside, restarting, replacing, .. } = recovered;
        let began = running.is_some();
        let mut adopted = Vec::new();
        // Before the first record: each one holds the memory of what runs.
        for running in [running, beside].into_iter().flatten() {
            adopted.push((running.run, running.pid, running.main.is_some()));
            let current = Current::adopted(&self.folder, running, self.home.as_ref())?;
            self.runs.push(current);
        }
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.note(Event::KeeperStarted { pid: std::process::id(), version });
        if remembered.damaged_bytes > 0 {
            let what = "the newest whole record was taken".to_owned();
            let file = "events".to_owned();
            self.note(Event::Damaged { file, bytes: remembered.damaged_bytes, what });
        }
        self.open_sockets();
        // After an upgrade in place they may be our own children, and tell how they ended.
        let mut ended = reap_all()?;
        for (run, pid, alive) in adopted {
            if alive {
                self.note(Event::Adopted { run: run.0, pid });
                self.options.faults.reach(CrashPoint::Adopted, &self.folder);
            } else {
                let at = ended.iter().position(|ended| ended.pid == pid);
                self.main_ended(run, at.map(|at| ended.swap_remove(at)));
            }
        }
        self.take_up_launch();
        self.turn_config();
        let up = self.instance.goal() == Goal::Up;
        // Begun by another spec than the one that holds now: its restart did not come to pass.
        let mark = file::mark(&self.launch);
        let outdated = self.current().and_then(|it| it.launch_mark).is_some_and(|it| it != mark);
        // A run of its own time is left to end.
        let is_lasting = self.launch.schedule.is_none();
        // A run that has ended meanwhile is followed by another one whatever its policy says.
        if began && up && restarting {
            self.feed(Input::Restart);
        } else if began && up && (outdated || replacing) && self.coming().is_none() && is_lasting {
            self.want_fresh_run();
        }
        if self.instance.goal() == Goal::Down {
            self.feed(Input::Want(Goal::Down));
        }
        Ok(())
    }

    fn run(mut self: Box<Self>) -> Result<(), KeepError> {
        loop {
            self.carry_out_inputs();
            self.publish();
            if self.may_end() {
                return self.end();
            }
            self.wait_and_look()?;
        }
    }

    fn policy(&self) -> Policy {
        Policy {
            restart: self.launch.restart,
            stop_timeout: self.launch.stop.timeout,
            replace_within: self.launch.replace.within,
            run_timeout: self.launch.schedule.as_ref().and_then(|schedule| schedule.timeout),
        }
    }

    pub(crate) fn find(&self, run: RunId) -> Option<&Current> {
        self.runs.iter().find(|current| current.run == run)
    }

    pub(crate) fn find_mut(&mut self, run: RunId) -> Option<&mut Current> {
        self.runs.iter_mut().find(|current| current.run == run)
    }

    /// The run of the phase, if there is one.
    pub(crate) fn current(&self) -> Option<&Current> {
        self.find(self.instance.phase().run()?)
    }

    pub(crate) fn feed(&mut self, input: Input) {
        self.inputs.push_back((input, None));
    }

    pub(crate) fn feed_with(&mut self, input: Input, event: Event) {
        self.inputs.push_back((input, Some(event)));
    }

    /// Feeds every input to the machine and does what it says, until nothing is left to feed.
    fn carry_out_inputs(&mut self) {
        while let Some((input, event)) = self.inputs.pop_front().or_else(|| self.queued_input()) {
            let (before, beside) = (self.instance.phase(), self.instance.beside());
            let now = Millis(boot_ms());
            let (instance, action) = step(&self.policy(), self.instance, input, now);
            self.instance = instance;
            self.told.changed |= before != instance.phase() || beside != instance.beside();
            self.note_replacement(before, beside, event.as_ref());
            if let Some(event) = event {
                self.note(event);
            }
            if matches!(input, Input::Exited { .. }) {
                self.options.faults.reach(CrashPoint::ExitJournalled, &self.folder);
            }
            self.note_waiting(before, now);
            match action {
                Some(Action::Kill { run }) => self.kill(run),
                Some(Action::Spawn { run }) => self.spawn(run),
                Some(Action::Stop { run }) => self.stop(run),
                None => (),
            }
        }
    }

    fn note_waiting(&mut self, before: Phase, now: Millis) {
        let Phase::Waiting { start_at } = self.instance.phase() else { return };
        if !matches!(before, Phase::Waiting { .. }) {
            let failures = self.instance.failures();
            self.note(Event::Waiting { delay_ms: millis(start_at - now), failures });
        }
    }

    fn stop(&mut self, run: RunId) {
        self.options.faults.reach(CrashPoint::BeforeStop, &self.folder);
        self.note_overdue(run);
        self.prepare_surroundings(run);
        let Some(current) = self.find(run) else { return };
        let asked = match &current.unhealthy {
            // A core shows where a run hangs that does not even say that it is well.
            Some(_) if current.watchdog_expired(Millis(boot_ms())) => {
                current.signal(Signal::Abrt).map(|_| Signal::Abrt.to_string())
            }
            Some(_) | None => current.ask_to_end(&self.making(run)),
        };
        self.options.faults.reach(CrashPoint::StopSent, &self.folder);
        let how = asked.unwrap_or_else(|error| format!("not asked: {error}"));
        let replaced = self.instance.beside().is_some_and(|beside| beside.run() == run);
        let is_newest = run == self.instance.last_run();
        let why = match (self.ending, self.instance.goal()) {
            _ if replaced && is_newest => "it did not come to take the place of another",
            _ if replaced => "another run has taken its place",
            (Some(Ending::Retiring), _) => "no longer in the plan",
            (Some(Ending::Shutdown { .. }), _) => "the host goes down",
            (None, Goal::Down) => "stopped by the operator",
            (None, Goal::Up) => "to be started again",
        };
        let unhealthy = self.find(run).is_some_and(|current| current.unhealthy.is_some());
        let why = if unhealthy && !replaced { "it does not serve" } else { why };
        self.note(Event::Stopping { run: run.0, how, why: why.to_owned() });
    }

    fn kill(&mut self, run: RunId) {
        let sweeping = match (self.instance.phase(), self.instance.beside()) {
            (Phase::Sweeping { run: swept, .. }, _) if swept == run => true,
            (_, Some(Beside::Sweeping { run: swept, .. })) => swept == run,
            _ => false,
        };
        self.options.faults.reach(CrashPoint::BeforeKill, &self.folder);
        let no_tree = self.options.faults.no_tree;
        let alone = self.runs.len() == 1;
        let Some(current) = self.find_mut(run) else {
            self.feed(Input::Gone { run });
            return;
        };
        current.sweeping = sweeping;
        let killed = current.kill(no_tree, alone).unwrap_or(0);
        if killed > 0 {
            let why =
                if sweeping { "left behind by its main process" } else { "did not end in time" };
            self.note(Event::Killed { run: run.0, processes: killed, why: why.to_owned() });
        }
        self.options.faults.reach(CrashPoint::Killed, &self.folder);
        self.look_at_sweep();
    }

    /// Says `Gone` as soon as nothing of a run is alive.
    fn look_at_sweep(&mut self) {
        let no_tree = self.options.faults.no_tree;
        // Children of one run are no children of another.
        let alone = self.runs.len() == 1;
        let gone = |current: &Current| current.sweeping && (no_tree || current.is_gone(alone));
        while let Some(at) = self.runs.iter().position(gone) {
            let run = self.runs.remove(at).run;
            self.options.faults.reach(CrashPoint::BetweenRuns, &self.folder);
            self.feed(Input::Gone { run });
        }
    }

    fn wait_and_look(&mut self) -> Result<(), KeepError> {
        self.disk.flush();
        let timeout = self.timeout();
        let progress = self.runs.iter().filter_map(|current| current.progress.as_ref());
        // One that has ended and is not reaped yet would be ready all the time.
        let main = self.runs.iter().filter(|current| current.lost_since.is_none());
        let main = main.filter_map(|current| current.main.as_ref());
        let mut watched: Vec<Handle<'_>> =
            vec![self.signals.as_handle(), self.disk.news().as_handle()];
        watched.extend(self.control.watched());
        watched.extend(progress.map(AsHandle::as_handle));
        watched.extend(main.map(AsHandle::as_handle));
        watched.extend(self.sockets.notify().map(AsHandle::as_handle));
        let ready = wait(&watched, timeout).map_err(KeepError::Wait)?;
        // The disk thread's news alone are no work of this one.
        let worked = ready.iter().enumerate().any(|(place, ready)| *ready && place != 1);
        self.trim_when_quiet(worked);
        // Each look is cheap and finds nothing when nothing happened, so all are taken.
        self.look_at_progress();
        self.look_at_words();
        self.look_at_children();
        // Nothing waits less well than a service that is down.
        self.carry_out_inputs();
        self.look_at_sweep();
        self.look_at_requests()?;
        self.look_at_disk();
        let now = Millis(boot_ms());
        if self.instance.deadline(&self.policy()).is_some_and(|deadline| now >= deadline) {
            self.feed(Input::DeadlinePassed);
        }
        self.look_at_watchdogs(now);
        self.look_at_limits(now);
        self.look_at_waiting();
        Ok(())
    }

    /// Gives memory back once nothing has happened for a while: there may be nothing for weeks.
    fn trim_when_quiet(&mut self, worked: bool) {
        if worked {
            self.trim_at = Some(Millis(boot_ms()) + TRIM_AFTER);
        } else if self.trim_at.is_some_and(|at| at <= Millis(boot_ms())) {
            self.trim_at = None;
            stead_proc::trim_memory();
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let now = Millis(boot_ms());
        let deadline = self.instance.deadline(&self.policy()).map(|deadline| deadline - now);
        let sweep = self.runs.iter().find(|current| current.sweeping);
        let lost_main = self.runs.iter().find_map(|current| current.lost_since);
        let lost_main = lost_main.map(|_| SWEEP_LOOK_EVERY);
        let watchdog = self.runs.iter().filter_map(|it| it.watchdog_at).min().map(|at| at - now);
        let disk = if self.disk.is_stuck() {
            Some(STUCK_LOOK_EVERY)
        } else {
            self.disk.was_active().then_some(DISK_LOOK_EVERY.min(STUCK_AFTER))
        };
        let trim = self.trim_at.map(|at| at - now);
        let limits = self.limiter.look_at().map(|at| at - now);
        let sweep = sweep.map(|_| SWEEP_LOOK_EVERY);
        [deadline, sweep, disk, limits, lost_main, trim, watchdog].into_iter().flatten().min()
    }

    fn look_at_progress(&mut self) {
        let known = self.runs.iter_mut().filter_map(|current| {
            let known = current.progress.as_ref()?.poll()?;
            current.progress = None;
            Some((current.run, current.pid, known))
        });
        for (run, pid, known) in known.collect::<Vec<_>>() {
            match known {
                Ok(()) => {
                    self.feed_with(Input::Started { run }, Event::Started { run: run.0, pid });
                    self.options.faults.reach(CrashPoint::Started, &self.folder);
                    self.has_started(run);
                }
                Err(error) => {
                    self.runs.retain(|current| current.run != run);
                    self.spawn_failed(run, crate::chain(&error));
                }
            }
        }
    }

    fn look_at_children(&mut self) {
        let fired = self.signals.take();
        if fired.contains(&Fires::End) {
            self.ending.get_or_insert(Ending::Shutdown { goal: self.instance.goal() });
            self.feed(Input::Want(Goal::Down));
        }
        // The errors of wait are about arguments, and there are none.
        for ended in reap_all().unwrap_or_default() {
            let is_main = |current: &&Current| current.main.is_some() && current.pid == ended.pid;
            if let Some(run) = self.runs.iter().find(is_main).map(|current| current.run) {
                self.main_ended(run, Some(ended));
            } else {
                self.hook_ended(ended);
            }
        }
        self.look_at_adopted();
    }

    /// Looks at main processes that are not our children.
    fn look_at_adopted(&mut self) {
        let mut ended = Vec::new();
        for current in &mut self.runs {
            let Some(main) = &current.main else { continue };
            if wait(&[main.as_handle()], Some(Duration::ZERO)).is_ok_and(|ready| !ready[0]) {
                continue;
            }
            let how = main.ended();
            // Its new parent may not have reaped it yet; until then nobody knows how it ended.
            let since = *current.lost_since.get_or_insert_with(boot_ms);
            if how.is_some() || boot_ms() - since > millis(STATUS_WITHIN) {
                ended.push((current.run, how));
            }
        }
        for (run, ended) in ended {
            self.main_ended(run, ended);
        }
    }

    /// A main process has ended; `None` when nobody knows how.
    fn main_ended(&mut self, run: RunId, ended: Option<Ended>) {
        self.options.faults.reach(CrashPoint::ExitSeen, &self.folder);
        let Some(current) = self.find_mut(run) else { return };
        let (pid, is_overdue) = (current.pid, current.overdue);
        let life_ms = boot_ms().saturating_sub(start_ms(current.start_ticks));
        current.main = None;
        current.progress = None;
        current.lost_since = None;
        current.watchdog_at = None;
        let mut exit =
            Exit { at: Some(wall_ms()), life_ms: Some(life_ms), ..crate::state::exit_of(ended) };
        let out_of_memory = self.look_at_hits(run, Millis(boot_ms()));
        let input = Input::Exited { run, success: exit.is_success(), roll: random() };
        if out_of_memory {
            exit.reason.push_str(", out of memory");
        }
        if is_overdue {
            exit.reason.push_str(", out of time");
        }
        // How a run ended that is beside the one that is up is no news of the instance.
        if self.instance.beside().is_none_or(|beside| beside.run() != run) {
            self.told.last_exit = Some(exit.clone());
        }
        self.feed_with(input, Event::Exited { run: run.0, pid, exit });
    }

    fn look_at_disk(&mut self) {
        self.disk.news().clear();
        if self.disk.is_stuck() && !self.options.faults.no_takeover {
            self.disk.make_room();
        }
        self.note_dropped();
    }

    fn look_at_requests(&mut self) -> Result<(), KeepError> {
        let report = self.report();
        let (disk, last_note) = (&self.disk, self.told.last_note);
        // As for all that is said: what is told to who comes now is written.
        let hello = || {
            if !disk.is_stuck() {
                disk.wait_for(last_note, JOURNAL_WAIT_MAX);
            }
            report.clone()
        };
        self.control.accept(hello).map_err(KeepError::Wait)?;
        for (asker, request) in self.control.requests() {
            self.carry_out_request(asker, request);
        }
        Ok(())
    }

    fn publish(&mut self) {
        if self.told.changed {
            self.told.changed = false;
            // What is said is written: whoever acts on it may find this keeper dead a moment later.
            if !self.disk.is_stuck() {
                self.disk.wait_for(self.told.last_note, JOURNAL_WAIT_MAX);
            }
            let report = self.report();
            self.control.publish(&report);
        }
    }

    fn may_end(&self) -> bool {
        let is_down = self.instance.phase() == Phase::Down && self.instance.beside().is_none();
        self.ending.is_some() && is_down && self.inputs.is_empty()
    }

    fn end(mut self: Box<Self>) -> Result<(), KeepError> {
        if self.ending == Some(Ending::Retiring) {
            self.note(Event::Retired);
        }
        self.disk.finish(FINISH_WITHIN);
        if let Some(home) = &self.home {
            home.remove();
        }
        Ok(())
    }
}

/// How long the new parent of an adopted process may take to reap it.
const STATUS_WITHIN: Duration = Duration::from_millis(100);
