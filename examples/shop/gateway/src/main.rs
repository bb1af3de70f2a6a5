//! The shop's front: takes orders and hands each to one instance of the orders service.

mod api;
mod place;
mod spread;

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use shop_common::{Metrics, ServeArgs, ServeError, Stop};

use crate::place::Desk;

/// Take orders over HTTP and spread them over the instances of the orders service
#[derive(Debug, Parser)]
#[command(name = "gateway", version = shop_common::VERSION)]
struct Args {
    #[command(flatten)]
    serve: ServeArgs,

    /// Where the instances of the orders service listen
    #[arg(long, value_name = "ADDR[,ADDR..]", value_delimiter = ',', required = true)]
    orders: Vec<SocketAddr>,
}

#[derive(Debug, thiserror::Error)]
enum GatewayError {
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

fn main() -> ExitCode {
    shop_common::run(gateway(Args::parse()))
}

async fn gateway(args: Args) -> Result<(), GatewayError> {
    let stop = Stop::listen().map_err(GatewayError::Signals)?;
    let metrics = Metrics::new("gateway");
    let routes = api::routes(Desk::new(args.orders, &metrics));
    shop_common::serve(&args.serve, metrics, routes, stop).await?;
    Ok(())
}
