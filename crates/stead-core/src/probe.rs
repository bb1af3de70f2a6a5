//! What the answers of probes amount to.

use core::time::Duration;

use crate::units::Millis;

/// The answers of one probe so far.
///
/// The first answer is a verdict at once: before it nothing was known, and to wait for more would
/// keep back what is known. After that it takes as many answers in a row as were asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    verdict: Option<bool>,
    /// Answers in a row that go against the verdict.
    against: u32,
}

impl Tally {
    /// That of a run which is well so far: the first answer against it is no verdict.
    pub fn passed() -> Self {
        Self { verdict: Some(true), against: 0 }
    }

    /// What the answers amount to; `None` before the first.
    pub fn verdict(&self) -> Option<bool> {
        self.verdict
    }

    /// Takes an answer; says the verdict if it is a new one.
    pub fn note(&mut self, passed: bool, failures: u32, successes: u32) -> Option<bool> {
        let needed = match (self.verdict, passed) {
            (None, true) => successes,
            // A run has to show that it is ready.
            (None, false) => 1,
            (Some(verdict), _) if verdict == passed => {
                self.against = 0;
                return None;
            }
            (Some(_), true) => successes,
            (Some(_), false) => failures,
        };
        if self.verdict.is_none() && !passed {
            self.against = 0;
            self.verdict = Some(false);
            return self.verdict;
        }
        self.against = self.against.saturating_add(1);
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.verdict = Some(passed);
        self.verdict
    }
}

/// Holds restarts back when many are wanted at once: what fells all services of a host at the same
/// time, such as a slow disk, is made worse by starting all of them again together.
#[derive(Clone, Copy, Debug)]
pub struct Damper {
    /// Restarts that may take place now.
    left: u32,
    /// When the last of them was given back.
    since: Millis,
}

impl Damper {
    /// So many at once are no storm.
    pub const BURST: u32 = 4;
    /// Past those, one may follow after each of these.
    pub const INTERVAL: Duration = Duration::from_secs(2);

    pub fn new(now: Millis) -> Self {
        Self { left: Self::BURST, since: now }
    }

    /// Takes a restart now, or says how long to wait before it is asked for again.
    pub fn take(&mut self, now: Millis) -> Result<(), Duration> {
        while self.left < Self::BURST && now - self.since >= Self::INTERVAL {
            self.left += 1;
            self.since = self.since + Self::INTERVAL;
        }
        if self.left == Self::BURST {
            self.since = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Self::INTERVAL.saturating_sub(now - self.since)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers as letters, and the verdicts they lead to: `R`eady, `N`ot ready, `.` nothing new.
    fn check(failures: u32, successes: u32, answers: &str, verdicts: &str) {
        let mut tally = Tally::default();
        let told: alloc::string::String = answers
            .chars()
            .map(|answer| match tally.note(answer == '+', failures, successes) {
                Some(true) => 'R',
                Some(false) => 'N',
                None => '.',
            })
            .collect();
        assert_eq!(told, verdicts, "{answers}");
    }

    #[test]
    fn a_verdict_takes_as_many_answers_in_a_row_as_were_asked_for() {
        check(3, 1, "+++", "R..");
        check(3, 1, "--+", "N.R");
        check(3, 1, "+--+--+", "R......");
        check(3, 1, "+---", "R..N");
        check(3, 2, "-+-++", "N...R");
        check(1, 1, "+-+-", "RNRN");
        check(3, 2, "++", ".R");
        check(3, 3, "++-++", "..N..");
        let mut well = Tally::passed();
        assert_eq!([false, false, false].map(|it| well.note(it, 3, 1)), [None, None, Some(false)]);
    }

    #[test]
    fn few_restarts_are_let_through_and_of_many_one_after_the_other() {
        let mut damper = Damper::new(Millis(0));
        let burst = (0..6).filter(|_| damper.take(Millis(10)).is_ok()).count();
        assert_eq!(burst, 4);
        assert_eq!(damper.take(Millis(1010)), Err(Duration::from_millis(1000)));
        assert_eq!(damper.take(Millis(2010)), Ok(()));
        assert!(damper.take(Millis(2011)).is_err());
        // A quiet minute brings all of them back, and no more.
        let later = (0..6).filter(|_| damper.take(Millis(62_011)).is_ok()).count();
        assert_eq!(later, 4);
    }
}
