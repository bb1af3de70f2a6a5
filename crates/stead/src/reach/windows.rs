//! The way to a host with Windows. Its login shell may be cmd or PowerShell: what it is told to run
//! is a line for cmd in either case. No shell there takes a program from a stream, so programs are
//! brought by SFTP, which the same server speaks.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Stdio;

use stead_fleet::Address;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::{KIT_WITHIN, Purpose, ReachError, Way, quote, silent, ssh, ssh_words};
use crate::kit::Kit;

/// Its root, if none is named.
const ROOT: &str = r"%ProgramData%\stead";

/// What is run there, or what is told if that cannot be.
pub(super) fn begin(way: &Way, purpose: Purpose, kit: &Kit) -> Command {
    run(way, &first(&root(way), purpose, kit.digest()))
}

/// The same, once the programs were brought.
pub(super) fn begin_brought(way: &Way, kit: &Kit) -> Command {
    run(way, &brought(&root(way), kit.digest()))
}

fn root(way: &Way) -> String {
    let told = way.root_text();
    if told.is_empty() { ROOT.into() } else { told.replace('/', r"\") }
}

fn relay(root: &str, kit: &str) -> (String, String) {
    let program = format!(r"{root}\programs\{kit}\stead.exe");
    (format!("{program} --root {root} relay"), program)
}

fn first(root: &str, purpose: Purpose, kit: &str) -> String {
    let (run, program) = relay(root, kit);
    let otherwise = match purpose {
        Purpose::Change => "echo stead-wants windows %PROCESSOR_ARCHITECTURE%".to_owned(),
        // The name of the kit that the agent is of is in a file.
        Purpose::Look => {
            let current = format!(r"{root}\programs\current");
            let (run, _) = relay(root, "%k");
            format!("if exist {current} (for /f %k in ({current}) do @{run}) else echo stead-none")
        }
    };
    format!("if exist {program} ({run}) else {otherwise}")
}

fn brought(root: &str, kit: &str) -> String {
    let (run, _) = relay(root, kit);
    let folder = folder(kit);
    format!(r"{folder}\stead.exe --root {root} agent put {kit} && rd /s /q {folder} & {run}")
}

/// Where programs are brought to: below the home of whoever logs in, where lines are run and SFTP
/// begins.
fn folder(kit: &str) -> String {
    format!("stead-{kit}")
}

fn run(way: &Way, line: &str) -> Command {
    match &way.address {
        // The programs for this very machine are those that run.
        Address::Local => {
            let own = std::env::current_exe().unwrap_or_else(|_| "stead".into());
            let mut command = Command::new(own);
            if let Some(root) = &way.root {
                command.arg("--root").arg(root);
            }
            command.arg("relay");
            command
        }
        Address::Ssh(address) => {
            let mut command = ssh();
            // Quotes are taken off by either shell, and what is between them is for cmd alone.
            command.args(["--", address, &format!("cmd /d /c \"{line}\"")]);
            command
        }
    }
}

/// Brings the programs there.
pub(super) async fn bring(way: &Way, kit: &Kit) -> Result<(), ReachError> {
    let Address::Ssh(address) = &way.address else { return Ok(()) };
    let put = |why: String| ReachError::Put(why);
    let words = [ssh_words(), ["-s", "--", address, "sftp"].map(String::from).to_vec()].concat();
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    let mut command = Command::new("sftp");
    command.args(["-q", "-b", "-", "-D", &words.join(" ")]).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| put(format!("`sftp`: {error}")))?;
    let mut to = child.stdin.take().expect("it was asked for");
    // Where this fails, the other end says why.
    let _ = to.write_all(batch(kit).as_bytes()).await;
    drop(to);
    let ended = timeout(KIT_WITHIN, child.wait_with_output()).await;
    let output = ended.map_err(|_| silent(KIT_WITHIN))?.map_err(|error| put(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(put(format!("`sftp` ended with {}: {}", output.status, said.join("; "))))
}

/// What `sftp` is told to do. The folder may be there from one that was cut.
fn batch(kit: &Kit) -> String {
    let folder = folder(kit.digest());
    let mut batch = format!("-mkdir {folder}\n");
    for path in kit.paths() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let _ = writeln!(batch, "put {} {folder}/{name}", file(path));
    }
    batch
}

/// A path in words of `sftp`.
fn file(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', r"\\").replace('"', "\\\"");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_looks_for_the_programs_before_it_runs_them() {
        let own = r"if exist R\programs\aa\stead.exe (R\programs\aa\stead.exe --root R relay)";
        for (purpose, otherwise) in [
            (Purpose::Change, "echo stead-wants windows %PROCESSOR_ARCHITECTURE%"),
            (
                Purpose::Look,
                concat!(
                    r"if exist R\programs\current (for /f %k in (R\programs\current) do ",
                    r"@R\programs\%k\stead.exe --root R relay) else echo stead-none"
                ),
            ),
        ] {
            assert_eq!(first("R", purpose, "aa"), format!("{own} else {otherwise}"));
        }
        assert_eq!(
            brought("R", "aa").split(" & ").collect::<Vec<_>>(),
            [
                r"stead-aa\stead.exe --root R agent put aa && rd /s /q stead-aa",
                r"R\programs\aa\stead.exe --root R relay"
            ]
        );
    }

    #[test]
    fn paths_are_taken_by_sftp_as_they_are() {
        for (path, text) in [
            ("/a/b c", "\"/a/b c\""),
            (r"C:\kits\stead.exe", r#""C:\\kits\\stead.exe""#),
            ("/it\"s", "\"/it\\\"s\""),
        ] {
            assert_eq!(file(Path::new(path)), text);
        }
    }
}
