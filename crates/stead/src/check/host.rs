//! One host: its facts are asked for, and what is safe to is mended.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stead_core::check::{Facts, Mend, Needs};
use stead_fleet::Address;

use crate::reach::{ReachError, Said, Way, run_script};

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
pub(super) async fn facts(way: &Way, needs: &Needs) -> Result<Facts, ReachError> {
    let (root, questions) = (way.root_text(), needs.questions());
    let tries_sudo = way.sudo && way.address != Address::Local;
    let (text, first) = if tries_sudo { (RISE, FACTS) } else { (FACTS, "unasked") };
    let words = [first, &root].into_iter().chain(questions.iter().map(String::as_str));
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
    // Whether it is refused is found out there: that is no reason not to look.
    let way = Way { sudo: false, ..way.clone() };
    let words: Vec<&str> = words.collect();
    let said = run_script(&way, (text, &words), FACTS_WITHIN, answer).await?;
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
