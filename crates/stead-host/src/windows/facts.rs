//! What this host is and has, as `stead check` asks for it: in the lines of the script by which a
//! host with Linux tells it. Nothing is changed, and nothing is read that is translated.

mod accounts;
mod listeners;
mod machine;
mod registry;
mod services;
mod settings;
mod volume;

use std::fmt::Display;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use stead_core::check::from_word;

use crate::error::ServiceError;

/// Tells everything, and what is asked for by these words; its time right after an answer comes in.
pub fn tell_facts(
    root: &Path,
    questions: &[String],
    from: &mut dyn BufRead,
    to: &mut dyn Write,
) -> Result<(), ServiceError> {
    tell(root, questions, from, to).map_err(|error| ServiceError {
        step: "tell what this host is and has".into(),
        why: error.to_string(),
        try_this: "`stead check` from where the fleet file is".into(),
    })
}

fn tell(
    root: &Path,
    words: &[String],
    from: &mut dyn BufRead,
    to: &mut dyn Write,
) -> io::Result<()> {
    let questions: Vec<String> = words.iter().filter_map(|word| from_word(word)).collect();
    let asked = |kind: &str| -> Vec<&str> {
        let of_kind = questions.iter().filter_map(|it| it.strip_prefix(kind));
        of_kind.filter_map(|it| it.strip_prefix(':')).collect()
    };
    let ports: Vec<u16> = asked("port").iter().filter_map(|port| port.parse().ok()).collect();
    to.write_all(b"stead-facts\nstead-clock\n")?;
    to.flush()?;
    // Asked for and answered at once: half of the time between the two bounds the error.
    if from.read_line(&mut String::new())? == 0 {
        return Ok(());
    }
    let mut told = Told { to };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    told.say("clock", format_args!("{}.{:09}", now.as_secs(), now.subsec_nanos()))?;
    told.to.flush()?;
    machine::tell(&mut told)?;
    volume::tell(&mut told, root)?;
    listeners::tell(&mut told, root, &ports)?;
    accounts::tell(&mut told, &asked("user"), &asked("group"))?;
    for path in asked("path") {
        let key = if Path::new(path).exists() { "path" } else { "no_path" };
        told.say(key, path)?;
    }
    services::tell(&mut told)?;
    settings::tell(&mut told, root, &ports)?;
    told.to.write_all(b"stead-end\n")?;
    told.to.flush()
}

/// Where lines of `key=value` go.
struct Told<'a> {
    to: &'a mut dyn Write,
}

impl Told<'_> {
    fn say(&mut self, key: &str, value: impl Display) -> io::Result<()> {
        let value = value.to_string().replace(['\r', '\n'], " ");
        writeln!(self.to, "{key}={value}")
    }

    /// Nothing of what is not known.
    fn say_known(&mut self, key: &str, value: Option<impl Display>) -> io::Result<()> {
        value.map_or(Ok(()), |value| self.say(key, value))
    }

    fn say_whether(&mut self, key: &str, is_so: bool) -> io::Result<()> {
        self.say(key, if is_so { "yes" } else { "no" })
    }
}
