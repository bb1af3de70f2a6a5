//! The way to a host with Windows. Its login shell may be cmd or PowerShell: what it is told to run
//! is a line for cmd in either case. No shell there takes a program from a stream, so programs are
//! brought by SFTP, which the same server speaks.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use stead_core::check::to_word;
use stead_fleet::Address;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::{
    Answer, KIT_WITHIN, Purpose, ReachError, Said, Way, converse, fits, quote, silent, ssh,
    ssh_words,
};
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
        Address::Local => own(way, "relay", &[]),
        Address::Ssh(address) => over_ssh(address, line),
    }
}

/// The programs for this very machine are those that run.
fn own(way: &Way, word: &str, more: &[String]) -> Command {
    let own = std::env::current_exe().unwrap_or_else(|_| "stead".into());
    let mut command = Command::new(own);
    if let Some(root) = &way.root {
        command.arg("--root").arg(root);
    }
    command.arg(word).args(more);
    command
}

fn over_ssh(address: &str, line: &str) -> Command {
    let mut command = ssh();
    // Quotes are taken off by either shell, and what is between them is for cmd alone.
    command.args(["--", address, &format!("cmd /d /c \"{line}\"")]);
    command
}

/// How long a host may take to remove what was brought to it for its facts.
const REMOVED_WITHIN: Duration = Duration::from_secs(30);

/// Has a host tell its facts, by programs that are there, or by one that is brought for that.
pub(super) async fn facts(
    way: &Way,
    kit: &Kit,
    questions: &[String],
    within: Duration,
    answer: Answer<'_>,
) -> Result<Said, ReachError> {
    let Address::Ssh(address) = &way.address else {
        return converse(own(way, "facts", questions), within, answer).await;
    };
    let words = words(questions);
    let (there, there_now, gone) = facts_lines(&root(way), kit.digest(), &words);
    let mut wanted = None;
    let mut hear = |line: &str| {
        wanted = wanted.take().or_else(|| line.strip_prefix(WANTS).map(ToOwned::to_owned));
        answer(line)
    };
    let said = converse(over_ssh(address, &there), within, &mut hear).await?;
    let Some(machine) = wanted else { return Ok(said) };
    fits(way.os, "windows", &machine)?;
    let folder = facts_folder(kit.digest());
    let said = match bring_to(address, &folder, &kit.paths()[..1]).await {
        Ok(()) => converse(over_ssh(address, &there_now), within, answer).await,
        Err(error) => Err(error),
    };
    if said.is_err() {
        // What was cut off has not removed it. If this fails too, the next look does.
        let _ = converse(over_ssh(address, &gone), REMOVED_WITHIN, &mut |_| None).await;
    }
    said
}

/// What a host says that has no programs of stead's, before its processor.
const WANTS: &str = "stead-wants windows ";

/// Lines by which a host tells its facts if it has the programs, tells them by what was brought
/// for that and removes it, and removes it.
fn facts_lines(root: &str, kit: &str, words: &str) -> (String, String, String) {
    let folder = facts_folder(kit);
    let program = format!(r"{root}\programs\{kit}\stead.exe");
    let told = format!("--root {root} facts{words}");
    (
        format!("if exist {program} ({program} {told}) else echo {WANTS}%PROCESSOR_ARCHITECTURE%"),
        format!(r"{folder}\stead.exe {told} & rd /s /q {folder}"),
        format!("if exist {folder} rd /s /q {folder}"),
    )
}

/// Where the program is brought to that tells facts alone.
fn facts_folder(kit: &str) -> String {
    format!("stead-check-{kit}")
}

/// Questions as words of a line, each after a space.
fn words(questions: &[String]) -> String {
    questions.iter().map(|question| format!(" {}", to_word(question))).collect()
}

/// Brings the programs there.
pub(super) async fn bring(way: &Way, kit: &Kit) -> Result<(), ReachError> {
    let Address::Ssh(address) = &way.address else { return Ok(()) };
    bring_to(address, &folder(kit.digest()), kit.paths()).await
}

/// Brings files to a folder there, which is made.
async fn bring_to(address: &str, folder: &str, paths: &[PathBuf]) -> Result<(), ReachError> {
    let put = |why: String| ReachError::Put(why);
    let words = [ssh_words(), ["-s", "--", address, "sftp"].map(String::from).to_vec()].concat();
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    let mut command = Command::new("sftp");
    command.args(["-q", "-b", "-", "-D", &words.join(" ")]).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| put(format!("`sftp`: {error}")))?;
    let mut to = child.stdin.take().expect("it was asked for");
    // Where this fails, the other end says why.
    let _ = to.write_all(batch(folder, paths).as_bytes()).await;
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
fn batch(folder: &str, paths: &[PathBuf]) -> String {
    let mut batch = format!("-mkdir {folder}\n");
    for path in paths {
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
    fn what_is_brought_for_facts_alone_goes_with_the_line_that_runs_it() {
        let questions = ["port:8100".into(), r"user:NT AUTHORITY\x".into()];
        let words = words(&questions);
        assert_eq!(words, " port:8100 x:757365723a4e5420415554484f524954595c78");
        let (there, there_now, gone) = facts_lines("R", "aa", &words);
        let program = r"R\programs\aa\stead.exe";
        let otherwise = "echo stead-wants windows %PROCESSOR_ARCHITECTURE%";
        let told = format!("--root R facts{words}");
        assert_eq!(there, format!("if exist {program} ({program} {told}) else {otherwise}"));
        assert_eq!(
            there_now,
            format!(r"stead-check-aa\stead.exe --root R facts{words} & rd /s /q stead-check-aa")
        );
        assert_eq!(gone, "if exist stead-check-aa rd /s /q stead-check-aa");
        let one = [PathBuf::from("/kits/stead.exe")];
        let expected = "-mkdir stead-check-aa\nput \"/kits/stead.exe\" stead-check-aa/stead.exe\n";
        assert_eq!(batch("stead-check-aa", &one), expected);
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
