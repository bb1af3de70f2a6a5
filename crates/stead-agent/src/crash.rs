//! Places where a test can make the agent die, to see what the next one makes of it.

/// A numbered place; the agent kills itself there when told to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CrashPoint {
    BeforePlanWrite = 1,
    AfterPlanWrite = 2,
    BeforeKeeperSpawn = 3,
    AfterKeeperSpawn = 4,
    BeforeAdoption = 5,
    AfterAdoption = 6,
    BeforeRegistryChange = 7,
    AmidRegistryChange = 8,
}

impl CrashPoint {
    /// Every place that an agent comes by on any system, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::BeforePlanWrite,
        Self::AfterPlanWrite,
        Self::BeforeKeeperSpawn,
        Self::AfterKeeperSpawn,
        Self::BeforeAdoption,
        Self::AfterAdoption,
    ];

    /// What follows those where there is a registry.
    pub const OF_REGISTRY: [Self; 2] = [Self::BeforeRegistryChange, Self::AmidRegistryChange];
}

/// Which place to die at, if any.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash(pub(crate) Option<u32>);

impl Crash {
    /// Dies here when this is the place, as by SIGKILL.
    pub(crate) fn at(self, point: CrashPoint) {
        if self.0 == Some(point as u32) {
            stead_proc::crash();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crash_points_are_numbered_from_one_without_a_gap() {
        let all = CrashPoint::ALL.into_iter().chain(CrashPoint::OF_REGISTRY);
        let numbers: Vec<usize> = all.map(|point| point as usize).collect();
        assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
    }
}
