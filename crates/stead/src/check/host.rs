//! One host: its facts are asked for, and what is safe to is mended.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stead_core::check::{Facts, Mend, Needs};
use stead_fleet::{Address, Os};

use crate::kit::Kit;
use crate::reach::{ReachError, Said, Way, run_facts, run_script};

const FACTS: &str = include_str!("facts.sh");
const MEND: &str = include_str!("mend.sh");
const RISE: &str = include_str!("rise.sh");

/// How long a host may take to say all: what hangs there is not waited for.
const FACTS_WITHIN: Duration = Duration::from_secs(60);

/// How long a host may take to mend all.
const MENDS_WITHIN: Duration = Duration::from_secs(120);

/// The line by which the script asks to be answered, to tell its time right then.
const CLOCK: &str = "stead-clock";

/// Asks a host for everything that matters to what is needed of it.
pub(super) async fn facts(way: &Way, kit: &Kit, needs: &Needs) -> Result<Facts, ReachError> {
    let questions = needs.questions();
    let mut times_ms = [None; 2];
    let answer = |line: &str| {
        let [asked, answered] = &mut times_ms;
        if line == CLOCK {
            *asked = Some(now_ms());
            return Some("go\n");
        }
        if line.starts_with("clock=") && answered.is_none() {
            *answered = Some(now_ms());
        }
        None
    };
    let said = match way.os {
        Os::Linux => {
            let (root, tries_sudo) = (way.root_text(), way.sudo && way.address != Address::Local);
            let (text, first) = if tries_sudo { (RISE, FACTS) } else { (FACTS, "unasked") };
            let words = [first, &root].into_iter().chain(questions.iter().map(String::as_str));
            let words: Vec<&str> = words.collect();
            // Whether it is refused is found out there: that is no reason not to look.
            let way = Way { sudo: false, ..way.clone() };
            run_script(&way, (text, &words), FACTS_WITHIN, answer).await?
        }
        Os::Windows => run_facts(way, kit, &questions, FACTS_WITHIN, answer).await?,
    };
    let mut facts = Facts::parse(after(&said, "stead-facts"));
    if !facts.is_whole {
        return Err(ReachError::Unreachable(said.complaints));
    }
    if let ([Some(asked_ms), Some(answered_ms)], Some(clock)) = (times_ms, facts.clock) {
        facts.offset = Some(clock.offset(asked_ms, answered_ms));
    }
    Ok(facts)
}

/// Mends these, and says of each how it went.
pub(super) async fn mend(
    way: &Way,
    mends: &BTreeSet<Mend>,
) -> Result<Vec<(Option<Mend>, Result<(), String>)>, ReachError> {
    let words: Vec<String> = mends.iter().map(Mend::word).collect();
    let told: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = run_script(way, (MEND, &told), MENDS_WITHIN, |_| None).await?;
    let text = String::from_utf8_lossy(after(&said, "stead-mends")).into_owned();
    let how = |word: &str| {
        for line in text.lines() {
            if line.strip_prefix("done=") == Some(word) {
                return Ok(());
            }
            let failed = line.strip_prefix("failed=").and_then(|it| it.strip_prefix(word));
            if let Some(why) = failed.and_then(|why| why.strip_prefix(' ')) {
                return Err(why.trim().to_owned());
            }
        }
        Err(said.complaints.clone())
    };
    Ok(mends.iter().map(|mend| (Some(mend.clone()), how(&mend.word()))).collect())
}

/// What is said after this line: a shell may greet.
fn after<'a>(said: &'a Said, line: &str) -> &'a [u8] {
    let mut rest = said.text.as_slice();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (first, next) = rest.split_at(end + 1);
        rest = next;
        if first.trim_ascii_end() == line.as_bytes() {
            break;
        }
    }
    rest
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    use std::time::Instant;
    use stead_core::check::System;

    /// Shells that are `sh` somewhere.
    const SHELLS: [&[&str]; 4] = [&["sh"], &["dash"], &["bash", "--posix"], &["busybox", "ash"]];

    fn said(shell: &[&str], path: Option<&str>, words: &[&str]) -> Option<Facts> {
        let program = shell[0];
        let folders = ["/bin", "/usr/bin"].map(|folder| format!("{folder}/{program}"));
        let program = folders.into_iter().find(|it| std::path::Path::new(it).is_file())?;
        let mut command = Command::new(program);
        command.args(&shell[1..]).args(["-c", FACTS, "stead"]).args(words);
        command.envs(path.map(|path| ("PATH", path)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let output = child.wait_with_output().unwrap();
        if path.is_none() {
            assert!(output.stderr.is_empty(), "{shell:?}: {output:?}");
        }
        Some(Facts::parse(&output.stdout))
    }

    #[test]
    fn every_shell_tells_the_same_of_a_host_and_its_listener() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = [format!("port:{port}"), "user:no-such-user".into(), "path:/no/such".into()];
        let mut words = vec!["unasked", "/no-such-root/stead"];
        words.extend(asked.iter().map(String::as_str));
        let told = SHELLS.iter().filter_map(|shell| said(shell, None, &words));
        let told: Vec<Facts> = told.collect();
        for facts in &told {
            assert!(facts.is_whole && facts.clock.is_some());
            assert_eq!(facts.uid, Some(stead_proc::own_uid()));
            assert_eq!(facts.root_on.as_deref(), Some("/"));
            assert_eq!(facts.users_missing.len() + facts.paths_missing.len(), 2);
            let listener = &facts.listeners[0];
            assert_eq!((listener.port, listener.is_everywhere), (port, false));
            assert_eq!(listener.pid, std::process::id());
            let same = |facts: &Facts| {
                let f = facts.clone();
                (f.mount_point, f.mount_options, f.file_system, f.settings, f.local_ports, f.glibc)
            };
            assert_eq!(same(facts), same(&told[0]));
        }
    }

    #[test]
    fn a_host_that_lacks_every_tool_still_tells_the_rest() {
        for shell in SHELLS {
            let facts = said(shell, Some("/no-such-folder"), &["unasked", "", "user:root"]);
            assert!(facts.is_none_or(|facts| facts.is_whole), "{shell:?}");
        }
    }

    #[tokio::test]
    async fn what_is_asked_at_once_is_sure_and_what_cannot_be_mended_is_told() {
        let way = Way { address: Address::Local, os: Os::here(), root: None, sudo: false };
        let plan = stead_core::plan::Plan {
            fleet: "shop".parse().unwrap(),
            host: "vm1".parse().unwrap(),
            instances: std::collections::BTreeMap::new(),
        };
        let needs = Needs {
            plan,
            system: System::Linux,
            machine: "x86_64",
            is_remote: false,
            release_bytes: 0,
            programs: Vec::new(),
            signatures: Vec::new(),
        };
        let began = Instant::now();
        let facts = facts(&way, &Kit::empty(), &needs).await.unwrap();
        let offset = facts.offset.unwrap();
        assert!(offset.ms.unsigned_abs() <= offset.within_ms);
        assert!(u128::from(offset.within_ms) <= began.elapsed().as_millis() + 1);
        // A name that no system takes.
        let mends = [Mend::User("no:such".into())].into();
        let how = mend(&way, &mends).await.unwrap();
        assert!(matches!(how.as_slice(), [(Some(Mend::User(_)), Err(why))] if !why.is_empty()));
    }
}
