//! Whether what a host was switched to works: everything of the plan goes by it, is ready, and does
//! not end again and again.

use std::collections::BTreeMap;

use stead_core::plan::{Plan, When};
use stead_core::rollout::Gated;
use stead_wire::api::{InstanceStatus, Status};

/// Instances that end so often after a switch do not work.
const ENDS_MAX: u64 = 1;

/// How the runs of an instance may end, as far as it is well with that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ends {
    Never,
    /// Well, without being followed by another one.
    May,
    /// The same, and until then it is not ready; with the last run there was before.
    Must {
        after: u64,
    },
}

/// What is to be seen on a host.
#[derive(Debug)]
pub(super) struct Gate {
    /// How the runs of an instance may end.
    ends: BTreeMap<String, Ends>,
    /// How often it had ended before; `None` if its keeper had not said so yet.
    restarts: BTreeMap<String, Option<u64>>,
    /// What was said of it before: no reason for what is otherwise now.
    notes: BTreeMap<String, Vec<String>>,
    /// The instance that has failed, once one has.
    pub(super) failed: Option<String>,
}

impl Gate {
    /// For a host that goes by this plan from here on. `was` is the plan that it went by before,
    /// where that was another one.
    pub(super) fn new(plan: &Plan, was: Option<&Plan>, before: Option<&Status>) -> Self {
        let before = before.iter().flat_map(|status| &status.instances);
        let run_of = |name: &str| before.clone().find(|it| it.name == name).map_or(0, |it| it.run);
        let ends = plan.instances.iter().map(|(name, spec)| {
            let is_new = was.is_some_and(|was| was.instances.get(name) != Some(spec));
            let name = name.to_string();
            let ends = match (spec.once, spec.restart.when, &spec.schedule) {
                (true, _, _) => Ends::Must { after: if is_new { run_of(&name) } else { 0 } },
                (false, When::Always, _) | (false, _, Some(_)) => Ends::Never,
                (false, When::Failure | When::Never, None) => Ends::May,
            };
            (name, ends)
        });
        let ends = ends.collect();
        let notes = before.clone().map(|it| (it.name.clone(), it.notes.clone())).collect();
        let restarts = before.map(|instance| {
            // Without a run nothing was heard of it yet, also where its keeper is there.
            let restarts = (instance.run > 0).then_some(instance.restarts);
            (instance.name.clone(), restarts)
        });
        let restarts = restarts.collect();
        Self { ends, restarts, notes, failed: None }
    }

    /// What one status says of it. The counts of a new run begin anew, or go on.
    pub(super) fn look(&mut self, status: &Status) -> Gated {
        let mut missing = self.ends.clone();
        let mut pending = None;
        for instance in &status.instances {
            let Some(ends) = missing.remove(&instance.name) else {
                let why = format!("`{}` is still to end", instance.name);
                pending.get_or_insert(why);
                continue;
            };
            match self.one(instance, ends) {
                Gated::Failed(why) => {
                    self.failed = Some(instance.name.clone());
                    return Gated::Failed(why);
                }
                Gated::Passed => (),
                Gated::Pending(why) => drop(pending.get_or_insert(why)),
            }
        }
        if let Some(name) = missing.into_keys().next() {
            pending.get_or_insert(format!("`{name}` is not there yet"));
        }
        pending.map_or(Gated::Passed, Gated::Pending)
    }

    fn one(&mut self, instance: &InstanceStatus, ends: Ends) -> Gated {
        let name = &instance.name;
        if let Some(why) = &instance.rejected {
            return Gated::Failed(format!("`{name}` keeps its old spec: {why}"));
        }
        // One that was not there before had never ended.
        let before = self.restarts.entry(name.clone()).or_insert(Some(0));
        if instance.run > 0 {
            *before = Some(before.unwrap_or(instance.restarts).min(instance.restarts));
        }
        let ends_n = before.map_or(0, |before| instance.restarts.saturating_sub(before));
        let last = instance.last_exit.as_ref().map(|exit| exit.reason.clone());
        let last = last.map(|reason| format!(": {reason}")).unwrap_or_default();
        if ends_n > ENDS_MAX {
            return Gated::Failed(format!("`{name}` ended {ends_n} times{last}"));
        }
        let is_current = instance.current;
        let ended_well = instance.last_exit.as_ref().is_some_and(|exit| exit.is_success());
        let must_end_after = match ends {
            Ends::Must { after } => Some(after),
            Ends::May | Ends::Never => None,
        };
        let may_have_ended = match ends {
            Ends::Must { after } => instance.run > after,
            Ends::May => true,
            Ends::Never => false,
        };
        let known = self.notes.get(name).map_or(&[][..], Vec::as_slice);
        let because = instance.notes.iter().find(|note| !known.contains(note));
        let because = because.map(|note| format!(": {note}")).unwrap_or_default();
        match instance.phase.as_str() {
            "failed" if is_current || instance.keeper_pid.is_none() => {
                Gated::Failed(format!("`{name}` has failed{last}{because}"))
            }
            _ if instance.next_run_at.is_some() && is_current => Gated::Passed,
            "up" if is_current && must_end_after.is_some() => {
                Gated::Pending(format!("`{name}` has not ended yet"))
            }
            "up" if is_current && instance.ready == Some(true) => Gated::Passed,
            "down" if is_current && ended_well && may_have_ended => Gated::Passed,
            phase if is_current => {
                Gated::Pending(format!("`{name}` is {phase}, not ready{because}"))
            }
            _ => Gated::Pending(format!("`{name}` still goes by its old spec{because}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use stead_core::plan::Spec;

    fn plan() -> Plan {
        Plan {
            fleet: "shop".parse().unwrap(),
            host: "h1".parse().unwrap(),
            instances: [("orders.0".parse().unwrap(), Spec::of(Vec::new()))].into(),
        }
    }

    fn gate() -> Gate {
        let mut before = samples::status();
        before.instances = vec![samples::up("orders", 0)];
        Gate::new(&plan(), None, Some(&before))
    }

    fn looked(change: impl Fn(&mut InstanceStatus)) -> Gated {
        let mut status = samples::status();
        let mut instance = samples::up("orders", 0);
        instance.current = true;
        change(&mut instance);
        status.instances = vec![instance];
        gate().look(&status)
    }

    #[test]
    fn what_goes_by_the_plan_and_is_ready_has_passed_and_nothing_else_has() {
        assert_eq!(looked(|_| ()), Gated::Passed);
        let pending: [fn(&mut InstanceStatus); 4] = [
            |it| it.current = false,
            |it| it.ready = Some(false),
            |it| it.ready = None,
            |it| it.phase = "starting".into(),
        ];
        for change in pending {
            assert!(matches!(looked(change), Gated::Pending(_)));
        }
        let failed: [fn(&mut InstanceStatus); 3] = [
            |it| it.rejected = Some("it was not ready within 1m".into()),
            |it| it.restarts += ENDS_MAX + 1,
            |it| it.phase = "failed".into(),
        ];
        for change in failed {
            assert!(matches!(looked(change), Gated::Failed(_)));
        }
    }

    #[test]
    fn what_a_keeper_had_not_said_yet_is_no_end_of_this_rollout() {
        let mut status = samples::status();
        let mut instance = samples::up("orders", 0);
        (instance.run, instance.restarts) = (0, 0);
        status.instances = vec![instance.clone()];
        let mut gate = Gate::new(&plan(), None, Some(&status));
        for (restarts, passes) in [(7, true), (8, true), (9, false)] {
            (instance.run, instance.restarts) = (9, restarts);
            (instance.current, instance.ready) = (true, Some(true));
            status.instances = vec![instance.clone()];
            assert_eq!(gate.look(&status) == Gated::Passed, passes, "{restarts}");
        }
    }

    #[test]
    fn the_reason_is_what_was_not_said_before() {
        let standing = "this kernel is older than 6.12";
        let mut status = samples::status();
        let mut instance = samples::up("orders", 0);
        instance.notes = vec![standing.into()];
        status.instances = vec![instance.clone()];
        let mut gate = Gate::new(&plan(), None, Some(&status));
        (instance.current, instance.ready) = (true, Some(false));
        instance.notes.push("status 503".into());
        status.instances = vec![instance];
        let why = "`orders.0` is up, not ready: status 503";
        assert_eq!(gate.look(&status), Gated::Pending(why.into()));
    }

    #[test]
    fn what_is_missing_or_still_to_end_is_waited_for() {
        let mut status = samples::status();
        status.instances.clear();
        assert!(matches!(gate().look(&status), Gated::Pending(_)));
        let mut instance = samples::up("orders", 0);
        instance.current = true;
        status.instances = vec![instance, samples::up("old", 0)];
        assert!(matches!(gate().look(&status), Gated::Pending(_)));
    }
}
