//! Where output goes, and what it may look like there.
//!
//! Facts go to standard output, progress and errors to standard error. All of it is written through
//! here, so that a reader who leaves early ends the command and nothing else.

use std::io::{self, IsTerminal as _, Write};

use crate::args::ColorChoice;
use crate::failure::Failure;

/// The width taken where there is no terminal to ask.
const WIDTH_DEFAULT: usize = 100;
const HEIGHT_DEFAULT: usize = 24;

const ALWAYS_JSON: &str = "printed types have string keys, so they always serialize";

/// Whether text is coloured, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Paint(pub(crate) bool);

/// What a colour says. Each has one meaning everywhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
    Bad,
    /// An instance's own colour, by its number.
    Choice(usize),
    Dim,
    Good,
    Plain,
    Strong,
    Warn,
}

/// Colours that can be told apart on a light and a dark background.
const CHOICES: [&str; 6] = ["36", "33", "35", "34", "32", "91"];

impl Paint {
    /// Whether to colour a stream: as told, else on a terminal that has colours.
    pub(crate) fn choose(choice: ColorChoice, terminal: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(match choice {
            ColorChoice::Always => true,
            ColorChoice::Auto => terminal && !set("NO_COLOR") && !dumb,
            ColorChoice::Never => false,
        })
    }

    /// The text in this tone. Its width on a terminal stays what it was.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Bad => "31",
            Tone::Choice(number) => CHOICES[number % CHOICES.len()],
            Tone::Dim => "2",
            Tone::Good => "32",
            Tone::Plain => return text.into(),
            Tone::Strong => "1",
            Tone::Warn => "33",
        };
        if self.0 && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }
}

/// Both output streams of the command.
pub(crate) struct Screen {
    /// How facts are coloured.
    pub(crate) paint: Paint,
    /// How progress and errors are coloured.
    pub(crate) paint_notes: Paint,
    /// Facts go to a terminal: they may be redrawn, and may not hold control characters.
    pub(crate) terminal: bool,
}

impl Screen {
    pub(crate) fn new(choice: ColorChoice) -> Self {
        let terminal = io::stdout().is_terminal();
        Self {
            paint: Paint::choose(choice, terminal),
            paint_notes: Paint::choose(choice, io::stderr().is_terminal()),
            terminal,
        }
    }

    /// Columns and lines of the terminal.
    pub(crate) fn size(&self) -> (usize, usize) {
        let size = terminal_size::terminal_size();
        size.map_or((WIDTH_DEFAULT, HEIGHT_DEFAULT), |(width, height)| {
            (usize::from(width.0), usize::from(height.0))
        })
    }

    /// The width facts must fit in; no limit where they are not for a terminal.
    pub(crate) fn width(&self) -> usize {
        if self.terminal { self.size().0 } else { usize::MAX }
    }

    /// Writes facts, at once.
    pub(crate) fn write(&mut self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::output)
    }

    /// Writes a value as JSON, for programs and people.
    pub(crate) fn json<T: serde::Serialize>(&mut self, value: &T) -> Result<(), Failure> {
        let json = serde_json::to_string_pretty(value).expect(ALWAYS_JSON);
        self.write(&format!("{json}\n"))
    }

    /// Writes a line of progress. What nobody can read is no reason to stop.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// A value as one line of newline-delimited JSON.
pub(crate) fn one_line<T: serde::Serialize>(value: &T) -> String {
    let json = serde_json::to_string(value).expect(ALWAYS_JSON);
    format!("{json}\n")
}

/// A picture on a terminal that is drawn again and again in the same place.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    lines_n: usize,
}

impl Picture {
    /// The text that turns the picture drawn last into these lines.
    ///
    /// It is written in one piece, and terminals that know how hold back until its end, so that
    /// nobody sees half of it.
    pub(crate) fn redraw(&mut self, lines: &[String]) -> String {
        let mut text = String::from("\x1b[?2026h");
        if self.lines_n > 0 {
            text.push_str(&format!("\x1b[{}A\r", self.lines_n));
        }
        for line in lines {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J\x1b[?2026l");
        self.lines_n = lines.len();
        text
    }
}

/// The text with every control character shown and none obeyed: `^[` for escape, `\x9b` for the
/// 8-bit ones, `\u{202e}` for those that turn the direction of writing.
pub(crate) fn show_controls(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => shown.push(c),
            '\0'..='\x1f' => shown.extend(['^', char::from(c as u8 + 0x40)]),
            '\x7f' => shown.push_str("^?"),
            '\u{80}'..='\u{9f}' => shown.push_str(&format!("\\x{:02x}", u32::from(c))),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                shown.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
            }
            _ => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_never_obeyed() {
        let cases = [
            ("plain é 漢\ttab", "plain é 漢\ttab"),
            ("\x1b[2J\x1b]0;title\x07", "^[[2J^[]0;title^G"),
            ("over\rwritten\x08", "over^Mwritten^H"),
            ("\0\x7f", "^@^?"),
            ("\u{9b}31m", "\\x9b31m"),
            ("a\u{202e}b", "a\\u{202e}b"),
        ];
        for (text, shown) in cases {
            assert_eq!(show_controls(text), shown);
        }
    }

    #[test]
    fn colour_is_added_around_a_text_or_not_at_all() {
        assert_eq!(Paint(true).paint(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint(true).paint(Tone::Plain, "x"), "x");
        assert_eq!(Paint(true).paint(Tone::Bad, ""), "");
        assert_eq!(Paint(false).paint(Tone::Bad, "x"), "x");
    }

    #[test]
    fn a_picture_is_drawn_over_the_one_before() {
        let mut picture = Picture::default();
        let lines = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        let begin = "\x1b[?2026h";
        let end = "\x1b[J\x1b[?2026l";
        assert_eq!(picture.redraw(&lines("a b")), format!("{begin}a\x1b[K\nb\x1b[K\n{end}"));
        assert_eq!(picture.redraw(&lines("c")), format!("{begin}\x1b[2A\rc\x1b[K\n{end}"));
    }
}
