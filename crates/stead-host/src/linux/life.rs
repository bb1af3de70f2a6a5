//! Being a service: systemd is told of states, and asks for nothing else.

use crate::error::{Fault, ServiceError};

/// Nothing starts a service in this way here: a unit runs the agent as anybody does.
pub fn be_service(
    name: &str,
    _life: impl FnOnce() -> Result<(), Fault> + Send + 'static,
) -> Result<(), ServiceError> {
    Err(ServiceError {
        step: format!("be the service `{name}`"),
        why: "only the service manager of Windows starts programs so".into(),
        try_this: "`stead agent run` alone".into(),
    })
}
