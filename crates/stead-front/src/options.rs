//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) const USAGE: &str = "usage: stead-front --control PATH [--listen ADDR:PORT] [options]

Joins TCP connections to the backends that it is told of over its control socket.

Listening sockets that it was handed (LISTEN_FDS) come first; without any it listens itself.

options:
  --control PATH      where it takes orders: one JSON value per line
  --listen ADDR:PORT  where it takes connections, if it was handed no socket
  --state PATH        keeps the set of backends here, for the next front
  --wait MS           how long a client is held while no backend takes it [10000]
  --backlog N         how many connections wait in the system before they are taken [4096]
  --version           print the version";

/// How long a client is held unless something else is asked for.
const WAIT: Duration = Duration::from_secs(10);

/// A day: longer is a slip of the hand.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What the command line asks for.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) control: PathBuf,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) state: Option<PathBuf>,
    pub(crate) wait: Duration,
    pub(crate) backlog: Option<i32>,
}

pub(crate) fn parse(args: &[String]) -> Result<Options, String> {
    let (mut control, mut listen, mut state, mut backlog) = (None, None, None, None);
    let mut wait = WAIT;
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("`{arg}` needs a value"));
        match arg.as_str() {
            "--backlog" => backlog = Some(number(arg, value()?, i32::MAX as u64)? as i32),
            "--control" => control = Some(PathBuf::from(value()?)),
            "--listen" => listen = Some(address(value()?)?),
            "--state" => state = Some(PathBuf::from(value()?)),
            "--wait" => {
                let ms = number(arg, value()?, WAIT_MAX.as_millis() as u64)?;
                wait = Duration::from_millis(ms);
            }
            _ => return Err(format!("unknown argument `{arg}`")),
        }
    }
    let control = control.ok_or("`--control` is missing")?;
    Ok(Options { control, listen, state, wait, backlog })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address and port, like `127.0.0.1:8080`"))
}

fn number(arg: &str, text: &str, max: u64) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number <= max);
    number.ok_or_else(|| format!("`{arg}` takes a number up to {max}, not `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_text(text: &str) -> Result<Options, String> {
        parse(&text.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_wrong_command_line_is_named() {
        for (text, said) in [
            ("", "`--control` is missing"),
            ("--control", "`--control` needs a value"),
            ("--control x --what", "unknown argument `--what`"),
            ("--control x --listen 80", "`80` is not an address and port"),
            ("--control x --wait 5s", "`--wait` takes a number up to 86400000, not `5s`"),
            ("--control x --backlog -1", "`--backlog` takes a number"),
        ] {
            assert!(parse_text(text).unwrap_err().starts_with(said), "{text}");
        }
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        let options = parse_text("--control x").unwrap();
        assert_eq!((options.wait, options.listen, options.backlog), (WAIT, None, None));
        let options = parse_text("--control x --wait 0 --listen [::1]:0 --backlog 5").unwrap();
        assert_eq!((options.wait, options.backlog), (Duration::ZERO, Some(5)));
        assert_eq!(options.listen, Some("[::1]:0".parse().unwrap()));
    }
}
