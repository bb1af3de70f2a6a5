//! One run takes the place of another: what the keeper adds to what the machine decides.

use stead_core::launch::{KeeperReady, Launch, LaunchChange, launch_change};
use stead_core::machine::{Beside, Goal, Input, Phase, RunId};
use stead_core::units::Millis;
use stead_proc::{Ended, boot_ms};
use stead_wire::file;
use stead_wire::journal::Event;
use stead_wire::keeper::{Rejected, Reply};

use crate::control::Asker;
use crate::faults::CrashPoint;
use crate::keeper::{JOURNAL_WAIT_MAX, Keeper, LAUNCH_FORMAT};
use crate::state::exit_of;

/// Where the launch is kept that a coming run was begun by.
const NEXT: &str = "next.json";

/// How many hooks that tell a run to reload are waited for. One that takes long may be followed by
/// another; of what came before these nobody will ask any more.
const HOOKS_WATCHED_MAX: usize = 8;

/// A hook on its way that tells a run to reload.
#[derive(Debug)]
pub(crate) struct Hook {
    pid: u32,
    run: RunId,
    how: String,
}

impl Keeper {
    /// A fresh run in the place of the one that is up, without a gap where the service can do that.
    pub(crate) fn want_fresh_run(&mut self) {
        if self.launch.replace.overlap {
            // One after the other: there are never more than two.
            if self.instance.beside().is_some() {
                self.fresh_run_waits = true;
                return;
            }
            self.feed(Input::Replace);
        } else {
            self.feed(Input::Restart);
        }
    }

    /// Runs by this launch from now on.
    pub(crate) fn update(&mut self, launch: Launch) {
        self.told.rejected = None;
        self.told.changed = true;
        let mark = file::mark(&launch);
        let coming = self.next.as_ref().map_or(&self.launch, |next| next);
        if mark == file::mark(coming) {
            self.waiting = None;
            return;
        }
        if self.next.is_some() {
            // What was to come is out of date; the machine gives it up, and this one follows.
            self.waiting = Some(launch);
            if let Some(Beside::Coming { run, .. }) = self.instance.beside() {
                self.feed(Input::Unhealthy { run, roll: 0 });
            }
            return;
        }
        match launch_change(&self.launch, &launch) {
            LaunchChange::InPlace => return self.take_over_in_place(launch),
            LaunchChange::Reload => {
                let old = file::mark(&self.launch);
                self.take_over(launch);
                self.hold_in_place();
                return self.reload_changed(old);
            }
            // The next run begins by it.
            LaunchChange::FreshRun if launch.schedule.is_some() => return self.take_over(launch),
            LaunchChange::FreshRun | LaunchChange::Nothing => (),
        }
        let is_up = matches!(self.instance.phase(), Phase::Up { .. });
        let overlaps = launch.replace.overlap && self.launch.replace.overlap;
        if overlaps && is_up && self.instance.goal() == Goal::Up {
            if self.instance.beside().is_some() {
                self.waiting = Some(launch);
            } else {
                self.begin_next(launch);
            }
            return;
        }
        self.take_over(launch);
        if self.instance.goal() == Goal::Up {
            self.feed(Input::Restart);
        }
    }

    /// Begins a run by this launch beside the one that is up.
    fn begin_next(&mut self, launch: Launch) {
        self.open_sockets_of(&launch);
        self.disk.replace(NEXT, file::encode(LAUNCH_FORMAT, &launch));
        self.next = Some(launch);
        self.turn_config();
        self.feed(Input::Replace);
    }

    /// Makes a launch the one that holds, also for the run that was begun by the one before.
    fn take_over_in_place(&mut self, launch: Launch) {
        let old = file::mark(&self.launch);
        let begins = self.launch.schedule.is_some() && launch.schedule.is_none();
        self.runs_go_by(file::mark(&launch), old);
        self.take_over(launch);
        self.hold_in_place();
        if begins && self.instance.goal() == Goal::Up {
            self.feed(Input::Start);
        }
    }

    /// Runs that were begun by one launch go by another from now on.
    fn runs_go_by(&mut self, new: u32, old: u32) {
        for current in self.runs.iter_mut().filter(|it| it.launch_mark == Some(old)) {
            current.launch_mark = Some(new);
        }
    }

    /// Makes a launch the one that holds.
    fn take_over(&mut self, launch: Launch) {
        self.disk.set_keep(launch.log.keep.0);
        self.disk.replace("spec.json", file::encode(LAUNCH_FORMAT, &launch));
        let old = std::mem::replace(&mut self.launch, launch);
        self.turn_config();
        self.note(Event::SpecChanged);
        self.reschedule(&old);
        self.open_sockets();
    }

    /// Opens what the launch needs; what cannot be opened is said when a run is to begin.
    pub(crate) fn open_sockets(&mut self) {
        let launch = self.launch.clone();
        self.open_sockets_of(&launch);
        let next = self.next.iter().chain(&self.waiting);
        let launches: Vec<&Launch> = next.chain([&self.launch]).collect();
        self.sockets.keep_only(&launches);
    }

    fn open_sockets_of(&mut self, launch: &Launch) {
        let runs = self.runs.iter().filter(|_| !self.options.faults.no_take_back);
        let holders: Vec<_> = runs.filter_map(|run| run.main.as_ref()).collect();
        for trouble in self.sockets.open(&self.folder, launch, &holders) {
            crate::say(&format!("cannot open {trouble}"));
        }
    }

    /// Finds the launch of a run that another keeper had begun to bring.
    pub(crate) fn take_up_launch(&mut self) {
        let Some(coming) = self.coming() else { return };
        let (run, mark) = (coming.run, coming.launch_mark);
        if mark == Some(file::mark(&self.launch)) {
            let old = self.current().and_then(|current| current.launch_mark);
            // The launch holds already: all that is missing is the word that it is ready.
            if old != mark || self.launch.ready == KeeperReady::Started {
                self.feed(Input::Ready { run });
            }
            return;
        }
        let next = std::fs::read(NEXT).ok();
        let next = next.and_then(|bytes| file::decode::<Launch>(LAUNCH_FORMAT, &bytes).ok());
        self.next = next.filter(|next| Some(file::mark(next)) == mark);
        match &self.next {
            Some(next) if next.ready == KeeperReady::Started => self.is_ready(run),
            Some(_) => (),
            // Nobody knows any more what it was begun by.
            None => self.feed(Input::Unhealthy { run, roll: 0 }),
        }
    }

    /// A run is ready to work: it may take the place of another.
    pub(crate) fn is_ready(&mut self, run: RunId) {
        let Some(current) = self.find_mut(run) else { return };
        if !current.lane.ready {
            current.lane.ready = true;
            self.note(Event::Ready { run: run.0 });
        }
        if self.coming().is_none_or(|coming| coming.run != run) {
            return;
        }
        // The launch first: a keeper that dies in between finds both runs, and which one is meant.
        if let Some(next) = self.next.take() {
            self.take_over(next);
        }
        self.feed(Input::Ready { run });
    }

    /// The program of a run has begun.
    pub(crate) fn has_started(&mut self, run: RunId) {
        let launch = self.making(run).launch;
        let (watchdog, at_once) = (launch.watchdog, launch.ready == KeeperReady::Started);
        let now = Millis(boot_ms());
        if let Some(current) = self.find_mut(run) {
            current.watchdog_at = watchdog.map(|watchdog| now + watchdog);
        }
        // A run that is up at once is nothing to be told of, unless one waits for it.
        if at_once && self.coming().is_some_and(|coming| coming.run == run) {
            self.is_ready(run);
        }
    }

    /// A run does not serve, or never came to.
    pub(crate) fn is_unhealthy(&mut self, run: RunId, why: String) {
        let Some(current) = self.find_mut(run) else { return };
        if current.unhealthy.is_some() {
            return;
        }
        current.unhealthy = Some(why.clone());
        let input = Input::Unhealthy { run, roll: stead_proc::random() };
        self.feed_with(input, Event::Unhealthy { run: run.0, why });
    }

    /// Sees to it that the configuration of the launch is found by who reads it from now on: that
    /// of the run that is to come, as long as there is one. It is done before any record that is
    /// written later.
    pub(crate) fn turn_config(&self) {
        let launch = self.next.as_ref().unwrap_or(&self.launch);
        if self.options.faults.no_turn {
            return;
        }
        if let (Some(link), Some(digest)) = (&launch.config_link, &launch.config) {
            self.disk.turn(link.into(), digest.as_str().to_owned());
        }
    }

    /// Tells the run of its new configuration, once that is in its place. Until it was told it is
    /// one of the old launch: should this keeper die, the next one gives it a fresh run.
    fn reload_changed(&mut self, old: u32) {
        let is_there = self.disk.wait_for(self.told.last_note, JOURNAL_WAIT_MAX);
        let stuck = || Err("the disk does not answer, and it would find the old one".to_owned());
        let told = if is_there {
            self.options.faults.reach(CrashPoint::ConfigHeld, &self.folder);
            self.runs_go_by(file::mark(&self.launch), old);
            self.reload()
        } else {
            stuck()
        };
        if let Err(why) = told
            && let Some(current) = self.current()
        {
            let run = current.run.0;
            self.note(Event::ReloadFailed { run, why });
        }
    }

    pub(crate) fn reload(&mut self) -> Result<(), String> {
        let run = self.current().ok_or("nothing runs")?.run;
        self.prepare_surroundings(run);
        let current = self.current().ok_or("nothing runs")?;
        let (how, hook) = current.reload(&self.making(run))?;
        self.options.faults.reach(CrashPoint::ReloadSent, &self.folder);
        if let Some(pid) = hook {
            self.watch_hook(Hook { pid, run, how: how.clone() });
        }
        self.note(Event::Reloaded { run: run.0, how });
        Ok(())
    }

    fn watch_hook(&mut self, hook: Hook) {
        if self.hooks.len() == HOOKS_WATCHED_MAX {
            self.hooks.pop_front();
        }
        self.hooks.push_back(hook);
    }

    /// A process has ended that is no main process: a hook, perhaps. One that ends with its run
    /// was not at fault.
    pub(crate) fn hook_ended(&mut self, ended: Ended) {
        let Some(at) = self.hooks.iter().position(|hook| hook.pid == ended.pid) else { return };
        let Some(Hook { run, how, .. }) = self.hooks.remove(at) else { return };
        let is_up = matches!(self.instance.phase(), Phase::Up { run: up, .. } if up == run);
        if is_up && ended.code != Some(0) {
            let why = format!("{how}: {}", exit_of(Some(ended)).reason);
            self.note(Event::ReloadFailed { run: run.0, why });
        }
    }

    /// Hands duplicates of the sockets to who asked.
    pub(crate) fn hand_over(&mut self, asker: Asker) {
        let named = self.sockets.named();
        let names = named.iter().map(|(name, _)| (*name).to_owned()).collect();
        let sockets: Vec<_> = named.iter().map(|(_, socket)| *socket).collect();
        self.control.reply_with(asker, &Reply::Sockets { names }, &sockets);
    }

    /// Once nothing is beside the run that is up, what has waited for that follows.
    pub(crate) fn look_at_waiting(&mut self) {
        if self.instance.beside().is_some() || self.next.is_some() {
            return;
        }
        if let Some(launch) = self.waiting.take() {
            self.fresh_run_waits = false;
            self.update(launch);
        } else if std::mem::take(&mut self.fresh_run_waits) && self.instance.goal() == Goal::Up {
            self.want_fresh_run();
        }
    }

    /// Tells of a replacement that has begun, has come to pass or has failed, by this event.
    pub(crate) fn note_replacement(
        &mut self,
        before: Phase,
        beside: Option<Beside>,
        event: Option<&Event>,
    ) {
        let old = before.run().unwrap_or_default().0;
        match (beside, self.instance.beside()) {
            (None, Some(Beside::Coming { run, .. })) => {
                self.note(Event::Replacing { run: run.0, old });
            }
            (Some(Beside::Coming { run, .. }), after) => {
                let came = self.instance.phase().run() == Some(run);
                let is_over = !matches!(after, Some(Beside::Coming { .. }));
                if came {
                    // The one that was up may have ended by itself.
                    if let Some(next) = self.next.take() {
                        self.take_over(next);
                    }
                    self.note(Event::Replaced { run: run.0, old });
                } else if is_over {
                    self.reject(run, old, event);
                }
            }
            (None | Some(Beside::Going { .. } | Beside::Sweeping { .. }), _) => (),
        }
    }

    fn reject(&mut self, run: RunId, kept: u64, event: Option<&Event>) {
        let unhealthy = self.find(run).and_then(|current| current.unhealthy.clone());
        let ended = self.find(run).is_none_or(|current| current.main.is_none());
        let why = match (unhealthy, ended, &self.waiting) {
            (_, _, Some(_)) => "another plan came meanwhile".to_owned(),
            (Some(why), _, _) => why,
            (None, true, None) => match event {
                Some(Event::SpawnFailed { why, .. }) => format!("it could not start: {why}"),
                Some(Event::Exited { exit, .. }) => {
                    format!("it ended before it was ready: {}", exit.reason)
                }
                Some(_) | None => "it ended before it was ready".to_owned(),
            },
            (None, false, None) => {
                let within = stead_core::units::show_duration(self.launch.replace.within);
                format!("it was not ready within {within}")
            }
        };
        if let Some(next) = self.next.take() {
            let launch_mark = file::mark(&next);
            self.told.rejected = Some(Rejected { launch_mark, why: why.clone() });
            self.turn_config();
        }
        self.note(Event::ReplaceFailed { run: run.0, kept, why });
    }
}
