//! Runs that do not serve, or take too long.

use super::{Action, Beside, Instance, Phase, Policy, RunId};
use crate::units::Millis;

impl Instance {
    /// When a run that is up since then has taken too long. One that is being replaced ends anyway.
    pub(super) fn timeout_at(&self, policy: &Policy, since: Millis) -> Option<Millis> {
        let is_replaced = matches!(self.beside, Some(Beside::Coming { .. }));
        policy.run_timeout.filter(|_| !is_replaced).map(|timeout| since + timeout)
    }

    /// A run that is to be replaced anyway is left to that.
    pub(super) fn unhealthy(
        &mut self,
        policy: &Policy,
        run: RunId,
        roll: u32,
        now: Millis,
    ) -> Option<Action> {
        match (self.phase, self.beside) {
            (_, Some(Beside::Coming { run: coming, .. })) if coming == run => {
                self.give_up_coming(now);
                self.deadline_passed_beside(policy, now)
            }
            (
                Phase::Up { run: up, since, .. },
                None | Some(Beside::Going { .. } | Beside::Sweeping { .. }),
            ) if up == run => {
                let after = self.after_end(policy, false, now - since, roll, now);
                self.stop(policy, run, after, now)
            }
            (
                Phase::Down
                | Phase::Failed
                | Phase::Starting { .. }
                | Phase::Stopping { .. }
                | Phase::Sweeping { .. }
                | Phase::Up { .. }
                | Phase::Waiting { .. },
                _,
            ) => None,
        }
    }
}
