//! The shop's orders: takes them, stores them durably, and tells of each exactly once.

mod api;
mod store;
mod writer;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use shop_common::{Metrics, ServeArgs, ServeError, Stop};

use crate::store::{Store, StoreError};
use crate::writer::Writer;

/// Store the shop's orders in SQLite and offer an event for each
#[derive(Debug, Parser)]
#[command(name = "orders", version = shop_common::VERSION)]
struct Args {
    #[command(flatten)]
    serve: ServeArgs,

    /// Folder for `orders.db`; made when missing
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// How many of the newest orders, and their events, are kept
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    keep: u32,
}

#[derive(Debug, thiserror::Error)]
enum OrdersError {
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn main() -> ExitCode {
    shop_common::run(orders(Args::parse()))
}

async fn orders(args: Args) -> Result<(), OrdersError> {
    let stop = Stop::listen().map_err(OrdersError::Signals)?;
    let metrics = Metrics::new("orders");
    let store = Store::open(&args.data)?;
    let reader = Store::open(&args.data)?;
    let (writer, door) = Writer::start(store, args.keep, &metrics);
    // The routes hold the only doors to the writer, so it ends when they are gone.
    let routes = api::routes(door, reader);
    let served = shop_common::serve(&args.serve, metrics, routes, stop).await;
    let closed = writer.finish(served.is_ok());
    served?;
    Ok(closed?)
}
