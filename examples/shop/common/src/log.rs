//! The log: plain text on stdout, one line each, `time level message`.

use std::fmt;
use std::io::{self, Write};

#[derive(Clone, Copy, Debug)]
enum Level {
    Error,
    Info,
    Warn,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Info => "info",
            Level::Warn => "warn",
        }
    }
}

pub fn error(message: impl fmt::Display) {
    write(Level::Error, &message);
}

pub fn info(message: impl fmt::Display) {
    write(Level::Info, &message);
}

pub fn warn(message: impl fmt::Display) {
    write(Level::Warn, &message);
}

fn write(level: Level, message: &dyn fmt::Display) {
    let line = line(jiff::Timestamp::now(), level, message);
    // A log nobody reads is no reason to fail: the service outlives its reader.
    let _ = io::stdout().lock().write_all(line.as_bytes());
}

/// One line whatever the message holds, so that a message cannot forge another line.
fn line(now: jiff::Timestamp, level: Level, message: &dyn fmt::Display) -> String {
    let time = now.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    let message = message.to_string().replace(['\n', '\r'], " ");
    format!("{time} {} {message}\n", level.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_time_level_message() {
        let now = "2026-03-01T12:00:00.0405Z".parse().unwrap();
        assert_eq!(
            line(now, Level::Warn, &"instance 10.0.0.1:80 is set aside"),
            "2026-03-01T12:00:00.040Z warn instance 10.0.0.1:80 is set aside\n"
        );
    }

    #[test]
    fn a_message_of_two_lines_stays_one_line() {
        let line = line(jiff::Timestamp::UNIX_EPOCH, Level::Error, &"a\nb\r\nc");
        assert_eq!(line, "1970-01-01T00:00:00.000Z error a b  c\n");
    }
}
