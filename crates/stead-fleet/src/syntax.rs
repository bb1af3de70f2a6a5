//! What is wrong with a file that is not TOML.

use crate::problem::{PROBLEMS_MAX, Problem, quoted};
use crate::read::Span;

/// Errors that end with their line: what follows them can be told too. After any other, such as an
/// open quote, the rest of the file is not what it looks like.
const ENDS_WITH_LINE: [&str; 4] =
    ["duplicate key", "key with no value", "leading zero", "string values must be quoted"];

/// One problem per line, up to the first that hides what follows it.
pub(crate) fn problems(text: &str, errors: &[toml::de::Error]) -> Vec<Problem> {
    let span_of = |error: &toml::de::Error| error.span().unwrap_or(text.len()..text.len());
    let mut sorted: Vec<_> = errors.iter().map(|error| (span_of(error), error)).collect();
    sorted.sort_by_key(|(span, _)| (span.start, span.end));
    let mut problems: Vec<Problem> = Vec::new();
    for (span, error) in sorted {
        let line = line_of(text, span.start);
        let same_line = |last: &Problem| line_of(text, last.span.start) == line;
        if problems.last().is_some_and(same_line) {
            continue;
        }
        let message = error.message();
        problems.push(problem(text, span, message));
        let in_header = text[line.clone()].trim_start().starts_with('[');
        if problems.len() == PROBLEMS_MAX
            || in_header
            || !ENDS_WITH_LINE.iter().any(|known| message.contains(known))
        {
            break;
        }
    }
    problems
}

/// Where the line of a byte begins and ends.
fn line_of(text: &str, at: usize) -> Span {
    let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = text[..at].rfind('\n').map_or(0, |at| at + 1);
    let end = text[at..].find('\n').map_or(text.len(), |end| at + end);
    start..end
}

/// Where a line before begins as the line of a doubled key does.
fn first_of(text: &str, span: &Span) -> Option<Span> {
    let line = line_of(text, span.start);
    let start = text.get(line.start..span.end)?;
    let indent = start.len() - start.trim_start().len();
    let start = start.trim_start();
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || "-_.".contains(c));
    let mut at = 0;
    let mut first = None;
    for other in text[..line.start].split_inclusive('\n') {
        let begin = at + other.len() - other.trim_start().len();
        // A key is doubled within its table, a table within the file.
        if other.trim_start().starts_with('[') && !start.starts_with('[') {
            first = None;
        }
        if other.trim_start().strip_prefix(start).is_some_and(ends) {
            let offset = span.start - line.start - indent;
            first = first.or(Some(begin + offset..begin + offset + span.len()));
        }
        at += other.len();
    }
    first
}

fn problem(text: &str, span: Span, message: &str) -> Problem {
    let line = text[line_of(text, span.start)].trim();
    let here = quoted(text.get(span.clone()).unwrap_or(""));
    if message.contains("duplicate key") {
        let what = format!("`{here}` is written twice");
        let because = "a name means one thing in its table";
        let first = first_of(text, &span);
        let problem =
            Problem::new(span, what, because, "remove one of them, or give it another name");
        return match first {
            Some(first) => problem.seen_at(first, "here first"),
            None => problem,
        };
    }
    if message.contains("string values must be quoted") && here.is_empty() {
        let key = quoted(line.split('=').next().unwrap_or("").trim());
        let what = format!("`{key}` has no value");
        return Problem::new(span, what, "after `=` comes a value", format!("`{key} = …`"));
    }
    if message.contains("string values must be quoted") {
        let what = format!("`{here}` is not a value");
        return Problem::new(span, what, "a text stands in quotes", format!("`\"{here}\"`"));
    }
    if message.contains("leading zero") {
        let rest = text.get(span.start..).unwrap_or("");
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let number = quoted(&rest[..end]);
        let what = format!("`{number}` is not a number");
        let bare = number.trim_start_matches('0');
        let try_this = format!("`{bare}`, or the text `\"{number}\"`");
        let span = span.start..span.start + end;
        return Problem::new(span, what, "a number has no leading zeros", try_this);
    }
    let key = line.split('=').next().unwrap_or("").trim();
    let (because, try_this) = if message.contains("invalid basic string") {
        (
            "a text is not closed where it ends".to_owned(),
            "a `\"` at the end of the text".to_owned(),
        )
    } else if message.contains("invalid literal string") {
        ("a text is not closed where it ends".to_owned(), "a `'` at the end of the text".to_owned())
    } else if message.contains("key with no value") {
        let because = "a name needs a value".to_owned();
        (because, format!("`{} = …`", quoted(key)))
    } else if message.contains("unclosed array") || message.contains("array elements") {
        let because = "a list before this is not closed, or lacks a comma or a quote".to_owned();
        (because, "`[\"one\", \"two\"]`".to_owned())
    } else if message.contains("inline table") || message.contains("key-value pairs") {
        let because = "a table before this is not closed, or lacks a comma or a quote".to_owned();
        (because, "`{ one = 1, two = 2 }`".to_owned())
    } else if message.contains("unclosed table") {
        ("the name of a table is not closed".to_owned(), format!("`{}]`", quoted(line)))
    } else {
        (message.to_owned(), "lines like `name = \"value\"` below a `[table]`".to_owned())
    };
    Problem::new(span, "the file is not TOML from here on", because, try_this)
}
