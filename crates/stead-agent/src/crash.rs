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
}

impl CrashPoint {
    /// Every place, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::BeforePlanWrite,
        Self::AfterPlanWrite,
        Self::BeforeKeeperSpawn,
        Self::AfterKeeperSpawn,
        Self::BeforeAdoption,
        Self::AfterAdoption,
    ];
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
        let numbers = CrashPoint::ALL.map(|point| point as usize);
        assert_eq!(numbers.to_vec(), (1..=CrashPoint::ALL.len()).collect::<Vec<_>>());
    }
}
