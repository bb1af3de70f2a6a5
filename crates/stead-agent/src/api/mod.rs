//! The HTTP API on the agent's local socket.
//!
//! `serve` takes connections and knows who is at their other end, `routes` is the one table that
//! both the router and the OpenAPI description come from, `answers` holds what the routes do.

mod answers;
mod openapi;
mod peer;
mod query;
mod refused;
mod routes;
mod serve;
mod stream;

pub(crate) use openapi::openapi;
pub(crate) use serve::{Api, bind, serve};
