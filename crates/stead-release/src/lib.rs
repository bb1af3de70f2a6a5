//! What is brought to hosts: releases, patches of their files, secrets, and signatures.
//!
//! It knows nothing of hosts, agents and connections: bytes and folders come in, bytes and folders
//! go out.

pub mod lock;
pub mod patch;
pub mod release;
pub mod secret;
pub mod sign;
pub mod store;
