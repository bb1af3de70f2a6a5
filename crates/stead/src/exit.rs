//! The exit codes: what a script may rely on.

use std::process::ExitCode;

/// How a command ended. `docs/exit-codes.md` lists the same, and a test compares the two.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Exit {
    Done,
    Bug,
    Usage,
    BadFleetFile,
    Unreachable,
    NotReady,
    Refused,
    Split,
    Interrupted,
}

impl Exit {
    const ALL: [Self; 9] = [
        Self::Done,
        Self::Bug,
        Self::Usage,
        Self::BadFleetFile,
        Self::Unreachable,
        Self::NotReady,
        Self::Refused,
        Self::Split,
        Self::Interrupted,
    ];

    /// The number a shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Bug => 1,
            Self::Usage => 2,
            Self::BadFleetFile => 3,
            Self::Unreachable => 4,
            Self::NotReady => 5,
            Self::Refused => 6,
            Self::Split => 7,
            Self::Interrupted => 130,
        }
    }

    /// What it means, in the words of the documentation.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Bug => "a bug in stead",
            Self::Usage => "used wrongly",
            Self::BadFleetFile => "the fleet file is not right",
            Self::Unreachable => "the host or its agent cannot be reached",
            Self::NotReady => "not ready, or rolled back",
            Self::Refused => "refused",
            Self::Split => "split: hosts differ, each is named",
            Self::Interrupted => "interrupted",
        }
    }
}

/// All codes with their meanings, for the help text.
pub(crate) fn table() -> String {
    let row = |exit: Exit| format!("\n  {:>3}  {}", exit.code(), exit.meaning());
    format!("Exit codes:{}", Exit::ALL.map(row).concat())
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_exactly_the_codes_there_are() {
        let page = include_str!("../../../docs/exit-codes.md");
        let rows = page.lines().filter_map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let code: u8 = cells.next()?.parse().ok()?;
            Some((code, cells.next()?.to_owned()))
        });
        let known = Exit::ALL.map(|exit| (exit.code(), exit.meaning().to_owned()));
        assert_eq!(rows.collect::<Vec<_>>(), known);
    }

    #[test]
    fn no_two_ends_share_a_code() {
        assert!(Exit::ALL.map(Exit::code).is_sorted_by(|one, next| one < next));
    }
}
