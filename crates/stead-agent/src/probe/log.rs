//! Waiting for a line of output.

use std::ops::ControlFlow;
use std::path::PathBuf;

use stead_core::names::InstanceName;

use super::Target;
use crate::logs::Query;

/// Whether the run has written a line that holds a text. Once it has, it has.
pub(super) struct LogWatch {
    instance: InstanceName,
    folder: PathBuf,
    since_us: u64,
    text: String,
    seen: Option<String>,
}

impl LogWatch {
    pub(super) fn new(target: &Target, text: &str) -> Self {
        Self {
            instance: target.instance.clone(),
            folder: target.folder.join("log"),
            since_us: target.since_us,
            text: text.to_owned(),
            seen: None,
        }
    }

    pub(super) async fn ask(&mut self) -> Result<String, String> {
        if let Some(line) = &self.seen {
            return Ok(line.clone());
        }
        let query = Query {
            instances: vec![(self.instance.clone(), self.folder.clone())],
            since_us: Some(self.since_us),
            pattern: Some(literal(&self.text)),
            ..Query::default()
        };
        let found = tokio::task::spawn_blocking(move || find(query)).await;
        self.seen = found.map_err(|error| error.to_string())??;
        let missing = || format!("it has not written a line with `{}`", self.text);
        self.seen.clone().ok_or_else(missing)
    }
}

fn find(query: Query) -> Result<Option<String>, String> {
    let mut found = None;
    let query = query.check().map_err(|error| error.to_string())?;
    let searched = query.run(&mut |line| {
        found = Some(line.line);
        ControlFlow::Break(())
    });
    searched.map_err(|error| format!("its output cannot be read: {error}"))?;
    Ok(found)
}

/// The pattern that only the text itself matches.
fn literal(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_as_it_is_written() {
        assert_eq!(literal("a.b (c) [d]"), "a\\.b \\(c\\) \\[d\\]");
    }
}
