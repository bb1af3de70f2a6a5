//! Names that stand on every disk but those of Windows.
//!
//! There, what a name says may not be what it stands for: `con` is a device, `a:b` a part of the
//! file `a`, `a.` is `a`, and so is `A`. A release that holds such a name would be another one.

use std::collections::BTreeMap;

use super::Entry;

/// What no name has in it, besides control characters. `\` is a separator.
const NOT_IN_NAMES: [char; 8] = ['<', '>', ':', '"', '|', '?', '*', '\\'];

/// What is a device in every folder, whatever comes after a dot.
const DEVICES: [&str; 6] = ["AUX", "CON", "CONIN$", "CONOUT$", "NUL", "PRN"];

/// What is a device with one more character behind it.
const NUMBERED_DEVICES: [&str; 2] = ["COM", "LPT"];
const NUMBERS: &str = "0123456789\u{b9}\u{b2}\u{b3}";

/// The first entry that Windows would take for something else, and why.
pub(super) fn strange_to_windows(entries: &BTreeMap<String, Entry>) -> Option<(&str, String)> {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (path, entry) in entries {
        // What is above it is an entry, too.
        let own = path.rsplit('/').next().unwrap_or(path);
        if let Some(why) = why_not(own) {
            return Some((path, why));
        }
        if let Some(first) = seen.insert(path.chars().map(in_capitals).collect(), path) {
            return Some((path, format!("`{first}` is the same name there")));
        }
        if let Entry::Link { to } = entry {
            let is_name = |part: &&str| !matches!(*part, "" | "." | "..");
            if let Some(why) = to.split('/').filter(is_name).find_map(why_not) {
                return Some((path, format!("it leads to `{to}`, and {why}")));
            }
        }
    }
    None
}

/// Why no file of Windows has this name.
fn why_not(name: &str) -> Option<String> {
    let is_strange = |c: &char| c.is_control() || NOT_IN_NAMES.contains(c);
    if let Some(c) = name.chars().find(is_strange) {
        return Some(format!("there is no {c:?} in a name there"));
    }
    if name.ends_with(['.', ' ']) {
        return Some("no name ends with a dot or a space there".into());
    }
    let base = name.split('.').next().unwrap_or(name).trim_end_matches(' ');
    let upper: String = base.chars().map(in_capitals).collect();
    let is_numbered = |device: &&str| {
        let number = upper.strip_prefix(*device).map(str::chars);
        let one = number.and_then(|mut it| it.next().filter(|_| it.next().is_none()));
        one.is_some_and(|number| NUMBERS.contains(number))
    };
    let is_device = DEVICES.contains(&upper.as_str()) || NUMBERED_DEVICES.iter().any(is_numbered);
    is_device.then(|| format!("`{base}` is a device there"))
}

/// As the file system compares: character by character, so that `ß` is no `SS`.
fn in_capitals(c: char) -> char {
    let mut capitals = c.to_uppercase();
    match (capitals.next(), capitals.next()) {
        (Some(capital), None) => capital,
        (Some(_) | None, _) => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(paths: &[&str]) -> BTreeMap<String, Entry> {
        paths.iter().map(|path| ((*path).to_owned(), Entry::Folder)).collect()
    }

    #[test]
    fn a_name_that_is_another_thing_on_windows_is_told_with_its_reason() {
        for (name, why) in [
            ("con", "`con` is a device"),
            ("Con.txt", "`Con` is a device"),
            ("aux.tar.gz", "`aux` is a device"),
            ("nul .txt", "`nul` is a device"),
            ("PRN", "`PRN` is a device"),
            ("com1", "`com1` is a device"),
            ("LPT\u{b9}.log", "is a device"),
            ("CONOUT$", "is a device"),
            ("a:b", "no ':' in a name"),
            ("a\\b", "no '\\\\' in a name"),
            ("what?", "no '?' in a name"),
            ("a\u{1}b", "no '\\u{1}' in a name"),
            ("a.", "ends with a dot or a space"),
            ("a ", "ends with a dot or a space"),
            ("...", "ends with a dot or a space"),
        ] {
            for path in [name.to_owned(), format!("below/{name}"), format!("below/{name}/x")] {
                let parts = path.match_indices('/').map(|(at, _)| &path[..at]);
                let all: Vec<&str> = parts.chain([path.as_str()]).collect();
                let entries = folders(&all);
                let (told, said) = strange_to_windows(&entries).expect(&path);
                assert!(path.starts_with(told) && told.ends_with(name), "{path}: {told}");
                assert!(said.contains(why), "{path}: {said}");
            }
        }
    }

    #[test]
    fn names_that_differ_only_by_case_are_one() {
        for (first, second) in [("README", "readme"), ("a/B", "a/b"), ("Ärger", "ärger")] {
            let entries = folders(&["a", first, second]);
            let (told, said) = strange_to_windows(&entries).expect(first);
            assert_eq!(told, second);
            assert!(said.contains(&format!("`{first}` is the same name")), "{said}");
        }
    }

    #[test]
    fn a_link_is_looked_at_in_what_it_leads_to() {
        let link = |to: &str| BTreeMap::from([("l".to_owned(), Entry::Link { to: to.to_owned() })]);
        for to in ["a\\b", "x/con", "a:b", "../a."] {
            let entries = link(to);
            let (told, said) = strange_to_windows(&entries).expect(to);
            assert!(told == "l" && said.contains(to), "{said}");
        }
        for to in ["a/b", "../a", "./a", "..", "a//b"] {
            assert_eq!(strange_to_windows(&link(to)), None, "{to}");
        }
    }

    #[test]
    fn every_other_name_stands_there_as_it_is() {
        let plain = [
            ".hidden",
            "COM10",
            "COMA",
            "a b",
            "a.b.c",
            "com",
            "cone",
            "console.log",
            "lpt-1",
            "nulls",
            "stra\u{df}e",
            "strasse",
            "x..y",
            "\u{1f980}",
        ];
        assert_eq!(strange_to_windows(&folders(&plain)), None);
    }
}
