//! Windows: so far, what releases are made with.

pub(crate) mod files;
pub(crate) mod folder;
pub(crate) mod mapped;
