//! Signatures: whoever holds the key has meant exactly this, for exactly this purpose.
//!
//! ```text
//! message = "stead-signed/1", the purpose, the text; each with its length before it
//! ```
//!
//! A purpose names what a signature is good for, so that one that was seen is of no use for
//! anything else.

use std::fmt;
use std::io;
use std::str::FromStr;

use ed25519_compact::{KeyPair, PublicKey, SecretKey, Seed, Signature};

const FORMAT: &str = "stead-signed/1";

/// What a line with a secret key begins with.
const SECRET: &str = "stead-signing-key/1:";

/// What a public key begins with, wherever it is written.
const PUBLIC: &str = "ed25519:";

/// Why a text is not what it should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyError {
    #[error("it is no key of stead's: it does not begin with `{SECRET}`")]
    NotSecret,
    #[error("it is no public key: one looks like `{PUBLIC}` and 64 hexadecimal digits")]
    NotPublic,
}

/// The file with the keys that a host trusts, below its root.
pub const TRUSTED_KEYS: &str = "trusted-keys";

/// The keys that are trusted by such a file: one at the beginning of each line, and anything after
/// it. Lines that are empty, or begin with `#`, do not count.
pub fn trusted_keys(text: &str) -> Result<Vec<TrustedKey>, KeyError> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys = lines.filter(|line| !line.starts_with('#'));
    keys.map(|line| line.split_whitespace().next().unwrap_or("").parse()).collect()
}

/// A key that signs.
pub struct SigningKey(SecretKey);

/// A key by which a signature is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustedKey(PublicKey);

impl SigningKey {
    /// One that nobody else has.
    pub fn fresh() -> io::Result<Self> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        Ok(Self(KeyPair::from_seed(Seed::new(seed)).sk))
    }

    /// The text that goes into a file.
    pub fn to_text(&self) -> String {
        format!("{SECRET}{}\n", hex(&*self.0.seed()))
    }

    pub fn of_text(text: &str) -> Result<Self, KeyError> {
        let digits = text.trim().strip_prefix(SECRET).ok_or(KeyError::NotSecret)?;
        let seed = unhex::<32>(digits).ok_or(KeyError::NotSecret)?;
        Ok(Self(KeyPair::from_seed(Seed::new(seed)).sk))
    }

    /// The key by which its signatures are known.
    pub fn public(&self) -> TrustedKey {
        TrustedKey(self.0.public_key())
    }

    /// The signature of a text for a purpose, in hexadecimal digits.
    pub fn sign(&self, purpose: &str, text: &str) -> String {
        hex(&*self.0.sign(message(purpose, text), None))
    }
}

impl TrustedKey {
    /// Whether the holder of the key has signed this text for this purpose.
    pub fn verifies(&self, purpose: &str, text: &str, signature: &str) -> bool {
        let signature = unhex::<64>(signature).map(Signature::new);
        signature.is_some_and(|it| self.0.verify(message(purpose, text), &it).is_ok())
    }
}

impl fmt::Display for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", hex(&*self.0))
    }
}

impl FromStr for TrustedKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let digits = text.strip_prefix(PUBLIC).ok_or(KeyError::NotPublic)?;
        unhex::<32>(digits).map(|key| Self(PublicKey::new(key))).ok_or(KeyError::NotPublic)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public())
    }
}

fn message(purpose: &str, text: &str) -> Vec<u8> {
    let part = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    [FORMAT, purpose, text].map(part).concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != 2 * N || !digits.is_ascii() {
        return None;
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        let two = digits.get(2 * n..2 * n + 2)?;
        let is_hex = two.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(two, 16).ok().filter(|_| is_hex)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_text_for_the_same_purpose_by_the_same_key_is_known() {
        let [own, other] = [(); 2].map(|()| SigningKey::fresh().unwrap());
        let signature = own.sign("plan of epoch 7", "text");
        assert!(own.public().verifies("plan of epoch 7", "text", &signature));
        for (key, purpose, text) in [
            (&other, "plan of epoch 7", "text"),
            (&own, "plan of epoch 8", "text"),
            (&own, "plan of epoch 7", "texts"),
            (&own, "plan of epoch 7t", "ext"),
        ] {
            assert!(!key.public().verifies(purpose, text, &signature), "{purpose} {text}");
        }
        for place in 0..signature.len() {
            let mut flipped = signature.clone().into_bytes();
            flipped[place] = if flipped[place] == b'0' { b'1' } else { b'0' };
            let flipped = String::from_utf8(flipped).unwrap();
            assert!(!own.public().verifies("plan of epoch 7", "text", &flipped), "{place}");
        }
        for strange in ["", "00", &signature[1..], &"é".repeat(64), &"+1".repeat(64)] {
            assert!(!own.public().verifies("plan of epoch 7", "text", strange), "{strange}");
        }
    }

    #[test]
    fn a_file_of_keys_trusts_those_at_the_beginning_of_its_lines_or_nobody() {
        let key = SigningKey::fresh().unwrap().public();
        let text = format!("# of the team\n\n{key} ann\n  {key}\n");
        assert_eq!(trusted_keys(&text), Ok(vec![key.clone(); 2]));
        assert_eq!(trusted_keys(""), Ok(Vec::new()));
        assert!(trusted_keys(&format!("{key}\nnonsense\n")).is_err());
    }

    #[test]
    fn keys_come_back_from_their_texts_and_others_are_refused() {
        let key = SigningKey::fresh().unwrap();
        let again = SigningKey::of_text(&key.to_text()).unwrap();
        assert_eq!(again.public(), key.public());
        let public = key.public().to_string();
        assert_eq!(public.parse(), Ok(key.public()));
        for text in ["", "ed25519:00", &key.to_text()[5..], &public] {
            assert_eq!(SigningKey::of_text(text).err(), Some(KeyError::NotSecret), "{text}");
        }
        for text in ["", "ed25519:", &public[1..], &format!("{public} "), &key.to_text()] {
            assert_eq!(text.parse::<TrustedKey>(), Err(KeyError::NotPublic), "{text}");
        }
        // What is printed by mistake gives nothing away.
        assert!(!format!("{key:?}").contains(&key.to_text().trim()[SECRET.len()..]));
    }
}
