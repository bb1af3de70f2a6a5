//! No registry: what has keys of one is refused.

use std::io;

use stead_core::registry::memory::{Change, Memory, There};

/// Whether this system has a registry.
pub const HAS_REGISTRY: bool = false;

/// There is nothing to look at, unless something is asked for.
pub fn look(memory: &Memory) -> io::Result<There> {
    if memory.places().is_empty() { Ok(There::default()) } else { Err(none()) }
}

/// Cannot be done.
pub fn carry_out(_: &Change) -> io::Result<()> {
    Err(none())
}

/// Nothing was changed.
pub fn flush(_: &[Change]) -> io::Result<()> {
    Ok(())
}

fn none() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "this system has no registry")
}
