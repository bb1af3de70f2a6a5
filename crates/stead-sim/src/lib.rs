//! Rollouts in a world of its own: hosts that lose power, disks that are full, a network that
//! loses and delays, operators that die, sleep and come in twos. All of it follows from a seed, or
//! from a script that leaves nothing to chance.
//!
//! What decides is the code that ships: `HostMemory` on the hosts, `Operator` at the other end.
//! What is modelled here is only what lies between and around: the agent's order of writing and
//! acting, the wire, and what a release does when it runs.

mod checks;
mod host;
mod luck;
mod operator;
mod plan;
mod scenario;
mod script;
mod telling;
mod world;

pub use checks::Violation;
pub use operator::Ending;
pub use plan::{Broken, Fault, Kind, Plan, Task};
pub use scenario::{Scenario, ScenarioError};
pub use script::{Script, Stage, When};
pub use world::{Report, World, run};

/// Milliseconds since the world began.
pub type Ms = u64;

/// A release of the only service. 0 is what is there from the start.
pub type Version = u32;
