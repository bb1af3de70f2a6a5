//! The text of a fleet file, with comments on what is missing.

/// The fields that tell what a service is; others follow as they were found.
const FIRST: [&str; 8] =
    ["run", "directory", "count", "port.http", "env", "inherit", "user", "group"];

/// Comments are no wider than this.
const COMMENT_WIDTH: usize = 100;

/// A service as it will be written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Imported {
    pub(super) name: String,
    /// What it was made from.
    pub(super) from: String,
    /// It runs on a host with Windows.
    pub(super) on_windows: bool,
    /// Keys and their values in TOML, in order.
    fields: Vec<(String, String)>,
    /// What could not be carried over, and what to do.
    pub(super) left: Vec<String>,
}

impl Imported {
    /// A service of nearly this name.
    pub(super) fn new(name: &str, from: &str) -> Self {
        Self { name: service_name(name), from: from.to_owned(), ..Self::default() }
    }

    /// Sets a field to a value that is TOML already.
    pub(super) fn set(&mut self, key: &str, value: impl ToString) {
        self.fields.retain(|(known, _)| known != key);
        self.fields.push((key.to_owned(), value.to_string()));
    }

    pub(super) fn set_text(&mut self, key: &str, text: &str) {
        self.set(key, quoted(text));
    }

    /// A list of texts, in which braces are meant as such.
    pub(super) fn set_list<T: AsRef<str>>(&mut self, key: &str, texts: &[T]) {
        self.set(key, list(texts));
    }

    pub(super) fn left(&mut self, what: impl Into<String>) {
        self.left.push(what.into());
    }

    #[cfg(test)]
    pub(super) fn field(&self, key: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// A list of texts in TOML.
pub(super) fn list<T: AsRef<str>>(texts: &[T]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quoted(text.as_ref())).collect();
    format!("[{}]", texts.join(", "))
}

/// A text in TOML: its basic strings are written as those of JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default().replace('\u{7f}', "\\u007f")
}

/// A text whose braces are no places.
pub(super) fn braced(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// A key of an environment: bare where that is allowed.
pub(super) fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(is_bare) { name.to_owned() } else { quoted(name) }
}

/// The nearest name that a service may have.
fn service_name(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => name.push(c),
            _ if name.is_empty() || name.ends_with('-') => (),
            _ => name.push('-'),
        }
    }
    let begins_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    let name = if begins_well { name } else { format!("s-{name}") };
    let name: String = name.chars().take(48).collect();
    name.trim_end_matches('-').to_owned()
}

pub(super) fn render(services: &[Imported]) -> String {
    let mut text = String::new();
    let has_windows = services.iter().any(|service| service.on_windows);
    if has_windows {
        text.push_str("# Where it is reached; `address` is what `ssh` is told.\n");
        text.push_str("host.win1 = { os = \"windows\", address = \"win1\" }\n");
        if services.iter().any(|service| !service.on_windows) {
            text.push_str("host.here = { address = \"local\" }\n");
        }
    }
    for service in services {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("# From {}.", one_line(&service.from)));
        if service.left.is_empty() {
            text.push('\n');
        } else {
            text.push_str(" Not carried over:\n");
        }
        for left in &service.left {
            text.push_str(&comment(left));
        }
        text.push_str(&format!("[service.{}]\n", service.name));
        if has_windows {
            let on = if service.on_windows { "win1" } else { "here" };
            text.push_str(&format!("on = [\"{on}\"]\n"));
        }
        let mut fields: Vec<&(String, String)> = service.fields.iter().collect();
        fields.sort_by_key(|(key, _)| {
            FIRST.iter().position(|first| first == key).unwrap_or(FIRST.len())
        });
        for (key, value) in fields {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text
}

/// One point of a list, broken into lines.
fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = "# -".to_owned();
    for word in one_line(text).split(' ') {
        if line.len() + word.len() >= COMMENT_WIDTH {
            lines.push_str(&format!("{line}\n"));
            line = "#  ".to_owned();
        }
        line.push_str(&format!(" {word}"));
    }
    format!("{lines}{line}\n")
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_names_of_services() {
        let cases = [
            ("redis-server", "redis-server"),
            ("postgresql@15-main", "postgresql-15-main"),
            ("My App (prod)", "my-app-prod"),
            ("2fast", "s-2fast"),
            ("", "s"),
        ];
        for (text, name) in cases {
            assert_eq!(service_name(text), name);
        }
        assert!(service_name(&"x".repeat(99)).len() == 48);
    }
}
