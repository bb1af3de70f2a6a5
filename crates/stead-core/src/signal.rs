//! The signals that may be named in a fleet file or on the command line.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// A signal by its name without `SIG`; its number belongs to the system that delivers it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Signal {
    Abrt,
    Alrm,
    Cont,
    Hup,
    Int,
    Kill,
    Pipe,
    Quit,
    Stop,
    Term,
    Tstp,
    Usr1,
    Usr2,
    Winch,
}

/// Every signal with its name.
pub const SIGNALS: [(Signal, &str); 14] = [
    (Signal::Abrt, "ABRT"),
    (Signal::Alrm, "ALRM"),
    (Signal::Cont, "CONT"),
    (Signal::Hup, "HUP"),
    (Signal::Int, "INT"),
    (Signal::Kill, "KILL"),
    (Signal::Pipe, "PIPE"),
    (Signal::Quit, "QUIT"),
    (Signal::Stop, "STOP"),
    (Signal::Term, "TERM"),
    (Signal::Tstp, "TSTP"),
    (Signal::Usr1, "USR1"),
    (Signal::Usr2, "USR2"),
    (Signal::Winch, "WINCH"),
];

/// Why a text is not a signal.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not a signal; use one like TERM, INT, QUIT, HUP, USR1 or KILL")]
pub struct SignalError(pub String);

impl Signal {
    pub fn name(self) -> &'static str {
        SIGNALS.iter().find(|(signal, _)| *signal == self).map_or("?", |(_, name)| name)
    }
}

impl FromStr for Signal {
    type Err = SignalError;
    fn from_str(text: &str) -> Result<Self, SignalError> {
        let upper = text.to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        let found = SIGNALS.iter().find(|(_, name)| *name == bare);
        found.map(|(signal, _)| *signal).ok_or_else(|| SignalError(text.into()))
    }
}

impl TryFrom<String> for Signal {
    type Error = SignalError;
    fn try_from(text: String) -> Result<Self, SignalError> {
        text.parse()
    }
}

impl From<Signal> for String {
    fn from(signal: Signal) -> Self {
        signal.name().into()
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("SIG{}", self.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_signal_is_read_by_both_of_its_names() {
        for (signal, name) in SIGNALS {
            assert_eq!(name.parse(), Ok(signal));
            assert_eq!(signal.to_string().to_ascii_lowercase().parse(), Ok(signal));
        }
        for text in ["", "9", "SIG", "SIGSIGTERM", "TERMS", "SEGV"] {
            assert_eq!(text.parse::<Signal>(), Err(SignalError(text.into())));
        }
    }
}
