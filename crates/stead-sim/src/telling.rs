//! What happens in a world, in words: one line for each thing, and one for the same thing on many
//! hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use stead_core::rollout::{Ended, Gated, Held, HostAskWhat, HostStage, Part, Why};

use crate::host::{Request, Response};
use crate::operator::{Came, Ending};
use crate::plan::{Fault, Task};
use crate::script::Stage;
use crate::{Ms, Version};

/// Where hosts are named in a line.
const HOSTS: char = '@';

#[derive(Debug)]
pub(crate) struct Telling {
    lines: Vec<Line>,
    /// Whether it tells each time that a host is looked at, or kept.
    with_polls: bool,
    /// What was asked and has not been answered: operator, host, token.
    open: BTreeSet<(usize, usize, u64)>,
    /// What was told last between an operator and a host, so that it is not told again.
    last: BTreeMap<(usize, usize), Last>,
}

#[derive(Debug, Default)]
struct Last {
    asked: String,
    heard: String,
}

#[derive(Debug)]
struct Line {
    at: Ms,
    text: String,
    hosts: Vec<usize>,
}

impl Telling {
    pub(crate) fn new(with_polls: bool) -> Self {
        let (open, last) = (BTreeSet::new(), BTreeMap::new());
        Self { lines: Vec::new(), with_polls, open, last }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.iter().map(ToString::to_string).collect()
    }

    pub(crate) fn say(&mut self, at: Ms, text: String) {
        self.lines.push(Line { at, text, hosts: Vec::new() });
    }

    /// Says something of a host; the text has a place where hosts are named.
    fn say_of(&mut self, at: Ms, host: usize, text: String) {
        match self.lines.last_mut() {
            Some(last) if last.at == at && last.text == text && !last.hosts.contains(&host) => {
                last.hosts.push(host);
            }
            Some(_) | None => self.lines.push(Line { at, text, hosts: vec![host] }),
        }
    }

    pub(crate) fn asks(
        &mut self,
        at: Ms,
        (operator, who): (usize, &str),
        (host, token): (usize, u64),
        request: &Request,
    ) {
        self.open.insert((operator, host, token));
        let asked = asked(request);
        if is_poll(request) && !self.with_polls {
            return;
        }
        let last = self.last.entry((operator, host)).or_default();
        if last.asked != asked {
            *last = Last { asked: asked.clone(), heard: String::new() };
        }
        self.say_of(at, host, format!("{who} -> {HOSTS}: {asked}"));
    }

    pub(crate) fn hears(
        &mut self,
        at: Ms,
        (operator, who): (usize, &str),
        (host, token): (usize, u64),
        came: &Came,
    ) {
        // What comes after the answer, or after nobody waits for it, tells nothing.
        if !self.open.remove(&(operator, host, token)) {
            return;
        }
        let Some(heard) = heard(came, self.with_polls) else { return };
        let last = self.last.entry((operator, host)).or_default();
        if last.heard != heard || self.with_polls {
            last.heard.clone_from(&heard);
            self.say_of(at, host, format!("{who} <- {HOSTS}: {heard}"));
        }
    }

    pub(crate) fn reached(&mut self, at: Ms, host: usize, held: &Held) {
        self.say_of(at, host, format!("{HOSTS}: {}", reached(held)));
    }

    pub(crate) fn ends(&mut self, at: Ms, who: &str, ending: &Ending) {
        let why = match ending {
            Ending::Told { why: Some(why), .. } | Ending::Untouched { why: Some(why) } => {
                format!(", since {}", reason(why))
            }
            Ending::Told { why: None, .. }
            | Ending::Untouched { why: None }
            | Ending::Nothing { .. }
            | Ending::Died => String::new(),
        };
        self.say(at, format!("{who} ends: {}{why}", ending.word()));
        let Ending::Told { ends, .. } = ending else { return };
        for (host, end) in ends.iter().enumerate() {
            let has = match end {
                Ended::New => "new".to_owned(),
                Ended::Old(how) => format!("old ({how})"),
                Ended::Unknown(why) => format!("unknown ({why})"),
            };
            self.say_of(at, host, format!("{who} says {HOSTS}: {has}"));
        }
    }

    /// What is there in the end.
    pub(crate) fn serves(
        &mut self,
        at: Ms,
        host: usize,
        serving: Option<Version>,
        held: Option<&Held>,
    ) {
        let serving = serving.map_or("nothing".to_owned(), version);
        let held = held.map_or("takes part in nothing".to_owned(), stage);
        self.say_of(at, host, format!("{HOSTS}: serves {serving}, {held}"));
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (secs, millis) = (self.at / 1000, self.at % 1000);
        let names: Vec<String> = self.hosts.iter().map(|host| format!("h{host}")).collect();
        let text = match names.as_slice() {
            [] => self.text.clone(),
            names => self.text.replacen(HOSTS, &names.join(" "), 1),
        };
        write!(f, "{secs:>3}.{millis:03}  {text}")
    }
}

fn version(version: Version) -> String {
    format!("v{}", version + 1)
}

pub(crate) fn task(task: Task) -> String {
    match task {
        Task::Deploy(it) => format!("deploys {}", version(it)),
        Task::Resume => "resumes".to_owned(),
    }
}

/// As a script writes it.
fn duration(ms: Ms) -> String {
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

/// As a script writes it; `who` gives the names of operators.
pub(crate) fn fault(fault: &Fault, who: impl Fn(usize) -> String) -> String {
    match fault {
        Fault::AgentDies { host, lasts } => {
            format!("h{host} has no agent for {}", duration(*lasts))
        }
        Fault::Cut { host, lasts } => format!("h{host} is cut off for {}", duration(*lasts)),
        Fault::DiskFull { host, lasts } => {
            format!("h{host} has a full disk for {}", duration(*lasts))
        }
        Fault::Interrupt { operator } => format!("{} is interrupted", who(*operator)),
        Fault::OperatorDies { operator } => format!("{} dies", who(*operator)),
        Fault::OperatorSleeps { operator, lasts } => {
            format!("{} sleeps for {}", who(*operator), duration(*lasts))
        }
        Fault::PowerLost { host, lasts } => {
            format!("h{host} has no power for {}", duration(*lasts))
        }
    }
}

fn is_poll(request: &Request) -> bool {
    match request {
        Request::Look => true,
        Request::See => false,
        Request::Ask { ask, .. } => ask.what == HostAskWhat::Keep,
    }
}

fn asked(request: &Request) -> String {
    let (ask, staged) = match request {
        Request::Look => return "does it work?".to_owned(),
        Request::See => return "how far?".to_owned(),
        Request::Ask { ask, staged } => (ask, staged),
    };
    match &ask.what {
        HostAskWhat::Claim { resume: false, .. } => format!("claim for {}", ask.id),
        HostAskWhat::Claim { resume: true, .. } => format!("claim to resume {}", ask.id),
        HostAskWhat::Commit => "commit".to_owned(),
        HostAskWhat::Keep => "keep".to_owned(),
        HostAskWhat::Revert { why } => format!("revert, since {why}"),
        HostAskWhat::Stage => format!("stage {}", staged.map_or("nothing".to_owned(), version)),
        HostAskWhat::Switch => "switch".to_owned(),
    }
}

/// `None` for what is told otherwise: the stages that hosts reach.
fn heard(came: &Came, with_polls: bool) -> Option<String> {
    let told = match came {
        Came::Lost => "no answer".to_owned(),
        Came::Response(Response::Looked(Gated::Failed(why))) => format!("does not work: {why}"),
        Came::Response(Response::Looked(Gated::Passed)) => "works".to_owned(),
        Came::Response(Response::Looked(Gated::Pending(why))) => format!("not yet: {why}"),
        Came::Response(Response::NotStored) => "refused: its disk is full".to_owned(),
        Came::Response(Response::Refused(refusal)) => format!("refused: {refusal}"),
        Came::Response(Response::Taken(part)) if with_polls => format!("taken: {}", far(part)),
        Came::Response(Response::Taken(_) | Response::Seen(_)) => return None,
    };
    Some(told)
}

fn far(part: &Part) -> &'static str {
    match part {
        Part::Done => "done",
        Part::Held(stage) => Stage::of(stage).name(),
        Part::None => "no part",
    }
}

fn reached(held: &Held) -> String {
    match &held.stage {
        HostStage::Reverted { why, .. } => format!("{}, since {why}", stage(held)),
        HostStage::Claimed | HostStage::Staged | HostStage::Switched | HostStage::Committed => {
            stage(held)
        }
    }
}

fn stage(held: &Held) -> String {
    let by_itself = match held.stage {
        HostStage::Reverted { by_itself: true, .. } => " by itself",
        HostStage::Reverted { by_itself: false, .. }
        | HostStage::Claimed
        | HostStage::Staged
        | HostStage::Switched
        | HostStage::Committed => "",
    };
    let name = Stage::of(&held.stage).name();
    format!("{name}{by_itself} ({} of {})", held.id, held.who)
}

fn reason(why: &Why) -> String {
    match why {
        Why::Host(host, why) => format!("h{host}: {why}"),
        Why::Interrupted => "it was interrupted".to_owned(),
        Why::Left => "not every host had all that it needs".to_owned(),
    }
}
