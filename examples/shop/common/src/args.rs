//! The arguments that every service of the shop takes.

use std::net::SocketAddr;

/// How a service is reached and what of its insides may be reached with it.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// Address to serve HTTP on; port 0 takes a free one and logs it
    #[arg(long, value_name = "ADDR")]
    pub listen: SocketAddr,

    /// Open `POST /fault/...`, so that anyone who reaches the port can break this service
    #[arg(long)]
    pub faults: bool,

    /// Log a line for each request
    #[arg(long)]
    pub log_requests: bool,
}
