//! The regular expression of a search: ripgrep's, which never matches across lines.

use std::ops::Range;

use grep_matcher::{LineMatchKind, LineTerminator, Matcher};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};

/// The longest pattern, in bytes.
pub const PATTERN_LEN_MAX: usize = 4096;

/// The largest compiled pattern, and the largest cache of one search, in bytes.
const COMPILED_LEN_MAX: usize = 8 << 20;

/// Why a pattern cannot be searched for.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PatternError {
    #[error("`{pattern}` is not a regular expression that can be searched for: {because}")]
    Syntax { pattern: String, because: String },
    #[error("a pattern may not be longer than {PATTERN_LEN_MAX} bytes; this one has {len}")]
    TooLong { len: usize },
}

#[derive(Debug)]
pub(super) struct Pattern {
    matcher: RegexMatcher,
    /// A match in a block of lines is one in its line too.
    by_block: bool,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, PatternError> {
        if text.len() > PATTERN_LEN_MAX {
            return Err(PatternError::TooLong { len: text.len() });
        }
        let matcher = RegexMatcherBuilder::new()
            .line_terminator(Some(b'\n'))
            .multi_line(true)
            .size_limit(COMPILED_LEN_MAX)
            .dfa_size_limit(COMPILED_LEN_MAX)
            .build(text)
            .map_err(|error| refusal(text, &error.to_string()))?;
        // `\A` and `\z` mean the line's ends, which a block does not show.
        let by_block = matcher.line_terminator() == Some(LineTerminator::byte(b'\n'));
        Ok(Self { matcher, by_block })
    }

    pub(super) fn matches(&self, line: &[u8]) -> bool {
        self.matcher.is_match(line).expect("this matcher has no errors")
    }

    /// The first line of `lines` that matches and starts at or after `from`, a line's start.
    /// `lines` is without its last line end, as is what is returned.
    pub(super) fn next_line(&self, lines: &[u8], mut from: usize) -> Option<Range<usize>> {
        while from <= lines.len() {
            let rest = &lines[from..];
            let (at, confirmed) = if self.by_block {
                match self.matcher.find_candidate_line(rest).expect("this matcher has no errors")? {
                    LineMatchKind::Confirmed(at) => (at, true),
                    LineMatchKind::Candidate(at) => (at, false),
                }
            } else {
                (0, false)
            };
            let start = memchr::memrchr(b'\n', &rest[..at]).map_or(0, |found| found + 1);
            let end = memchr::memchr(b'\n', &rest[at..]).map_or(rest.len(), |found| at + found);
            if confirmed || self.matches(&rest[start..end]) {
                return Some(from + start..from + end);
            }
            from += end + 1;
        }
        None
    }
}

fn refusal(pattern: &str, error: &str) -> PatternError {
    // A syntax error is drawn over several lines; its last one names it.
    let last = error.lines().last().unwrap_or_default();
    let because = last.strip_prefix("error: ").unwrap_or(last).to_owned();
    PatternError::Syntax { pattern: pattern.to_owned(), because }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_cannot_be_searched_for_is_refused_with_the_reason() {
        let cases = [
            ("a(", "unclosed group"),
            ("a\\nb", "the literal \"\\n\" is not allowed in a regex"),
            ("[a", "unclosed character class"),
            ("(?:a{1000}){1000}", "compiled regex exceeds size limit of 8388608"),
        ];
        for (text, reason) in cases {
            let error = Pattern::parse(text).unwrap_err();
            let expected =
                PatternError::Syntax { pattern: text.to_owned(), because: reason.to_owned() };
            assert_eq!(error, expected);
        }
        let len = PATTERN_LEN_MAX + 1;
        assert_eq!(Pattern::parse(&"a".repeat(len)).unwrap_err(), PatternError::TooLong { len });
    }

    #[test]
    fn searching_a_block_finds_the_lines_that_match_by_themselves() {
        let texts: [&[u8]; 6] =
            [b"", b"a", b"\n\n", b"a b\n\nab\r\nx\xff\nb", b"foo 12\nfoo\nbar foo 1", b"a\nb\n"];
        let patterns = [
            "a",
            "^$",
            "^",
            "$",
            "b$",
            "^b",
            r"\s",
            r"\A[ab]",
            r"[ab]\z",
            r"\w+ \d+",
            "[^a]",
            r"(?i)FOO",
            r"\bfoo\b",
            r"foo \d$",
            "(?-u:\\xff)",
            "",
        ];
        for (text, pattern) in texts.iter().flat_map(|text| patterns.map(|other| (text, other))) {
            let pattern = Pattern::parse(pattern).unwrap();
            let mut expected = Vec::new();
            let mut start = 0;
            for line in text.split(|byte| *byte == b'\n') {
                if pattern.matches(line) {
                    expected.push(start..start + line.len());
                }
                start += line.len() + 1;
            }
            let mut found = Vec::new();
            let mut from = 0;
            while let Some(line) = pattern.next_line(text, from) {
                from = line.end + 1;
                found.push(line);
            }
            assert_eq!(found, expected, "{pattern:?} in {text:?}");
        }
    }
}
