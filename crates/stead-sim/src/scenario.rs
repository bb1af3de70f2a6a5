//! A story of a rollout as a text, with all that comes of it below.
//!
//! ```text
//! # What this story claims, in a sentence
//! hosts 3
//! release v1 good
//! release v2 crashes on h0
//! pace canary=1 wave=50% bake=2s
//! at 0s a deploys v2
//! when h0 is switched a dies
//! at 5s b resumes
//! at 40s end
//! ---
//!   0.000  a deploys v2
//! ```
//!
//! All hosts serve v1 at first. Messages and writes take 5 ms each, and what is brought to a host
//! 1 s; nothing is left to chance. Each line of the output is something asked (`->`), an answer
//! (`<-`), a stage that a host has reached, or what an operator says in the end. Looking whether a
//! host works, and keeping it, is told only where the answer is another than before.

use core::time::Duration;

use stead_core::rollout::{Pace, Wave};

use crate::plan::{Broken, Fault, Kind, Plan, Task};
use crate::script::{Script, Stage, When};
use crate::world::run;
use crate::{Ms, Version};

/// Between what happens and what comes of it.
const LINE: &str = "---\n";

const STATEMENTS: &str = "`hosts 3`, `release v2 crashes`, `pace bake=2s`, `leave out gate`, \
                          `at 0s a deploys v2`, `when h0 is switched a dies` or `at 40s end`";
const KINDS: &str = "`good`, `crashes`, `is never ready` or `fails after 2s`, and `on h0 h1` \
                     behind it where it is so on these hosts only";
const PACES: &str = "`canary=1`, `wave=50%`, `unavailable=1`, `unreachable=1`, `bake=2s`, \
                     `ready-within=5s` or `commit-within=20s`";
const FAULTS: &str = "`a dies`, `a is interrupted`, `a sleeps for 9s`, `h0 has no power for 9s`, \
                      `h0 has no agent for 9s`, `h0 is cut off for 9s` or \
                      `h0 has a full disk for 9s`";

/// A story that can be played.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The story as it was written, without what comes of it.
    text: String,
    expected: String,
    plan: Plan,
}

/// Why a text is no story.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScenarioError {
    pub line_n: usize,
    pub because: String,
    pub try_this: String,
}

impl core::fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { line_n, because, try_this } = self;
        write!(f, "line {line_n}: {because}; write {try_this}")
    }
}

/// Why a line is no part of a story, and what to write.
type Said<T> = Result<T, (String, String)>;

fn wrong<T>(because: impl Into<String>, try_this: impl Into<String>) -> Said<T> {
    Err((because.into(), try_this.into()))
}

impl Scenario {
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let (story, expected) = match text.split_once(&format!("\n{LINE}")) {
            Some((story, expected)) => (format!("{story}\n"), expected.to_owned()),
            None => (text.to_owned(), String::new()),
        };
        let mut draft = Draft::default();
        let mut last_n = 0;
        for (line, line_n) in story.lines().zip(1..) {
            last_n = line_n;
            let at = |(because, try_this)| ScenarioError { line_n, because, try_this };
            draft.line(line, line_n).map_err(at)?;
        }
        let at = |(because, try_this)| ScenarioError { line_n: last_n + 1, because, try_this };
        let plan = draft.plan().map_err(at)?;
        Ok(Self { text: story, expected, plan })
    }

    /// What is said to come of it.
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// What comes of it.
    pub fn played(&self) -> String {
        let report = run(self.plan.clone(), true);
        let mut lines = report.trace;
        lines.extend(report.violation.map(|violation| violation.to_string()));
        lines.iter().map(|line| format!("{line}\n")).collect()
    }

    /// The whole text, with this as what comes of it.
    pub fn with(&self, played: &str) -> String {
        format!("{}{LINE}{played}", self.text)
    }
}

#[derive(Debug, Default)]
struct Draft {
    hosts_n: usize,
    pace: Option<Pace>,
    kinds: Vec<Vec<Kind>>,
    begun: Vec<(Ms, Task)>,
    faults: Vec<(Ms, Fault)>,
    broken: Option<Broken>,
    script: Script,
    /// Of the line before.
    at: Ms,
}

impl Draft {
    fn line(&mut self, line: &str, line_n: usize) -> Said<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        if self.script.end > 0 && !words.is_empty() {
            return wrong("nothing comes after the end", "it above `end`");
        }
        match words.as_slice() {
            ["#", _, ..] => Ok(()),
            _ if line_n == 1 => wrong("a story begins with what it claims", "`# A sentence`"),
            [] => Ok(()),
            ["hosts", number] => self.hosts(number),
            _ if self.hosts_n == 0 => wrong("nobody knows how many hosts there are", "`hosts 3`"),
            ["release", name, kind @ ..] => self.release(name, kind),
            ["pace", paces @ ..] => paces.iter().try_for_each(|pace| self.pace(pace)),
            ["leave", "out", name] => {
                let all = Broken::ALL.map(|it| format!("`{}`", it.name())).join(", ");
                let unknown = || (format!("`{name}` is no protection"), format!("one of {all}"));
                self.broken = Some(Broken::of_name(name).ok_or_else(unknown)?);
                Ok(())
            }
            ["at", at, happens @ ..] => self.happens(at, happens),
            ["when", host, "is", stage, fault @ ..] => self.when(host, stage, fault),
            _ => wrong(format!("`{line}` says nothing"), STATEMENTS),
        }
    }

    fn hosts(&mut self, number: &str) -> Said<()> {
        match number.parse() {
            Ok(number @ 1..=9) if self.hosts_n == 0 => self.hosts_n = number,
            Ok(_) if self.hosts_n > 0 => return wrong("hosts are there already", "`hosts` once"),
            Ok(_) | Err(_) => return wrong(format!("`{number}` is no number of hosts"), "1 to 9"),
        }
        Ok(())
    }

    fn release(&mut self, name: &str, words: &[&str]) -> Said<()> {
        let next = format!("v{}", self.kinds.len() + 1);
        if name != next {
            return wrong(format!("`{name}` is not the next release"), format!("`{next}`"));
        }
        let on = words.iter().position(|word| *word == "on").unwrap_or(words.len());
        let kind = match &words[..on] {
            ["good"] => Kind::Good,
            _ if self.kinds.is_empty() => {
                return wrong("v1 is there from the start", "`release v1 good`");
            }
            ["crashes"] => Kind::Crashes,
            ["is", "never", "ready"] => Kind::NeverReady,
            ["fails", "after", after] => Kind::FailsAfter(millis(after)?),
            other => return wrong(format!("`{}` is no release", other.join(" ")), KINDS),
        };
        let only = words.get(on + 1..).unwrap_or_default();
        let only = only.iter().map(|host| self.host(host)).collect::<Said<Vec<usize>>>()?;
        let is_there = |host: &usize| only.is_empty() || only.contains(host);
        let kinds = (0..self.hosts_n).map(|it| if is_there(&it) { kind } else { Kind::Good });
        self.kinds.push(kinds.collect());
        Ok(())
    }

    fn pace(&mut self, word: &str) -> Said<()> {
        let pace = self.pace.get_or_insert_with(default_pace);
        let no_pace = || (format!("`{word}` is no pace"), PACES.to_owned());
        let (name, value) = word.split_once('=').ok_or_else(no_pace)?;
        let number = || value.parse().map_err(|_| no_pace());
        let time = || millis(value).map(Duration::from_millis);
        match name {
            "canary" => pace.canary = number()?,
            "wave" => {
                pace.wave = value.parse().map_err(|error| {
                    (format!("`{value}` is no wave"), format!("`50%`: {error}"))
                })?;
            }
            "unavailable" => pace.unavailable_max = number()?,
            "unreachable" => pace.unreachable_max = number()?,
            "bake" => pace.bake = time()?,
            "ready-within" => pace.ready_within = time()?,
            "commit-within" => pace.commit_within = time()?,
            _ => return Err(no_pace()),
        }
        Ok(())
    }

    fn happens(&mut self, at: &str, words: &[&str]) -> Said<()> {
        let at = millis(at)?;
        if at < self.at {
            return wrong("what happens is told in the order of time", "it further above");
        }
        self.at = at;
        let task = match words {
            ["end"] if at == 0 => return wrong("it is over before it begins", "`at 40s end`"),
            ["end"] => {
                self.script.end = at;
                return Ok(());
            }
            [_, "deploys", version] => Task::Deploy(self.version(version)?),
            [_, "resumes"] => Task::Resume,
            fault => {
                self.faults.push((at, self.fault(fault)?));
                return Ok(());
            }
        };
        self.script.names.push(self.new_name(words[0])?);
        self.begun.push((at, task));
        Ok(())
    }

    fn when(&mut self, host: &str, stage: &str, fault: &[&str]) -> Said<()> {
        let host = self.host(host)?;
        let all = Stage::ALL.map(|it| format!("`{}`", it.name())).join(", ");
        let unknown = || (format!("`{stage}` is no stage"), format!("one of {all}"));
        let stage = Stage::ALL.into_iter().find(|it| it.name() == stage).ok_or_else(unknown)?;
        self.script.whens.push(When { host, stage, fault: self.fault(fault)? });
        Ok(())
    }

    fn fault(&self, words: &[&str]) -> Said<Fault> {
        Ok(match words {
            [who, "dies"] => Fault::OperatorDies { operator: self.operator(who)? },
            [who, "is", "interrupted"] => Fault::Interrupt { operator: self.operator(who)? },
            [who, "sleeps", "for", time] => {
                Fault::OperatorSleeps { operator: self.operator(who)?, lasts: millis(time)? }
            }
            [host, "has", "no", "power", "for", time] => {
                Fault::PowerLost { host: self.host(host)?, lasts: millis(time)? }
            }
            [host, "has", "no", "agent", "for", time] => {
                Fault::AgentDies { host: self.host(host)?, lasts: millis(time)? }
            }
            [host, "is", "cut", "off", "for", time] => {
                Fault::Cut { host: self.host(host)?, lasts: millis(time)? }
            }
            [host, "has", "a", "full", "disk", "for", time] => {
                Fault::DiskFull { host: self.host(host)?, lasts: millis(time)? }
            }
            other => {
                let try_this =
                    format!("{FAULTS}, or `a deploys v2`, `b resumes`, `end` after `at`");
                return wrong(format!("`{}` cannot happen", other.join(" ")), try_this);
            }
        })
    }

    fn host(&self, name: &str) -> Said<usize> {
        let number = name.strip_prefix('h').and_then(|number| number.parse().ok());
        match number.filter(|number| *number < self.hosts_n) {
            Some(host) => Ok(host),
            None => {
                let last = self.hosts_n - 1;
                wrong(format!("`{name}` is no host"), format!("one of `h0` to `h{last}`"))
            }
        }
    }

    fn version(&self, name: &str) -> Said<Version> {
        let number = name.strip_prefix('v').and_then(|number| number.parse::<usize>().ok());
        match number.filter(|number| (1..=self.kinds.len()).contains(number)) {
            Some(number) => Ok(Version::try_from(number - 1).expect("there are few")),
            None => wrong(format!("there is no `{name}`"), "`release v2 good` above"),
        }
    }

    fn operator(&self, name: &str) -> Said<usize> {
        match self.script.names.iter().position(|it| it == name) {
            Some(operator) => Ok(operator),
            None => {
                wrong(format!("`{name}` has not begun"), format!("`at 0s {name} resumes` above"))
            }
        }
    }

    fn new_name(&self, name: &str) -> Said<String> {
        if self.script.names.iter().any(|it| it == name) || self.host(name).is_ok() {
            return wrong(format!("`{name}` is there already"), "another name");
        }
        match name.chars().all(|char| char.is_ascii_alphanumeric()) {
            true => Ok(name.to_owned()),
            false => wrong(format!("`{name}` is no name"), "letters and digits"),
        }
    }

    fn plan(self) -> Said<Plan> {
        if self.kinds.is_empty() {
            return wrong("nothing is there from the start", "`release v1 good`");
        }
        if self.script.end == 0 {
            return wrong("it has no end", "`at 40s end`");
        }
        Ok(Plan {
            seed: 0,
            hosts_n: self.hosts_n,
            pace: self.pace.unwrap_or_else(default_pace),
            kinds: self.kinds,
            begun: self.begun,
            faults: self.faults,
            lost_permille: 0,
            delay_ms_max: 1,
            broken: self.broken,
            script: Some(self.script),
        })
    }
}

/// Where a story says nothing else.
fn default_pace() -> Pace {
    Pace {
        canary: 0,
        wave: Wave::Percent(100),
        unavailable_max: usize::MAX,
        unreachable_max: 0,
        bake: Duration::from_secs(1),
        ready_within: Duration::from_secs(5),
        commit_within: Duration::from_secs(20),
    }
}

fn millis(text: &str) -> Said<Ms> {
    let of = |unit: &str| text.strip_suffix(unit).and_then(|number| number.parse::<Ms>().ok());
    let millis = of("ms").or_else(|| of("s")?.checked_mul(1000));
    millis.ok_or_else(|| (format!("`{text}` is no time"), "`5s` or `500ms`".to_owned()))
}
