//! What is wrong with a fleet file, in words a person can act on.

use std::ops::Range;

use annotate_snippets::renderer::DEFAULT_TERM_WIDTH;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::layers::Layers;

/// The most problems of one file that are told; the rest are counted.
pub const PROBLEMS_MAX: usize = 100;

/// One thing that is wrong, where, why, and what to write instead.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Bytes of the file.
    pub span: Range<usize>,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    pub what: String,
    pub because: String,
    pub try_this: String,
    /// Other places of the file that have part in it, and maybe a word on its own.
    pub see: Vec<See>,
}

/// A place that explains a problem elsewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct See {
    /// Bytes of the file.
    pub span: Range<usize>,
    pub text: String,
}

impl Problem {
    /// A problem whose line and column [`Problems::of`] fills in.
    pub(crate) fn new(
        span: Range<usize>,
        what: impl Into<String>,
        because: impl Into<String>,
        try_this: impl Into<String>,
    ) -> Self {
        let [what, because, try_this] = [what.into(), because.into(), try_this.into()];
        Self { span, line: 0, column: 0, what, because, try_this, see: Vec::new() }
    }

    pub(crate) fn seen_at(mut self, span: Range<usize>, text: impl Into<String>) -> Self {
        self.see.push(See { span, text: text.into() });
        self
    }
}

/// Everything that is wrong with a file, in the order of the file; never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problems {
    list: Vec<Problem>,
    /// How many more there are than are told.
    untold: usize,
}

impl Problems {
    /// Puts problems in order and finds their lines. `text` is what their spans count bytes of.
    pub(crate) fn of(text: &str, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| (problem.span.start, problem.span.end));
        // The two systems share most of a service: what is wrong for both is said once.
        let mut told: Vec<Problem> = Vec::new();
        for problem in list {
            let same = |other: &&Problem| other.span == problem.span;
            if !told.iter().rev().take_while(same).any(|other| other.what == problem.what) {
                told.push(problem);
            }
        }
        let untold = told.len().saturating_sub(PROBLEMS_MAX);
        told.truncate(PROBLEMS_MAX);
        for problem in &mut told {
            (problem.line, problem.column) = line_and_column(text, problem.span.start);
        }
        Self { list: told, untold }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// How many there are, those past [`PROBLEMS_MAX`] included.
    pub fn count(&self) -> usize {
        self.list.len() + self.untold
    }

    /// What a person sees: each problem with the lines of the file it is about.
    ///
    /// `source` is the text the problems are about, `file_name` what to call it.
    pub fn render(&self, file_name: &str, source: &str, color: bool) -> String {
        self.render_in(&Layers::of(file_name, source.as_bytes()), color)
    }

    /// As [`Problems::render`], for several files.
    pub fn render_in(&self, layers: &Layers, color: bool) -> String {
        let plain = Renderer::plain();
        let renderer = if color { Renderer::styled() } else { plain };
        let renderer = renderer.term_width(DEFAULT_TERM_WIDTH);
        let mut out = String::new();
        for problem in &self.list {
            let (file_name, source, start) = layers.at(problem.span.start);
            let problem = problem.from(start, source.len());
            out.push_str(&renderer.render(&[problem.drawn(&escaped(file_name), source)]));
            out.push_str("\n\n");
        }
        let problems = if self.count() == 1 { "problem" } else { "problems" };
        let file_name = escaped(layers.first_name());
        out.push_str(&format!("{file_name}: {} {problems}; nothing was changed", self.count()));
        if self.untold > 0 {
            out.push_str(&format!("; {} more are not shown", self.untold));
        }
        out.push('\n');
        out
    }
}

impl Problem {
    /// The same in a text that begins at this byte, without places that are not in it.
    fn from(&self, start: usize, len: usize) -> Self {
        let moved = |span: &Range<usize>| span.start - start..span.end.max(span.start) - start;
        let is_there = |see: &&See| (start..=start + len).contains(&see.span.start);
        let see = self.see.iter().filter(is_there);
        let see = see.map(|see| See { span: moved(&see.span), text: see.text.clone() }).collect();
        Self { span: moved(&self.span), see, ..self.clone() }
    }

    fn drawn<'a>(&'a self, file_name: &'a str, source: &'a str) -> Group<'a> {
        let spans = self.see.iter().map(|see| &see.span).chain([&self.span]);
        let first = spans.clone().map(|span| span.start).min().unwrap_or(0);
        let last = spans.map(|span| span.end).max().unwrap_or(0);
        // Only the lines it is about: to draw is then as cheap in a long file as in a short one.
        let start = source[..floor(source, first)].rfind('\n').map_or(0, |at| at + 1);
        let from_last = floor(source, last.max(start));
        let end = source[from_last..].find('\n').map_or(source.len(), |at| from_last + at);
        let within = |span: &Range<usize>| {
            let from = floor(source, span.start).max(start);
            from - start..floor(source, span.end).max(from) - start
        };
        let mut primary = AnnotationKind::Primary.span(within(&self.span));
        let mut notes = Vec::new();
        for see in &self.see {
            let label = see.text.as_str();
            if see.span == self.span {
                primary = primary.label(label);
            } else {
                notes.push(AnnotationKind::Context.span(within(&see.span)).label(label));
            }
        }
        let (line, _) = line_and_column(source, start);
        let snippet = Snippet::source(&source[start..end])
            .line_start(line)
            .path(file_name)
            .annotation(primary)
            .annotations(notes);
        Level::ERROR
            .primary_title(self.what.as_str())
            .element(snippet)
            .element(Level::NOTE.with_name("because").message(wrapped(&self.because)))
            .element(Level::HELP.with_name("try").message(wrapped(&self.try_this)))
    }
}

/// The widest line of a reason, in characters.
const LINE_CHARS_MAX: usize = 84;

/// A text in lines of at most so many characters, broken at spaces.
fn wrapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut line_chars = 0;
    for word in text.split(' ') {
        let word_chars = word.chars().count();
        if line_chars > 0 {
            let fits = line_chars + 1 + word_chars <= LINE_CHARS_MAX;
            out.push(if fits { ' ' } else { '\n' });
            line_chars = if fits { line_chars + 1 } else { 0 };
        }
        out.push_str(word);
        line_chars += word_chars;
    }
    out
}

/// The nearest character boundary at or before a byte.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..floor(text, at)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}

/// The most characters of the file that a message quotes.
pub(crate) const QUOTED_MAX: usize = 60;

/// A piece of the file for a message: one line, not too long, nothing a terminal would obey.
pub(crate) fn quoted(text: &str) -> String {
    let line = text.lines().next().unwrap_or("");
    let mut out: String = escaped(&line.chars().take(QUOTED_MAX).collect::<String>());
    if line.len() < text.len() || line.chars().nth(QUOTED_MAX).is_some() {
        out.push('…');
    }
    out
}

/// A text with all that a terminal would obey, or would not show, written as an escape.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Characters that change how their neighbours are shown, or show as nothing.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

/// A text as it is written in TOML.
pub(crate) fn toml_text(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{}\"", escaped(&text))
}
