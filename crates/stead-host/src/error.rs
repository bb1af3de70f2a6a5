//! What can go wrong with a service of the host, as it is told.

/// What a service manager did not do, because of what, and what to try. `Display` says what.
#[derive(Debug, thiserror::Error)]
#[error("could not {step}")]
pub struct ServiceError {
    pub step: String,
    pub why: String,
    pub try_this: String,
}

/// Why a service has ended that was not told to.
#[derive(Debug)]
pub struct Fault {
    /// What the service manager shows of it; 0 would be an end that went well.
    pub code: u32,
    /// All of it, in one line.
    pub why: String,
}
