//! What follows from what was heard.

use alloc::format;
use alloc::string::{String, ToString as _};
use core::time::Duration;

use super::site::{Lost, Pending, left_out};
use super::{AGAIN_AFTER, AS_IT_WAS, Answer, Begin, Ended, Gated, Operator, Order, Phase, Why};
use crate::rollout::{HostRefusal, HostStage, Part};

impl Operator {
    /// Takes the answer to an errand.
    pub fn heard(&mut self, now: Duration, host: usize, token: u64, answer: Answer) {
        let site = &mut self.sites[host];
        let Some(errand) = site.errand.take_if(|errand| errand.token == token) else { return };
        if site.ended.is_some() {
            return;
        }
        if !matches!(answer, Answer::Lost(_)) {
            site.lost = None;
        }
        match answer {
            Answer::Failed(why) => self.failed(host, why, now),
            Answer::Looked(gated) => self.looked(host, &errand, gated, now),
            Answer::Lost(why) => self.lost(host, &errand, why, now),
            Answer::Refused(refusal) => self.refused(host, refusal, now),
            Answer::Taken(part) => self.taken(host, &errand, part, now),
        }
        self.advance(now);
    }

    /// Whoever has begun it wants it to end: all hosts go back, unless one may have it for good.
    pub fn interrupt(&mut self, now: Duration) {
        match self.phase {
            Phase::Claiming | Phase::Staging | Phase::Switching { .. } | Phase::Confirming => {
                self.go_back(Why::Interrupted, now);
            }
            Phase::Committing | Phase::Returning | Phase::Ended => (),
        }
        self.advance(now);
    }

    fn taken(&mut self, host: usize, errand: &Pending, part: Part, now: Duration) {
        let site = &mut self.sites[host];
        site.heard_at = errand.at;
        site.tells(part);
        match errand.order {
            Order::Claim { .. } => site.is_mine = true,
            Order::Switch => site.switched_at = Some(now),
            Order::Commit => site.ended = Some(Ended::New),
            Order::Revert { .. } if site.was_switched => site.reverted_at = Some(now),
            Order::Revert { .. } => site.ended = Some(Ended::Old(AS_IT_WAS.to_string())),
            Order::Keep | Order::Look | Order::LookBack | Order::Stage => (),
        }
    }

    fn looked(&mut self, host: usize, errand: &Pending, gated: Gated, now: Duration) {
        let (bake, ready_within) = (self.pace.bake, self.pace.ready_within);
        let site = &mut self.sites[host];
        site.looked_at = now;
        let late = |why: &str| format!("{why}, after {} s", ready_within.as_secs());
        if errand.order == Order::LookBack {
            let is_late = site.reverted_at.is_some_and(|at| at + ready_within <= now);
            let but = match gated {
                Gated::Failed(why) => format!("{AS_IT_WAS}, but {why}"),
                Gated::Passed => AS_IT_WAS.to_string(),
                Gated::Pending(why) if is_late => format!("{AS_IT_WAS}, but {}", late(&why)),
                Gated::Pending(_) => return,
            };
            site.ended = Some(Ended::Old(but));
            return;
        }
        let is_late = site.switched_at.is_none_or(|at| at + ready_within <= now);
        match gated {
            Gated::Passed => {
                let passed_at = *site.passed_at.get_or_insert(now);
                site.has_baked |= passed_at + bake <= now;
            }
            Gated::Failed(why) => self.failed(host, why, now),
            // What has passed once has no more time to become ready.
            Gated::Pending(why) if site.passed_at.is_some() => self.failed(host, why, now),
            Gated::Pending(why) if is_late => self.failed(host, late(&why), now),
            Gated::Pending(_) => (),
        }
    }

    fn lost(&mut self, host: usize, errand: &Pending, why: String, now: Duration) {
        let patience = self.patience();
        let site = &mut self.sites[host];
        let since = site.lost.map_or(errand.at, |lost| lost.since);
        if since + patience > now {
            site.lost = Some(Lost { since, again_at: now + AGAIN_AFTER });
            return;
        }
        let left_out_n = self.sites.iter().filter(|site| site.ended.is_some()).count();
        let may_go_without = matches!(self.phase, Phase::Claiming | Phase::Staging)
            && self.begin == Begin::New
            && left_out_n < self.pace.unreachable_max
            && self.open().count() > 1;
        match may_go_without {
            true => self.sites[host].ended = Some(Ended::Old(left_out(&why))),
            false => self.failed(host, why, now),
        }
    }

    /// For how long an errand is given again that is lost. Before anything is switched nothing is
    /// gained by waiting; after, it must be over before hosts go back by themselves.
    fn patience(&self) -> Duration {
        match self.phase {
            Phase::Claiming | Phase::Staging | Phase::Ended => Duration::ZERO,
            Phase::Switching { .. } | Phase::Confirming | Phase::Returning => {
                self.pace.commit_within / 4
            }
            Phase::Committing => self.pace.commit_within / 2,
        }
    }

    /// A host does not do what it was asked, and will not.
    fn failed(&mut self, host: usize, why: String, now: Duration) {
        match self.phase {
            Phase::Claiming | Phase::Staging | Phase::Switching { .. } | Phase::Confirming => {
                self.go_back(Why::Host(host, why), now);
            }
            Phase::Committing => {
                self.why.get_or_insert(Why::Host(host, why.clone()));
                self.sites[host].ended = Some(Ended::Unknown(why));
            }
            Phase::Returning => self.sites[host].end_unheard(why),
            Phase::Ended => (),
        }
    }

    fn refused(&mut self, host: usize, refusal: HostRefusal, now: Duration) {
        let why = refusal.to_string();
        match (self.phase, refusal) {
            (
                Phase::Committing,
                HostRefusal::OutOfOrder { stage: HostStage::Reverted { why, .. } },
            ) => {
                self.why.get_or_insert(Why::Host(host, why.clone()));
                self.sites[host].ended = Some(Ended::Old(why));
            }
            (Phase::Returning, HostRefusal::OutOfOrder { stage: HostStage::Committed }) => {
                self.sites[host].ended = Some(Ended::New);
            }
            (Phase::Committing, _) => self.failed(host, why, now),
            // Whatever is done now is another one's to do.
            (Phase::Returning, HostRefusal::Stale { .. }) => self.yield_to_another(&why),
            (_, HostRefusal::Stale { .. }) if !self.is_untouched => {
                self.why.get_or_insert(Why::Host(host, why.clone()));
                self.yield_to_another(&why);
            }
            _ => self.failed(host, why, now),
        }
    }
}
