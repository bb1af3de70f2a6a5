//! What a benchmark found: figures, goals, and what was not measured.

use std::fmt::{self, Display};

use serde::Serialize;

use super::figures::{Figure, Samples, Spread};
use super::table::{Side, aligned};

#[derive(Default, Serialize)]
pub(super) struct Report {
    rows: Vec<Row>,
    goals: Vec<Goal>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    measure: String,
    unit: &'static str,
    subject: String,
    figure: Figure,
}

/// A promise about a figure. One that has no figure is missed, too.
#[derive(Serialize)]
pub(super) struct Goal {
    pub(super) name: &'static str,
    pub(super) value: Option<f64>,
    pub(super) limit: Limit,
    pub(super) unit: &'static str,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl Report {
    /// Adds a row, or a note if there is nothing to make a figure of.
    pub(super) fn add(
        &mut self,
        measure: &str,
        unit: &'static str,
        subject: &str,
        values: Vec<f64>,
    ) {
        match Samples::of(values) {
            Some(samples) => self.rows.push(Row {
                measure: measure.to_owned(),
                unit,
                subject: subject.to_owned(),
                figure: samples.figure(),
            }),
            None => self.note(format!("{measure}: nothing measured for {subject}")),
        }
    }

    pub(super) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    pub(super) fn promise(&mut self, goal: Goal) {
        self.goals.push(goal);
    }

    pub(super) fn median(&self, measure: &str, subject: &str) -> Option<f64> {
        let of = |row: &&Row| row.measure == measure && row.subject == subject;
        self.rows.iter().find(of).map(|row| row.figure.median)
    }

    /// The medians of a measure for all but some subjects.
    pub(super) fn medians_but<'a>(
        &'a self,
        measure: &'a str,
        subjects: &'a [&str],
    ) -> impl Iterator<Item = f64> + 'a {
        let rows = self.rows.iter().filter(move |row| row.measure == measure);
        rows.filter(|row| !subjects.contains(&&*row.subject)).map(|row| row.figure.median)
    }

    /// The rows of one measure together, measures in the order of their first row.
    fn rows_by_measure(&self) -> impl Iterator<Item = &Row> {
        let mut measures: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !measures.contains(&&*row.measure) {
                measures.push(&row.measure);
            }
        }
        let of = |measure| self.rows.iter().filter(move |row| row.measure == measure);
        measures.into_iter().flat_map(of)
    }

    pub(super) fn missed_n(&self) -> usize {
        self.goals.iter().filter(|goal| !goal.is_met()).count()
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has only plain values")
    }
}

impl Goal {
    fn is_met(&self) -> bool {
        self.value.is_some_and(|value| match self.limit {
            Limit::AtLeast(limit) => value >= limit,
            Limit::AtMost(limit) => value <= limit,
        })
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = self.rows_by_measure().map(Row::cells).collect();
        let head = [
            ("measure", Side::Left),
            ("subject", Side::Left),
            ("median", Side::Right),
            ("spread", Side::Right),
            ("unit", Side::Left),
            ("n", Side::Right),
            ("spread is", Side::Left),
        ];
        write!(f, "{}", aligned(head, &rows))?;
        if !self.goals.is_empty() {
            let goals: Vec<_> = self.goals.iter().map(Goal::cells).collect();
            let head = [
                ("goal", Side::Left),
                ("limit", Side::Right),
                ("got", Side::Right),
                ("", Side::Left),
            ];
            write!(f, "\n{}", aligned(head, &goals))?;
        }
        if !self.notes.is_empty() {
            writeln!(f, "\nnotes")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "- {note}"))
    }
}

impl Row {
    fn cells(&self) -> [String; 7] {
        let Figure { median, low, high, spread, n } = self.figure;
        let spread = match spread {
            Spread::MinMax => "min..max",
            Spread::Tenths => "p10..p90",
        };
        [
            self.measure.clone(),
            self.subject.clone(),
            short(median),
            format!("{}..{}", short(low), short(high)),
            self.unit.to_owned(),
            n.to_string(),
            spread.to_owned(),
        ]
    }
}

impl Goal {
    fn cells(&self) -> [String; 4] {
        let (sign, limit) = match self.limit {
            Limit::AtLeast(limit) => (">=", limit),
            Limit::AtMost(limit) => ("<=", limit),
        };
        let value = match self.value {
            Some(value) => format!("{} {}", short(value), self.unit),
            None => "not measured".to_owned(),
        };
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        [
            self.name.to_owned(),
            format!("{sign} {} {}", short(limit), self.unit),
            value,
            verdict.to_owned(),
        ]
    }
}

/// Three digits or so: more would claim what a spread denies.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal(value: Option<f64>, limit: Limit) -> Goal {
        Goal { name: "a goal", value, limit, unit: "x" }
    }

    #[test]
    fn a_goal_is_missed_past_its_limit_and_when_it_was_not_measured() {
        for (value, limit, met) in [
            (Some(1.5), Limit::AtMost(1.5), true),
            (Some(1.6), Limit::AtMost(1.5), false),
            (Some(200.0), Limit::AtLeast(200.0), true),
            (Some(199.0), Limit::AtLeast(200.0), false),
            (None, Limit::AtMost(1.5), false),
            (None, Limit::AtLeast(0.0), false),
        ] {
            assert_eq!(goal(value, limit).is_met(), met, "{value:?}");
        }
    }

    #[test]
    fn rows_of_one_measure_stand_together() {
        let mut report = Report::default();
        for (measure, subject) in [("start", "a"), ("PSS", "a"), ("start", "b"), ("PSS", "b")] {
            report.add(measure, "s", subject, vec![1.0]);
        }
        let order = report.rows_by_measure().map(|row| (&*row.measure, &*row.subject));
        let expected = [("start", "a"), ("start", "b"), ("PSS", "a"), ("PSS", "b")];
        assert_eq!(order.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_report_names_each_miss_and_what_was_not_measured() {
        let mut report = Report::default();
        report.add("crash to next", "ms", "floor", vec![0.5, 0.75, 4.0]);
        report.add("crash to next", "ms", "s6", Vec::new());
        report.promise(goal(Some(2.0), Limit::AtMost(1.5)));
        assert_eq!(report.missed_n(), 1);
        assert_eq!(
            report.to_string(),
            "measure        subject  median      spread  unit  n  spread is\n\
             crash to next  floor      0.75  0.50..4.00  ms    3  min..max\n\
             \n\
             goal        limit     got\n\
             a goal  <= 1.50 x  2.00 x  MISSED\n\
             \n\
             notes\n\
             - crash to next: nothing measured for s6\n"
        );
    }
}
