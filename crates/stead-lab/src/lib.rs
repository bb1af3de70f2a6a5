//! Machines for tests that need a whole one.
//!
//! It knows nothing of stead: it boots a machine, puts files there and runs commands.

mod hosts;
mod image;
mod skips;
mod vm;

pub use hosts::Hosts;
pub use image::{Image, missing_programs};
pub use skips::skipped;
pub use vm::{Said, Vm};
