//! The clock, the wire, and everything on it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::Ms;
use crate::checks::{Checks, Violation};
use crate::host::{Host, Out, ReplyTo, Request};
use crate::luck::{Loss, Luck};
use crate::operator::{Came, Ending, Process, Wants};
use crate::plan::{Fault, HEALED_AT, Plan, Task};
use crate::script::{Stage, When};
use crate::telling::{self, Telling};

/// After this, whatever was going on has ended by itself, however slow the wire.
const ENDED_AT: Ms = HEALED_AT + 1_200_000;

/// How often to look whether all have ended; longer than any switch stays uncommitted.
const QUIET: Ms = 60_000;

/// Those who end what others have left come one after another.
const ENDERS_MAX: usize = 5;

/// More would be a world that spins.
const EVENTS_MAX: usize = 400_000;

/// Whoever asked gives up waiting for the answer.
const ANSWER_WITHIN: Ms = 10_000;

#[derive(Debug)]
enum Event {
    Begin(Task),
    Fault(Fault),
    /// A fault is over.
    Mended(Fault),
    Healed,
    Arrives {
        host: usize,
        request: Request,
        to: ReplyTo,
        is_answer_lost: bool,
    },
    Answered {
        host: usize,
        to: ReplyTo,
        came: Came,
    },
    Written {
        host: usize,
        incarnation: u64,
    },
    HostWakes {
        host: usize,
    },
    OperatorWakes {
        operator: usize,
    },
    Settled,
    /// The script is over.
    End,
}

/// What came of a seed.
#[derive(Debug)]
pub struct Report {
    pub violation: Option<Violation>,
    pub endings: Vec<Ending>,
    pub events_n: usize,
    pub trace: Vec<String>,
}

pub struct World {
    plan: Plan,
    luck: Luck,
    now: Ms,
    queue: BinaryHeap<Reverse<(Ms, usize)>>,
    events: Vec<Option<Event>>,
    hosts: Vec<Host>,
    operators: Vec<Process>,
    checks: Checks,
    is_healed: bool,
    /// All operators had ended when it was looked last.
    is_quiet: bool,
    enders_n: usize,
    /// What is still to go wrong once a host is so far.
    whens: Vec<When>,
    telling: Option<Telling>,
}

/// Carries a plan out.
pub fn run(plan: Plan, with_trace: bool) -> Report {
    let mut world = World::new(plan, with_trace);
    world.carry_on();
    let operators = world.operators.iter();
    let endings = operators.map(|it| it.ending().cloned().unwrap_or(Ending::Died)).collect();
    Report {
        violation: world.checks.violation.take(),
        endings,
        events_n: world.events.len(),
        trace: world.telling.map(|telling| telling.lines()).unwrap_or_default(),
    }
}

impl World {
    fn new(plan: Plan, with_trace: bool) -> Self {
        let versions = 0..plan.kinds.len();
        let kinds = |host| versions.clone().map(|it| plan.kinds[it][host]).collect();
        let hosts = (0..plan.hosts_n).map(|host| Host::new(kinds(host), plan.broken)).collect();
        let script = plan.script.clone();
        let luck = match script {
            None => Luck::seeded(plan.seed, plan.delay_ms_max, plan.lost_permille),
            Some(_) => Luck::Steady,
        };
        let telling = with_trace.then(|| Telling::new(script.is_none()));
        let (whens, end) = script.map(|script| (script.whens, script.end)).unzip();
        let whens = whens.unwrap_or_default();
        let mut world = Self {
            luck,
            now: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            hosts,
            operators: Vec::new(),
            checks: Checks::new(&plan),
            is_healed: false,
            is_quiet: false,
            enders_n: 0,
            whens,
            telling,
            plan,
        };
        for (at, task) in world.plan.begun.clone() {
            world.at(at, Event::Begin(task));
        }
        for (at, fault) in world.plan.faults.clone() {
            world.at(at, Event::Fault(fault));
        }
        match end {
            Some(end) => world.at(end, Event::End),
            None => {
                world.at(HEALED_AT, Event::Healed);
                world.at(HEALED_AT, Event::Settled);
            }
        }
        world
    }

    fn at(&mut self, at: Ms, event: Event) {
        self.queue.push(Reverse((at, self.events.len())));
        self.events.push(Some(event));
    }

    fn say(&mut self, text: impl FnOnce() -> String) {
        if let Some(telling) = &mut self.telling {
            telling.say(self.now, text());
        }
    }

    fn carry_on(&mut self) {
        while let Some(Reverse((at, n))) = self.queue.pop() {
            if self.checks.violation.is_some() {
                return;
            }
            if self.events.len() > EVENTS_MAX {
                return self.checks.spins(self.now);
            }
            self.now = at;
            if let Some(event) = self.events[n].take() {
                self.happens(event);
                self.checks.look(self.now, &mut self.hosts);
            }
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Begin(task) => self.begin(task),
            Event::Fault(fault) => self.fails(fault),
            Event::Mended(fault) => self.mended(&fault),
            Event::Healed => self.healed(),
            Event::Arrives { host, request, to, is_answer_lost } => {
                self.arrives(host, request, to, is_answer_lost);
            }
            Event::Answered { host, to, came } => self.answered(host, to, came),
            Event::Written { host, incarnation } => {
                if self.hosts[host].incarnation == incarnation {
                    let out = self.hosts[host].job_done(self.now);
                    self.host_goes_on(host, out, false);
                }
            }
            Event::HostWakes { host } => self.host_goes_on(host, Out::default(), false),
            Event::OperatorWakes { operator } => self.operator_goes_on(operator),
            Event::Settled => self.settled(),
            Event::End => self.end(),
        }
    }

    fn begin(&mut self, task: Task) {
        let n = self.operators.len();
        let process = Process::new(n, task, self.luck.epoch(n), &self.plan, self.now);
        self.say(|| format!("{} {}", process.who, telling::task(task)));
        let wants = process.begin(self.plan.hosts_n);
        self.operators.push(process);
        self.send(n, wants);
    }

    fn send(&mut self, operator: usize, wants: Wants) {
        for (host, token, request, is_long) in wants {
            if let Some(telling) = &mut self.telling {
                let who = (operator, &*self.operators[operator].who);
                telling.asks(self.now, who, (host, token), &request);
            }
            let to = ReplyTo { operator, token };
            let ship = if is_long { self.luck.ship() } else { 0 };
            let at = self.now + ship + self.luck.delay();
            let loss = if self.is_healed { None } else { self.luck.loss() };
            let (arrives_at, is_noticed) = match loss {
                Some(Loss::Ask) => (None, true),
                Some(Loss::Late(by)) => (Some(at + by), true),
                Some(Loss::Answer) | None => (Some(at), false),
            };
            if is_noticed {
                self.at(at, Event::Answered { host, to, came: Came::Lost });
            }
            if let Some(at) = arrives_at {
                let is_answer_lost = loss.is_some();
                self.at(at, Event::Arrives { host, request, to, is_answer_lost });
            }
            let too_late = Event::Answered { host, to, came: Came::Lost };
            self.at(at + ANSWER_WITHIN, too_late);
        }
    }

    fn arrives(&mut self, host: usize, request: Request, to: ReplyTo, is_answer_lost: bool) {
        let now = self.now;
        let one = &mut self.hosts[host];
        let out = match one.is_cut || !one.is_on {
            true => None,
            false => one.asked(request, to, now),
        };
        match out {
            Some(out) => self.host_goes_on(host, out, is_answer_lost),
            None => {
                let at = now + self.luck.delay();
                self.at(at, Event::Answered { host, to, came: Came::Lost });
            }
        }
    }

    fn commit_within(&self) -> Ms {
        let millis = self.plan.pace.commit_within.as_millis();
        Ms::try_from(millis).expect("it is short")
    }

    fn host_goes_on(&mut self, host: usize, mut out: Out, is_answer_lost: bool) {
        let commit_within = self.commit_within();
        let now = self.now;
        let one = &mut self.hosts[host];
        one.look(now, commit_within, &mut out);
        let (incarnation, is_writing) = (one.incarnation, one.is_writing());
        let wake_at = one.wake_at(commit_within);
        for (epoch, held) in &out.reached {
            if let Some(telling) = &mut self.telling {
                telling.reached(now, host, held);
            }
            self.checks.reached(now, host, *epoch, held, &self.hosts);
            self.is_so_far(host, Stage::of(&held.stage));
        }
        for (to, response) in out.replies {
            let at = now + self.luck.delay();
            let is_cut = self.hosts[host].is_cut || is_answer_lost;
            let came = if is_cut { Came::Lost } else { Came::Response(response) };
            self.at(at, Event::Answered { host, to, came });
        }
        if is_writing {
            let at = now + self.luck.disk();
            self.at(at, Event::Written { host, incarnation });
        } else if let Some(at) = wake_at {
            self.at(at.max(now + 1), Event::HostWakes { host });
        }
    }

    fn answered(&mut self, host: usize, to: ReplyTo, came: Came) {
        let operator = &mut self.operators[to.operator];
        if operator.is_asleep {
            // It lies there until whoever it is for wakes up.
            let at = self.now + 500;
            return self.at(at, Event::Answered { host, to, came });
        }
        if let Some(telling) = &mut self.telling {
            let who = (to.operator, &*operator.who);
            telling.hears(self.now, who, (host, to.token), &came);
        }
        let now = self.now;
        self.operators[to.operator].heard(host, to.token, came, &self.plan, now);
        self.operator_goes_on(to.operator);
    }

    fn operator_goes_on(&mut self, n: usize) {
        let operator = &mut self.operators[n];
        if operator.is_asleep {
            let at = self.now + 500;
            return self.at(at, Event::OperatorWakes { operator: n });
        }
        if operator.ending().is_some() {
            // It may have ended by what it has heard.
            return self.look_whether_it_ends(n);
        }
        let wants = operator.next(self.now);
        if let Some(id) = operator.id.clone() {
            self.checks.drives(&id, operator.version());
        }
        if let Some(at) = operator.wake_at() {
            let at = at.max(self.now + 1);
            self.at(at, Event::OperatorWakes { operator: n });
        }
        self.look_whether_it_ends(n);
        self.send(n, wants);
    }

    fn look_whether_it_ends(&mut self, n: usize) {
        let operator = &mut self.operators[n];
        let Some(ending) = operator.ending().cloned().filter(|_| !operator.is_end_told) else {
            return;
        };
        operator.is_end_told = true;
        if let Some(telling) = &mut self.telling {
            telling.ends(self.now, &operator.who, &ending);
        }
        self.checks.ended(self.now, &ending, &self.hosts);
    }

    fn fails(&mut self, fault: Fault) {
        if self.telling.is_some() {
            let told = telling::fault(&fault, |operator| self.plan.who(operator));
            self.say(|| told);
        }
        let is_written = self.luck.is_written();
        let lasts = match &fault {
            Fault::OperatorDies { operator } => {
                if let Some(operator) = self.operators.get_mut(*operator) {
                    operator.die();
                }
                return;
            }
            Fault::Interrupt { operator } => {
                if let Some(process) = self.operators.get_mut(*operator) {
                    process.interrupt(self.now);
                    self.operator_goes_on(*operator);
                }
                return;
            }
            Fault::OperatorSleeps { operator, lasts } => {
                if let Some(operator) = self.operators.get_mut(*operator) {
                    operator.is_asleep = true;
                }
                *lasts
            }
            Fault::PowerLost { host, lasts } => {
                self.hosts[*host].lose_power(is_written);
                *lasts
            }
            Fault::AgentDies { host, lasts } => {
                self.hosts[*host].end_agent(is_written);
                *lasts
            }
            Fault::Cut { host, lasts } => {
                self.hosts[*host].is_cut = true;
                *lasts
            }
            Fault::DiskFull { host, lasts } => {
                self.hosts[*host].is_disk_full = true;
                *lasts
            }
        };
        self.at(self.now + lasts, Event::Mended(fault));
    }

    fn mended(&mut self, fault: &Fault) {
        let now = self.now;
        match fault {
            Fault::OperatorDies { .. } | Fault::Interrupt { .. } => (),
            Fault::OperatorSleeps { operator, .. } => {
                if let Some(operator) = self.operators.get_mut(*operator) {
                    operator.is_asleep = false;
                }
            }
            Fault::PowerLost { host, .. } => {
                if !self.hosts[*host].is_on {
                    self.hosts[*host].boot(now);
                    self.host_goes_on(*host, Out::default(), false);
                }
            }
            Fault::AgentDies { host, .. } => {
                let one = &mut self.hosts[*host];
                if one.is_on && one.agent.is_none() {
                    one.begin_agent(now);
                    self.host_goes_on(*host, Out::default(), false);
                }
            }
            Fault::Cut { host, .. } => self.hosts[*host].is_cut = false,
            Fault::DiskFull { host, .. } => self.hosts[*host].is_disk_full = false,
        }
    }

    fn healed(&mut self) {
        self.say(|| "nothing goes wrong any more".into());
        self.is_healed = true;
        for operator in 0..self.operators.len() {
            self.mended(&Fault::OperatorSleeps { operator, lasts: 0 });
        }
        for host in 0..self.hosts.len() {
            self.mended(&Fault::PowerLost { host, lasts: 0 });
            self.mended(&Fault::AgentDies { host, lasts: 0 });
            self.mended(&Fault::Cut { host, lasts: 0 });
            self.mended(&Fault::DiskFull { host, lasts: 0 });
        }
    }

    /// What was to go wrong as soon as this host is so far does so.
    fn is_so_far(&mut self, host: usize, stage: Stage) {
        let is_due = |when: &When| when.host == host && when.stage == stage;
        while let Some(n) = self.whens.iter().position(is_due) {
            let fault = self.whens.remove(n).fault;
            self.at(self.now, Event::Fault(fault));
        }
    }

    /// Nothing happens any more; what is there is told.
    fn end(&mut self) {
        self.queue.clear();
        let now = self.now;
        let still: Vec<usize> =
            (0..self.operators.len()).filter(|n| self.operators[*n].ending().is_none()).collect();
        for n in &still {
            let who = self.plan.who(*n);
            self.say(|| format!("{who} is still there"));
        }
        // A host that still has something to do will do it, or cannot for now.
        let commit_within = self.commit_within();
        if still.is_empty() && self.hosts.iter().all(|host| host.is_idle(commit_within)) {
            self.checks.nobody_is_there(now, &self.hosts);
        }
        for host in 0..self.hosts.len() {
            let one = &mut self.hosts[host];
            let serving = one.serving(now);
            if let Some(telling) = &mut self.telling {
                telling.serves(now, host, serving, one.memory.machine.held.as_ref());
            }
        }
    }

    /// Whatever is left is ended by somebody, until there is nothing to end.
    fn settled(&mut self) {
        let still = self.operators.iter().position(|it| it.ending().is_none());
        match still {
            Some(operator) if self.now > ENDED_AT => {
                return self.checks.never_ends(self.now, operator);
            }
            _ if !self.is_quiet => {
                self.is_quiet = still.is_none();
                return self.at(self.now + QUIET, Event::Settled);
            }
            Some(_) | None => (),
        }
        if self.enders_n == 0 {
            self.checks.nobody_is_there(self.now, &self.hosts);
        }
        let last = self.operators.last().and_then(Process::ending).cloned();
        let is_over = self.enders_n > 0 && matches!(last, Some(Ending::Nothing { .. }));
        if is_over || self.enders_n == ENDERS_MAX {
            let last = last.expect("somebody was there");
            return self.checks.over(self.now, &last, &mut self.hosts);
        }
        self.enders_n += 1;
        self.is_quiet = false;
        self.begin(Task::Resume);
        self.at(self.now + QUIET, Event::Settled);
    }
}
