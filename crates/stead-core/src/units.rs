//! Quantities with their units: sizes, durations, shares of a CPU, moments.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::ops::{Add, Sub};
use core::str::FromStr;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since some start that only the caller knows.
///
/// It dies with the process that made it, so it is never written to a file.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Millis(pub u64);

impl Add<Duration> for Millis {
    type Output = Self;
    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(millis(wait)))
    }
}

impl Sub for Millis {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Whole milliseconds of a duration; saturates instead of wrapping.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration as JSON: whole milliseconds.
pub mod as_millis {
    use super::{Duration, millis};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(millis(*value))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// A duration that may be missing as JSON: whole milliseconds or null.
pub mod as_optional_millis {
    use super::{Duration, millis};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(value: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        value.map(millis).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}

/// Why a text is not a quantity.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UnitError {
    #[error("a CPU share is whole thousandths like `500m` or cores like `2` or `0.5`")]
    Cpu,
    #[error("a duration is a number and one of ms, s, m, h, d: `500ms`, `10s`, `2m`")]
    Duration,
    #[error("a size is a number and one of B, KiB, MiB, GiB, TiB: `256MiB`")]
    Size,
    #[error("the number is too large")]
    TooLarge,
    #[error("it may not be zero")]
    Zero,
}

/// Reads `500ms`, `10s`, `2m`, `1h` or `7d`; whole numbers only, one unit.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split_number(text).ok_or(UnitError::Duration)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(UnitError::Duration),
    };
    // A year bounds every sum of a moment and a wait far below overflow.
    let ms = number.checked_mul(unit_ms).filter(|ms| *ms <= DURATION_MAX_MS);
    ms.map(Duration::from_millis).ok_or(UnitError::TooLarge)
}

/// The longest duration that may be written: a year.
pub const DURATION_MAX_MS: u64 = 366 * 86_400_000;

/// Writes a duration as [`parse_duration`] reads it, in the largest unit that divides it.
pub fn show_duration(duration: Duration) -> String {
    let ms = millis(duration);
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    match units.iter().find(|(unit_ms, _)| ms != 0 && ms.is_multiple_of(*unit_ms)) {
        Some((unit_ms, unit)) => format!("{}{unit}", ms / unit_ms),
        None => format!("{ms}ms"),
    }
}

/// A number of bytes.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(transparent)]
pub struct Bytes(pub u64);

const SIZES: [(u64, &str); 5] =
    [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];

impl FromStr for Bytes {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split_number(text).ok_or(UnitError::Size)?;
        // `Mi` is how Kubernetes writes `MiB`; MB is refused since it could mean either.
        let found = SIZES
            .iter()
            .find(|(_, name)| unit == *name || (unit.len() == 2 && name.starts_with(unit)));
        let (unit_bytes, _) = found.ok_or(UnitError::Size)?;
        number
            .checked_mul(*unit_bytes)
            .filter(|n| *n <= i64::MAX as u64)
            .map(Self)
            .ok_or(UnitError::TooLarge)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = SIZES.iter().find(|(unit, _)| self.0 != 0 && self.0.is_multiple_of(*unit));
        let (unit, name) = exact.unwrap_or(&(1, "B"));
        f.pad(&format!("{}{name}", self.0 / unit))
    }
}

/// A share of CPU time in thousandths of a core: `500m` is half a core.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct MilliCpu(pub u32);

impl FromStr for MilliCpu {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let thousandths = match text.strip_suffix('m') {
            Some(digits) => parse_digits(digits).ok_or(UnitError::Cpu)?,
            None => parse_cores(text).ok_or(UnitError::Cpu)?,
        };
        match u32::try_from(thousandths) {
            Ok(0) => Err(UnitError::Zero),
            Ok(share) => Ok(Self(share)),
            Err(_) => Err(UnitError::TooLarge),
        }
    }
}

impl fmt::Display for MilliCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) {
            f.pad(&format!("{}", self.0 / 1000))
        } else {
            f.pad(&format!("{}m", self.0))
        }
    }
}

fn parse_cores(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.len() > 3 {
        return None;
    }
    let scale = [100, 10, 1][fraction.len() - 1];
    parse_digits(whole)?.checked_mul(1000)?.checked_add(parse_digits(fraction)? * scale)
}

/// Digits alone: `str::parse` would take a sign.
fn parse_digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    Some((parse_digits(digits)?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn durations_are_read_and_written_alike() {
        for text in ["0ms", "500ms", "10s", "2m", "1h", "7d", "366d"] {
            assert_eq!(show_duration(parse_duration(text).unwrap()), text);
        }
        for text in ["", "10", "s", "1.5s", "-1s", "+1s", "10 s", "1h30m", "10S", "1w"] {
            assert_eq!(parse_duration(text), Err(UnitError::Duration), "{text}");
        }
        for text in ["367d", "99999999999999999999ms", "9999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_written_alike() {
        for text in ["1B", "3KiB", "256MiB", "1GiB", "2TiB"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        assert_eq!("128Mi".parse(), Ok(Bytes(128 << 20)));
        for text in ["", "1", "1MB", "1mib", "B", "1 GiB", "-1B", "1M", "1.5GiB"] {
            assert_eq!(text.parse::<Bytes>(), Err(UnitError::Size), "{text}");
        }
        assert_eq!("8388608TiB".parse::<Bytes>(), Err(UnitError::TooLarge));
    }

    #[test]
    fn cpu_shares_are_thousandths_or_cores() {
        for (text, share) in [("500m", 500), ("2", 2000), ("0.5", 500), ("1.25", 1250)] {
            assert_eq!(text.parse(), Ok(MilliCpu(share)), "{text}");
        }
        for text in ["", "m", "1.", ".5", "1.2345", "-1", "1e3", "50%"] {
            assert_eq!(text.parse::<MilliCpu>(), Err(UnitError::Cpu), "{text}");
        }
        assert_eq!("0".parse::<MilliCpu>(), Err(UnitError::Zero));
        assert_eq!("5000000000m".parse::<MilliCpu>(), Err(UnitError::TooLarge));
        assert_eq!(MilliCpu(1500).to_string(), "1500m");
        assert_eq!(MilliCpu(2000).to_string(), "2");
    }

    #[test]
    fn moments_never_wrap() {
        assert_eq!(Millis(u64::MAX) + Duration::from_secs(1), Millis(u64::MAX));
        assert_eq!(Millis(5) - Millis(9), Duration::ZERO);
    }
}
