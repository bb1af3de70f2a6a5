//! When a scheduled service runs.

use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::is_default;
use crate::units::as_millis;

/// A service that runs now and then instead of always.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Schedule {
    pub times: Times,
    #[serde(default, skip_serializing_if = "is_default")]
    pub overlap: Overlap,
    /// A run that takes longer is stopped, and has failed.
    #[serde(default, rename = "timeout_ms", skip_serializing_if = "is_default")]
    #[serde(with = "crate::units::as_optional_millis")]
    pub timeout: Option<Duration>,
    /// A time that passed while the host or the agent was down is made up for, once.
    #[serde(default, skip_serializing_if = "is_default")]
    pub catch_up: bool,
}

/// The times themselves.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Times {
    /// Five fields as of cron, in a time zone by its IANA name; `None` is that of the host.
    Cron { text: String, zone: Option<String> },
    /// From the start of one run to the start of the next.
    Every {
        #[serde(with = "as_millis", rename = "ms")]
        interval: Duration,
    },
}

/// What happens when a run is due while the last one still goes on.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// The new one follows as soon as the old one has ended; more than one are not queued.
    Queue,
    /// The old one is stopped.
    Replace,
    /// The new one does not take place, which is said.
    #[default]
    Skip,
}
