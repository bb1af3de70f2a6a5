//! Signatures in programs, which Windows looks at: what a tool is told to make and to verify one,
//! and when two signed copies of a program are one.
//!
//! A signature holds the time it was made at, so that signing twice makes two files. A copy that
//! was signed is therefore kept under a key of what went into it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::names::SecretName;

/// What can hold a signature, by the end of its name.
pub const EXTENSIONS: [&str; 4] = ["dll", "exe", "msi", "ps1"];

/// What is hashed for a key begins with this: another format has other keys.
const KEY_FORMAT: &str = "stead-signed/1";

/// What osslsigncode says where it goes on.
const TIMESTAMP_FAILS: &str = "Timestamp Server Signature verification: failed";

/// So much of what a tool says is told, in lines.
const REASON_LINES_MAX: usize = 3;

/// The longest of these lines, in characters.
const REASON_LINE_CHARS_MAX: usize = 200;

/// How programs are signed. Paths are as the fleet file has them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signing {
    pub tool: Tool,
    /// Whom to ask for the time, so that a signature outlives its certificate.
    pub timestamp: Option<String>,
}

/// The tool, with what it goes by.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Tool {
    Osslsigncode {
        pair: Pair,
        /// What the key is closed with. It goes in by the tool's standard input: what is told in
        /// arguments, everybody on the machine can read.
        password: Option<SecretName>,
        /// The certificates that are trusted in verifying; the system's, if none.
        trust: Option<String>,
        /// The same for whom is asked for the time.
        timestamp_trust: Option<String>,
    },
    /// It takes a password in its arguments alone, and so gets none.
    Signtool { holder: Holder },
}

/// A certificate with its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Pair {
    Pem {
        certificate: String,
        key: String,
    },
    /// Both in one file.
    Pfx(String),
}

/// Where Windows has a certificate with its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Holder {
    Pfx(String),
    /// Its store, which knows certificates by their thumbprints.
    Store {
        thumbprint: String,
    },
}

/// A word that a tool is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Word<'a> {
    Text(&'a str),
    /// A file that the fleet file names.
    Given(&'a str),
    /// Its standard input, as a file is named.
    Input,
    /// A copy of the program.
    Copy,
    /// Where the signed program goes, for a tool that does not sign in place.
    Signed,
}

impl Signing {
    /// The name of the tool's program.
    pub fn program(&self) -> &'static str {
        match self.tool {
            Tool::Osslsigncode { .. } => "osslsigncode",
            Tool::Signtool { .. } => "signtool",
        }
    }

    /// Whether the copy itself is signed, and no other file written.
    pub fn is_in_place(&self) -> bool {
        match self.tool {
            Tool::Osslsigncode { .. } => false,
            Tool::Signtool { .. } => true,
        }
    }

    /// The secret that its key is closed with.
    pub fn password(&self) -> Option<&SecretName> {
        match &self.tool {
            Tool::Osslsigncode { password, .. } => password.as_ref(),
            Tool::Signtool { .. } => None,
        }
    }

    /// The file with the certificate, if it is in one.
    pub fn certificate(&self) -> Option<&str> {
        match &self.tool {
            Tool::Osslsigncode {
                pair: Pair::Pem { certificate: file, .. } | Pair::Pfx(file),
                ..
            }
            | Tool::Signtool { holder: Holder::Pfx(file) } => Some(file),
            Tool::Signtool { holder: Holder::Store { .. } } => None,
        }
    }

    /// What the tool is told to sign.
    pub fn sign_words(&self) -> Vec<Word<'_>> {
        let mut words = Vec::from([Word::Text("sign")]);
        let stamp = self.timestamp.as_deref().map(Word::Text);
        match &self.tool {
            Tool::Osslsigncode { pair, password, .. } => {
                words.extend(match pair {
                    Pair::Pem { certificate, key } => Vec::from([
                        Word::Text("-certs"),
                        Word::Given(certificate),
                        Word::Text("-key"),
                        Word::Given(key),
                    ]),
                    Pair::Pfx(file) => Vec::from([Word::Text("-pkcs12"), Word::Given(file)]),
                });
                if password.is_some() {
                    words.extend([Word::Text("-readpass"), Word::Input]);
                }
                words.extend(["-h", "sha256"].map(Word::Text));
                words.extend(stamp.into_iter().flat_map(|url| [Word::Text("-ts"), url]));
                words.extend([Word::Text("-in"), Word::Copy, Word::Text("-out"), Word::Signed]);
            }
            Tool::Signtool { holder } => {
                words.extend(["/q", "/fd", "SHA256"].map(Word::Text));
                words.extend(match holder {
                    Holder::Pfx(file) => [Word::Text("/f"), Word::Given(file)],
                    Holder::Store { thumbprint } => [Word::Text("/sha1"), Word::Text(thumbprint)],
                });
                let stamp = stamp.into_iter();
                let stamp = stamp.map(|url| [Word::Text("/tr"), url]);
                words.extend(
                    stamp.flat_map(|[tr, url]| [tr, url, Word::Text("/td"), Word::Text("SHA256")]),
                );
                words.push(Word::Copy);
            }
        }
        words
    }

    /// What the tool is told to verify the signature of a copy.
    pub fn verify_words(&self) -> Vec<Word<'_>> {
        let mut words = Vec::from([Word::Text("verify")]);
        match &self.tool {
            Tool::Osslsigncode { trust, timestamp_trust, .. } => {
                for (option, file) in [("-CAfile", trust), ("-TSA-CAfile", timestamp_trust)] {
                    let file = file.iter();
                    words.extend(file.flat_map(|file| [Word::Text(option), Word::Given(file)]));
                }
                words.extend([Word::Text("-in"), Word::Copy]);
            }
            Tool::Signtool { .. } => {
                words.extend([Word::Text("/q"), Word::Text("/pa"), Word::Copy]);
            }
        }
        words
    }

    /// What is wrong though the tool found a signature good, by what it said: where nobody trusts
    /// the time, the signature ends with its certificate, for all that a timestamp was asked for.
    pub fn doubt(&self, said: &str) -> Option<&'static str> {
        let fails = said.lines().any(|line| line.trim() == TIMESTAMP_FAILS);
        (self.timestamp.is_some() && fails).then_some("the timestamp does not verify")
    }

    /// What the key of a signed copy is hashed from: two programs with one key are signed once.
    ///
    /// It holds what the fleet file's certificates are and not where they are, and nothing that
    /// only verifying goes by. `name` counts by its end alone, by which tools know scripts.
    pub fn key_text(&self, name: &str, content: &str, certificate: Option<&str>) -> String {
        let mut text = format!("{KEY_FORMAT}\n{}\n", self.program());
        let mut line = |it: &str| {
            text.push_str(it);
            text.push('\n');
        };
        for word in self.sign_words() {
            match word {
                Word::Text(word) => line(&format!("={word}")),
                Word::Given(_) => line("given"),
                Word::Input => line("input"),
                Word::Copy => line("copy"),
                Word::Signed => line("signed"),
            }
        }
        line(&extension(name).unwrap_or_default());
        line(certificate.unwrap_or("store"));
        line(content);
        text
    }
}

/// Whether this is the name of what can hold a signature.
pub fn can_hold(name: &str) -> bool {
    extension(name).is_some_and(|end| EXTENSIONS.contains(&&*end))
}

/// The end of a name, in lower case.
pub fn extension(name: &str) -> Option<String> {
    let last = name.rsplit('/').next()?;
    let (start, end) = last.rsplit_once('.')?;
    let is_plain = !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (!start.is_empty() && is_plain).then(|| end.to_ascii_lowercase())
}

/// What of all that a tool has said tells why it failed.
pub fn reason(said: &str) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut last = "";
    for line in said.lines().map(str::trim).filter(|line| !is_empty_talk(line)) {
        last = line;
        let line = of_openssl(line).unwrap_or_else(|| line.to_owned());
        let line: String = line.chars().take(REASON_LINE_CHARS_MAX).collect();
        if is_fault(&line) && !told.contains(&line) && told.len() < REASON_LINES_MAX {
            told.push(line);
        }
    }
    if told.is_empty() {
        told.push(last.chars().take(REASON_LINE_CHARS_MAX).collect());
    }
    told.join("; ")
}

/// What ends every answer and says nothing.
fn is_empty_talk(line: &str) -> bool {
    matches!(line, "" | "Failed" | "Succeeded") || line.starts_with("Number of verified")
}

/// The reason and its detail in a line like `40C0:error:CODE:library:function:reason:file:line:…`,
/// of which OpenSSL writes a dozen for one mistake.
fn of_openssl(line: &str) -> Option<String> {
    let parts: Vec<&str> = line.splitn(9, ':').collect();
    match parts.as_slice() {
        [_, "error", _, _, _, reason, _, _, ""] => Some((*reason).to_owned()),
        [_, "error", _, _, _, reason, _, _, detail] => Some(format!("{reason}: {detail}")),
        _ => None,
    }
}

fn is_fault(line: &str) -> bool {
    const FAULTS: [&str; 13] = [
        "bad decrypt",
        "cannot",
        "expired",
        "fail",
        "mismatch",
        "no certificate",
        "no signature",
        "password",
        "refused",
        "unable",
        "unrecognized",
        "unsupported input",
        "verify error",
    ];
    let line = line.to_ascii_lowercase();
    FAULTS.iter().any(|fault| line.contains(fault))
}

#[cfg(test)]
mod tests;
