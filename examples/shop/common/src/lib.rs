//! What the services of the shop share: arguments, serving and draining, metrics, faults, the log.
//!
//! A service builds a router of its own routes and hands it to [`serve`], which adds
//! `/healthz`, `/metrics` and, when asked for, `/fault/{what}`.

mod args;
pub mod client;
mod faults;
pub mod log;
mod metrics;
pub mod order;
mod refusal;
mod serve;
mod stop;
pub mod testing;

use std::fmt;
use std::future::Future;
use std::process::ExitCode;

pub use args::ServeArgs;
pub use metrics::{Metrics, Value};
pub use refusal::Refusal;
pub use serve::{ServeError, serve};
pub use stop::Stop;

/// Which build this is. `SHOP_VERSION` at build time makes two builds that differ in nothing else.
pub const VERSION: &str = match option_env!("SHOP_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// Runs a service to its end and turns the outcome into an exit code: 0 only after a clean drain.
pub fn run<E: fmt::Display>(service: impl Future<Output = Result<(), E>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            log::error(format_args!("cannot start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(service) {
        Ok(()) => {
            log::info("stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            log::error(error);
            ExitCode::FAILURE
        }
    }
}

/// A text that no other process will make: what keys and stores are named by.
///
/// The standard library seeds every `RandomState` from the system's randomness, which is
/// enough to tell things apart and saves a dependency; it is no secret.
pub fn unique_text() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}
