//! Windows: its service manager, its log of events, its registry, and what it tells of itself.

pub(crate) mod events;
pub(crate) mod facts;
pub(crate) mod life;
pub mod registry;
pub(crate) mod service;
pub(crate) mod trusted;
