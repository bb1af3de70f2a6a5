//! Who this process is, and who others are to be.

use stead_core::launch::Account;

/// Why an account is not known.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("services here run as whoever runs stead; `{0}` cannot be had yet")]
    Unsupported(String),
}

/// Whether this process may do as it pleases on this host.
pub fn is_root() -> bool {
    false
}

/// There are no numbers of users here; all files of a root are its owner's.
pub fn own_uid() -> u32 {
    0
}

/// The account of this user, which a run may be given.
pub fn account(user: &str, _group: Option<&str>) -> Result<Account, AccountError> {
    Err(AccountError::Unsupported(user.to_owned()))
}
