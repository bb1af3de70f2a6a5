//! What `/proc` says of processes.

use std::fs::{self, File};
use std::io::{self, Read};

/// One line of `/proc/PID/stat`, as far as it is needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    pub(crate) zombie: bool,
    pub(crate) parent: u32,
    pub(crate) session: u32,
    /// User and system time of the process and its reaped children, in clock ticks.
    pub(crate) cpu_ticks: u64,
    /// Clock ticks from boot to its start.
    pub(crate) start_ticks: u64,
}

/// More than any line of `/proc/PID/stat` has: 52 numbers and a name.
const STAT_LEN_MAX: usize = 2048;
/// The part of a process's environment that is looked at.
const ENVIRON_LEN_MAX: usize = 256 << 10;
/// Processes that a look expects; more only cost a copy.
const PROCESSES_EXPECTED: usize = 1024;

/// Reads one process; `NotFound` when there is none.
pub(crate) fn stat(pid: u32) -> io::Result<Stat> {
    // On the stack: a keeper that looked at every process once should not keep the pages for it.
    let mut buffer = [0; STAT_LEN_MAX];
    let mut file = File::open(format!("/proc/{pid}/stat")).map_err(vanished)?;
    let len = file.read(&mut buffer).map_err(vanished)?;
    parse_stat(&buffer[..len]).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// A process that ends while it is read gives ESRCH; that is the same as not being there.
fn vanished(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ESRCH) => io::Error::from(io::ErrorKind::NotFound),
        _ => error,
    }
}

fn parse_stat(text: &[u8]) -> Option<Stat> {
    // The name may hold anything, so everything is counted from its last parenthesis.
    let name_end = text.iter().rposition(|b| *b == b')')?;
    let pid_end = text.iter().position(|b| *b == b' ')?;
    let pid = std::str::from_utf8(&text[..pid_end]).ok()?.parse().ok()?;
    let rest = std::str::from_utf8(&text[name_end + 1..]).ok()?;
    // Field 3, the state, is the first here.
    let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3);
    let number = |at: usize| field(at)?.parse::<u64>().ok();
    let small = |at: usize| u32::try_from(number(at)?).ok();
    Some(Stat {
        pid,
        zombie: matches!(field(3)?, "Z" | "X"),
        parent: small(4)?,
        session: small(6).unwrap_or(0),
        cpu_ticks: number(14)? + number(15)?,
        start_ticks: number(22)?,
    })
}

/// Every process there is; those that end while it looks are left out.
pub(crate) fn all() -> io::Result<Vec<Stat>> {
    let mut found = Vec::with_capacity(PROCESSES_EXPECTED);
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        match stat(pid) {
            Ok(stat) => found.push(stat),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// A look at the environments that processes were started with.
pub(crate) struct Environments {
    buffer: Vec<u8>,
}

impl Environments {
    pub(crate) fn new() -> Self {
        Self { buffer: Vec::with_capacity(ENVIRON_LEN_MAX) }
    }

    /// What follows this prefix in one of the variables of a process.
    pub(crate) fn after(&mut self, pid: u32, prefix: &[u8]) -> Option<&[u8]> {
        self.buffer.clear();
        let file = File::open(format!("/proc/{pid}/environ")).ok()?;
        file.take(ENVIRON_LEN_MAX as u64).read_to_end(&mut self.buffer).ok()?;
        self.buffer.split(|b| *b == 0).find_map(|entry| entry.strip_prefix(prefix))
    }

    /// Whether a process has this `NAME=value`.
    pub(crate) fn holds(&mut self, pid: u32, variable: &[u8]) -> bool {
        self.after(pid, variable).is_some_and(<[u8]>::is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_and_spaces_shifts_no_field() {
        let text = b"42 (a) R 9 (\xff)) S 7 42 41 0 -1 0 0 0 0 0 3 4 0 0 20 0 1 0 555 0 0";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.pid, stat.parent, stat.session), (42, 7, 41));
        assert_eq!((stat.cpu_ticks, stat.start_ticks, stat.zombie), (7, 555, false));
    }

    #[test]
    fn what_is_cut_off_is_not_guessed() {
        for text in [&b""[..], b"42", b"42 (a)", b"42 (a) S 7"] {
            assert!(parse_stat(text).is_none());
        }
    }
}
