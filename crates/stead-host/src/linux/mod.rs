//! Linux: systemd, where that has booted the host.

pub(crate) mod facts;
pub(crate) mod life;
pub mod registry;
pub(crate) mod service;
pub(crate) mod trusted;
