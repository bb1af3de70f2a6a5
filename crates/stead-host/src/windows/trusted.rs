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
    FILE_READ_ATTRIBUTES, READ_CONTROL,
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
/// there is nothing in it yet. An error where it is somebody else's, leads elsewhere, or was open
/// with something in it, which anybody may have put there.
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
    if lets_in_owners_alone(&list) {
        return Ok(());
    }
    if fs::read_dir(root)?.next().is_some() {
        return Err(refused(root, "is open to others, who may have put there what is in it"));
    }
    stead_proc::close_folder(root)
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

/// Whether an access list, as text after that of the owner, lets in nobody but the owner, the
/// system, administrators, and nobody by way of the folder that it is in.
fn lets_in_owners_alone(text: &str) -> bool {
    let Some((owner, list)) = text.trim_end_matches('\0').split_once("D:") else { return false };
    let owner = owner.trim_start_matches("O:");
    let mut entries = list.split('(').skip(1).map(|entry| entry.trim_end_matches(')')).peekable();
    // Without a list anybody is let in.
    entries.peek().is_some()
        && entries.all(|entry| {
            let parts: Vec<&str> = entry.split(';').collect();
            let [kind, flags, _, _, _, account, ..] = parts.as_slice() else { return false };
            let is_known = *account == owner || OWNERS.contains(account);
            *kind == "D" || is_known && !flags.contains("ID")
        })
}

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
    use windows_sys::Win32::Security::Authorization::ConvertStringSidToSidW;

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

    fn is_closed(path: &Path) -> bool {
        lets_in_owners_alone(&security(&open(path).expect("it is there")).expect("it is told").1)
    }

    #[test]
    fn an_empty_root_is_closed_and_so_is_what_is_made_in_it() {
        let root = folder("empty");
        assert!(!is_closed(&root), "control: nobody has closed it yet");
        for _ in 0..2 {
            take_root(&root).expect("it is ours");
            assert!(is_closed(&root));
            fs::write(root.join("stead.exe"), "x").expect("it can be written");
        }
        fs::remove_dir_all(&root).expect("it can be removed");
    }

    #[test]
    fn what_others_may_have_put_into_a_root_is_not_taken() {
        let root = folder("planted");
        fs::write(root.join("plan.json"), "x").expect("it can be written");
        let refused = take_root(&root).expect_err("anybody may have written that");
        assert!(refused.to_string().contains("open to others"), "{refused}");
        assert!(!is_closed(&root), "it is as it was");
        fs::remove_dir_all(&root).expect("it can be removed");
    }

    #[test]
    fn who_is_let_in_is_read_off_the_access_list() {
        for (list, expected) in [
            ("O:BAD:P(A;OICI;FA;;;OW)(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)", true),
            ("O:S-1-5-21-1D:P(A;;FA;;;S-1-5-21-1)(A;;FA;;;SY)", true),
            ("O:BAD:P(A;;FA;;;S-1-5-21-1)(A;;FA;;;SY)", false),
            ("D:PAI(D;;FA;;;WD)(A;OICI;FA;;;SY)", true),
            ("D:P(A;OICI;FA;;;SY)(A;OICI;0x1301bf;;;AU)", false),
            ("D:AI(A;OICIID;FA;;;SY)", false),
            ("D:NO_ACCESS_CONTROL", false),
            ("", false),
        ] {
            assert_eq!(lets_in_owners_alone(list), expected, "{list}");
        }
    }
}
