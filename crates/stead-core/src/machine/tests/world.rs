//! A world that keeps its side: only what was spawned starts, only what runs ends, and a run is
//! gone only when nothing of it is alive. It carries out every action and checks it.

use super::*;
use alloc::vec::Vec;

/// Something that may happen. What cannot happen now is skipped.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    /// The operator, the plan or a new spec.
    Ask(Input),
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
    run: Option<Run>,
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
            run: None,
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
            Move::Crash => self.crash(),
            Move::CrashAtNextInput => self.crash_at_next_input = true,
            Move::Deadline => self.feed(DEADLINE),
            Move::Die { leaves_behind } => self.die(leaves_behind),
            Move::Next { success, roll } => self.next(success, roll),
            Move::SayAgain { which } => self.say_again(which),
            Move::SpawnFails { roll } => self.spawn_fails(roll),
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
            match (self.run, self.instance.phase()) {
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

    pub(super) fn ask(&mut self, input: Input) {
        let ending = |run: Run| run.asked_to_end || run.main == Main::EndTold;
        let is_ending = self.run.is_none_or(ending);
        let fresh = input == UP && self.instance.goal() == Goal::Down;
        if input == DOWN {
            self.start_owed = false;
        } else if input == Input::Restart || ((input == Input::Start || fresh) && is_ending) {
            self.start_owed = true;
        }
        self.feed(input);
    }

    fn next(&mut self, success: bool, roll: u32) {
        let Some(run) = &mut self.run else { return };
        let id = run.id;
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
                self.run = None;
                self.say(gone(id));
            }
        }
    }

    fn die(&mut self, leaves_behind: bool) {
        if let Some(run) = self.run.as_mut()
            && matches!(run.main, Main::Made | Main::Started)
        {
            (run.main, run.leftovers) = (Main::Ended, leaves_behind);
        }
    }

    fn spawn_fails(&mut self, roll: u32) {
        if let Some(Run { id, main: Main::Ordered | Main::Made, .. }) = self.run {
            self.run = None;
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
        assert_eq!(self.instance.phase().run(), self.run.map(|run| run.id), "{input:?}");
        assert_eq!(self.instance.last_run(), self.begun, "{input:?}");
        self.journal = journal_of(&self.instance, self.start_owed);
    }

    fn spawn(&mut self, id: RunId) {
        assert!(self.run.is_none(), "{id:?} is spawned while {:?} may be alive", self.run);
        assert_eq!(id.0, self.begun.0 + 1, "runs are numbered one by one");
        self.begun = id;
        self.start_owed = false;
        let main = Main::Ordered;
        self.run = Some(Run { id, main, leftovers: false, asked_to_end: false, killed: false });
    }

    /// The run that something must be done to: never another one than that which is there.
    fn current(&mut self, id: RunId) -> &mut Run {
        let current = self.run.as_mut().filter(|run| run.id == id);
        current.unwrap_or_else(|| panic!("{id:?} is to be ended, and is not there"))
    }

    /// The next keeper finds what is alive and what its journal says.
    fn crash(&mut self) {
        self.crash_at_next_input = false;
        self.said.clear();
        let Journal { memory, restarting, start_owed } = self.journal;
        self.start_owed = start_owed;
        let running = matches!(memory.rest, Rest::Running { .. });
        match &mut self.run {
            Some(run) if run.main != Main::Ordered && running => {
                let alive = matches!(run.main, Main::Made | Main::Started);
                run.main = if alive { Main::Started } else { Main::Ended };
                // What was asked of it may not have arrived.
                (run.asked_to_end, run.killed) = (false, false);
                self.instance = Instance::restore(memory, self.now);
                if restarting {
                    self.feed(Input::Restart);
                }
                if memory.goal == Goal::Down {
                    self.feed(DOWN);
                }
            }
            Some(Run { main: Main::Made | Main::Started, .. }) => {
                panic!("the journal does not know of a run that is alive: {self:?}")
            }
            // What an ended run left behind is killed before anything else.
            Some(_) | None => {
                self.run = None;
                self.instance = Instance::restore(at_rest(memory), self.now);
            }
        }
        self.journal = journal_of(&self.instance, self.start_owed);
    }
}

/// More than it takes from any phase to any rest.
const MOVES_TO_REST_MAX: usize = 16;

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
    let Instance { goal, last_run, failures, restarts, phase: _ } = *instance;
    Journal { memory: Memory { goal, last_run, failures, restarts, rest }, restarting, start_owed }
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
