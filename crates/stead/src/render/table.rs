//! Columns that line up, whatever is in colour.

use crate::screen::{Paint, Tone};

/// The space between two columns.
const GAP: usize = 2;

/// Digits of a digest that are shown.
const DIGEST_LEN_SHOWN: usize = 12;

/// What stands where there is nothing to say.
pub(crate) const NOTHING: &str = "-";

/// As much of a digest as tells it from others.
pub(crate) fn short_digest(digest: &str) -> String {
    digest.chars().take(DIGEST_LEN_SHOWN).collect()
}

/// One cell: its text and what its colour says.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) tone: Tone,
}

impl Cell {
    pub(crate) fn new(tone: Tone, text: impl Into<String>) -> Self {
        Self { text: text.into(), tone }
    }

    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self::new(Tone::Plain, text)
    }
}

/// A column's heading and the side its cells lean to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) heading: &'static str,
    pub(crate) side: Side,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// The table as lines, headings first, none wider than `width` characters.
pub(crate) fn lines<const N: usize>(
    columns: [Column; N],
    rows: &[[Cell; N]],
    paint: Paint,
    width: usize,
) -> Vec<String> {
    let headings = columns.map(|column| Cell::new(Tone::Dim, column.heading));
    let all = || std::iter::once(&headings).chain(rows);
    let mut widths = [0; N];
    for row in all() {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = (*widest).max(cell.text.chars().count());
        }
    }
    all().map(|row| line(&columns, row, &widths, paint, width)).collect()
}

fn line<const N: usize>(
    columns: &[Column; N],
    row: &[Cell; N],
    widths: &[usize; N],
    paint: Paint,
    width: usize,
) -> String {
    let mut text = String::new();
    let mut at = 0;
    for (n, cell) in row.iter().enumerate() {
        let before = if n == 0 { 0 } else { GAP };
        let space = widths[n] - cell.text.chars().count();
        let is_last = n + 1 == N;
        let (left, right) = match columns[n].side {
            Side::Left if is_last => (before, 0),
            Side::Left => (before, space),
            Side::Right => (before + space, 0),
        };
        let room = width.saturating_sub(at + left);
        let shown = cut(&cell.text, room);
        text.push_str(&" ".repeat(left));
        text.push_str(&paint.paint(cell.tone, &shown));
        text.push_str(&" ".repeat(right));
        at += left + shown.chars().count() + right;
        if at >= width {
            break;
        }
    }
    text.truncate(text.trim_end_matches(' ').len());
    text
}

/// At most so many characters of a text; `…` stands for the rest.
pub(crate) fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.into();
    }
    let mut kept: String = text.chars().take(room.saturating_sub(1)).collect();
    if room > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column { heading: "NAME", side: Side::Left },
        Column { heading: "N", side: Side::Right },
        Column { heading: "LAST", side: Side::Left },
    ];

    fn rows() -> Vec<[Cell; 3]> {
        vec![
            [Cell::plain("a"), Cell::new(Tone::Bad, "12"), Cell::plain("x")],
            [Cell::plain("längerer"), Cell::plain("3"), Cell::plain("")],
        ]
    }

    #[test]
    fn columns_line_up_and_lines_have_no_tail() {
        let expected = ["NAME       N  LAST", "a         12  x", "längerer   3"];
        assert_eq!(lines(COLUMNS, &rows(), Paint(false), 80), expected);
    }

    #[test]
    fn colour_moves_nothing() {
        let plain = lines(COLUMNS, &rows(), Paint(false), 80);
        let strip = |line: &String| {
            line.replace("\x1b[31m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
        };
        let painted = lines(COLUMNS, &rows(), Paint(true), 80);
        assert_ne!(painted, plain);
        assert_eq!(painted.iter().map(strip).collect::<Vec<_>>(), plain);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 0..24 {
            for line in lines(COLUMNS, &rows(), Paint(false), width) {
                assert!(line.chars().count() <= width, "{width}: {line:?}");
            }
        }
    }
}
