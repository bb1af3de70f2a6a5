//! Variables whose values are in files of their own: read when a run begins, and kept nowhere.

use std::io;

use stead_core::launch::Launch;

/// Why a run cannot have its secret.
#[derive(Debug, thiserror::Error)]
#[error("the secret for its variable `{variable}` cannot be read: {source}")]
pub(crate) struct SecretError {
    variable: String,
    source: io::Error,
}

/// The variables with their values.
pub(crate) fn read(launch: &Launch) -> Result<Vec<(String, String)>, SecretError> {
    let read = |(variable, path): (&String, &String)| {
        let value = std::fs::read_to_string(path);
        let failed = |source| SecretError { variable: variable.clone(), source };
        Ok((variable.clone(), value.map_err(failed)?))
    };
    launch.secrets.iter().map(read).collect()
}
