//! A world that keeps its side: only what was spawned starts, only what runs ends, and a run is
//! gone only when nothing of it is alive. It carries out every action and checks it.

use super::*;
use alloc::vec::Vec;

/// Something that may happen. What cannot happen now is skipped.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    /// The operator, the plan or a new spec.
    Ask(Input),
    /// What happens next to the run beside the one that is up: it comes up and gets ready, or ends.
    Beside,
    /// The keeper dies and the next one takes over.
    Crash,
    /// The same, after the next input was taken and before anything else.
    CrashAtNextInput,
    /// At any time, due or not.
    Deadline,
    /// The main process ends.
    Die {
        leaves_behind: bool,
    },
    /// What happens next to the run if nothing is special about it.
    Next {
        success: bool,
        roll: u32,
    },
    /// Something that was said of a run is said again.
    SayAgain {
        which: usize,
    },
    SpawnFails {
        roll: u32,
    },
    /// The run that is up does not serve any more.
    Unhealthy {
        roll: u32,
    },
    Wait {
        ms: u64,
    },
    WaitForDeadline,
}

/// The run of which something is alive or was not said to be gone.
#[derive(Clone, Copy, Debug)]
struct Run {
    id: RunId,
    main: Main,
    leftovers: bool,
    asked_to_end: bool,
    killed: bool,
}

/// The main process of a run and what was said of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Main {
    /// To be spawned.
    Ordered,
    /// Made; whether its program runs was not said.
    Made,
    Started,
    Ended,
    EndTold,
}

/// What the journal holds: the memory after the last input that a keeper got done with.
#[derive(Clone, Copy, Debug, Default)]
struct Journal {
    memory: Memory,
    /// Asked to end, to be started again: not a thing of the core's memory.
    restarting: bool,
    start_owed: bool,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) instance: Instance,
    policy: Policy,
    now: Millis,
    /// Not in any order: one is up or on its way, another may be beside it.
    runs: Vec<Run>,
    /// The number of the last run that was spawned.
    begun: RunId,
    /// A start was asked for and no run was spawned since.
    pub(super) start_owed: bool,
    said: Vec<Input>,
    journal: Journal,
    crash_at_next_input: bool,
}

impl World {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            instance: Instance::default(),
            policy,
            now: Millis(0),
            runs: Vec::new(),
            begun: RunId(0),
            start_owed: false,
            said: Vec::new(),
            journal: Journal::default(),
            crash_at_next_input: false,
        }
    }

    pub(super) fn make(&mut self, a_move: Move) {
        match a_move {
            Move::Ask(input) => self.ask(input),
            Move::Beside => self.next_beside(),
            Move::Crash => self.crash(),
            Move::CrashAtNextInput => self.crash_at_next_input = true,
            Move::Deadline => self.feed(DEADLINE),
            Move::Die { leaves_behind } => self.die(leaves_behind),
            Move::Next { success, roll } => self.next(success, roll),
            Move::SayAgain { which } => self.say_again(which),
            Move::SpawnFails { roll } => self.spawn_fails(roll),
            Move::Unhealthy { roll } => {
                if let Some(run) = self.instance.phase().run() {
                    self.feed(Input::Unhealthy { run, roll });
                }
            }
            Move::Wait { ms } => self.now = self.now + Duration::from_millis(ms),
            Move::WaitForDeadline => {
                let deadline = self.instance.deadline(&self.policy);
                self.now = self.now.max(deadline.unwrap_or(self.now));
            }
        }
    }

    /// From now on everything happens as it should, until nothing is left to happen. A deaf
    /// service ends only when it is killed. Says how many things happened.
    pub(super) fn behave(&mut self, deaf: bool) -> usize {
        self.crash_at_next_input = false;
        for count in 0..MOVES_TO_REST_MAX {
            if self.instance.beside().is_some() {
                self.behave_beside(deaf);
                continue;
            }
            match (self.main().copied(), self.instance.phase()) {
                (Some(Run { main: Main::Started, killed, asked_to_end, .. }), _)
                    if killed || (asked_to_end && !deaf) =>
                {
                    self.die(true);
                }
                (Some(Run { main: Main::Started, .. }), Phase::Up { .. })
                | (None, Phase::Down | Phase::Failed) => return count,
                (Some(Run { main: Main::Started, .. }), _) | (None, _) => {
                    self.make(Move::WaitForDeadline);
                    self.feed(DEADLINE);
                }
                (Some(_), _) => self.next(false, 0),
            }
        }
        panic!("it does not come to rest: {self:?}");
    }

    /// The run beside the one that is up comes up, or ends as it was told to.
    fn behave_beside(&mut self, deaf: bool) {
        let run = *self.other().expect("what is beside is there");
        let give_up_at = match self.instance.beside() {
            Some(Beside::Coming { give_up_at, .. }) => Some(give_up_at),
            Some(Beside::Going { .. } | Beside::Sweeping { .. }) | None => None,
        };
        let coming = give_up_at.is_some();
        let is_up = matches!(self.instance.phase(), Phase::Up { .. });
        let given_up = give_up_at.is_some_and(|at| !is_up || at <= self.now);
        let deaf = !coming && (deaf || !run.asked_to_end) && !run.killed;
        if run.main == Main::Started && (given_up || deaf) {
            self.make(Move::WaitForDeadline);
            self.feed(DEADLINE);
        } else {
            self.next_beside();
        }
    }

    fn main(&mut self) -> Option<&mut Run> {
        let id = self.instance.phase().run()?;
        self.runs.iter_mut().find(|run| run.id == id)
    }

    fn other(&mut self) -> Option<&mut Run> {
        let id = self.instance.beside()?.run();
        self.runs.iter_mut().find(|run| run.id == id)
    }

    pub(super) fn ask(&mut self, input: Input) {
        let ending = |run: &mut Run| run.asked_to_end || run.main == Main::EndTold;
        let is_ending = self.main().is_none_or(ending);
        let fresh = input == UP && self.instance.goal() == Goal::Down;
        if input == DOWN {
            self.start_owed = false;
        } else if matches!(input, Input::Replace | Input::Restart)
            || ((input == Input::Start || fresh) && is_ending)
        {
            self.start_owed = true;
        }
        self.feed(input);
    }

    fn next(&mut self, success: bool, roll: u32) {
        if let Some(run) = self.main() {
            let id = run.id;
            self.next_of(id, success, roll);
        }
    }

    /// One that is coming gets ready as soon as it is started; one that is going ends.
    fn next_beside(&mut self) {
        let Some(run) = self.other().copied() else { return };
        let coming = matches!(self.instance.beside(), Some(Beside::Coming { .. }));
        if coming && run.main == Main::Started {
            self.say(Input::Ready { run: run.id });
        } else {
            self.next_of(run.id, true, 0);
        }
    }

    fn next_of(&mut self, id: RunId, success: bool, roll: u32) {
        let run = self.current(id);
        match run.main {
            Main::Ordered => run.main = Main::Made,
            Main::Made => {
                run.main = Main::Started;
                self.say(started(id));
            }
            Main::Started => run.main = Main::Ended,
            Main::Ended => {
                run.main = Main::EndTold;
                self.say(Input::Exited { run: id, success, roll });
            }
            Main::EndTold if run.leftovers => run.leftovers = false,
            Main::EndTold => {
                self.runs.retain(|run| run.id != id);
                self.say(gone(id));
            }
        }
    }

    fn die(&mut self, leaves_behind: bool) {
        if let Some(run) = self.main()
            && matches!(run.main, Main::Made | Main::Started)
        {
            (run.main, run.leftovers) = (Main::Ended, leaves_behind);
        }
    }

    fn spawn_fails(&mut self, roll: u32) {
        if let Some(Run { id, main: Main::Ordered | Main::Made, .. }) = self.main().copied() {
            self.runs.retain(|run| run.id != id);
            self.say(Input::SpawnFailed { run: id, roll });
        }
    }

    fn say(&mut self, input: Input) {
        self.said.push(input);
        self.feed(input);
    }

    fn say_again(&mut self, which: usize) {
        if let Some(input) = self.said.get(which % self.said.len().max(1)) {
            let (instance, action) = step(&self.policy, self.instance, *input, self.now);
            assert_eq!((instance, action), (self.instance, None), "{input:?} said again");
        }
    }

    fn feed(&mut self, input: Input) {
        let (instance, action) = step(&self.policy, self.instance, input, self.now);
        if self.crash_at_next_input {
            return self.crash();
        }
        self.instance = instance;
        match action {
            Some(Action::Spawn { run }) => self.spawn(run),
            Some(Action::Kill { run }) => self.current(run).killed = true,
            Some(Action::Stop { run }) => self.current(run).asked_to_end = true,
            None => (),
        }
        let beside = self.instance.beside().map(|beside| beside.run());
        let mut known: Vec<RunId> = self.instance.phase().run().into_iter().chain(beside).collect();
        let mut there: Vec<RunId> = self.runs.iter().map(|run| run.id).collect();
        known.sort_unstable();
        there.sort_unstable();
        assert_eq!(known, there, "{input:?}");
        assert_eq!(self.instance.last_run(), self.begun, "{input:?}");
        self.journal = journal_of(&self.instance, self.start_owed);
    }

    fn spawn(&mut self, id: RunId) {
        let coming =
            matches!(self.instance.beside(), Some(Beside::Coming { run, .. }) if run == id);
        let up = self.instance.phase().run();
        let beside = self.instance.beside().map(|beside| beside.run());
        for other in &self.runs {
            let allowed = if coming { up } else { beside };
            assert_eq!(allowed, Some(other.id), "{id:?} is spawned while {other:?} may be alive");
        }
        assert_eq!(id.0, self.begun.0 + 1, "runs are numbered one by one");
        self.begun = id;
        self.start_owed = false;
        let main = Main::Ordered;
        self.runs.push(Run { id, main, leftovers: false, asked_to_end: false, killed: false });
    }

    /// The run that something must be done to: never another one than that which is there.
    fn current(&mut self, id: RunId) -> &mut Run {
        let current = self.runs.iter_mut().find(|run| run.id == id);
        current.unwrap_or_else(|| panic!("{id:?} is to be ended, and is not there"))
    }

    /// The next keeper finds what is alive and what its journal says.
    fn crash(&mut self) {
        self.crash_at_next_input = false;
        self.said.clear();
        let Journal { memory, restarting, start_owed } = self.journal;
        self.start_owed = start_owed;
        // What was only to be made is not there.
        self.runs.retain(|run| run.main != Main::Ordered);
        for run in &mut self.runs {
            let alive = matches!(run.main, Main::Made | Main::Started);
            run.main = if alive { Main::Started } else { Main::Ended };
            // What was asked of it may not have arrived.
            (run.asked_to_end, run.killed) = (false, false);
        }
        let there = |id: RunId| self.runs.iter().any(|run| run.id == id);
        let up = memory.run.unwrap_or(memory.last_run);
        let running = matches!(memory.rest, Rest::Running { .. }) && there(up);
        let beside = memory.beside.filter(|beside| there(rest_run(beside)));
        let replacing =
            matches!(memory.beside, Some(RestBeside::Coming { .. }) if beside.is_none());
        let memory = Memory { beside, ..if running { memory } else { at_rest(memory) } };
        let known =
            |run: &Run| (running && run.id == up) || Some(run.id) == beside.map(|it| rest_run(&it));
        for run in self.runs.iter().filter(|run| !known(run)) {
            let ended = run.main == Main::Ended;
            assert!(ended, "the journal does not know of {run:?}, which is alive: {memory:?}");
        }
        // What an ended run left behind is killed before anything else.
        self.runs.retain(known);
        self.instance = Instance::restore(memory, self.now);
        if running && restarting {
            self.feed(Input::Restart);
        } else if running && replacing && memory.goal == Goal::Up {
            self.feed(Input::Replace);
        }
        if memory.goal == Goal::Down {
            self.feed(DOWN);
        }
        self.journal = journal_of(&self.instance, self.start_owed);
    }
}

/// More than it takes from any phase to any rest.
const MOVES_TO_REST_MAX: usize = 48;

/// What the keeper writes after each input.
fn journal_of(instance: &Instance, start_owed: bool) -> Journal {
    let restarting = matches!(instance.phase, Phase::Stopping { after: After::Start, .. });
    let rest = match instance.phase {
        Phase::Down | Phase::Sweeping { after: After::Down, .. } => Rest::Down,
        Phase::Failed | Phase::Sweeping { after: After::Failed, .. } => Rest::Failed,
        Phase::Up { since, .. } => Rest::Running { since },
        Phase::Starting { .. } | Phase::Stopping { .. } => Rest::Running { since: Millis(0) },
        Phase::Sweeping { after: After::Start | After::Wait { .. }, .. }
        | Phase::Waiting { .. } => Rest::Waiting,
    };
    let beside = instance.beside.map(|beside| match beside {
        Beside::Coming { run, give_up_at, .. } => RestBeside::Coming { run, give_up_at },
        Beside::Going { run, kill_at } | Beside::Sweeping { run, kill_at } => {
            RestBeside::Going { run, kill_at }
        }
    });
    let Instance { goal, phase, last_run, failures, restarts, beside: _ } = *instance;
    let run = phase.run();
    let memory = Memory { goal, last_run, failures, restarts, rest, run, beside };
    Journal { memory, restarting, start_owed }
}

fn rest_run(beside: &RestBeside) -> RunId {
    match beside {
        RestBeside::Coming { run, .. } | RestBeside::Going { run, .. } => *run,
    }
}

/// The memory of an instance of which nothing runs: what was wanted is wanted still.
fn at_rest(memory: Memory) -> Memory {
    let rest = match memory.rest {
        Rest::Running { .. } | Rest::Waiting if memory.goal == Goal::Up => Rest::Waiting,
        Rest::Failed => Rest::Failed,
        Rest::Down | Rest::Running { .. } | Rest::Waiting => Rest::Down,
    };
    Memory { rest, ..memory }
}
