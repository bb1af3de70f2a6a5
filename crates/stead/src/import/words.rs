//! Command lines as words.

/// Splits as systemd does: blanks separate, quotes hold together, `\` escapes. `None` for a quote
/// that does not end. Source: systemd.syntax(7), "Quoting".
pub(super) fn systemd(text: &str) -> Option<Vec<String>> {
    split(text, Style::Systemd)
}

/// Splits as a shell does what asks for nothing but splitting; `None` where it asks for more.
pub(super) fn shell(text: &str) -> Option<Vec<String>> {
    let asks = |c: char| "$`|&;<>()*?[]~#!{}=\n".contains(c);
    if text.contains(asks) { None } else { split(text, Style::Shell) }
}

/// Splits as programs on Windows do.
/// Source: "Parsing C command-line arguments" of Microsoft's documentation.
pub(super) fn windows(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut in_quotes = false;
    let mut backslashes = 0;
    for c in text.chars() {
        if c == '\\' {
            backslashes += 1;
            continue;
        }
        let n = std::mem::take(&mut backslashes);
        if c == '"' {
            let to = word.get_or_insert_default();
            to.push_str(&"\\".repeat(n / 2));
            match n % 2 {
                0 => in_quotes = !in_quotes,
                _ => to.push('"'),
            }
            continue;
        }
        if n > 0 {
            word.get_or_insert_default().push_str(&"\\".repeat(n));
        }
        match c.is_whitespace() && !in_quotes {
            true => words.extend(word.take()),
            false => word.get_or_insert_default().push(c),
        }
    }
    if backslashes > 0 {
        word.get_or_insert_default().push_str(&"\\".repeat(backslashes));
    }
    words.extend(word);
    words
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Style {
    Shell,
    Systemd,
}

fn split(text: &str, style: Style) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('\''), c) if style == Style::Shell => word.get_or_insert_default().push(c),
            (_, '\\') => {
                let c = chars.next()?;
                let c = if style == Style::Systemd { escaped(c, &mut chars)? } else { c };
                word.get_or_insert_default().push(c);
            }
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// What an escape stands for, after its backslash.
fn escaped(c: char, rest: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match c {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        's' => ' ',
        't' => '\t',
        'v' => '\x0b',
        'x' => {
            let digits: String = rest.by_ref().take(2).collect();
            char::from(u8::from_str_radix(&digits, 16).ok()?)
        }
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_their_reader_would() {
        let systemd_cases = [
            (r"/usr/bin/a  b\x20c 'd e' f\ g", Some(vec!["/usr/bin/a", "b c", "d e", "f g"])),
            (r#"a -g 'daemon on; x on;' """#, Some(vec!["a", "-g", "daemon on; x on;", ""])),
            ("a 'b", None),
        ];
        for (text, words) in systemd_cases {
            let words = words.map(|words| words.into_iter().map(str::to_owned).collect());
            assert_eq!(systemd(text), words, "{text}");
        }
        assert_eq!(shell(r#"node 'a b' "c\"d""#).unwrap(), ["node", "a b", "c\"d"]);
        for text in ["a && b", "a $PORT", "A=1 b", "a > b", "a *"] {
            assert_eq!(shell(text), None, "{text}");
        }
        let cases = [
            (r#"-a "b c" d"#, vec!["-a", "b c", "d"]),
            (r#"C:\x\y "C:\d e\\" \"q\""#, vec![r"C:\x\y", r"C:\d e\", r#""q""#]),
            (r#"a "" b\"#, vec!["a", "", r"b\"]),
        ];
        for (text, words) in cases {
            assert_eq!(windows(text), words, "{text}");
        }
    }
}
