//! Facts of a host: the shell of each Linux tells them, without anything of stead's.

use std::io::{BufRead, Write};
use std::path::Path;

use crate::error::ServiceError;

/// Only Windows needs a program for that.
pub fn tell_facts(
    _root: &Path,
    _questions: &[String],
    _from: &mut dyn BufRead,
    _to: &mut dyn Write,
) -> Result<(), ServiceError> {
    Err(ServiceError {
        step: "tell what this host is and has".into(),
        why: "a host with Linux tells it by its shell alone".into(),
        try_this: "`stead check`, which asks it".into(),
    })
}
