//! The single values of a fleet file that have a unit or a base: durations, sizes, shares, masks.

use std::time::Duration;

use serde_json::{Value, json};
use stead_core::plan::{LogLimits, Umask};
use stead_core::rollout::{Wave, WaveError};
use stead_core::units::{
    Bytes, DURATION_MAX_MS, MilliCpu, UnitError, parse_duration, show_duration,
};

use crate::read::{Bad, FromText};

/// Number and unit of a text, spaces and letter case aside.
fn loosely(text: &str) -> Option<(f64, String)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse().ok().filter(|number: &f64| *number < 1e12)?;
    Some((number, text[end..].trim().to_lowercase()))
}

/// What `10 seconds`, `1.5s` or `10` were meant to be.
fn mended_duration(text: &str) -> Option<String> {
    let (number, unit) = loosely(text)?;
    let unit_ms = match unit.as_str() {
        "ms" | "msec" | "millis" | "milliseconds" => 1.0,
        "" | "s" | "sec" | "secs" | "second" | "seconds" => 1e3,
        "m" | "min" | "mins" | "minute" | "minutes" => 60e3,
        "h" | "hr" | "hour" | "hours" => 3600e3,
        "d" | "day" | "days" => 86400e3,
        _ => return None,
    };
    let shown = show_duration(Duration::try_from_secs_f64(number * unit_ms / 1e3).ok()?);
    parse_duration(&shown).is_ok().then_some(shown)
}

/// A duration of at least so many milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lasting<const MIN_MS: u64>(pub Duration);

impl<const MIN_MS: u64> FromText for Lasting<MIN_MS> {
    const WANTED: &'static str = "a duration";
    const EXAMPLE: &'static str = "10s";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let min = Duration::from_millis(MIN_MS);
        match parse_duration(text) {
            Ok(long) if long >= min => Ok(Self(long)),
            Ok(_) => {
                let shown = show_duration(min);
                Err(Bad::new(format!("it may not be shorter than {shown}"), Some(shown)))
            }
            Err(UnitError::TooLarge) => {
                let max = show_duration(Duration::from_millis(DURATION_MAX_MS));
                Err(Bad::new(format!("it may not be longer than {max}"), Some(max)))
            }
            Err(error) => Err(Bad::new(error.to_string(), mended_duration(text))),
        }
    }

    fn from_number(number: &str) -> Option<String> {
        mended_duration(number)
    }

    fn text_schema() -> Value {
        json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "examples": ["10s"] })
    }
}

/// How many hosts at a time: a count, or a share like `25%`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaveText(pub Wave);

impl FromText for WaveText {
    const WANTED: &'static str = "a count of hosts, or a share of all,";
    const EXAMPLE: &'static str = "25%";

    fn from_text(text: &str) -> Result<Self, Bad> {
        text.parse().map(Self).map_err(|error: WaveError| {
            let number = text.trim().trim_end_matches('%').trim();
            let is_share = number.parse::<u8>().is_ok_and(|share| (1..=100).contains(&share));
            Bad::new(error.to_string(), is_share.then(|| format!("{number}%")))
        })
    }

    fn from_number(number: &str) -> Option<String> {
        number.parse::<Wave>().is_ok().then(|| number.to_owned())
    }

    fn text_schema() -> Value {
        json!({ "type": "string", "pattern": "^[0-9]+%?$", "examples": [Self::EXAMPLE] })
    }
}

/// The shortest backoff: with less, a broken service would eat a core.
pub(crate) const BACKOFF_MIN: Duration = Duration::from_millis(10);

/// The waits between restarts: `100ms..30s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub min: Duration,
    pub max: Duration,
}

impl FromText for Backoff {
    const WANTED: &'static str = "a range of two durations";
    const EXAMPLE: &'static str = "100ms..30s";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let Some((min, max)) = text.split_once("..") else {
            let same = mended_duration(text).map(|same| format!("{same}..{same}"));
            return Err(Bad::new("it is the first and the longest wait, with `..` between", same));
        };
        let mended = || {
            let both = (mended_duration(min)?, mended_duration(max)?);
            Some(format!("{}..{}", both.0, both.1))
        };
        let (min, max) = match (parse_duration(min), parse_duration(max)) {
            (Ok(min), Ok(max)) => (min, max),
            (Err(error), _) | (_, Err(error)) => {
                return Err(Bad::new(error.to_string(), mended()));
            }
        };
        let shown = |min, max| Some(format!("{}..{}", show_duration(min), show_duration(max)));
        if min > max {
            let because = "the first wait is longer than the longest";
            return Err(Bad::new(because, shown(max, min)));
        }
        if min < BACKOFF_MIN {
            let because = "a service that fails at once would eat a core; the first wait is \
                 at least 10ms";
            return Err(Bad::new(because, shown(BACKOFF_MIN, max.max(BACKOFF_MIN))));
        }
        Ok(Self { min, max })
    }

    fn text_schema() -> Value {
        let pattern = "^[0-9]+(ms|s|m|h|d)\\.\\.[0-9]+(ms|s|m|h|d)$";
        json!({ "type": "string", "pattern": pattern, "examples": [Self::EXAMPLE] })
    }
}

/// What `256MB`, `256m` or `1.5 GiB` were meant to be.
fn mended_size(text: &str) -> Option<String> {
    let (number, unit) = loosely(text)?;
    let power = match unit.as_str() {
        "b" | "byte" | "bytes" => 0,
        "k" | "kb" | "ki" | "kib" => 10,
        "" | "m" | "mb" | "mi" | "mib" => 20,
        "g" | "gb" | "gi" | "gib" => 30,
        "t" | "tb" | "ti" | "tib" => 40,
        _ => return None,
    };
    let units = [(0, "B"), (10, "KiB"), (20, "MiB"), (30, "GiB"), (40, "TiB")];
    let small = units.iter().rev().filter(|(p, _)| *p <= power).find_map(|(p, name)| {
        let scaled = number * f64::from(1_u32 << (power - p).min(30));
        (scaled.fract() == 0.0).then(|| format!("{scaled}{name}"))
    });
    small.filter(|text| text.parse::<Bytes>().is_ok())
}

/// A number of bytes of at least so many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size<const MIN: u64>(pub Bytes);

/// Less memory than this does not hold a process.
pub(crate) const MEMORY_MIN: u64 = 1 << 20;
pub(crate) const KEEP_MIN: u64 = LogLimits::KEEP_MIN.0;

impl<const MIN: u64> FromText for Size<MIN> {
    const WANTED: &'static str = "a size";
    const EXAMPLE: &'static str = "256MiB";

    fn from_text(text: &str) -> Result<Self, Bad> {
        match text.parse::<Bytes>() {
            Ok(size) if size.0 >= MIN => Ok(Self(size)),
            Ok(_) => {
                let min = Bytes(MIN).to_string();
                Err(Bad::new(format!("it may not be less than {min}"), Some(min)))
            }
            Err(error) => Err(Bad::new(error.to_string(), mended_size(text))),
        }
    }

    fn from_number(number: &str) -> Option<String> {
        mended_size(number)
    }

    fn text_schema() -> Value {
        let pattern = "^[0-9]+([KMGT]iB?|B)$";
        json!({ "type": "string", "pattern": pattern, "examples": ["256MiB"] })
    }
}

impl FromText for MilliCpu {
    const WANTED: &'static str = "a share of CPU time";
    const EXAMPLE: &'static str = "500m";

    fn from_text(text: &str) -> Result<Self, Bad> {
        text.parse().map_err(|error: UnitError| {
            let percent = text.strip_suffix('%').and_then(|n| n.trim().parse::<u32>().ok());
            let meant =
                percent.filter(|n| (1..1_000_000).contains(n)).map(|n| format!("{}m", n * 10));
            Bad::new(error.to_string(), meant)
        })
    }

    fn from_number(number: &str) -> Option<String> {
        number.parse::<Self>().ok().map(|_| number.into())
    }

    fn text_schema() -> Value {
        let pattern = "^([0-9]+m|[0-9]+(\\.[0-9]{1,3})?)$";
        json!({ "type": "string", "pattern": pattern, "examples": ["500m", "2"] })
    }
}

impl FromText for Umask {
    const WANTED: &'static str = "an octal number in quotes";
    const EXAMPLE: &'static str = "027";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let octal = text.len() <= 4 && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        let bits = u16::from_str_radix(text, 8).ok().filter(|bits| octal && *bits <= 0o777);
        let because = "a umask is up to three digits 0 to 7, each what is taken from owner, \
             group and others";
        bits.map(Self).ok_or_else(|| Bad::new(because, None))
    }

    fn from_number(number: &str) -> Option<String> {
        let padded = format!("{number:0>3}");
        Self::from_text(&padded).is_ok().then_some(padded)
    }

    fn text_schema() -> Value {
        json!({ "type": "string", "pattern": "^0?[0-7]{1,3}$", "examples": ["027"] })
    }
}
