//! What someone may have meant.

/// What other tools call our fields.
const ELSEWHERE: [(&str, &str); 26] = [
    ("after", "needs"),
    ("args", "run"),
    ("autorestart", "restart"),
    ("backoff_max", "backoff"),
    ("cmd", "run"),
    ("command", "run"),
    ("cwd", "directory"),
    ("depends_on", "needs"),
    ("entrypoint", "run"),
    ("environment", "env"),
    ("healthcheck", "ready"),
    ("hosts", "on"),
    ("instances", "count"),
    ("interval", "every"),
    ("logs", "log"),
    ("logging", "log"),
    ("mem", "memory"),
    ("path", "http"),
    ("pids", "processes"),
    ("policy", "when"),
    ("program", "run"),
    ("replicas", "count"),
    ("resources", "limits"),
    ("retries", "failures"),
    ("workdir", "directory"),
    ("working_directory", "directory"),
];

/// Fields that the part of a service for Windows alone has.
const ONLY_WINDOWS: [&str; 2] = ["event_source", "registry"];

/// The service which a field of this table would be of, were it in its part for Windows.
pub(crate) fn only_windows<'a>(table: &'a str, field: &str) -> Option<&'a str> {
    let service = table.strip_prefix("service.")?;
    let service = service.strip_suffix(".linux").unwrap_or(service);
    (ONLY_WINDOWS.contains(&field) && !service.contains('.')).then_some(service)
}

/// The known field that an unknown one may stand for.
pub(crate) fn field<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = name.to_lowercase().replace('-', "_");
    let meant = ELSEWHERE.iter().find(|(other, _)| *other == lower).map(|(_, ours)| *ours);
    let meant = meant.and_then(|ours| known.iter().find(|name| **name == ours));
    meant.copied().or_else(|| nearest(&lower, known.iter().copied()))
}

/// The candidate that is at most a third of its letters away.
pub(crate) fn nearest<'a>(text: &str, all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer texts are no names, and the distance of two long ones is slow to find.
    if text.len() > 64 {
        return None;
    }
    let measured = all.filter(|other| other.len() <= 64).map(|other| {
        let distance = strsim::osa_distance(text, other);
        (distance, other)
    });
    let near = measured.filter(|(distance, other)| *distance <= other.len().div_ceil(3).min(3));
    near.min().map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_from_another_word() {
        let known = ["count", "run", "restart", "needs"];
        let cases = [
            ("cuont", Some("count")),
            ("Run", Some("run")),
            ("command", Some("run")),
            ("depends-on", Some("needs")),
            ("restrat", Some("restart")),
            ("colour", None),
            ("x", None),
        ];
        for (text, meant) in cases {
            assert_eq!(field(text, &known), meant, "{text}");
        }
    }
}
