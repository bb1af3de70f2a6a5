//! Quantities as people read them: three digits tell enough.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use stead_wire::WallMs;

/// `850 KiB`, `12.3 MiB`, `4.0 GiB`.
pub(crate) fn bytes(n: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut amount = n as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 999.5 && unit + 1 < units.len() {
        amount /= 1024.0;
        unit += 1;
    }
    let digits = if amount < 99.95 { 1 } else { 0 };
    format!("{amount:.digits$} {}", units[unit])
}

/// The two largest units: `3d 4h`, `2m 5s`, `12s`; under ten seconds with tenths.
pub(crate) fn duration(time: Duration) -> String {
    let s = time.as_secs();
    let pair = |unit_s: u64, unit: &str, next_s: u64, next: &str| {
        format!("{}{unit} {}{next}", s / unit_s, s % unit_s / next_s)
    };
    match s {
        0..10 => format!("{:.1}s", time.as_millis() as f64 / 1000.0),
        10..60 => format!("{s}s"),
        60..3_600 => pair(60, "m", 1, "s"),
        3_600..86_400 => pair(3_600, "h", 60, "m"),
        86_400.. => pair(86_400, "d", 3_600, "h"),
    }
}

/// `2026-08-22 14:30:05.123` in this time zone.
pub(crate) fn moment(at: WallMs, zone: &TimeZone) -> String {
    let at_ms = i64::try_from(at).unwrap_or(i64::MAX);
    match Timestamp::from_millisecond(at_ms) {
        Ok(at) => at.to_zoned(zone.clone()).strftime("%F %T%.3f").to_string(),
        // Past the calendar: the number itself is the most that can be said.
        Err(_) => format!("{at} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_keep_three_digits_or_fewer() {
        let sizes = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (150 << 10, "150 KiB"),
            (1023 << 10, "1.0 MiB"),
            (12_900_000, "12.3 MiB"),
            (4 << 30, "4.0 GiB"),
            (u64::MAX, "16777216 TiB"),
        ];
        for (n, text) in sizes {
            assert_eq!(bytes(n), text);
        }
        let durations = [
            (1_250, "1.2s"),
            (9_999, "10.0s"),
            (59_900, "59s"),
            (125_000, "2m 5s"),
            (7_260_000, "2h 1m"),
            (273_600_000, "3d 4h"),
        ];
        for (ms, text) in durations {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn any_moment_can_be_shown() {
        assert_eq!(moment(1_787_322_605_123, &TimeZone::UTC), "2026-08-21 14:30:05.123");
        assert_eq!(moment(u64::MAX, &TimeZone::UTC), format!("{} ms", u64::MAX));
    }
}
