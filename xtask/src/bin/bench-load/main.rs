//! Both ends of the benchmark of the front: `bench-load` asks, and its `origin` answers.
//!
//! Programs of their own, built as what they measure is built. Figures go to standard output.
#![expect(clippy::print_stdout, reason = "its figures are its output")]

mod load;
mod origin;
mod serve;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use load::{Load, Way};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    stead_proc::raise_open_files();
    match *args {
        ["origin"] => origin::run(|address| println!("{address}")),
        ["serve", port, after_ms, ref stamp @ ..] => {
            let after = Duration::from_millis(after_ms.parse()?);
            serve::run(port.parse()?, after, stamp.first().map(std::path::Path::new))
        }
        ["idle", to, n] => load(Way::Kept, to, n)?.idle(|| println!("idle")),
        ["saturate", way, to, n, lasts] => {
            println!("{}", load(self::way(way)?, to, n)?.saturate(seconds(lasts)?)?);
            Ok(())
        }
        ["pour", to, n, lasts] => {
            println!("{}", load::pour(address(to)?, n.parse()?, seconds(lasts)?)?);
            Ok(())
        }
        ["pace", way, to, n, rate, lasts] => {
            let load = load(self::way(way)?, to, n)?;
            let mut latencies = load.pace(rate.parse()?, seconds(lasts)?)?;
            latencies.sort_by(f64::total_cmp);
            for share in [0.5, 0.99] {
                let at = (share * latencies.len() as f64) as usize;
                println!("{}", latencies.get(at).context("nothing was answered")?);
            }
            Ok(())
        }
        _ => bail!("unknown arguments {args:?}"),
    }
}

fn load(way: Way, to: &str, n: &str) -> Result<Load> {
    Load::new(address(to)?, way, n.parse()?)
}

fn way(name: &str) -> Result<Way> {
    match name {
        "kept" => Ok(Way::Kept),
        "new" => Ok(Way::New),
        _ => bail!("`{name}` is neither `kept` nor `new`"),
    }
}

fn address(text: &str) -> Result<SocketAddr> {
    text.parse().with_context(|| format!("`{text}` is no address"))
}

fn seconds(text: &str) -> Result<Duration> {
    Ok(Duration::from_secs_f64(text.parse()?))
}
