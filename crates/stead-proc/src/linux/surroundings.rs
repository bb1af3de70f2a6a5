//! What programs find around them, and where state is kept.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::account::is_root;

/// Where programs are looked for unless somebody says otherwise.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A folder that is always there and that nobody wants to remove.
pub fn top_folder() -> PathBuf {
    PathBuf::from("/")
}

/// The variables that any program needs, and nothing of this one's own; `tmp` is its folder for
/// what need not last.
pub fn base_environment(_tmp: &Path) -> Vec<(String, OsString)> {
    vec![("PATH".into(), PATH_DEFAULT.into())]
}

/// Takes all of our environment from a command that it can do without.
pub fn bare(command: &mut Command) -> &mut Command {
    command.env_clear()
}

/// The folder with the state of programs that look after this host, where this one may do that,
/// else of this user's programs; `None` if nothing tells it.
pub fn state_folder() -> Option<PathBuf> {
    if is_root() {
        return Some("/var/lib".into());
    }
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").filter(|folder| folder.is_absolute());
    state.or_else(|| Some(set("HOME")?.join(".local/state")))
}

/// A line of commands for this system's own shell.
pub fn shell(line: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", line]);
    command
}
