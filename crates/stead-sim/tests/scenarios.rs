//! The stories in `scenarios/`: each says what it claims, what happens, and what comes of it.
//!
//! Where something else comes of it, read what; if that is right, take it with
//! `STEAD_SCENARIOS=accept cargo test -p stead-sim --test scenarios`, which writes the files anew.

use std::fs;
use std::path::{Path, PathBuf};

use stead_sim::Scenario;

/// A story that is not played any more would go unnoticed otherwise.
const STORIES_MIN: usize = 18;

fn stories() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = fs::read_dir(folder).expect("it is beside this test");
    let path = |entry: std::io::Result<fs::DirEntry>| entry.expect("it can be listed").path();
    let mut paths: Vec<PathBuf> = entries.map(path).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("it is a text");
        (path, text)
    };
    paths.into_iter().map(read).collect()
}

/// The lines from the first to the last that differ.
fn differing(expected: &str, played: &str) -> String {
    let (expected, played): (Vec<_>, Vec<_>) =
        (expected.lines().collect(), played.lines().collect());
    let same = |(one, other): &(&&str, &&str)| one == other;
    let before = expected.iter().zip(&played).take_while(same).count();
    let (expected, played) = (&expected[before..], &played[before..]);
    let after = expected.iter().rev().zip(played.iter().rev()).take_while(same).count();
    let lines = |sign: &str, lines: &[&str]| -> String {
        lines[..lines.len() - after].iter().map(|line| format!("{sign} {line}\n")).collect()
    };
    lines("-", expected) + &lines("+", played)
}

#[test]
fn every_story_ends_as_it_says() {
    let accepts = std::env::var_os("STEAD_SCENARIOS").is_some_and(|value| value == "accept");
    let stories = stories();
    assert!(stories.len() >= STORIES_MIN, "{} stories", stories.len());
    let mut wrong = String::new();
    for (path, text) in stories {
        let name = path.file_name().unwrap().display().to_string();
        let story = Scenario::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let played = story.played();
        if story.expected() == played {
            continue;
        }
        match accepts {
            true => fs::write(&path, story.with(&played)).unwrap(),
            false => wrong += &format!("{name}:\n{}", differing(story.expected(), &played)),
        }
    }
    assert!(
        wrong.is_empty(),
        "other than told comes of these:\n{wrong}\n`STEAD_SCENARIOS=accept` takes it as right"
    );
}

#[test]
fn a_story_is_always_the_same() {
    for (path, text) in stories() {
        let [one, other] = [(); 2].map(|()| Scenario::parse(&text).unwrap().played());
        assert!(!one.is_empty() && one == other, "{}", path.display());
    }
}

#[test]
fn only_a_story_that_leaves_a_protection_out_may_tell_of_a_broken_invariant() {
    for (path, text) in stories() {
        let is_control = text.contains("\nleave out ");
        let is_broken = text.contains(" does not hold: ");
        assert_eq!(is_control, is_broken, "{}", path.display());
    }
}

#[test]
fn a_text_that_is_no_story_is_told_with_its_line_and_what_to_write() {
    let head = "# A claim\nhosts 2\nrelease v1 good\n";
    let cases = [
        ("hosts 2\n", 1, "`# A sentence`"),
        ("# A claim\nrelease v1 good\n", 2, "`hosts 3`"),
        ("# A claim\nhosts many\n", 2, "1 to 9"),
        ("# A claim\nhosts 2\nrelease v1 crashes\n", 3, "`release v1 good`"),
        (&format!("{head}release v3 good\n"), 4, "`v2`"),
        (&format!("{head}release v2 sleeps\n"), 4, "`crashes`"),
        (&format!("{head}release v2 crashes on h7\n"), 4, "`h0` to `h1`"),
        (&format!("{head}pace bake=2\n"), 4, "`5s` or `500ms`"),
        (&format!("{head}pace speed=2\n"), 4, "`canary=1`"),
        (&format!("{head}pace wave=0%\n"), 4, "`50%`"),
        (&format!("{head}leave out luck\n"), 4, "`self-revert`"),
        (&format!("{head}at 0s a deploys v2\n"), 4, "`release v2 good` above"),
        (&format!("{head}at 0s a dies\n"), 4, "`at 0s a resumes` above"),
        (&format!("{head}at 0s h0 has the flu\n"), 4, "`h0 is cut off for 9s`"),
        (&format!("{head}at 0s h0 resumes\n"), 4, "another name"),
        (&format!("{head}when h0 is done h1 has no power for 1s\n"), 4, "`switched`"),
        (&format!("{head}at 5s a resumes\nat 4s a dies\n"), 5, "further above"),
        (&format!("{head}at 5s end\nat 6s a resumes\n"), 5, "above `end`"),
        (&format!("{head}what now\n"), 4, "`hosts 3`"),
        (head, 4, "`at 40s end`"),
    ];
    for (text, line_n, try_this) in cases {
        let error = Scenario::parse(text).map(drop).expect_err(text);
        let told = error.to_string();
        assert!(told.starts_with(&format!("line {line_n}: ")), "{text}\n{told}");
        assert!(told.split_once("; write ").unwrap().1.contains(try_this), "{text}\n{told}");
    }
}

#[test]
fn only_the_lines_that_differ_are_shown() {
    assert_eq!(differing("a\nb\nc\n", "a\nx\ny\nc\n"), "- b\n+ x\n+ y\n");
    assert_eq!(differing("", "a\n"), "+ a\n");
    assert_eq!(differing("a\na\n", "a\n"), "- a\n");
}
