//! A moment as people write it: `10m` ago, `14:30`, `2026-08-22 14:30`, or RFC 3339.

use std::str::FromStr;

use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use stead_core::units::{millis, parse_duration};

/// A moment by the wall clock.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Moment(pub(crate) Timestamp);

/// Why a text is not a moment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MomentError {
    #[error(
        "write how long ago (`10m`, `2h`), a time of day (`14:30`), `2026-08-22 14:30`, or RFC 3339"
    )]
    Form,
    #[error("there is no such moment in the calendar")]
    Range,
}

impl FromStr for Moment {
    type Err = MomentError;
    fn from_str(text: &str) -> Result<Self, MomentError> {
        parse(text, &Zoned::now())
    }
}

impl Moment {
    /// Microseconds since 1970-01-01 UTC; the start of time for a moment before it.
    pub(crate) fn micros(self) -> u64 {
        u64::try_from(self.0.as_microsecond()).unwrap_or(0)
    }
}

fn parse(text: &str, now: &Zoned) -> Result<Moment, MomentError> {
    if let Ok(ago) = parse_duration(text) {
        let ago_ms = i64::try_from(millis(ago)).map_err(|_| MomentError::Range)?;
        let then_ms = now.timestamp().as_millisecond() - ago_ms;
        return Timestamp::from_millisecond(then_ms).map(Moment).map_err(|_| MomentError::Range);
    }
    if let Ok(exact) = text.parse::<Timestamp>() {
        return Ok(Moment(exact));
    }
    // `10` alone could be an hour as well as a forgotten unit.
    let is_time = text.contains(':');
    let local = match (text.parse::<DateTime>(), text.parse::<Time>()) {
        (Ok(local), _) => local,
        (Err(_), Ok(time)) if is_time => now.date().to_datetime(time),
        (Err(_), Ok(_) | Err(_)) => return Err(MomentError::Form),
    };
    local_moment(local, now.time_zone())
}

fn local_moment(local: DateTime, zone: &TimeZone) -> Result<Moment, MomentError> {
    zone.to_timestamp(local).map(Moment).map_err(|_| MomentError::Range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::Offset;

    #[test]
    fn a_moment_is_read_in_every_way_people_write_one() {
        let zone = TimeZone::fixed(Offset::constant(2));
        let now = "2026-08-22T12:00:00Z".parse::<Timestamp>().unwrap().to_zoned(zone);
        let cases = [
            ("10m", "2026-08-22T11:50:00Z"),
            ("7d", "2026-08-15T12:00:00Z"),
            ("2026-08-22T11:00:00.5Z", "2026-08-22T11:00:00.5Z"),
            ("2026-08-22T11:00:00+02:00", "2026-08-22T09:00:00Z"),
            ("2026-08-21 09:30", "2026-08-21T07:30:00Z"),
            ("2026-08-21T09:30:15", "2026-08-21T07:30:15Z"),
            ("2026-08-21", "2026-08-20T22:00:00Z"),
            ("13:30", "2026-08-22T11:30:00Z"),
        ];
        for (text, moment) in cases {
            assert_eq!(parse(text, &now).unwrap().0.to_string(), moment, "{text}");
        }
        for text in ["", "soon", "-5m", "10", "25:00", "2026-13-01", "yesterday"] {
            assert!(parse(text, &now).is_err(), "{text}");
        }
    }
}
