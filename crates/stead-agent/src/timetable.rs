//! The times of a schedule, by the clock and the zone of this host.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use stead_core::schedule::{Due, Schedule, Times};
use stead_wire::WallMs;

/// A schedule of which every time can be told.
#[derive(Clone, Debug)]
pub(crate) struct Timetable {
    schedule: Schedule,
    cron: Option<(Cron, TimeZone)>,
}

impl Timetable {
    pub(crate) fn of(schedule: &Schedule) -> Result<Self, String> {
        let cron = match &schedule.times {
            Times::Cron { text, zone } => {
                let parser = CronParser::builder()
                    .seconds(Seconds::Disallowed)
                    .year(Year::Disallowed)
                    .build();
                let cron = parser.parse(text);
                let cron = cron.map_err(|error| format!("`{text}` are no times: {error}"))?;
                let zone = match zone {
                    None => TimeZone::system(),
                    Some(name) => TimeZone::get(name).map_err(|_| {
                        format!("this host knows no time zone `{name}`; install `tzdata`")
                    })?,
                };
                Some((cron, zone))
            }
            Times::Every { .. } => None,
        };
        Ok(Self { schedule: schedule.clone(), cron })
    }

    /// What is due now if everything up to `done` is done with.
    pub(crate) fn due(&self, done: WallMs, now: WallMs) -> Due {
        self.schedule.due(done, now, |after| self.next(after))
    }

    fn next(&self, after: WallMs) -> Option<WallMs> {
        let (cron, zone) = self.cron.as_ref()?;
        let after = Timestamp::from_millisecond(i64::try_from(after).ok()?).ok()?;
        let next = cron.find_next_occurrence(&after.to_zoned(zone.clone()), false).ok()?;
        u64::try_from(next.timestamp().as_millisecond()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stead_core::schedule::Overlap;

    fn timetable(text: &str) -> Result<Timetable, String> {
        let times = Times::Cron { text: text.into(), zone: Some("Europe/Berlin".into()) };
        let schedule = Schedule { times, overlap: Overlap::Skip, timeout: None, catch_up: false };
        Timetable::of(&schedule)
    }

    #[test]
    fn a_time_of_day_comes_once_a_day_also_where_the_clock_is_changed() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let ms = |text: &str| u64::try_from(at(text).as_millisecond()).unwrap();
        for (text, after, next) in [
            ("30 2 * * *", "2026-03-27T12:00:00Z", "2026-03-28T01:30:00Z"),
            // The night in which there is no half past two.
            ("30 2 * * *", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"),
            // The night in which there are two.
            ("30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
            ("30 2 * * *", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
            // What is meant to come all the time comes in both of them.
            ("*/30 * * * *", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z"),
            ("0 9 * * mon-fri", "2026-11-27T12:00:00Z", "2026-11-30T08:00:00Z"),
        ] {
            let due = timetable(text).unwrap().due(ms(after), ms(after));
            assert_eq!(due, Due::Later { at: ms(next) }, "{text} after {after}");
        }
    }

    #[test]
    fn what_a_host_cannot_tell_is_said() {
        assert!(timetable("61 * * * *").unwrap_err().contains("`61 * * * *` are no times"));
        let times = Times::Cron { text: "0 0 * * *".into(), zone: Some("Mars/Olympus".into()) };
        let schedule = Schedule { times, overlap: Overlap::Skip, timeout: None, catch_up: false };
        assert!(Timetable::of(&schedule).unwrap_err().contains("no time zone `Mars/Olympus`"));
    }
}
