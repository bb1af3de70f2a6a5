//! The clock, the wire, and everything on it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use fastrand::Rng;

use crate::Ms;
use crate::checks::{Checks, Violation};
use crate::host::{Host, Out, ReplyTo, Request, Response};
use crate::operator::{Came, Ending, Process, Wants};
use crate::plan::{Fault, HEALED_AT, Plan, Task};

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

/// What is brought to a host may take so long to get there.
const SHIP_MS_MAX: Ms = 3000;

/// What comes late comes so late.
const LATE_MS_MAX: Ms = 30_000;

const DISK_MS_MAX: Ms = 20;

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
    rng: Rng,
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
    trace: Option<Vec<String>>,
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
        trace: world.trace.unwrap_or_default(),
    }
}

impl World {
    fn new(plan: Plan, with_trace: bool) -> Self {
        let versions = 0..plan.kinds.len();
        let kinds = |host| versions.clone().map(|it| plan.kinds[it][host]).collect();
        let hosts = (0..plan.hosts_n).map(|host| Host::new(kinds(host), plan.broken)).collect();
        let mut world = Self {
            rng: Rng::with_seed(plan.seed ^ 0x5eed),
            now: 0,
            queue: BinaryHeap::new(),
            events: Vec::new(),
            hosts,
            operators: Vec::new(),
            checks: Checks::new(&plan),
            is_healed: false,
            is_quiet: false,
            enders_n: 0,
            trace: with_trace.then(Vec::new),
            plan,
        };
        for (at, task) in world.plan.begun.clone() {
            world.at(at, Event::Begin(task));
        }
        for (at, fault) in world.plan.faults.clone() {
            world.at(at, Event::Fault(fault));
        }
        world.at(HEALED_AT, Event::Healed);
        world.at(HEALED_AT, Event::Settled);
        world
    }

    fn at(&mut self, at: Ms, event: Event) {
        self.queue.push(Reverse((at, self.events.len())));
        self.events.push(Some(event));
    }

    fn say(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>7.3}  {}", self.now as f64 / 1000.0, text()));
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
        }
    }

    fn begin(&mut self, task: Task) {
        let n = self.operators.len();
        let process = Process::new(n, task, self.rng.u64(..), &self.plan, self.now);
        self.say(|| format!("op{n} begins: {task:?}"));
        let wants = process.begin(self.plan.hosts_n);
        self.operators.push(process);
        self.send(n, wants);
    }

    fn send(&mut self, operator: usize, wants: Wants) {
        for (host, token, request, is_long) in wants {
            self.say(|| format!("op{operator} -> h{host} #{token} {}", told(&request)));
            let to = ReplyTo { operator, token };
            let ship = if is_long { self.rng.u64(0..SHIP_MS_MAX) } else { 0 };
            let at = self.now + ship + self.delay();
            let lost = Event::Answered { host, to, came: Came::Lost };
            let is_lossy = !self.is_healed && self.rng.u32(0..1000) < self.plan.lost_permille;
            match is_lossy.then(|| self.rng.u8(0..3)) {
                // On its way, and the sender notices.
                Some(0) => self.at(at, lost),
                // It comes when nobody waits for it any more.
                Some(1) => {
                    self.at(at, lost);
                    let late = at + self.rng.u64(0..LATE_MS_MAX);
                    self.at(late, Event::Arrives { host, request, to, is_answer_lost: true });
                }
                Some(_) => self.at(at, Event::Arrives { host, request, to, is_answer_lost: true }),
                None => self.at(at, Event::Arrives { host, request, to, is_answer_lost: false }),
            }
            let too_late = Event::Answered { host, to, came: Came::Lost };
            self.at(at + ANSWER_WITHIN, too_late);
        }
    }

    fn delay(&mut self) -> Ms {
        1 + self.rng.u64(0..self.plan.delay_ms_max)
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
                let at = now + self.delay();
                self.at(at, Event::Answered { host, to, came: Came::Lost });
            }
        }
    }

    fn host_goes_on(&mut self, host: usize, mut out: Out, is_answer_lost: bool) {
        let commit_within = u64::try_from(self.plan.pace.commit_within.as_millis());
        let commit_within = commit_within.expect("it is short");
        let now = self.now;
        let one = &mut self.hosts[host];
        one.look(now, commit_within, &mut out);
        let (incarnation, is_writing) = (one.incarnation, one.is_writing());
        let wake_at = one.wake_at(commit_within);
        for (epoch, held) in &out.reached {
            self.say(|| format!("h{host} is {:?} in {} by {}", held.stage, held.id, held.who));
            self.checks.reached(now, host, *epoch, held, &self.hosts);
        }
        for (to, response) in out.replies {
            let at = now + self.delay();
            let is_cut = self.hosts[host].is_cut || is_answer_lost;
            let came = if is_cut { Came::Lost } else { Came::Response(response) };
            self.at(at, Event::Answered { host, to, came });
        }
        if is_writing {
            let at = now + 1 + self.rng.u64(0..DISK_MS_MAX);
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
        if let Came::Response(response) = &came
            && !matches!(response, Response::Seen(_))
        {
            let text = format!("{response:?}");
            self.say(|| format!("op{} <- h{host} #{} {text}", to.operator, to.token));
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
            return;
        }
        let wants = operator.next(self.now);
        if let Some(id) = operator.id.clone() {
            self.checks.drives(&id, operator.version());
        }
        match operator.ending().cloned() {
            Some(ending) => {
                self.say(|| format!("op{n} ends: {ending:?}"));
                self.checks.ended(self.now, &ending, &self.hosts);
            }
            None => {
                if let Some(at) = operator.wake_at() {
                    let at = at.max(self.now + 1);
                    self.at(at, Event::OperatorWakes { operator: n });
                }
            }
        }
        self.send(n, wants);
    }

    fn fails(&mut self, fault: Fault) {
        self.say(|| format!("{fault:?}"));
        let is_written = self.rng.bool();
        let until = match &fault {
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
            Fault::OperatorSleeps { operator, until } => {
                if let Some(operator) = self.operators.get_mut(*operator) {
                    operator.is_asleep = true;
                }
                *until
            }
            Fault::PowerLost { host, until } => {
                self.hosts[*host].lose_power(is_written);
                *until
            }
            Fault::AgentDies { host, until } => {
                self.hosts[*host].end_agent(is_written);
                *until
            }
            Fault::Cut { host, until } => {
                self.hosts[*host].is_cut = true;
                *until
            }
            Fault::DiskFull { host, until } => {
                self.hosts[*host].is_disk_full = true;
                *until
            }
        };
        self.at(until, Event::Mended(fault));
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
            self.mended(&Fault::OperatorSleeps { operator, until: 0 });
        }
        for host in 0..self.hosts.len() {
            self.mended(&Fault::PowerLost { host, until: 0 });
            self.mended(&Fault::AgentDies { host, until: 0 });
            self.mended(&Fault::Cut { host, until: 0 });
            self.mended(&Fault::DiskFull { host, until: 0 });
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

fn told(request: &Request) -> String {
    match request {
        Request::See => "how far are you".into(),
        Request::Look => "look".into(),
        Request::Ask { ask, .. } => format!("{:?}", ask.what),
    }
}
