//! Lines of output, with the instance they come from.

use std::collections::BTreeMap;

use stead_wire::api::LogLine;

use crate::render::quantity;
use crate::screen::{Paint, Tone, show_controls};

/// Shows lines of one or several instances.
#[derive(Debug)]
pub(crate) struct LogView {
    paint: Paint,
    /// On a terminal control characters are shown; anywhere else the line is as it was written.
    terminal: bool,
    /// Lines begin with their instance's name.
    named: bool,
    width: usize,
    numbers: BTreeMap<String, usize>,
}

impl LogView {
    /// For lines of these instances, and of others that may join.
    pub(crate) fn new(instances: &[String], paint: Paint, terminal: bool) -> Self {
        let width = instances.iter().map(String::len).max().unwrap_or(0);
        let numbers = instances.iter().cloned().zip(0..).collect();
        Self { paint, terminal, named: instances.len() > 1, width, numbers }
    }

    /// One line, with a line before it where bytes were lost.
    pub(crate) fn show(&mut self, line: &LogLine) -> String {
        let prefix = if self.named { self.prefix(&line.instance) } else { String::new() };
        let mut text = String::new();
        if line.dropped_before > 0 {
            let lost = quantity::bytes(line.dropped_before);
            let gap = format!("-- {lost} of {} lost here --", line.stream.as_str());
            text.push_str(&format!("{prefix}{}\n", self.paint.paint(Tone::Bad, &gap)));
        }
        text.push_str(&prefix);
        if self.terminal {
            text.push_str(&show_controls(&line.line));
        } else {
            text.push_str(&line.line);
        }
        text.push('\n');
        text
    }

    fn prefix(&mut self, instance: &str) -> String {
        let next = self.numbers.len();
        let number = *self.numbers.entry(instance.into()).or_insert(next);
        let name = format!("{instance:<width$} |", width = self.width);
        format!("{} ", self.paint.paint(Tone::Choice(number), &name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stead_wire::journal::Stream;

    fn line(instance: &str, text: &str, dropped_before: u64) -> LogLine {
        let (instance, line) = (instance.into(), text.into());
        LogLine { instance, stream: Stream::Out, time_us: 0, line, dropped_before }
    }

    fn show(instances: &[&str], terminal: bool, lines: &[LogLine]) -> String {
        let instances: Vec<String> = instances.iter().map(ToString::to_string).collect();
        let mut view = LogView::new(&instances, Paint(false), terminal);
        lines.iter().map(|line| view.show(line)).collect()
    }

    #[test]
    fn one_instance_needs_no_name_and_several_do() {
        let lines = [line("db.0", "a", 0), line("orders.0", "b", 0)];
        assert_eq!(show(&["db.0"], true, &lines[..1]), "a\n");
        assert_eq!(show(&["db.0", "orders.0"], true, &lines), "db.0     | a\norders.0 | b\n");
    }

    #[test]
    fn a_gap_is_a_line_of_its_own() {
        let lost = [line("db.0", "after", 2048)];
        assert_eq!(show(&["db.0"], true, &lost), "-- 2.0 KiB of out lost here --\nafter\n");
    }

    #[test]
    fn control_characters_are_shown_on_a_terminal_and_kept_in_a_pipe() {
        let evil = [line("db.0", "\x1b[2Jgone", 0)];
        assert_eq!(show(&["db.0"], true, &evil), "^[[2Jgone\n");
        assert_eq!(show(&["db.0"], false, &evil), "\x1b[2Jgone\n");
    }
}
