//! Nothing that is restored is longer than was announced, and what was compressed comes back.
//!
//! The input: whether there is a base, how long it is, the length that was announced, the base, and
//! what was sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stead_release::patch::{compress, restore};

fuzz_target!(init: stead_fuzz::seeds::write(stead_fuzz::seeds::patches()), |bytes: &[u8]| {
    let Some(([has_base, base_len, len @ ..], rest)) = bytes.split_first_chunk::<4>() else {
        return;
    };
    let (base, sent) = rest.split_at(rest.len().min(usize::from(*base_len)));
    let base = (has_base % 2 == 1).then_some(base);
    let len = u64::from(u16::from_le_bytes(*len));
    if let Ok(content) = restore(sent, base, len) {
        assert_eq!(content.len() as u64, len);
        stead_fuzz::control();
    }
    let compressed = compress(sent, base).expect("memory takes it");
    let content = restore(&compressed, base, sent.len() as u64).expect("it was just compressed");
    assert_eq!(content, sent);
});
