//! Windows: its service manager and its log of events.

pub(crate) mod events;
pub(crate) mod life;
pub(crate) mod service;
pub(crate) mod trusted;
