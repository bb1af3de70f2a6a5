//! What a host has once, whatever it keeps: its service manager, its registry, its state as a
//! whole. Processes and their streams are `stead_proc`'s.
//!
//! Each system's module gives the same names, as in `stead_proc`.

mod error;

#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod imp;
#[cfg(windows)]
#[path = "windows/mod.rs"]
mod imp;

pub use error::{Fault, ServiceError};
pub use imp::facts::tell_facts;
pub use imp::life::be_service;
pub use imp::registry;
pub use imp::service::AgentService;
pub use imp::trusted::take_root;
