//! Text in columns.

/// Which side the cells of a column stand on.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Left,
    Right,
}

/// Lines up `rows` below `head`, two blanks apart, without blanks at the ends of lines.
pub(super) fn aligned<const N: usize>(head: [(&str, Side); N], rows: &[[String; N]]) -> String {
    let names = head.map(|(name, _)| name.to_owned());
    let all = || [&names].into_iter().chain(rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in all() {
        let mut line = String::new();
        for ((cell, width), (_, side)) in row.iter().zip(widths).zip(head) {
            line += &match side {
                Side::Left => format!("{cell:<width$}  "),
                Side::Right => format!("{cell:>width$}  "),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right() {
        let rows = [["stead", "1.2"], ["supervisord", "1000.0"]].map(|row| row.map(str::to_owned));
        let text = aligned([("who", Side::Left), ("ms", Side::Right)], &rows);
        assert_eq!(
            text,
            "who              ms\n\
             stead           1.2\n\
             supervisord  1000.0\n"
        );
    }
}
