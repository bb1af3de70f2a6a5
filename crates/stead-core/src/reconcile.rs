//! What an agent must do to make its host equal to its plan, and what a new plan would change.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::machine::PhaseName;
use crate::names::{InstanceName, ServiceName};
use crate::plan::{Plan, Spec};

/// What an agent sees of one instance.
#[derive(Clone, Debug)]
pub struct SeenInstance {
    /// The services it needs, by the spec it runs with.
    pub needs: Vec<ServiceName>,
    pub keeper: SeenKeeper,
}

/// What an agent sees of one keeper.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SeenKeeper {
    Alive {
        phase: PhaseName,
        /// It may get work: its probes say so, or it has none and is up.
        ready: bool,
        /// It runs with the spec that the plan holds.
        current: bool,
        /// It was told to end its instance and itself.
        retiring: bool,
    },
    /// There was one; it is gone, and its instance may still run.
    Dead,
}

/// Everything an agent sees of its host.
pub type Seen = BTreeMap<InstanceName, SeenInstance>;

/// One thing an agent must do. Doing one twice does no harm.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Let an instance end that the plan no longer holds, and its keeper with it.
    Retire { instance: InstanceName },
    /// Start a keeper for an instance that has none.
    StartKeeper { instance: InstanceName },
    /// Hand the keeper its new spec.
    Update { instance: InstanceName },
}

/// Says what brings the host closer to its plan now; called again after every change seen.
///
/// A dead keeper is replaced whatever its instance needs: the instance may be running.
pub fn reconcile(plan: &Plan, seen: &Seen) -> Vec<Step> {
    let mut steps = Vec::new();
    let leaving = |instance: &InstanceName| !plan.instances.contains_key(instance);
    // Needs of different plans may form a ring; its members would wait for each other for ever.
    let in_a_ring =
        seen.keys().filter(|it| leaving(it)).all(|it| needed_by_another(plan, seen, it));
    for (instance, there) in seen {
        let retiring = matches!(there.keeper, SeenKeeper::Alive { retiring: true, .. });
        match there.keeper {
            // A dead keeper of a leaving instance must come back to end what may still run.
            SeenKeeper::Dead => steps.push(Step::StartKeeper { instance: instance.clone() }),
            SeenKeeper::Alive { .. } if leaving(instance) && !retiring => {
                if in_a_ring || !needed_by_another(plan, seen, instance) {
                    steps.push(Step::Retire { instance: instance.clone() });
                }
            }
            SeenKeeper::Alive { current: false, .. } if !leaving(instance) && !retiring => {
                steps.push(Step::Update { instance: instance.clone() });
            }
            SeenKeeper::Alive { .. } => (),
        }
    }
    for (instance, spec) in &plan.instances {
        if !seen.contains_key(instance) && unmet_need(plan, seen, spec).is_none() {
            steps.push(Step::StartKeeper { instance: instance.clone() });
        }
    }
    steps
}

/// The first service of the plan that this spec needs and that is not ready in all its instances.
///
/// One that is ready with an old spec, or that retires, is about to go down: it does not count.
pub fn unmet_need<'a>(plan: &Plan, seen: &Seen, spec: &'a Spec) -> Option<&'a ServiceName> {
    let is_ready = |instance: &InstanceName| {
        let keeper = seen.get(instance).map(|there| &there.keeper);
        let (phase, ready) = (PhaseName::Up, true);
        keeper == Some(&SeenKeeper::Alive { phase, ready, current: true, retiring: false })
    };
    spec.needs.iter().find(|need| {
        plan.instances.keys().any(|instance| instance.service() == *need && !is_ready(instance))
    })
}

/// Whether some leaving instance still runs that needs this leaving one: stopped after it.
fn needed_by_another(plan: &Plan, seen: &Seen, instance: &InstanceName) -> bool {
    seen.iter().any(|(other, there)| {
        !plan.instances.contains_key(other)
            && other.service() != instance.service()
            && there.needs.contains(instance.service())
    })
}

/// What a new plan changes for one instance, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "what", content = "fields")]
pub enum Change {
    Add,
    /// Replaced, because these fields of its spec differ.
    Change(Vec<FieldChange>),
    Keep,
    Remove,
}

/// A field that differs, as a person would write it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FieldChange {
    pub field: String,
    pub from: String,
    pub to: String,
}

/// Compares what a host has with what it would have. `diff` lists the fields of two specs that
/// differ; it belongs to whoever shows them.
pub fn changes(
    now: Option<&Plan>,
    next: &Plan,
    diff: impl Fn(&Spec, &Spec) -> Vec<FieldChange>,
) -> BTreeMap<InstanceName, Change> {
    let empty = BTreeMap::new();
    let now = now.map_or(&empty, |plan| &plan.instances);
    let gone = now.keys().filter(|name| !next.instances.contains_key(*name));
    let mut all: BTreeMap<_, _> = gone.map(|name| (name.clone(), Change::Remove)).collect();
    for (name, spec) in &next.instances {
        let change = match now.get(name) {
            None => Change::Add,
            Some(same) if same == spec => Change::Keep,
            Some(old) => Change::Change(diff(old, spec)),
        };
        all.insert(name.clone(), change);
    }
    all
}

#[cfg(test)]
mod tests;
