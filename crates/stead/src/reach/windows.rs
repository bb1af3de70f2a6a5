//! The way to a host with Windows. Its login shell may be cmd or PowerShell: what it is told to run
//! is a line for cmd in either case. No shell there takes a program from a stream, so programs are
//! brought by SFTP, which the same server speaks.

use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
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
use crate::kit::{self, Kit};

/// Its root, if none is named.
const ROOT: &str = r"%ProgramData%\stead";

/// What is run there, or what is told if that cannot be.
pub(super) fn begin(way: &Way, purpose: Purpose, kit: &Kit) -> Command {
    run(way, &first(&root(way), purpose, kit.digest()))
}

/// The same, once the programs were brought to this folder.
pub(super) fn begin_brought(way: &Way, kit: &Kit, folder: &str) -> Command {
    run(way, &brought(&root(way), kit.digest(), folder))
}

fn root(way: &Way) -> String {
    let told = way.root_text();
    if told.is_empty() { ROOT.into() } else { told.replace('/', r"\") }
}

/// What whoever logs in has noted once a root was found to be closed to others, as it was told.
/// Before that nothing is run from there: any user may make `%ProgramData%\stead`.
fn mark(root: &str) -> String {
    blake3::hash(root.to_lowercase().as_bytes()).to_hex()[..MARK_LEN].to_owned()
}

/// So much of the digest of a root's path is its mark.
const MARK_LEN: usize = 16;

/// One thing or another, by whether the root was found to be closed to others.
fn if_closed(root: &str, then: &str, otherwise: &str) -> String {
    let (key, mark) = (kit::MARKS, mark(root));
    format!("reg query {key} /v {mark} >nul 2>nul & if errorlevel 1 ({otherwise}) else {then}")
}

fn relay(root: &str, kit: &str) -> (String, String) {
    let program = format!(r"{root}\programs\{kit}\stead.exe");
    (format!("{program} --root {root} relay"), program)
}

fn first(root: &str, purpose: Purpose, kit: &str) -> String {
    let (run, program) = relay(root, kit);
    let (lacking, otherwise) = match purpose {
        Purpose::Change => {
            let lacking = format!("echo {WANTS}%PROCESSOR_ARCHITECTURE%");
            (lacking.clone(), lacking)
        }
        // The name of the kit that the agent is of is in a file.
        Purpose::Look => {
            let (none, current) = ("echo stead-none", format!(r"{root}\programs\current"));
            let (run, _) = relay(root, "%k");
            let look =
                format!("if exist {current} (for /f %k in ({current}) do @{run}) else {none}");
            (none.to_owned(), look)
        }
    };
    if_closed(root, &format!("if exist {program} ({run}) else {otherwise}"), &lacking)
}

fn brought(root: &str, kit: &str, folder: &str) -> String {
    let ((run, _), mark) = (relay(root, kit), mark(root));
    let put = format!(r"{folder}\stead.exe --root {root} agent put {kit} {mark}");
    format!("{put} && (rd /s /q {folder} & {run}) || if exist {folder} rd /s /q {folder}")
}

/// Where programs are brought to: below the home of whoever logs in, where lines are run and SFTP
/// begins. Each time another one, so that two who come at a time are not in each other's way.
fn new_folder() -> String {
    let chance = RandomState::new().hash_one(std::process::id());
    format!("stead-brought-{chance:016x}")
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
    let (words, folder) = (words(questions), new_folder());
    let (there, there_now, gone) = facts_lines(&root(way), kit.digest(), &words, &folder);
    let mut wanted = None;
    let mut hear = |line: &str| {
        wanted = wanted.take().or_else(|| line.strip_prefix(WANTS).map(ToOwned::to_owned));
        answer(line)
    };
    let said = converse(over_ssh(address, &there), within, &mut hear).await?;
    let Some(machine) = wanted else { return Ok(said) };
    fits(way.os, "windows", &machine)?;
    let said = match bring_to(address, &folder, &kit.files()[..1]).await {
        Ok(()) => converse(over_ssh(address, &there_now), within, answer).await,
        Err(error) => Err(error),
    };
    let is_whole = |said: &Said| said.text.windows(END.len()).any(|part| part == END.as_bytes());
    if !said.as_ref().is_ok_and(is_whole) {
        // What was cut off has not removed it.
        let _ = converse(over_ssh(address, &gone), REMOVED_WITHIN, &mut |_| None).await;
    }
    said
}

/// What a host says that has no programs of stead's, before its processor.
const WANTS: &str = "stead-wants windows ";

/// The last that is told of a host.
const END: &str = "stead-end";

/// Lines by which a host tells its facts if it has the programs, tells them by what was brought
/// for that and removes it, and removes it.
fn facts_lines(root: &str, kit: &str, words: &str, folder: &str) -> (String, String, String) {
    let program = format!(r"{root}\programs\{kit}\stead.exe");
    let told = format!("--root {root} facts{words}");
    let lacking = format!("echo {WANTS}%PROCESSOR_ARCHITECTURE%");
    let there = format!("if exist {program} ({program} {told}) else {lacking}");
    (
        if_closed(root, &there, &lacking),
        format!(r"{folder}\stead.exe {told} & rd /s /q {folder}"),
        format!("if exist {folder} rd /s /q {folder}"),
    )
}

/// Questions as words of a line, each after a space.
fn words(questions: &[String]) -> String {
    questions.iter().map(|question| format!(" {}", to_word(question))).collect()
}

/// Brings the programs there, and says to which folder.
pub(super) async fn bring(way: &Way, kit: &Kit) -> Result<String, ReachError> {
    let folder = new_folder();
    let Address::Ssh(address) = &way.address else { return Ok(folder) };
    let brought = bring_to(address, &folder, &kit.files()).await;
    if brought.is_err() {
        let gone = format!("if exist {folder} rd /s /q {folder}");
        let _ = converse(over_ssh(address, &gone), REMOVED_WITHIN, &mut |_| None).await;
    }
    brought.map(|()| folder)
}

/// Brings files to a new folder there, each under its name.
async fn bring_to(address: &str, folder: &str, files: &[(&str, &Path)]) -> Result<(), ReachError> {
    let put = |why: String| ReachError::Put(why);
    let words = [ssh_words(), ["-s", "--", address, "sftp"].map(String::from).to_vec()].concat();
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    let mut command = Command::new("sftp");
    command.args(["-q", "-b", "-", "-D", &words.join(" ")]).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| put(format!("`sftp`: {error}")))?;
    let mut to = child.stdin.take().expect("it was asked for");
    // Where this fails, the other end says why.
    let _ = to.write_all(batch(folder, files).as_bytes()).await;
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

/// What `sftp` is told to do.
fn batch(folder: &str, files: &[(&str, &Path)]) -> String {
    let mut batch = format!("mkdir {folder}\n");
    for (name, path) in files {
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
    fn a_line_runs_programs_only_where_the_root_was_found_closed_and_they_are_there() {
        let own = r"if exist R\programs\aa\stead.exe (R\programs\aa\stead.exe --root R relay)";
        let wants = "echo stead-wants windows %PROCESSOR_ARCHITECTURE%";
        let current = concat!(
            r"if exist R\programs\current (for /f %k in (R\programs\current) do ",
            r"@R\programs\%k\stead.exe --root R relay) else echo stead-none"
        );
        for (purpose, lacking, otherwise) in
            [(Purpose::Change, wants, wants), (Purpose::Look, "echo stead-none", current)]
        {
            let closed = format!(r"reg query HKCU\SOFTWARE\stead /v {} >nul 2>nul", mark("R"));
            let chosen = format!("if errorlevel 1 ({lacking}) else {own} else {otherwise}");
            assert_eq!(first("R", purpose, "aa"), format!("{closed} & {chosen}"));
        }
        let put = format!(r"b\stead.exe --root R agent put aa {}", mark("R"));
        let then = r"(rd /s /q b & R\programs\aa\stead.exe --root R relay)";
        let brought = brought("R", "aa", "b");
        assert_eq!(brought, format!("{put} && {then} || if exist b rd /s /q b"));
        assert_eq!(mark("R"), mark("r"), "paths that differ by case alone are one");
        assert_ne!(mark("R"), mark("Q"));
    }

    #[test]
    fn what_is_brought_for_facts_alone_goes_with_the_line_that_runs_it() {
        let questions = ["port:8100".into(), r"user:NT AUTHORITY\x".into()];
        let words = words(&questions);
        assert_eq!(words, " port:8100 x:757365723a4e5420415554484f524954595c78");
        let (there, there_now, gone) = facts_lines("R", "aa", &words, "b");
        let program = r"R\programs\aa\stead.exe";
        let otherwise = "echo stead-wants windows %PROCESSOR_ARCHITECTURE%";
        let told = format!("--root R facts{words}");
        let runs = format!("if exist {program} ({program} {told}) else {otherwise}");
        assert!(there.ends_with(&format!("if errorlevel 1 ({otherwise}) else {runs}")), "{there}");
        assert_eq!(there_now, format!(r"b\stead.exe --root R facts{words} & rd /s /q b"));
        assert_eq!(gone, "if exist b rd /s /q b");
        let one = [("stead.exe", Path::new("/kits/stead-0.1.exe"))];
        let expected = "mkdir b\nput \"/kits/stead-0.1.exe\" b/stead.exe\n";
        assert_eq!(batch("b", &one), expected);
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
