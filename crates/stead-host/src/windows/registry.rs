//! The registry, in its view for programs of 64 bits.

#![expect(unsafe_code, reason = "keys are known by raw handles")]

use std::collections::BTreeSet;
use std::io;
use std::ptr;

use stead_core::registry::memory::{Change, Memory, There};
use stead_core::registry::{Hive, KeyPath, Raw, ValueName};
use windows_sys::Win32::Foundation::{
    ERROR_FILE_NOT_FOUND, ERROR_INVALID_DATA, ERROR_MORE_DATA, ERROR_SUCCESS, WIN32_ERROR,
};
use windows_sys::Win32::System::Registry::{
    HKEY, HKEY_CURRENT_USER, HKEY_LOCAL_MACHINE, KEY_QUERY_VALUE, KEY_SET_VALUE, KEY_WOW64_64KEY,
    REG_OPTION_NON_VOLATILE, REG_SAM_FLAGS, RegCloseKey, RegCreateKeyExW, RegDeleteKeyExW,
    RegDeleteValueW, RegFlushKey, RegOpenKeyExW, RegQueryInfoKeyW, RegQueryValueExW,
    RegSetValueExW,
};

/// Whether this system has a registry.
pub const HAS_REGISTRY: bool = true;

/// The largest value that is looked at. What was there is remembered as a whole, and a larger one
/// is no setting of a service.
const VALUE_LEN_MAX: usize = 1 << 20;

/// Looks what there is at the places that a memory asks for. An error names the key.
pub fn look(memory: &Memory) -> io::Result<There> {
    let mut there = There::default();
    for (path, names) in memory.places() {
        let key = match open(&path, KEY_QUERY_VALUE) {
            Ok(Some(key)) => key,
            Ok(None) => continue,
            // What may not be looked at is there; nothing in it is asked for.
            Err(error) if names.is_empty() && error.kind() == io::ErrorKind::PermissionDenied => {
                there.add_key(&path);
                continue;
            }
            Err(error) => return Err(at(&path, &error)),
        };
        there.add_key(&path);
        for name in names {
            if let Some(value) = read(&key, &name).map_err(|error| at(&path, &error))? {
                there.add_value(&path, &name, value);
            }
        }
    }
    Ok(there)
}

/// Does one thing. An error names the key.
pub fn carry_out(change: &Change) -> io::Result<()> {
    let done = match change {
        Change::MakeKey(path) => create(path).map(drop),
        Change::Set(path, name, value) => set(path, name, value),
        Change::Delete(path, name) => delete(path, name),
        Change::DeleteEmptyKey(path) => delete_empty(path),
    };
    done.map_err(|error| at(change.key(), &error))
}

/// Has all that was changed be on the disk, as what is remembered of it is.
pub fn flush(changes: &[Change]) -> io::Result<()> {
    let outermost = |change: &Change| change.key().with_outer().next();
    let outermost: BTreeSet<KeyPath> = changes.iter().filter_map(outermost).collect();
    for path in outermost {
        let Some(key) = open(&path, KEY_QUERY_VALUE).map_err(|error| at(&path, &error))? else {
            continue;
        };
        // SAFETY: the key is open.
        check(unsafe { RegFlushKey(key.0) }).map_err(|error| at(&path, &error))?;
    }
    Ok(())
}

fn at(path: &KeyPath, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{path}`: {error}"))
}

/// An open key, closed once.
struct Key(HKEY);

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: it is open, and nobody else closes it.
        unsafe { RegCloseKey(self.0) };
    }
}

fn hive(path: &KeyPath) -> HKEY {
    match path.hive() {
        Hive::CurrentUser => HKEY_CURRENT_USER,
        Hive::LocalMachine => HKEY_LOCAL_MACHINE,
    }
}

/// A text as the system has it. Paths and names were checked to hold no NUL.
fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// What a call says: nothing went wrong, or why not.
fn check(answer: WIN32_ERROR) -> io::Result<()> {
    if answer == ERROR_SUCCESS { Ok(()) } else { Err(io::Error::from_raw_os_error(answer as i32)) }
}

/// The same, where nothing being there is an answer.
fn check_there(answer: WIN32_ERROR) -> io::Result<bool> {
    if answer == ERROR_FILE_NOT_FOUND { Ok(false) } else { check(answer).map(|()| true) }
}

fn open(path: &KeyPath, rights: REG_SAM_FLAGS) -> io::Result<Option<Key>> {
    let names = wide(path.names());
    let mut key = ptr::null_mut();
    // SAFETY: the path ends with a zero, and the key is closed by its owner.
    let answer = unsafe {
        RegOpenKeyExW(hive(path), names.as_ptr(), 0, rights | KEY_WOW64_64KEY, &raw mut key)
    };
    Ok(check_there(answer)?.then(|| Key(key)))
}

/// Opens a key to set values in it; made with those that it is in, if it is not there.
fn create(path: &KeyPath) -> io::Result<Key> {
    let names = wide(path.names());
    let mut key = ptr::null_mut();
    // SAFETY: the path ends with a zero, and the key is closed by its owner.
    let answer = unsafe {
        RegCreateKeyExW(
            hive(path),
            names.as_ptr(),
            0,
            ptr::null(),
            REG_OPTION_NON_VOLATILE,
            KEY_SET_VALUE | KEY_WOW64_64KEY,
            ptr::null(),
            &raw mut key,
            ptr::null_mut(),
        )
    };
    check(answer).map(|()| Key(key))
}

fn read(key: &Key, name: &ValueName) -> io::Result<Option<Raw>> {
    let name = wide(name.as_str());
    let mut bytes = Vec::new();
    loop {
        let (mut kind, mut len) = (0, bytes.len() as u32);
        // SAFETY: the name ends with a zero, and the buffer has so many bytes.
        let answer = unsafe {
            RegQueryValueExW(
                key.0,
                name.as_ptr(),
                ptr::null(),
                &raw mut kind,
                bytes.as_mut_ptr(),
                &raw mut len,
            )
        };
        let len = len as usize;
        // Without a buffer the system says that all is well, and how long it is.
        let is_short = answer == ERROR_MORE_DATA || (answer == ERROR_SUCCESS && len > bytes.len());
        if is_short && len > VALUE_LEN_MAX {
            return Err(io::Error::from_raw_os_error(ERROR_INVALID_DATA as i32));
        }
        if is_short {
            bytes.resize(len, 0);
            continue;
        }
        if !check_there(answer)? {
            return Ok(None);
        }
        bytes.truncate(len);
        return Ok(Some(Raw { kind, bytes }));
    }
}

fn set(path: &KeyPath, name: &ValueName, value: &Raw) -> io::Result<()> {
    let key = create(path)?;
    let name = wide(name.as_str());
    let len = u32::try_from(value.bytes.len()).map_err(io::Error::other)?;
    // SAFETY: the name ends with a zero, and the value has so many bytes.
    check(unsafe { RegSetValueExW(key.0, name.as_ptr(), 0, value.kind, value.bytes.as_ptr(), len) })
}

fn delete(path: &KeyPath, name: &ValueName) -> io::Result<()> {
    let Some(key) = open(path, KEY_SET_VALUE)? else { return Ok(()) };
    let name = wide(name.as_str());
    // SAFETY: the name ends with a zero.
    check_there(unsafe { RegDeleteValueW(key.0, name.as_ptr()) }).map(drop)
}

fn delete_empty(path: &KeyPath) -> io::Result<()> {
    let Some(key) = open(path, KEY_QUERY_VALUE)? else { return Ok(()) };
    let (mut keys_n, mut values_n) = (0, 0);
    // SAFETY: the two numbers are ours, and nothing else is asked for.
    check(unsafe {
        RegQueryInfoKeyW(
            key.0,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null(),
            &raw mut keys_n,
            ptr::null_mut(),
            ptr::null_mut(),
            &raw mut values_n,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
        )
    })?;
    drop(key);
    if (keys_n, values_n) != (0, 0) {
        return Ok(());
    }
    let names = wide(path.names());
    // SAFETY: the path ends with a zero.
    let answer = unsafe { RegDeleteKeyExW(hive(path), names.as_ptr(), KEY_WOW64_64KEY, 0) };
    check_there(answer).map(drop)
}
