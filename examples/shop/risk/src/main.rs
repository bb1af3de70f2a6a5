//! The shop's risk desk: reads the events of every orders instance and flags the risky ones.

mod api;
mod desk;
mod poll;
mod rules;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::Parser;
use shop_common::client::Client;
use shop_common::{Metrics, ServeArgs, ServeError, Stop};
use tokio::task::JoinSet;

use crate::desk::{Desk, DeskError};
use crate::poll::{Counts, poll};

/// Read the events of the orders service and flag risky orders
#[derive(Debug, Parser)]
#[command(name = "risk", version = shop_common::VERSION)]
struct Args {
    #[command(flatten)]
    serve: ServeArgs,

    /// Folder for `risk.db`; made when missing
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Where the instances of the orders service listen
    #[arg(long, value_name = "ADDR[,ADDR..]", value_delimiter = ',', required = true)]
    orders: Vec<SocketAddr>,
}

#[derive(Debug, thiserror::Error)]
enum RiskError {
    #[error(transparent)]
    Desk(#[from] DeskError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

fn main() -> ExitCode {
    shop_common::run(risk(Args::parse()))
}

async fn risk(args: Args) -> Result<(), RiskError> {
    let stop = Stop::listen().map_err(RiskError::Signals)?;
    let metrics = Metrics::new("risk");
    let desk = Arc::new(Mutex::new(Desk::open(&args.data)?));
    let counts = Counts::new(&metrics);
    let client = Client::new();
    let mut polls = JoinSet::new();
    for address in args.orders {
        polls.spawn(poll(client.clone(), address, Arc::clone(&desk), counts.clone()));
    }
    let served = shop_common::serve(&args.serve, metrics, api::routes(Arc::clone(&desk)), stop);
    let served = served.await;
    // Each page of events is one transaction, so it does not matter where a poll is cut off.
    polls.shutdown().await;
    Ok(served?)
}
