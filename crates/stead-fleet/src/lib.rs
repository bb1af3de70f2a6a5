//! The fleet file, `stead.toml`: from text to a checked [`Fleet`], and from a fleet to plans.
//!
//! ```text
//! text ──toml──> tree ──read, raw──> single fields ──assemble──> Fleet ──plan──> Plan
//! ```
//!
//! Every problem of a file is told at once, with its place, its reason and what to write instead.
//! One declaration of each table makes its reader and its JSON schema. This crate knows no hosts
//! and no agents; the only I/O is [`Fleet::check_files`], and a look at the names of time zones.

mod across;
mod assemble;
mod diff;
mod files;
mod fleet;
mod handing_over;
mod hooks;
mod layers;
mod leaf;
mod places;
mod probes;
mod problem;
mod quantity;
mod raw;
mod read;
mod registry;
mod sandbox;
mod schedule;
mod secret;
mod service;
mod sign;
mod suggest;
mod syntax;

pub use across::INSTANCES_PER_HOST_MAX;
pub use assemble::{FILE_BYTES_MAX, HOSTS_MAX, SECRETS_MAX, SERVICES_MAX};
pub use diff::diff;
pub use files::Stage;
pub use fleet::{Address, Fleet, Host, Os, Packed, Program, ReleaseFile, Rollout, Service};
pub use hooks::{Hooks, Migration};
pub use layers::Layers;
pub use problem::{PROBLEMS_MAX, Problem, Problems, See};
pub use raw::{COUNT_MAX, schema};
pub use secret::SecretSource;
pub use sign::Sign;
