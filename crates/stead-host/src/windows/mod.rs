//! Windows: its service manager, its log of events, its registry.

pub(crate) mod events;
pub(crate) mod life;
pub mod registry;
pub(crate) mod service;
pub(crate) mod trusted;
