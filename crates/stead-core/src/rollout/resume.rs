//! What becomes of a rollout whose operator is gone.

use crate::names::RolloutId;
use crate::rollout::{Held, HostStage};

/// Where a rollout goes that another operator had begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Onward {
    /// Every host has what it had.
    Back,
    /// Every host gets the new.
    On,
}

/// The rollout that is to be ended next, by what hosts hold; `None` if all have ended.
pub fn unfinished<'a>(seen: impl IntoIterator<Item = &'a Held> + Clone) -> Option<RolloutId> {
    let was_committed = |id: &RolloutId| {
        seen.clone().into_iter().any(|held| held.id == *id && held.stage == HostStage::Committed)
    };
    let rank = |held: &Held| match held.stage {
        HostStage::Switched => 3,
        // Alone it has ended; beside one that was committed the fleet is split.
        HostStage::Reverted { .. } if was_committed(&held.id) => 3,
        HostStage::Staged => 2,
        HostStage::Claimed => 1,
        HostStage::Committed | HostStage::Reverted { .. } => 0,
    };
    let most = seen.clone().into_iter().max_by_key(|held| rank(held))?;
    (rank(most) > 0).then(|| most.id.clone())
}

/// Where a rollout goes by the stages of all its hosts; `None` is a host that holds nothing of it.
///
/// What was committed anywhere is for good, so all others follow. Otherwise it goes on where
/// every host has all that it needs, and nowhere else.
pub fn onward<'a>(stages: impl IntoIterator<Item = Option<&'a HostStage>> + Clone) -> Onward {
    let is_committed = |stage: Option<&HostStage>| stage == Some(&HostStage::Committed);
    let has_all =
        |stage: Option<&HostStage>| matches!(stage, Some(HostStage::Staged | HostStage::Switched));
    let any_committed = stages.clone().into_iter().any(is_committed);
    if any_committed || stages.into_iter().all(has_all) { Onward::On } else { Onward::Back }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn reverted(by_itself: bool) -> HostStage {
        HostStage::Reverted { why: "x".to_string(), by_itself }
    }

    #[test]
    fn a_rollout_goes_on_where_one_host_has_it_for_good_or_all_have_what_they_need() {
        use HostStage::{Claimed, Committed, Staged, Switched};
        let cases: [(&[Option<HostStage>], Onward); 8] = [
            (&[Some(Staged), Some(Switched)], Onward::On),
            (&[Some(Committed), Some(Switched)], Onward::On),
            (&[Some(Committed), Some(reverted(true))], Onward::On),
            (&[Some(Committed), None], Onward::On),
            (&[Some(Claimed), Some(Staged)], Onward::Back),
            (&[Some(Switched), None], Onward::Back),
            (&[Some(Switched), Some(reverted(true))], Onward::Back),
            (&[Some(Switched), Some(reverted(false))], Onward::Back),
        ];
        for (stages, expected) in cases {
            assert_eq!(onward(stages.iter().map(Option::as_ref)), expected, "{stages:?}");
        }
    }

    #[test]
    fn what_has_changed_hosts_is_ended_first_and_what_has_ended_not_at_all() {
        let held = |id: &str, stage| Held { id: id.parse().unwrap(), who: "a".to_string(), stage };
        let cases: [(&[Held], Option<&str>); 6] = [
            (&[], None),
            (&[held("r1", HostStage::Committed), held("r1", HostStage::Committed)], None),
            (&[held("r1", reverted(true)), held("r1", reverted(false))], None),
            (&[held("r1", HostStage::Committed), held("r1", reverted(true))], Some("r1")),
            (&[held("r1", HostStage::Staged), held("r2", HostStage::Switched)], Some("r2")),
            (&[held("r1", HostStage::Claimed), held("r2", HostStage::Committed)], Some("r1")),
        ];
        for (seen, expected) in cases {
            let found = unfinished(seen);
            assert_eq!(found.as_ref().map(RolloutId::as_str), expected, "{seen:?}");
        }
    }
}
