//! A value of the registry as the system holds it.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Value;

/// A value of any type: also what was there before stead may come back.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Raw {
    /// The system's number of its type: 1 is `REG_SZ`.
    pub kind: u32,
    #[serde(with = "hex")]
    pub bytes: Vec<u8>,
}

impl From<&Value> for Raw {
    /// What would end a text too early is left out: no plan of ours has it.
    fn from(value: &Value) -> Self {
        let text = |text: &str| -> Vec<u8> {
            let units = text.encode_utf16().filter(|unit| *unit != 0).chain([0]);
            units.flat_map(u16::to_le_bytes).collect()
        };
        let (kind, bytes) = match value {
            Value::Sz(it) => (1, text(it)),
            Value::ExpandSz(it) => (2, text(it)),
            Value::Dword(number) => (4, number.to_le_bytes().into()),
            Value::MultiSz(texts) => {
                let texts = texts.iter().filter(|text| !text.is_empty());
                (7, texts.flat_map(|it| text(it)).chain([0, 0]).collect())
            }
            Value::Qword(number) => (11, number.to_le_bytes().into()),
        };
        Self { kind, bytes }
    }
}

/// Bytes as JSON: two hexadecimal digits each.
mod hex {
    use alloc::string::String;
    use alloc::vec::Vec;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    const DIGITS: &[u8; 16] = b"0123456789abcdef";

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        let text: String = digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect();
        to.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        let digits: Option<Vec<u8>> = text
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        let digits = digits.filter(|digits| digits.len().is_multiple_of(2));
        let digits = digits.ok_or_else(|| D::Error::custom("bytes are hexadecimal digits"))?;
        Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
    }
}
