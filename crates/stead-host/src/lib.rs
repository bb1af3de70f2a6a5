//! What a host has once, whatever it keeps: its service manager, its registry, its state as a
//! whole. Processes and their streams are `stead_proc`'s.

#[cfg(target_os = "linux")]
#[path = "linux/registry.rs"]
pub mod registry;
#[cfg(windows)]
#[path = "windows/registry.rs"]
pub mod registry;
