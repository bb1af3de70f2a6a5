//! Who asks, and whether accounts are there.

#![expect(unsafe_code, reason = "accounts are told to pointers")]

use std::io;
use std::ptr;

use stead_core::check::is_known_account;
use windows_sys::Win32::Foundation::ERROR_NONE_MAPPED;
use windows_sys::Win32::Security::{
    CheckTokenMembership, CreateWellKnownSid, LookupAccountNameW, SECURITY_MAX_SID_SIZE,
    SID_NAME_USE, SidTypeAlias, SidTypeGroup, SidTypeUser, SidTypeWellKnownGroup,
    WinBuiltinAdministratorsSid,
};

use super::Told;

/// The longest name of a domain, in units.
const DOMAIN_LEN_MAX: usize = 256;

/// Room for an account's number, aligned as it is.
type Sid = [u32; SECURITY_MAX_SID_SIZE as usize / 4];

pub(super) fn tell(told: &mut Told<'_>, users: &[&str], groups: &[&str]) -> io::Result<()> {
    told.say_known("login", std::env::var("USERNAME").ok().filter(|name| !name.is_empty()))?;
    told.say_whether("windows.administrator", is_administrator())?;
    for (names, key, missing, kinds) in [
        // Accounts of the system for services count as groups that everybody knows.
        (users, "user", "no_user", [SidTypeUser, SidTypeWellKnownGroup].as_slice()),
        (groups, "group", "no_group", &[SidTypeAlias, SidTypeGroup, SidTypeWellKnownGroup]),
    ] {
        for name in names {
            let is_there = if key == "user" && is_known_account(name) {
                Some(true)
            } else {
                kind(name).map(|kind| kind.is_some_and(|kind| kinds.contains(&kind)))
            };
            match is_there {
                Some(true) => told.say(key, name)?,
                Some(false) => told.say(missing, name)?,
                None => (),
            }
        }
    }
    Ok(())
}

/// Whether this process has an administrator's rights at hand.
fn is_administrator() -> bool {
    let (mut sid, mut len, mut is_member) = (Sid::default(), SECURITY_MAX_SID_SIZE, 0);
    let sid = sid.as_mut_ptr().cast();
    // SAFETY: the number has the room that any needs, and whether it is so is ours to write.
    unsafe {
        CreateWellKnownSid(WinBuiltinAdministratorsSid, ptr::null_mut(), sid, &raw mut len) != 0
            && CheckTokenMembership(ptr::null_mut(), sid, &raw mut is_member) != 0
            && is_member != 0
    }
}

/// What has this name, if anything; `None` where the system cannot say.
fn kind(name: &str) -> Option<Option<SID_NAME_USE>> {
    // The host's own accounts, as people write them and the system does not.
    let name = name.strip_prefix(r".\").unwrap_or(name);
    let name: Vec<u16> = name.encode_utf16().chain([0]).collect();
    let (mut sid, mut sid_len) = (Sid::default(), SECURITY_MAX_SID_SIZE);
    let (mut domain, mut domain_len) = ([0_u16; DOMAIN_LEN_MAX], DOMAIN_LEN_MAX as u32);
    let mut kind = 0;
    // SAFETY: the name ends with a zero, and what is written to is as long as it is said to be.
    let went_well = unsafe {
        LookupAccountNameW(
            ptr::null(),
            name.as_ptr(),
            sid.as_mut_ptr().cast(),
            &raw mut sid_len,
            domain.as_mut_ptr(),
            &raw mut domain_len,
            &raw mut kind,
        ) != 0
    };
    if went_well {
        return Some(Some(kind));
    }
    let error = io::Error::last_os_error().raw_os_error();
    (error == Some(ERROR_NONE_MAPPED as i32)).then_some(None)
}
