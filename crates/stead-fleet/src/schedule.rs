//! The times of a service that does not run always.

use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use stead_core::plan::When;
use stead_core::schedule::{Overlap, Schedule, Times};

use crate::leaf::choice;
use crate::raw::RawSchedule;
use crate::read::{At, Bad, Field, FromText};
use crate::service::Part;
use crate::suggest::nearest;

/// Times as `cron` has them.
#[derive(Clone, Debug)]
pub(crate) struct CronText(pub String);

const FIELDS: &str = "minute 0 to 59, hour 0 to 23, day 1 to 31, month 1 to 12 or jan to dec, \
     day of the week 0 to 7 or sun to sat";

/// What the parser says, as the end of a sentence of ours.
fn plain(said: &str) -> String {
    let said = said.trim_start_matches("Component error: ").trim_end_matches('.');
    said.to_lowercase()
}

impl FromText for CronText {
    const WANTED: &'static str = "the times of cron";
    const EXAMPLE: &'static str = "30 2 * * *";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed);
        let cron = parser.build().parse(text).map_err(|error| {
            let because = match text.split_whitespace().count() {
                5 => format!("{}; {FIELDS}", plain(&error.to_string())),
                n => format!("it has {n} fields, and cron has five: {FIELDS}"),
            };
            Bad::new(because, None)
        })?;
        let start = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        match cron.find_next_occurrence(&start, false) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(Bad::new("no day is ever like that", None)),
        }
    }

    fn text_schema() -> Value {
        json!({ "type": "string", "examples": [Self::EXAMPLE, "0 9 * * mon-fri"] })
    }
}

/// A time zone.
#[derive(Clone, Debug)]
pub(crate) struct ZoneName(pub String);

impl FromText for ZoneName {
    const WANTED: &'static str = "the name of a time zone";
    const EXAMPLE: &'static str = "Europe/Berlin";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let known: Vec<String> = jiff::tz::db().available().map(|it| it.to_string()).collect();
        // A machine without a list of them cannot tell; each host says what it does not know.
        if known.is_empty() || known.iter().any(|name| name == text) {
            return Ok(Self(text.to_owned()));
        }
        let near = nearest(text, known.iter().map(String::as_str)).map(ToOwned::to_owned);
        Err(Bad::new("there is no time zone of that name", near))
    }
}

const OVERLAPS: [(&str, Overlap); 3] =
    [("skip", Overlap::Skip), ("queue", Overlap::Queue), ("replace", Overlap::Replace)];

impl FromText for Overlap {
    const WANTED: &'static str = "a word that says what happens while the last run goes on";
    const EXAMPLE: &'static str = "skip";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let elsewhere = [("forbid", "skip"), ("wait", "queue"), ("kill", "replace")];
        choice(text, &OVERLAPS, &elsewhere)
    }

    fn text_schema() -> Value {
        json!({ "enum": OVERLAPS.map(|(word, _)| word) })
    }
}

impl Part<'_, '_, '_> {
    /// Its times, `Some(None)` if it runs always.
    pub(crate) fn schedule(&mut self) -> Option<Option<Schedule>> {
        let At { span, value: raw } = match &self.raw.schedule {
            Field::Absent => return Some(None),
            Field::Bad => return None,
            Field::Given(at) => at,
        };
        self.check_runs_now_and_then();
        let RawSchedule { every, cron, zone, overlap, timeout, catch_up } = raw;
        if every.is_bad() || cron.is_bad() || zone.is_bad() {
            return None;
        }
        let path = self.path("schedule");
        let because = "it has its times by `every` or by `cron`";
        let times = match (every.value(), cron.value()) {
            (Some(every), None) => {
                if let Some(At { span, .. }) = zone.at() {
                    let what = format!("`{path}.zone` has no use");
                    let because = "an interval is the same in every time zone";
                    self.say(span, what, because, "leave `zone` out");
                }
                Times::Every { interval: every.0 }
            }
            (None, Some(cron)) => {
                let zone = zone.value().map(|zone| zone.0.clone());
                Times::Cron { text: cron.0.clone(), zone }
            }
            (None, None) => {
                let try_this = "`schedule = { cron = \"30 2 * * *\" }`";
                self.say(span, format!("`{path}` has no times"), because, try_this);
                return None;
            }
            (Some(_), Some(_)) => {
                let what = format!("`{path}` has two kinds of times");
                self.say(span, what, because, "leave one of them out");
                return None;
            }
        };
        Some(Some(Schedule {
            times,
            overlap: overlap.value().copied().unwrap_or_default(),
            timeout: timeout.value().map(|timeout| timeout.0),
            catch_up: catch_up.value().copied().unwrap_or(false),
        }))
    }

    /// What is for services that run always makes no sense for others.
    fn check_runs_now_and_then(&mut self) {
        let raw = self.raw;
        let because =
            "a service with a `schedule` runs now and then, and its runs end by themselves";
        let fields = [
            ("ready", raw.ready.at().map(|at| &at.span)),
            ("live", raw.live.at().map(|at| &at.span)),
            ("startup", raw.startup.at().map(|at| &at.span)),
            ("listen", raw.listen.at().map(|at| &at.span)),
            ("front", raw.front.at().map(|at| &at.span)),
            ("replace", raw.replace.at().map(|at| &at.span)),
        ];
        for (field, span) in fields {
            if let Some(span) = span {
                let what = format!("`{}` has no use", self.path(field));
                self.say(span, what, because, &format!("leave `{field}` or `schedule` out"));
            }
        }
        let when = raw.restart.value().and_then(|restart| restart.0.when.at());
        if let Some(At { span, value: When::Always }) = when {
            let what = format!("`{}` may not be `\"always\"`", self.path("restart"));
            let try_this = "`restart = \"failure\"`, or leave it out";
            self.say(span, what, because, try_this);
        }
    }
}
