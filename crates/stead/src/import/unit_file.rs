//! Unit files of systemd: sections, keys that may come more than once, drop-ins.
//! Source: systemd.syntax(7).

/// Everything that is set, in order; an empty value takes back what was set before.
#[derive(Debug, Default)]
pub(super) struct UnitFile {
    entries: Vec<(String, String, String)>,
}

impl UnitFile {
    /// The unit and its drop-ins, the weakest first.
    pub(super) fn parse(texts: &[String]) -> Self {
        let mut unit = Self::default();
        for text in texts {
            unit.take(text);
        }
        unit
    }

    fn take(&mut self, text: &str) {
        let mut section = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let mut line = line.trim().to_owned();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            while let Some(begun) = line.strip_suffix('\\') {
                let begun = begun.to_owned();
                // Comments may stand between the parts of a line.
                let next = lines.by_ref().find(|next| !next.trim().starts_with(['#', ';']));
                line = format!("{begun} {}", next.unwrap_or_default().trim());
            }
            if let Some(name) = line.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
                section = name.to_owned();
            } else if let Some((key, value)) = line.split_once('=') {
                let (key, value) = (key.trim(), value.trim());
                if value.is_empty() {
                    self.entries.retain(|(_, known, _)| known != key);
                }
                self.entries.push((section.clone(), key.to_owned(), value.to_owned()));
            }
        }
    }

    /// The values of a key that may come more than once.
    pub(super) fn all(&self, key: &str) -> Vec<&str> {
        let values = self.entries.iter().filter(|(_, known, _)| known == key);
        values.map(|(_, _, value)| value.as_str()).filter(|value| !value.is_empty()).collect()
    }

    /// The value of a key, of which the last counts; an empty one counts too.
    pub(super) fn last(&self, key: &str) -> Option<&str> {
        let values = self.entries.iter().rev();
        values.into_iter().find(|(_, known, _)| known == key).map(|(_, _, value)| value.as_str())
    }

    pub(super) fn is_on(&self, key: &str) -> bool {
        matches!(self.last(key), Some("yes" | "true" | "on" | "1"))
    }

    /// Every key of a section with its values.
    pub(super) fn of_section(&self, section: &str) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .filter(move |(known, _, value)| known == section && !value.is_empty())
            .map(|(_, key, value)| (key.as_str(), value.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drop_ins_add_and_take_back_and_lines_go_on() {
        let unit = "[Unit]\nDescription=x\n[Service]\nExecStart=/bin/a \\\n# no\n  b\nA=1\nA=2\n";
        let drop_in = "[Service]\nExecStart=\nExecStart=/bin/c\n";
        let unit = UnitFile::parse(&[unit.to_owned(), drop_in.to_owned()]);
        assert_eq!(unit.all("ExecStart"), ["/bin/c"]);
        assert_eq!(unit.all("A"), ["1", "2"]);
        assert_eq!(unit.last("A"), Some("2"));
        let first = UnitFile::parse(&["[Service]\nExecStart=/bin/a \\\n# no\n  b\n".to_owned()]);
        assert_eq!(first.all("ExecStart"), ["/bin/a  b"]);
    }
}
