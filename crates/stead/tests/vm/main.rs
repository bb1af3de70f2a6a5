//! A whole machine with systemd: scopes, limits, boots, ends and deploys. One VM, one claim after
//! the other.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod deploys;
mod ends;
mod limits;
mod place;
