//! Real agents, asked as their clients ask them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod accounts;
mod api;
mod config;
mod health;
mod keepers;
mod preflight;
mod support;
mod times;

/// Every agent of these tests is this very program, started again to be one.
#[test]
fn be_an_agent() {
    support::be_an_agent_if_told();
}
