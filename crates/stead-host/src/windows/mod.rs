//! Windows: its service manager, its log of events, and what it tells of itself.

pub(crate) mod events;
pub(crate) mod facts;
pub(crate) mod life;
pub(crate) mod service;
