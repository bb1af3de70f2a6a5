//! What the fresh runs of a host do, beside what those before them did there: memory, CPU, and
//! lines that tell of errors.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use stead_core::rollout::{Errors, Seen, worse};
use stead_core::units::{Bytes, MilliCpu};
use stead_wire::api::{InstanceStatus, LogLine, Status};
use tokio::time::Instant;

use crate::client::{Client, encode};
use crate::failure::Failure;

/// How often runs are compared: counting lines costs the host a search.
const EVERY: Duration = Duration::from_secs(1);

/// What a program does at first is not how it goes on: for so long its CPU does not count.
const CPU_AFTER: Duration = Duration::from_secs(5);

/// For so long before the switch the errors of the old are counted.
const BEFORE: Duration = Duration::from_secs(600);

/// So many are enough to know.
const LINES_MAX: usize = 10_000;

/// What a line that tells of an error looks like, whatever wrote it.
const PATTERN: &str =
    r#"\b(ERROR|FATAL|CRITICAL|PANIC)\b|\bpanicked at\b|\blevel"?[=:] ?"?(error|fatal|panic)\b"#;

/// The runs of before, and what was seen of those after.
#[derive(Debug)]
pub(super) struct Compare {
    before: BTreeMap<String, Before>,
    looked_at: Option<Instant>,
}

#[derive(Debug)]
struct Before {
    run: u64,
    started_at: Option<Timestamp>,
    seen: Seen,
    fresh: Option<Fresh>,
}

/// The run that came after.
#[derive(Debug)]
struct Fresh {
    run: u64,
    since: Instant,
    /// Of the CPU, each of a second or so.
    cpu: Vec<u32>,
}

impl Compare {
    pub(super) fn new(before: &Status) -> Self {
        let before = before.instances.iter().map(|instance| {
            let before = Before {
                run: instance.run,
                started_at: moment(instance),
                seen: Seen {
                    memory: instance.memory_bytes.map(Bytes),
                    cpu: instance.cpu_percent.map(milli),
                    errors: None,
                },
                fresh: None,
            };
            (instance.name.clone(), before)
        });
        Self { before: before.collect(), looked_at: None }
    }

    /// In what a fresh run is worse, if one is. Looks no more often than it is worth.
    pub(super) async fn look(
        &mut self,
        client: &Client,
        status: &Status,
    ) -> Result<Option<String>, Failure> {
        if self.looked_at.is_some_and(|at| at.elapsed() < EVERY) {
            return Ok(None);
        }
        self.looked_at = Some(Instant::now());
        for instance in &status.instances {
            let Some(before) = self.before.get_mut(&instance.name) else { continue };
            if instance.run == before.run || before.started_at.is_none() {
                continue;
            }
            if let Some(why) = before.look(client, instance).await? {
                return Ok(Some(format!("`{}` {why}", instance.name)));
            }
        }
        Ok(None)
    }
}

impl Before {
    async fn look(
        &mut self,
        client: &Client,
        instance: &InstanceStatus,
    ) -> Result<Option<String>, Failure> {
        let (Some(started_at), Some(old_started_at)) = (moment(instance), self.started_at) else {
            return Ok(None);
        };
        let fresh = self.fresh.take().filter(|fresh| fresh.run == instance.run);
        let mut fresh = match fresh {
            Some(fresh) => fresh,
            None => {
                let from = old_started_at.max(started_at - BEFORE);
                let n = errors(client, &instance.name, from, Some(started_at)).await?;
                let within = Duration::try_from(started_at.duration_since(from));
                self.seen.errors = within.ok().map(|within| Errors { n, within });
                Fresh { run: instance.run, since: Instant::now(), cpu: Vec::new() }
            }
        };
        let age = fresh.since.elapsed();
        if age >= CPU_AFTER {
            fresh.cpu.extend(instance.cpu_percent.map(|percent| milli(percent).0));
        }
        let n = errors(client, &instance.name, started_at, None).await?;
        let sum: u64 = fresh.cpu.iter().copied().map(u64::from).sum();
        let cpu = sum.checked_div(fresh.cpu.len() as u64).and_then(|it| u32::try_from(it).ok());
        let new = Seen {
            memory: instance.memory_bytes.map(Bytes),
            cpu: cpu.map(MilliCpu),
            errors: Some(Errors { n, within: age.max(EVERY) }),
        };
        self.fresh = Some(fresh);
        Ok(worse(&self.seen, &new))
    }
}

/// When a run began, by the clock of its host.
fn moment(instance: &InstanceStatus) -> Option<Timestamp> {
    instance.started_at.as_ref()?.parse().ok()
}

fn milli(percent: f64) -> MilliCpu {
    #[expect(clippy::cast_possible_truncation, reason = "a share of CPU time is a small number")]
    #[expect(clippy::cast_sign_loss, reason = "it is no less than nothing")]
    MilliCpu((percent * 10.0) as u32)
}

/// How many lines of an instance tell of errors, from then on, and up to then.
async fn errors(
    client: &Client,
    name: &str,
    from: Timestamp,
    until: Option<Timestamp>,
) -> Result<u64, Failure> {
    let mut path = format!(
        "/v1/logs?names={}&since={}&last={LINES_MAX}&grep={}",
        encode(name),
        encode(&from.to_string()),
        encode(PATTERN)
    );
    if let Some(until) = until {
        path += &format!("&until={}", encode(&until.to_string()));
    }
    let mut lines = client.lines(&path).await?;
    let mut n = 0;
    while lines.next::<LogLine>().await?.is_some() {
        n += 1;
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use grep_regex::RegexMatcher;

    #[test]
    fn lines_that_tell_of_errors_are_told_from_others() {
        use grep_matcher::Matcher as _;
        let matcher = RegexMatcher::new(PATTERN).unwrap();
        for (line, expected) in [
            ("2026-03-01 ERROR cannot connect", true),
            ("[FATAL] out of disk", true),
            ("thread 'main' panicked at src/main.rs:1:1", true),
            (r#"{"level":"error","msg":"x"}"#, true),
            (r#"{"level": "fatal"}"#, true),
            ("time=12 level=error msg=x", true),
            ("INFO 0 errors so far", false),
            ("no error was found", false),
            ("TERRORS", false),
            (r#"{"level":"info","msg":"error"}"#, false),
        ] {
            assert_eq!(matcher.is_match(line.as_bytes()).unwrap(), expected, "{line}");
        }
    }
}
