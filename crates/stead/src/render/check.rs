//! What was found on hosts before anything is brought to them.

use stead_core::check::{Finding, Level};

use crate::check::{Checked, OnHost};
use crate::render::table::{self, Cell, Column, Side, cut};
use crate::screen::{Paint, Tone, show_controls};

const COLUMNS: [Column; 3] = [
    Column { heading: "", side: Side::Left },
    Column { heading: "CHECK", side: Side::Left },
    Column { heading: "FOUND", side: Side::Left },
];

/// What comes before that which is told below a finding.
const INDENT: &str = "      ";

/// Host by host: what is wrong, what could be better, and, if all is asked for, what is right.
pub(crate) fn lines(checked: &Checked, all: bool, paint: Paint, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for (host, on_host) in &checked.hosts {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        let title = format!("{} on {host}", paint.paint(Tone::Strong, &checked.fleet));
        match on_host {
            OnHost::Found { findings, .. } => {
                lines.push(format!("{title}: {}", verdict(findings)));
                lines.extend(host_lines(findings, all, paint, width));
            }
            OnHost::Lost { error } => {
                lines.push(format!("{title}: {}", paint.paint(Tone::Bad, &show_controls(error))));
            }
        }
    }
    lines
}

fn count(findings: &[Finding], level: Level) -> usize {
    findings.iter().filter(|finding| finding.level == level).count()
}

fn verdict(findings: &[Finding]) -> String {
    match (count(findings, Level::Fail), count(findings, Level::Warn)) {
        (0, 0) => "it is fit".into(),
        (0, advice_n) => format!("it is fit; {advice_n} could be better"),
        (wrong_n, 0) => format!("{wrong_n} wrong"),
        (wrong_n, advice_n) => format!("{wrong_n} wrong, {advice_n} could be better"),
    }
}

fn host_lines(findings: &[Finding], all: bool, paint: Paint, width: usize) -> Vec<String> {
    // The worst first; within a level in the order of the checks.
    let mut shown: Vec<&Finding> =
        findings.iter().filter(|finding| all || finding.level != Level::Ok).collect();
    shown.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let mut lines = Vec::new();
    if !shown.is_empty() {
        let rows: Vec<[Cell; 3]> = shown.iter().map(|finding| row(finding)).collect();
        let mut table = table::lines(COLUMNS, &rows, paint, width).into_iter();
        lines.extend(table.next());
        for (line, finding) in table.zip(shown) {
            lines.push(line);
            lines.extend(more(finding, paint, width));
        }
    }
    lines.push(match count(findings, Level::Ok) {
        1 => "1 check is right".into(),
        right_n => format!("{right_n} checks are right"),
    });
    lines
}

fn row(finding: &Finding) -> [Cell; 3] {
    let level = match finding.level {
        Level::Fail => Cell::new(Tone::Bad, "fail"),
        Level::Ok => Cell::new(Tone::Good, "ok"),
        Level::Warn => Cell::new(Tone::Warn, "warn"),
    };
    [level, Cell::plain(finding.check), Cell::plain(show_controls(&finding.found))]
}

/// Why it matters and what to do, of what is not right.
fn more(finding: &Finding, paint: Paint, width: usize) -> Vec<String> {
    let Some(mend) = &finding.mend else { return Vec::new() };
    let line = |word: &str, text: &str| {
        let room = width.saturating_sub(INDENT.len() + word.len() + 1);
        let text = cut(&show_controls(text), room);
        format!("{INDENT}{} {text}", paint.paint(Tone::Dim, word))
    };
    vec![line("because", &finding.reason), line("try", mend)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use stead_core::check::Facts;

    fn finding(check: &'static str, level: Level, found: &str) -> Finding {
        let mend = (level != Level::Ok).then(|| format!("mend the {check}"));
        let reason = format!("a {check} matters");
        Finding { check, level, found: found.into(), reason, mend, apply: None }
    }

    fn checked(findings: Vec<Finding>) -> Checked {
        let found = OnHost::Found { findings, facts: Box::new(Facts::default()) };
        Checked { fleet: "shop".into(), hosts: [("vm1".parse().unwrap(), found)].into() }
    }

    #[test]
    fn what_is_wrong_comes_first_and_what_is_right_is_counted() {
        let mut checked = checked(vec![
            finding("kernel", Level::Ok, "6.1.0"),
            finding("disk", Level::Warn, "it says that it turns"),
            finding("port", Level::Fail, "`ng\x1b[2Jinx` listens at 8100"),
        ]);
        let error = "it cannot be reached: no route".into();
        checked.hosts.insert("vm2".parse().unwrap(), OnHost::Lost { error });
        let some = lines(&checked, false, Paint(false), 80).join("\n");
        let all = lines(&checked, true, Paint(false), 80).join("\n");
        insta::assert_snapshot!("check", format!("{some}\n\n──── all\n{all}"));
    }

    #[test]
    fn a_host_without_a_fault_is_told_in_two_lines() {
        let checked = checked(vec![finding("kernel", Level::Ok, "6.1.0")]);
        let expected = ["shop on vm1: it is fit", "1 check is right"];
        assert_eq!(lines(&checked, false, Paint(false), 80), expected);
    }
}
