//! What the registry of the host has. It is only read.

#![expect(unsafe_code, reason = "the registry writes to pointers")]

use std::ffi::c_void;
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_FILE_NOT_FOUND, ERROR_MORE_DATA, ERROR_NO_MORE_ITEMS, ERROR_SUCCESS,
};
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_LOCAL_MACHINE, KEY_READ, KEY_WOW64_64KEY, REG_SZ, RRF_RT_ANY, RRF_RT_REG_DWORD,
    RRF_RT_REG_SZ, RRF_SUBKEY_WOW6464KEY, RegCloseKey, RegEnumValueW, RegGetValueW, RegOpenKeyExW,
};

/// The longest name of a value, in units, with a zero behind it.
const NAME_LEN_MAX: usize = 16_384;

/// The longest text that is read, in units: rules of the firewall are shorter.
const TEXT_LEN_MAX: usize = 16_384;

/// So many values of a key are read: firewalls of large hosts have some thousands of rules.
const VALUES_MAX: u32 = 50_000;

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// A number of this name below the machine's key.
pub(super) fn number(path: &str, name: &str) -> Option<u32> {
    let mut number = 0_u32;
    let room = size_of_val(&number) as u32;
    read(path, name, RRF_RT_REG_DWORD, (&raw mut number).cast(), room)?;
    Some(number)
}

/// A text of this name below the machine's key.
pub(super) fn text(path: &str, name: &str) -> Option<String> {
    let mut text = vec![0_u16; TEXT_LEN_MAX];
    let room = size_of_val(text.as_slice()) as u32;
    let len = read(path, name, RRF_RT_REG_SZ, text.as_mut_ptr().cast(), room)?;
    Some(until_zero(&text[..(len as usize / 2).min(TEXT_LEN_MAX)]))
}

/// How many bytes a value has, whatever it is.
pub(super) fn len(path: &str, name: &str) -> Option<u32> {
    read(path, name, RRF_RT_ANY, ptr::null_mut(), 0)
}

/// Reads a value to where there is so much room, in bytes; says how many it has.
fn read(path: &str, name: &str, kind: u32, to: *mut c_void, room: u32) -> Option<u32> {
    let (path, name, mut len) = (wide(path), wide(name), room);
    // SAFETY: both texts end with a zero, and no more is written than there is room.
    let answer = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            path.as_ptr(),
            name.as_ptr(),
            kind | RRF_SUBKEY_WOW6464KEY,
            ptr::null_mut(),
            to,
            &raw mut len,
        )
    };
    (answer == ERROR_SUCCESS).then_some(len)
}

/// A key that is open.
struct Key(HKEY);

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: it was opened once, and is closed once.
        unsafe { RegCloseKey(self.0) };
    }
}

/// `None` where it may not be looked at; nothing in it, where it is not there.
fn open(path: &str) -> Option<Option<Key>> {
    let (path, mut key) = (wide(path), ptr::null_mut());
    let rights = KEY_READ | KEY_WOW64_64KEY;
    // SAFETY: the text ends with a zero, and the key is ours to write.
    let answer =
        unsafe { RegOpenKeyExW(HKEY_LOCAL_MACHINE, path.as_ptr(), 0, rights, &raw mut key) };
    match answer {
        ERROR_SUCCESS => Some(Some(Key(key))),
        ERROR_FILE_NOT_FOUND => Some(None),
        _ => None,
    }
}

/// Whether there is such a key; `None` where that may not be looked at.
pub(super) fn is_there(path: &str) -> Option<bool> {
    open(path).map(|key| key.is_some())
}

/// The names of all values of a key with their texts, which are empty for what is none; `None`
/// where it may not be looked at.
pub(super) fn values(path: &str) -> Option<Vec<(String, String)>> {
    let Some(key) = open(path)? else { return Some(Vec::new()) };
    let (mut name, mut text) = (vec![0_u16; NAME_LEN_MAX], vec![0_u16; TEXT_LEN_MAX]);
    let mut all = Vec::new();
    for n in 0..VALUES_MAX {
        let (mut name_len, mut kind) = (name.len() as u32, 0);
        let mut len = size_of_val(text.as_slice()) as u32;
        // SAFETY: the key is open, and both buffers have as much room as is said.
        let answer = unsafe {
            RegEnumValueW(
                key.0,
                n,
                name.as_mut_ptr(),
                &raw mut name_len,
                ptr::null(),
                &raw mut kind,
                text.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        match answer {
            ERROR_SUCCESS => {
                let units = if kind == REG_SZ { len as usize / 2 } else { 0 };
                let text = until_zero(&text[..units.min(TEXT_LEN_MAX)]);
                all.push((until_zero(&name[..name_len as usize]), text));
            }
            // It is longer than what is looked for.
            ERROR_MORE_DATA => {}
            ERROR_NO_MORE_ITEMS => break,
            _ => return None,
        }
    }
    Some(all)
}

fn until_zero(units: &[u16]) -> String {
    let end = units.iter().position(|it| *it == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..end])
}
