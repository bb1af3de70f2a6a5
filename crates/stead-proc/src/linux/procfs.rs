//! What `/proc` says of processes.

use std::fs;
use std::io;

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

/// Reads one process; `NotFound` when there is none.
pub(crate) fn stat(pid: u32) -> io::Result<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).map_err(vanished)?;
    parse_stat(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
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
    let pid = std::str::from_utf8(text).ok().map_or_else(
        || std::str::from_utf8(text.split(|b| *b == b' ').next()?).ok()?.parse().ok(),
        |text| text.split(' ').next()?.parse().ok(),
    )?;
    let rest = std::str::from_utf8(&text[name_end + 1..]).ok()?;
    // Field 3, the state, is the first here.
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let small = |field: usize| u32::try_from(number(field)?).ok();
    Some(Stat {
        pid,
        zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: small(4)?,
        session: small(6).unwrap_or(0),
        cpu_ticks: number(14)? + number(15)?,
        start_ticks: number(22)?,
    })
}

/// Every process there is; those that end while it looks are left out.
pub(crate) fn all() -> io::Result<Vec<Stat>> {
    let mut found = Vec::new();
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

/// Whether the environment a process was started with holds this `NAME=value`.
pub(crate) fn has_variable(pid: u32, variable: &[u8]) -> bool {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ.split(|b| *b == 0).any(|entry| entry == variable)
}

/// What follows this prefix in the environment a process was started with.
pub(crate) fn variable_after(pid: u32, prefix: &[u8]) -> Option<Vec<u8>> {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ.split(|b| *b == 0).find_map(|entry| entry.strip_prefix(prefix)).map(<[u8]>::to_vec)
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
