//! The wall clock, for what is written down and shown; decisions use monotonic time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use stead_wire::WallMs;

/// Now, in milliseconds since 1970-01-01 UTC.
pub(crate) fn wall_ms() -> WallMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    stead_core::units::millis(since)
}

/// The moment as RFC 3339 in UTC, with milliseconds.
pub(crate) fn rfc3339(at: WallMs) -> String {
    let moment = i64::try_from(at).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(|| format!("{at} ms after 1970"), |moment| format!("{moment:.3}"))
}

/// Why a text is no moment.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a moment is RFC 3339 like `2026-03-01T12:00:00Z`, how long ago like `10m`, or microseconds \
     since 1970"
)]
pub(crate) struct MomentError;

/// Reads a moment: RFC 3339, a duration before `now`, or a bare number. Microseconds since
/// 1970-01-01 UTC.
pub(crate) fn parse_moment(text: &str, now: WallMs) -> Result<u64, MomentError> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map_err(|_| MomentError);
    }
    let bare = text.strip_suffix(" ago").unwrap_or(text);
    if let Ok(ago) = stead_core::units::parse_duration(bare) {
        let ago_ms = stead_core::units::millis(ago);
        return Ok(now.saturating_sub(ago_ms).saturating_mul(1000));
    }
    let moment: Timestamp = text.parse().map_err(|_| MomentError)?;
    u64::try_from(moment.as_microsecond()).map_err(|_| MomentError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_or_how_long_ago() {
        let now = 1_795_342_670_000;
        let cases = [
            ("1970-01-01T00:00:01Z", Ok(1_000_000)),
            ("1970-01-01T01:00:01.5+01:00", Ok(1_500_000)),
            ("10s", Ok((now - 10_000) * 1000)),
            ("1795342670000001", Ok(1_795_342_670_000_001)),
            ("99999999999999999999", Err(MomentError)),
            ("10m ago", Ok((now - 600_000) * 1000)),
            ("yesterday", Err(MomentError)),
            ("2026-03-01", Err(MomentError)),
            ("1969-12-31T23:59:59Z", Err(MomentError)),
            ("", Err(MomentError)),
        ];
        for (text, moment) in cases {
            assert_eq!(parse_moment(text, now), moment, "{text:?}");
        }
    }

    #[test]
    fn moments_are_shown_in_utc() {
        assert_eq!(rfc3339(1_795_342_670_123), "2026-11-22T10:17:50.123Z");
    }
}
