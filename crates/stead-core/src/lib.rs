//! What stead decides, as pure functions.
//!
//! Nothing in here can do I/O, read a clock, start a thread or ask the OS: the crate is `no_std`,
//! which proves it. Time comes in as [`units::Millis`], chance as a number.
#![no_std]

extern crate alloc;

pub mod capacity;
pub mod check;
pub mod compare;
pub mod denial;
pub mod keep;
pub mod launch;
pub mod machine;
pub mod names;
pub mod order;
pub mod plan;
pub mod preflight;
pub mod probe;
pub mod reconcile;
pub mod registry;
pub mod rollout;
pub mod sandbox;
pub mod schedule;
pub mod signal;
pub mod signing;
pub mod template;
pub mod units;
