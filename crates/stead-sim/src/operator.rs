//! An operator's process: it looks, claims, and carries a rollout out, as `stead deploy` does.

use std::time::Duration;

use stead_core::names::RolloutId;
use stead_core::rollout::{
    Answer, Begin, Ended, Errand, Gated, HostAsk, HostAskWhat, HostRollout, Operator, Order, Part,
    Seat, Why, epoch_above, is_split, part, unfinished,
};

use crate::host::{Request, Response};
use crate::plan::{Broken, Plan, Task};
use crate::{Ms, Version};

/// How it went, as it was told to whoever had begun it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Ending {
    /// There was nothing to go on with.
    Nothing {
        is_split: bool,
    },
    /// Nothing was changed.
    Untouched {
        why: Option<Why>,
    },
    Told {
        id: RolloutId,
        epoch: u64,
        ends: Vec<Ended>,
        why: Option<Why>,
    },
    Died,
}

impl Ending {
    /// How it ended, in a word.
    pub fn word(&self) -> &'static str {
        let ends = match self {
            Self::Died => return "died",
            Self::Nothing { is_split: false } => return "nothing to go on with",
            Self::Nothing { is_split: true } => return "nothing to go on with, and split",
            Self::Untouched { .. } => return "nothing changed",
            Self::Told { ends, .. } => ends,
        };
        let is_new = |end: &Ended| *end == Ended::New;
        let is_old = |end: &Ended| matches!(end, Ended::Old(_));
        match (ends.iter().all(is_new), ends.iter().all(is_old)) {
            (true, _) => "whole-new",
            (_, true) => "whole-old",
            _ => "split, named",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) who: String,
    task: Task,
    state: State,
    begun_at: Ms,
    chance: u64,
    /// How far hosts were when it looked.
    founds: Vec<Result<Part, String>>,
    pub(crate) epoch: u64,
    pub(crate) id: Option<RolloutId>,
    broken: Option<Broken>,
    pub(crate) is_asleep: bool,
    pub(crate) is_end_told: bool,
}

#[derive(Debug)]
enum State {
    Looking(Vec<Option<Saw>>),
    Driving(Box<Operator>),
    Ended(Ending),
}

#[derive(Clone, Debug)]
enum Saw {
    Host(HostRollout),
    Nobody,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub(crate) enum Came {
    Response(Response),
    Lost,
}

/// What a process wants done.
pub(crate) type Wants = Vec<(usize, u64, Request, bool)>;

impl Process {
    pub(crate) fn new(n: usize, task: Task, chance: u64, plan: &Plan, now: Ms) -> Self {
        Self {
            who: plan.who(n),
            task,
            state: State::Looking(vec![None; plan.hosts_n]),
            begun_at: now,
            chance,
            founds: Vec::new(),
            epoch: 0,
            id: None,
            broken: plan.broken,
            is_asleep: false,
            is_end_told: false,
        }
    }

    /// It asks every host how far it is.
    pub(crate) fn begin(&self, hosts_n: usize) -> Wants {
        (0..hosts_n).map(|host| (host, 0, Request::See, false)).collect()
    }

    pub(crate) fn ending(&self) -> Option<&Ending> {
        match &self.state {
            State::Ended(ending) => Some(ending),
            State::Looking(_) | State::Driving(_) => None,
        }
    }

    pub(crate) fn die(&mut self) {
        if self.ending().is_none() {
            // Its death is what is told.
            (self.state, self.is_end_told) = (State::Ended(Ending::Died), true);
        }
    }

    /// What it brings; `None` if it goes on with another one's.
    pub(crate) fn version(&self) -> Option<Version> {
        match self.task {
            Task::Deploy(version) => Some(version),
            Task::Resume => None,
        }
    }

    pub(crate) fn heard(&mut self, host: usize, token: u64, came: Came, plan: &Plan, now: Ms) {
        match &mut self.state {
            State::Looking(saw) => {
                saw[host].get_or_insert(match came {
                    Came::Response(Response::Seen(machine)) => Saw::Host(machine),
                    Came::Response(_) | Came::Lost => Saw::Nobody,
                });
                self.look_whether_to_begin(plan, now);
            }
            State::Driving(operator) => {
                let at = Duration::from_millis(now - self.begun_at);
                operator.heard(
                    at,
                    host,
                    token,
                    answer(token, came, &self.founds[host], self.broken),
                );
            }
            State::Ended(_) => (),
        }
    }

    pub(crate) fn interrupt(&mut self, now: Ms) {
        match &mut self.state {
            State::Looking(_) => {
                self.state = State::Ended(Ending::Untouched { why: Some(Why::Interrupted) })
            }
            State::Driving(operator) => {
                operator.interrupt(Duration::from_millis(now - self.begun_at));
            }
            State::Ended(_) => (),
        }
    }

    fn look_whether_to_begin(&mut self, plan: &Plan, now: Ms) {
        let State::Looking(saw) = &self.state else { return };
        let Some(saw) = saw.iter().cloned().collect::<Option<Vec<_>>>() else { return };
        let nobody_n = saw.iter().filter(|saw| matches!(saw, Saw::Nobody)).count();
        let seen = saw.iter().filter_map(|saw| match saw {
            Saw::Host(machine) => Some(machine),
            Saw::Nobody => None,
        });
        let seen: Vec<&HostRollout> = seen.collect();
        let epoch = epoch_above(seen.iter().map(|seen| seen.epoch), self.chance);
        let (begin, id) = match self.task {
            Task::Deploy(_) if nobody_n <= plan.pace.unreachable_max && nobody_n < saw.len() => {
                (Begin::New, format!("r{epoch}").parse().expect("it is a name"))
            }
            Task::Resume if nobody_n == 0 => match unfinished(seen.iter().copied()) {
                Some(id) => (Begin::Resume, id),
                None => {
                    let is_split = is_split(seen.iter().copied());
                    return self.state = State::Ended(Ending::Nothing { is_split });
                }
            },
            Task::Deploy(_) | Task::Resume => {
                return self.state = State::Ended(Ending::Untouched { why: None });
            }
        };
        self.founds = saw
            .iter()
            .map(|saw| match (saw, begin) {
                (Saw::Nobody, _) => Err("nobody answers".to_owned()),
                (Saw::Host(_), Begin::New) => Ok(Part::None),
                (Saw::Host(machine), Begin::Resume) => Ok(part(machine, &id)),
            })
            .collect();
        let seats = self.founds.iter().enumerate().map(|(n, found)| Seat {
            name: format!("h{n}"),
            rank: 0,
            found: found.clone(),
        });
        let operator = Operator::new(begin, plan.pace.clone(), seats.collect());
        (self.epoch, self.id, self.begun_at) = (epoch, Some(id), now);
        self.state = State::Driving(Box::new(operator));
    }

    /// What is to be sent now.
    pub(crate) fn next(&mut self, now: Ms) -> Wants {
        let State::Driving(operator) = &mut self.state else { return Vec::new() };
        let errands = operator.next(Duration::from_millis(now - self.begun_at));
        let ends = operator.ends();
        let (is_untouched, why) = (operator.is_untouched(), operator.why().cloned());
        let id = self.id.clone().expect("one that drives has its rollout");
        let wants = errands.into_iter().map(|errand| self.request(errand, &id)).collect();
        if let Some(ends) = ends {
            self.state = State::Ended(match is_untouched {
                true => Ending::Untouched { why },
                false => Ending::Told { id, epoch: self.epoch, ends, why },
            });
        }
        wants
    }

    pub(crate) fn wake_at(&self) -> Option<Ms> {
        let State::Driving(operator) = &self.state else { return None };
        let at = operator.deadline()?;
        // A thousandth is as fine as this clock gets.
        Some(self.begun_at + u64::try_from(at.as_millis()).expect("it is soon") + 1)
    }

    fn request(&self, errand: Errand, id: &RolloutId) -> (usize, u64, Request, bool) {
        let is_long = errand.order == Order::Stage;
        let what = match errand.order {
            Order::Claim { resume } => HostAskWhat::Claim { who: self.who.clone(), resume },
            Order::Commit => HostAskWhat::Commit,
            Order::Keep => HostAskWhat::Keep,
            Order::Look | Order::LookBack => {
                return (errand.host, errand.token, Request::Look, false);
            }
            Order::Revert { why } => HostAskWhat::Revert { why },
            Order::Stage => HostAskWhat::Stage,
            Order::Switch => HostAskWhat::Switch,
        };
        let ask = HostAsk { epoch: self.epoch, id: id.clone(), what };
        let request = Request::Ask { ask, staged: self.version() };
        (errand.host, errand.token, request, is_long)
    }
}

/// The first errand to a host is its claim.
const CLAIM: u64 = 1;

fn answer(token: u64, came: Came, found: &Result<Part, String>, broken: Option<Broken>) -> Answer {
    match (came, found) {
        (Came::Lost, _) => Answer::Lost("the connection ended".into()),
        (Came::Response(Response::NotStored), _) => Answer::Lost("its disk is full".into()),
        (Came::Response(Response::Taken(_)), Ok(part @ Part::Held(_)))
            if broken == Some(Broken::LookAfterClaim) && token == CLAIM =>
        {
            Answer::Taken(part.clone())
        }
        (Came::Response(Response::Taken(part)), _) => Answer::Taken(part),
        (Came::Response(Response::Refused(refusal)), _) => Answer::Refused(refusal),
        (Came::Response(Response::Looked(_)), _) if broken == Some(Broken::Gate) => {
            Answer::Looked(Gated::Passed)
        }
        (Came::Response(Response::Looked(gated)), _) => Answer::Looked(gated),
        (Came::Response(Response::Seen(_)), _) => Answer::Failed("it was not asked".into()),
    }
}
