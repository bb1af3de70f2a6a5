//! Whether what the system is to run is its administrators' own: who may write to it could have the
//! system run anything.

#![expect(unsafe_code, reason = "owners have no safe form")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::windows::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::os::windows::io::AsRawHandle as _;
use std::path::Path;
use std::{ptr, slice};

use windows_sys::Win32::Foundation::{ERROR_SUCCESS, HANDLE, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertSecurityDescriptorToStringSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1,
    SE_FILE_OBJECT,
};
use windows_sys::Win32::Security::{
    CheckTokenMembership, DACL_SECURITY_INFORMATION, EqualSid, GetTokenInformation, IsWellKnownSid,
    OWNER_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID, TOKEN_USER, TokenUser,
    WinLocalSystemSid,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_REPARSE_POINT, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT,
    FILE_GENERIC_EXECUTE, FILE_GENERIC_READ, FILE_READ_ATTRIBUTES, READ_CONTROL,
};

/// Who is let in by what stead closes, as access lists have it: the owner, the system,
/// administrators.
const OWNERS: [&str; 3] = ["OW", "SY", "BA"];

/// What stands for the token of this process, as the system's headers have it.
const CURRENT_PROCESS_TOKEN: HANDLE = ptr::without_provenance_mut(usize::MAX - 3);

/// More than what is said of a user takes, in bytes.
const USER_LEN_MAX: usize = 256;

/// Takes a folder for a root that the system may run programs from: nobody but its owner, the
/// system and administrators may change what is in it. One that is open to others is closed if
/// there is nothing in it yet. An error where it is somebody else's, leads elsewhere, or others may
/// have put there what is in it. Whom an administrator lets read it may go on to.
pub fn take_root(root: &Path) -> io::Result<()> {
    let folder = open(root)?;
    let kind = folder.metadata()?;
    if kind.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0 || !kind.is_dir() {
        return Err(refused(root, "is no folder but leads to one"));
    }
    let (owner_is_ours, list) = security(&folder)?;
    if !owner_is_ours {
        return Err(refused(root, "belongs to somebody else than administrators"));
    }
    let is_empty = fs::read_dir(root)?.next().is_none();
    match others_may(&list) {
        Others::Nothing => Ok(()),
        Others::Look | Others::Change if is_empty => stead_proc::close_folder(root),
        Others::Look => Ok(()),
        Others::Change => {
            Err(refused(root, "is open to others, who may have put there what is in it"))
        }
    }
}

/// What somebody may do with a folder who is neither its owner nor an administrator.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Others {
    Nothing,
    Look,
    Change,
}

fn refused(path: &Path, why: &str) -> io::Error {
    let try_this = "as an administrator, remove it or close it to others";
    let text = format!("`{}` {why}: {try_this}", path.display());
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// The thing itself, not what it may lead to.
fn open(path: &Path) -> io::Result<File> {
    let flags = FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT;
    OpenOptions::new()
        .access_mode(READ_CONTROL | FILE_READ_ATTRIBUTES)
        .custom_flags(flags)
        .open(path)
}

/// Whether the owner is one of ours, and the access list as text.
fn security(file: &File) -> io::Result<(bool, String)> {
    let (mut owner, mut descriptor): (PSID, PSECURITY_DESCRIPTOR) =
        (ptr::null_mut(), ptr::null_mut());
    let which = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    let (handle, group, list) = (file.as_raw_handle(), ptr::null_mut(), ptr::null_mut());
    let (kind, to) = (SE_FILE_OBJECT, &raw mut descriptor);
    // SAFETY: the file is open, and both pointers are ours to write.
    let told = unsafe {
        GetSecurityInfo(handle, kind, which, &raw mut owner, group, list, ptr::null_mut(), to)
    };
    if told != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(told.cast_signed()));
    }
    let (mut text, mut len) = (ptr::null_mut(), 0);
    // SAFETY: the owner is part of the descriptor; what was made is looked at as long as it says,
    // and freed once, here.
    unsafe {
        let owner_is_ours = is_ours(owner);
        let made = ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor,
            SDDL_REVISION_1,
            which,
            &raw mut text,
            &raw mut len,
        );
        let failed = (made == 0).then(io::Error::last_os_error);
        let list = match &failed {
            Some(_) => String::new(),
            None => String::from_utf16_lossy(slice::from_raw_parts(text, len as usize)),
        };
        LocalFree(text.cast());
        LocalFree(descriptor);
        failed.map_or(Ok((owner_is_ours, list)), Err)
    }
}

/// What an access list, as text after that of the owner, lets others do.
fn others_may(text: &str) -> Others {
    let split = text.trim_end_matches('\0').split_once("D:");
    let Some((owner, list)) = split else { return Others::Change };
    let owner = owner.trim_start_matches("O:");
    let entries = list.split('(').skip(1).map(|entry| entry.trim_end_matches(')'));
    let each = entries.map(|entry| {
        let parts: Vec<&str> = entry.split(';').collect();
        match parts.as_slice() {
            ["D", ..] => Others::Nothing,
            [_, _, _, _, _, account, ..] if *account == owner || OWNERS.contains(account) => {
                Others::Nothing
            }
            [_, _, rights, ..] if only_look(rights) => Others::Look,
            _ => Others::Change,
        }
    });
    // Without a list anybody may do anything.
    each.max().unwrap_or(Others::Change)
}

/// Whether rights, as access lists have them, change nothing.
fn only_look(rights: &str) -> bool {
    match rights.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).is_ok_and(|mask| mask & !LOOK == 0),
        None => rights.as_bytes().chunks(2).all(|right| LOOK_WORDS.contains(&right)),
    }
}

/// The rights to read, to run and to ask about, as bits and as words.
const LOOK: u32 = FILE_GENERIC_READ | FILE_GENERIC_EXECUTE;
const LOOK_WORDS: [&[u8]; 5] = [b"FR", b"FX", b"GR", b"GX", b"RC"];

/// Whether an account is the system, who runs this, or a group of theirs.
///
/// # Safety
/// It is an account's id.
unsafe fn is_ours(account: PSID) -> bool {
    let mut is_member = 0;
    // SAFETY: by the caller's word; without a token it is about this process.
    unsafe {
        IsWellKnownSid(account, WinLocalSystemSid) != 0
            || CheckTokenMembership(ptr::null_mut(), account, &raw mut is_member) != 0
                && is_member != 0
            || is_own_user(account)
    }
}

/// Whether it is who runs this, whom not every system counts among the members of a token.
///
/// # Safety
/// It is an account's id.
unsafe fn is_own_user(account: PSID) -> bool {
    let mut user = [0_u64; USER_LEN_MAX / size_of::<u64>()];
    let (len, mut told_len) = (size_of_val(&user) as u32, 0);
    // SAFETY: the token stands for that of this process and needs no end; the buffer has so many
    // bytes, and begins with where in it the user's id is.
    unsafe {
        let to = user.as_mut_ptr().cast();
        GetTokenInformation(CURRENT_PROCESS_TOKEN, TokenUser, to, len, &raw mut told_len) != 0
            && EqualSid(account, (*user.as_ptr().cast::<TOKEN_USER>()).User.Sid) != 0
    }
}

#[cfg(test)]
mod tests {
    use windows_sys::Win32::Security::Authorization::{
        ConvertStringSecurityDescriptorToSecurityDescriptorW, ConvertStringSidToSidW,
    };
    use windows_sys::Win32::Security::SetFileSecurityW;

    use super::super::events::wide;
    use super::*;

    #[test]
    fn what_is_the_systems_is_trusted_and_what_is_another_users_is_not() {
        for (id, expected) in
            [("S-1-5-18", true), ("S-1-5-32-544", true), ("S-1-5-21-1-2-3-1004", false)]
        {
            let (text, mut account) = (wide(id), ptr::null_mut());
            // SAFETY: the text ends with a zero; the id is freed once.
            let ours = unsafe {
                assert_ne!(ConvertStringSidToSidW(text.as_ptr(), &raw mut account), 0, "{id}");
                let ours = is_ours(account);
                LocalFree(account);
                ours
            };
            assert_eq!(ours, expected, "{id}");
        }
    }

    /// What a folder is made with below the drive, as others see it.
    fn folder(name: &str) -> std::path::PathBuf {
        let name = format!("stead-trusted-{}-{name}", std::process::id());
        let root = std::env::temp_dir().join(name);
        fs::create_dir_all(&root).expect("it can be made");
        root
    }

    fn others(path: &Path) -> Others {
        others_may(&security(&open(path).expect("it is there")).expect("it is told").1)
    }

    /// Has everybody do with a folder what they like.
    fn open_to_all(path: &Path) {
        let (text, mut list) = (wide("D:P(A;OICI;FA;;;WD)"), ptr::null_mut());
        // SAFETY: both texts end with a zero; the list is freed once.
        unsafe {
            let (to, len) = (&raw mut list, ptr::null_mut());
            let made = ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                to,
                len,
            );
            assert_ne!(made, 0);
            assert_ne!(SetFileSecurityW(wide(path).as_ptr(), DACL_SECURITY_INFORMATION, list), 0);
            LocalFree(list);
        }
    }

    #[test]
    fn an_empty_root_is_closed_and_so_is_what_is_made_in_it() {
        let root = folder("empty");
        open_to_all(&root);
        assert_eq!(others(&root), Others::Change, "control: nobody has closed it yet");
        for _ in 0..2 {
            take_root(&root).expect("it is ours");
            assert_eq!(others(&root), Others::Nothing);
            fs::write(root.join("stead.exe"), "x").expect("it can be written");
        }
        fs::remove_dir_all(&root).expect("it can be removed");
    }

    #[test]
    fn what_others_may_have_put_into_a_root_is_not_taken() {
        let root = folder("planted");
        fs::write(root.join("plan.json"), "x").expect("it can be written");
        open_to_all(&root);
        let refused = take_root(&root).expect_err("anybody may have written that");
        assert!(refused.to_string().contains("open to others"), "{refused}");
        assert_eq!(others(&root), Others::Change, "it is as it was");
        fs::remove_dir_all(&root).expect("it can be removed");
    }

    #[test]
    fn what_others_may_do_is_read_off_the_access_list() {
        for (list, expected) in [
            ("O:BAD:P(A;OICI;FA;;;OW)(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)", Others::Nothing),
            ("O:S-1-5-21-1D:P(A;;FA;;;S-1-5-21-1)(A;;FA;;;SY)", Others::Nothing),
            ("O:BAD:PAI(D;;FA;;;WD)(A;OICI;FA;;;SY)", Others::Nothing),
            ("O:BAD:AI(A;OICIID;FA;;;SY)(A;OICIID;0x1200a9;;;BU)", Others::Look),
            ("O:BAD:P(A;;FRFX;;;AU)(A;;FA;;;SY)", Others::Look),
            ("O:BAD:P(A;;FA;;;S-1-5-21-1)(A;;FA;;;SY)", Others::Change),
            ("O:BAD:P(A;OICI;FA;;;SY)(A;OICI;0x1301bf;;;AU)", Others::Change),
            ("O:BAD:AI(A;OICIID;FA;;;SY)(A;CIID;DCLC;;;BU)", Others::Change),
            ("O:BAD:NO_ACCESS_CONTROL", Others::Change),
            ("", Others::Change),
        ] {
            assert_eq!(others_may(list), expected, "{list}");
        }
    }
}
