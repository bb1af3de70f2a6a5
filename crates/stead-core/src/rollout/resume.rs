//! What becomes of a rollout whose operator is gone.

use crate::names::RolloutId;
use crate::rollout::{Held, HostRollout, HostStage};

/// Where a rollout goes that another operator had begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Onward {
    /// Every host has what it had.
    Back,
    /// Every host gets the new.
    On,
}

/// The rollout that is to be ended next, by what hosts hold; `None` if all have ended.
pub fn unfinished<'a>(
    seen: impl IntoIterator<Item = &'a HostRollout> + Clone,
) -> Option<RolloutId> {
    let is_for_good = |id: &RolloutId| {
        let mut for_good = seen.clone().into_iter().filter_map(|seen| seen.for_good.as_ref());
        for_good.any(|it| it == id)
    };
    let rank = |held: &Held| match held.stage {
        HostStage::Switched => 3,
        // Alone it has ended; beside one that has it for good it may follow.
        HostStage::Reverted { by_itself: true, .. } if is_for_good(&held.id) => 3,
        HostStage::Staged => 2,
        // It never had what it needs to follow.
        HostStage::Claimed if is_for_good(&held.id) => 0,
        HostStage::Claimed => 1,
        HostStage::Committed | HostStage::Reverted { .. } => 0,
    };
    let held = seen.clone().into_iter().filter_map(|seen| seen.held.as_ref());
    let most = held.max_by_key(|held| rank(held))?;
    (rank(most) > 0).then(|| most.id.clone())
}

/// Whether hosts have different rollouts for good.
pub fn is_split<'a>(seen: impl IntoIterator<Item = &'a HostRollout>) -> bool {
    let mut for_good = seen.into_iter().map(|seen| &seen.for_good);
    let first = for_good.next();
    for_good.any(|it| Some(it) != first)
}

/// How far a host is in one rollout.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Part {
    /// It holds nothing of it.
    None,
    /// It has it for good, and another one has begun there since.
    Done,
    Held(HostStage),
}

/// How far a host is in a rollout, by what it holds.
pub fn part(seen: &HostRollout, id: &RolloutId) -> Part {
    match &seen.held {
        Some(held) if held.id == *id => Part::Held(held.stage.clone()),
        Some(_) | None if seen.for_good.as_ref() == Some(id) => Part::Done,
        Some(_) | None => Part::None,
    }
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

    fn seen(id: &str, stage: HostStage, for_good: Option<&str>) -> HostRollout {
        let held = Held { id: id.parse().unwrap(), who: "a".to_string(), stage };
        let for_good = for_good.map(|id| id.parse().unwrap());
        HostRollout { epoch: 1, held: Some(held), for_good }
    }

    #[test]
    fn what_has_changed_hosts_is_ended_first_and_what_has_ended_not_at_all() {
        use HostStage::{Claimed, Committed, Staged, Switched};
        let r1 = Some("r1");
        let cases: [(&[HostRollout], Option<&str>); 7] = [
            (&[], None),
            (&[seen("r1", Committed, r1), seen("r1", Committed, r1)], None),
            (&[seen("r1", reverted(true), None), seen("r1", reverted(false), None)], None),
            (&[seen("r1", Committed, r1), seen("r1", reverted(true), None)], r1),
            // One has it for good, though another rollout has come to nothing there since.
            (&[seen("r2", reverted(false), r1), seen("r1", reverted(true), None)], r1),
            (&[seen("r1", Staged, None), seen("r2", Switched, None)], Some("r2")),
            (&[seen("r1", Claimed, None), seen("r2", Committed, Some("r2"))], r1),
        ];
        for (seen, expected) in cases {
            let found = unfinished(seen);
            assert_eq!(found.as_ref().map(RolloutId::as_str), expected, "{seen:?}");
        }
    }

    #[test]
    fn a_host_takes_part_in_what_it_holds_and_has_what_it_has_for_good() {
        let id: RolloutId = "r1".parse().unwrap();
        let cases = [
            (seen("r1", HostStage::Staged, Some("r0")), Part::Held(HostStage::Staged)),
            (seen("r2", reverted(false), Some("r1")), Part::Done),
            (seen("r2", reverted(false), Some("r0")), Part::None),
            (HostRollout::default(), Part::None),
        ];
        for (host, expected) in &cases {
            assert_eq!(part(host, &id), *expected);
        }
        assert!(is_split(cases.iter().map(|(host, _)| host)));
        assert!(!is_split([&cases[0].0, &cases[2].0]) && !is_split([]));
    }
}
