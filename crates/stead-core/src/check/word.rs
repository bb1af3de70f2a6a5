//! Questions as words of a line that two shells read on their way to a host with Windows.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

/// What begins a word that has the numbers of a question's bytes.
const IN_NUMBERS: &str = "x:";

/// A question as a word that means nothing to any shell: what might is told by its bytes' numbers.
pub fn to_word(question: &str) -> String {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b':' | b'.' | b'_' | b'-');
    if question.bytes().all(is_plain) && !question.starts_with(IN_NUMBERS) {
        return question.to_owned();
    }
    let mut word = IN_NUMBERS.to_owned();
    for byte in question.bytes() {
        let _ = write!(word, "{byte:02x}");
    }
    word
}

/// The question that is told by a word; `None` if it is none.
pub fn from_word(word: &str) -> Option<String> {
    let Some(digits) = word.strip_prefix(IN_NUMBERS) else { return Some(word.to_owned()) };
    let pairs = digits.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| {
        let [high, low] = pair else { return None };
        let digit = |it: &u8| char::from(*it).to_digit(16);
        u8::try_from(digit(high)? << 4 | digit(low)?).ok()
    });
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_comes_to_the_host_as_it_was_asked() {
        for (question, word) in [
            ("port:8100", "port:8100"),
            ("user:a b", "x:757365723a612062"),
            ("x:41", "x:783a3431"),
            ("path:/%a%&\"é", "x:706174683a2f25612526 22c3a9"),
        ] {
            assert_eq!(to_word(question), word.replace(' ', ""));
            assert_eq!(from_word(&to_word(question)).as_deref(), Some(question));
        }
        for bad in ["x:4", "x:zz", "x:+1", "x:ff"] {
            assert_eq!(from_word(bad), None, "{bad}");
        }
    }
}
