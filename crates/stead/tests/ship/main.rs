//! Deploys to several hosts, each a network namespace with an `sshd` of its own.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod before;
mod check;
mod collect;
mod diff;
mod ends;
mod faults;
mod fleet;
mod lossless;
mod scope;
mod secrets;
mod signed;
mod signing;
mod walk;
