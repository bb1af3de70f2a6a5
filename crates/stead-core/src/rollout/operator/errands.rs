//! What is to be asked now.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use super::site::{Pending, Site};
use super::{Begin, Errand, KEEP_EVERY, LOOK_EVERY, LOOK_ON_EVERY, Operator, Order, Phase, Why};
use crate::rollout::HostStage;

impl Operator {
    /// The errands that are due.
    pub fn next(&mut self, now: Duration) -> Vec<Errand> {
        self.advance(now);
        let mut errands = Vec::new();
        for host in 0..self.sites.len() {
            let Some(order) = self.due(host, now) else { continue };
            let site = &mut self.sites[host];
            site.last_token += 1;
            let token = site.last_token;
            site.was_asked = true;
            let is_switch = order == Order::Switch;
            (site.was_switched, site.is_begun) =
                (site.was_switched | is_switch, site.is_begun | is_switch);
            site.errand = Some(Pending { token, order: order.clone(), at: now });
            self.is_untouched &= !self.changes(&order);
            errands.push(Errand { host, token, order });
        }
        errands
    }

    /// When something is due again, if nothing is heard before.
    pub fn deadline(&self) -> Option<Duration> {
        let waiting = self.open().filter(|site| site.errand.is_none());
        let due = waiting.map(|site| {
            let keep_at = site.heard_at + KEEP_EVERY;
            match (site.lost, self.look_at(site)) {
                (Some(lost), _) => lost.again_at,
                (None, Some(look_at)) if self.phase == Phase::Returning => look_at,
                (None, Some(look_at)) => look_at.min(keep_at),
                (None, None) => keep_at,
            }
        });
        due.min().filter(|_| self.phase != Phase::Ended)
    }

    /// Whether a host may run something else by an order, or by what it was told before.
    fn changes(&self, order: &Order) -> bool {
        match order {
            Order::Switch | Order::Commit => true,
            Order::Revert { .. } => self.begin == Begin::Resume,
            Order::Claim { .. } | Order::Keep | Order::Look | Order::LookBack | Order::Stage => {
                false
            }
        }
    }

    fn due(&self, host: usize, now: Duration) -> Option<Order> {
        let site = &self.sites[host];
        if self.phase == Phase::Ended || site.ended.is_some() {
            return None;
        }
        match &site.errand {
            None => (),
            // Nothing that was asked before keeps a host from going back.
            Some(errand) if self.phase == Phase::Returning && !is_way_back(&errand.order) => {
                return Some(self.order_back());
            }
            Some(_) => return None,
        }
        if site.lost.is_some_and(|lost| lost.again_at > now) {
            return None;
        }
        self.order(host, now)
    }

    fn order(&self, host: usize, now: Duration) -> Option<Order> {
        let site = &self.sites[host];
        let keep = || (site.heard_at + KEEP_EVERY <= now).then_some(Order::Keep);
        match self.phase {
            Phase::Claiming if site.is_mine => keep(),
            Phase::Claiming => Some(Order::Claim { resume: self.begin == Begin::Resume }),
            Phase::Staging if site.stage == Some(HostStage::Claimed) => Some(Order::Stage),
            Phase::Staging => keep(),
            Phase::Switching { wave } => {
                let is_next = site.switched_at.is_none() && self.waves[wave].contains(&host);
                match is_next && self.has_room(wave, host) {
                    true => Some(Order::Switch),
                    false => keep().or_else(|| self.look(site, now)),
                }
            }
            Phase::Confirming if site.heard_at < self.phase_at => Some(Order::Keep),
            Phase::Confirming => keep(),
            Phase::Ended => None,
            Phase::Committing => Some(Order::Commit),
            Phase::Returning if site.reverted_at.is_some() => self.look(site, now),
            Phase::Returning => Some(self.order_back()),
        }
    }

    /// Whether this host of the wave may be on its way to ready, beside the others that are.
    fn has_room(&self, wave: usize, host: usize) -> bool {
        let is_on_its_way = |n: &&usize| {
            let site = &self.sites[**n];
            **n != host && site.is_begun && site.passed_at.is_none() && site.ended.is_none()
        };
        self.waves[wave].iter().filter(is_on_its_way).count() < self.pace.unavailable_max.max(1)
    }

    fn order_back(&self) -> Order {
        let why = match &self.why {
            Some(Why::Host(host, why)) => {
                alloc::format!("host `{}`: {why}", self.sites[*host].name)
            }
            Some(Why::Interrupted) => "interrupted".to_string(),
            Some(Why::Left) => LEFT.to_string(),
            None => String::new(),
        };
        Order::Revert { why }
    }

    fn look(&self, site: &Site, now: Duration) -> Option<Order> {
        let is_due = self.look_at(site).is_some_and(|at| at <= now);
        is_due.then_some(match self.phase {
            Phase::Returning => Order::LookBack,
            Phase::Claiming
            | Phase::Staging
            | Phase::Switching { .. }
            | Phase::Confirming
            | Phase::Committing
            | Phase::Ended => Order::Look,
        })
    }

    /// When to look at a host; `None` if there is nothing to see.
    fn look_at(&self, site: &Site) -> Option<Duration> {
        match self.phase {
            Phase::Switching { .. } => {
                site.switched_at?;
                let every = if site.has_baked { LOOK_ON_EVERY } else { LOOK_EVERY };
                Some(site.looked_at + every)
            }
            Phase::Returning => site.reverted_at.map(|_| site.looked_at + LOOK_EVERY),
            Phase::Claiming
            | Phase::Staging
            | Phase::Confirming
            | Phase::Committing
            | Phase::Ended => None,
        }
    }
}

/// Why a rollout that nobody carried on is taken back.
const LEFT: &str = "its operator was gone before every host had all that it needs";

fn is_way_back(order: &Order) -> bool {
    match order {
        Order::LookBack | Order::Revert { .. } => true,
        Order::Claim { .. }
        | Order::Commit
        | Order::Keep
        | Order::Look
        | Order::Stage
        | Order::Switch => false,
    }
}
