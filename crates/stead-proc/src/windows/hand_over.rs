//! Giving a folder to another account.

use std::path::Path;

use stead_core::launch::Account;

use crate::hand_over::HandOverError;

/// Files belong to whoever runs stead.
pub fn hand_over(_folder: &Path, _to: &Account) -> Result<(), HandOverError> {
    Ok(())
}
