//! The only place that prints: results to stdout, what goes on to stderr.
#![expect(clippy::print_stdout, reason = "a chore's result is what it prints")]

use std::fmt::Display;

/// A line of the result.
pub(crate) fn result(text: impl Display) {
    println!("{text}");
}

/// A line about what goes on.
pub(crate) fn progress(text: impl Display) {
    eprintln!("xtask: {text}");
}

/// Why it came to nothing, from whole to part.
pub(crate) fn failure(error: &anyhow::Error) {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because {cause}");
    }
}

/// A block that must not be overlooked.
pub(crate) fn loudly(heading: &str, lines: &[String]) {
    let rule = "!".repeat(heading.len() + 8);
    println!("{rule}\n!!! {heading} !!!\n{rule}");
    for line in lines {
        println!("!!! {line}");
    }
}
