//! What the keeper is asked to do.

use std::path::Path;

use stead_core::machine::{Goal, Input, RunId};
use stead_core::signal::Signal;
use stead_wire::journal::Event;
use stead_wire::keeper::{Reply, Request};

use crate::control::Asker;
use crate::keeper::{Ending, Keeper};

impl Keeper {
    pub(crate) fn carry_out_request(&mut self, asker: Asker, request: Request) {
        let mut reply = Reply::Done;
        match request {
            Request::Report => {
                let report = self.report();
                self.control.reply(asker, &Reply::Report(Box::new(report)));
            }
            Request::Due { due } => self.due(due),
            Request::HandOver => return self.hand_over(asker),
            Request::Missed { since, until } => self.missed(since, until),
            Request::Ready { run } => self.is_ready(RunId(run)),
            Request::Reload => {
                if let Err(why) = self.reload() {
                    reply = Reply::Refused { why };
                }
            }
            Request::Restart => self.want_fresh_run(),
            Request::Resume => self.resume(),
            Request::Retire => {
                self.ending = Some(Ending::Retiring);
                self.feed(Input::Want(Goal::Down));
            }
            Request::Signal { signal } => match self.signal(signal) {
                Ok(()) => (),
                Err(why) => reply = Reply::Refused { why },
            },
            Request::Start => self.feed_with(Input::Start, Event::Wanted { goal: Goal::Up }),
            Request::Unhealthy { run, why } => self.is_unhealthy(RunId(run), why),
            Request::Update { launch } => self.update(*launch),
            Request::Upgrade { program } => {
                if let Err(why) = self.upgrade(Path::new(&program)) {
                    reply = Reply::Refused { why };
                }
            }
            Request::Want { goal } => self.feed_with(Input::Want(goal), Event::Wanted { goal }),
        }
        self.control.reply(asker, &reply);
    }

    fn signal(&mut self, signal: Signal) -> Result<(), String> {
        let current = self.current().ok_or("nothing runs")?;
        let run = current.run.0;
        let sent = current.signal(signal).map_err(|error| error.to_string())?;
        if !sent {
            return Err("its process has just ended".to_owned());
        }
        self.note(Event::Signalled { run, signal: signal.name().to_owned() });
        Ok(())
    }
}
