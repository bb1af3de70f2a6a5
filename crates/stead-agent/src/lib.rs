//! The agent: the one daemon per host. It makes the host equal to its plan and tells what is there.
//!
//! It may be killed, crash or be replaced at any moment: keepers and services go on, and the next
//! agent takes up what it finds on disk.
//!
//! Its tasks and threads, and who speaks to whom:
//!
//! | what | does | is told by |
//! |---|---|---|
//! | [`agent`] (task) | owns the state; decides | everybody, by `Message` |
//! | `link` (task per keeper) | speaks with one keeper | the agent |
//! | `api::serve` (task), one task per connection | answers requests | clients |
//! | a task per run that is probed | asks it, tells what the answers amount to | the agent |
//! | a task per front | tells it who gets connections | the agent, the front |
//! | `hands` (thread) | writes files, starts keepers, in order | the agent, by `Job` |
//! | `journal` (thread) | stores what happened | the agent |
//! | a thread per reader | reads logs and events for one request | its request |

mod accounts;
mod agent;
mod agent_log;
mod api;
mod capacity;
mod clock;
mod collect;
mod config;
mod crash;
mod events;
mod front;
mod hands;
mod history;
mod host;
mod journal;
mod kept;
mod kit;
mod layout;
mod link;
pub mod logs;
mod message;
mod meter;
mod names;
mod plan_change;
mod preflight;
mod probe;
mod registry;
mod rollout;
mod secrets;
mod shutdown;
mod start;
mod status;
mod store;
#[cfg(test)]
mod testing;
mod timetable;
mod trust;
mod view;
mod why;

pub use accounts::ACCOUNT_FIRST;
pub use agent_log::say_in_log;
pub use capacity::capacity;
pub use crash::CrashPoint;
pub use kept::KEEPER_REPLACED_WITHIN;
pub use plan_change::{DOWN_MARGIN, INSTANCES_MAX};
pub use start::{AgentError, Ended, Options, run};

/// The agent's API as OpenAPI 3.1.
pub fn openapi() -> serde_json::Value {
    api::openapi()
}
