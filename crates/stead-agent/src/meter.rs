//! How much CPU each tree uses, from one look to the next.

use std::collections::BTreeMap;
use std::time::Duration;

use stead_core::names::InstanceName;
use stead_proc::Usage;
use tokio::time::Instant;

/// Two looks closer than this say nothing: the kernel counts in hundredths of a second.
const LOOK_MIN: Duration = Duration::from_secs(1);

/// The looks before this one.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    looks: BTreeMap<InstanceName, Look>,
}

#[derive(Debug)]
struct Look {
    pid: u32,
    at: Instant,
    cpu: Duration,
    percent: Option<f64>,
}

/// What is looked at: the tree below `pid`, which has lived for `age`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked {
    pub(crate) pid: u32,
    pub(crate) age: Duration,
    pub(crate) usage: Usage,
}

impl Meter {
    /// The share of one core since the last look at least a second ago, else since the start.
    pub(crate) fn percent(&mut self, name: &InstanceName, looked: Looked, now: Instant) -> f64 {
        let cpu = looked.usage.cpu;
        let since_start = share(cpu, looked.age.max(LOOK_MIN));
        let before = self.looks.get(name).filter(|before| before.pid == looked.pid);
        let Some(before) = before else {
            let look = Look { pid: looked.pid, at: now, cpu, percent: None };
            self.looks.insert(name.clone(), look);
            return since_start;
        };
        let passed = now.duration_since(before.at);
        if passed < LOOK_MIN {
            return before.percent.unwrap_or(since_start);
        }
        // Processes of the tree that ended since took their time with them.
        let percent = share(cpu.saturating_sub(before.cpu), passed);
        let look = Look { pid: looked.pid, at: now, cpu, percent: Some(percent) };
        self.looks.insert(name.clone(), look);
        percent
    }

    /// Forgets every instance but these.
    pub(crate) fn keep(&mut self, is_there: impl Fn(&InstanceName) -> bool) {
        self.looks.retain(|name, _| is_there(name));
    }
}

/// In percent, to a tenth.
fn share(cpu: Duration, time: Duration) -> f64 {
    (cpu.as_secs_f64() / time.as_secs_f64() * 1000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_counted_from_look_to_look_and_first_from_the_start() {
        let name = "a.0".parse().unwrap();
        let start = Instant::now();
        let mut meter = Meter::default();
        // Each look: at, pid, CPU so far, expected percent; times in ms, age is `at` itself.
        let looks = [
            (10_000, 7, 1_000, 10.0),
            (10_500, 7, 1_500, 14.3),
            (11_000, 7, 2_000, 100.0),
            (11_500, 7, 2_000, 100.0),
            (13_000, 7, 2_000, 0.0),
            (14_000, 7, 500, 0.0),
            (15_000, 8, 1_500, 10.0),
        ];
        for (at_ms, pid, cpu_ms, percent) in looks {
            let usage = Usage { cpu: Duration::from_millis(cpu_ms), ..Usage::default() };
            let at = Duration::from_millis(at_ms);
            let found = meter.percent(&name, Looked { pid, age: at, usage }, start + at);
            assert_eq!(found, percent, "at {at_ms} ms");
        }
    }
}
