//! Whether what the system is to run is its administrators' own: who may write to it could have the
//! system run anything.

#![expect(unsafe_code, reason = "owners have no safe form")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_SUCCESS, HANDLE, LocalFree};
use windows_sys::Win32::Security::Authorization::{GetNamedSecurityInfoW, SE_FILE_OBJECT};
use windows_sys::Win32::Security::{
    CheckTokenMembership, EqualSid, GetTokenInformation, IsWellKnownSid,
    OWNER_SECURITY_INFORMATION, PSID, TOKEN_USER, TokenUser, WinLocalSystemSid,
};

use super::events::wide;

/// What stands for the token of this process, as the system's headers have it.
const CURRENT_PROCESS_TOKEN: HANDLE = ptr::without_provenance_mut(usize::MAX - 3);

/// More than what is said of a user takes, in bytes.
const USER_LEN_MAX: usize = 256;

/// Closes the folders that a program is in, from the root down, to all but administrators and the
/// system; an error where one of them, or what is beside the program, is somebody else's.
pub(super) fn close_above(program: &Path, root: &Path) -> io::Result<()> {
    let above = program.ancestors().skip(1).take_while(|folder| folder.starts_with(root));
    let folders: Vec<PathBuf> = above.map(Path::to_path_buf).collect();
    for folder in folders.iter().rev() {
        check_owner(folder)?;
        stead_proc::close_folder(folder)?;
    }
    for beside in folders.first().map(fs::read_dir).transpose()?.into_iter().flatten() {
        check_owner(&beside?.path())?;
    }
    Ok(())
}

fn check_owner(path: &Path) -> io::Result<()> {
    let name = wide(path);
    let (mut owner, mut descriptor, none): (PSID, _, _) =
        (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: the name ends with a zero, and both pointers are ours to write.
    let told = unsafe {
        let (kind, what) = (SE_FILE_OBJECT, OWNER_SECURITY_INFORMATION);
        let (owner, to) = (&raw mut owner, &raw mut descriptor);
        GetNamedSecurityInfoW(name.as_ptr(), kind, what, owner, none, none.cast(), none.cast(), to)
    };
    if told != ERROR_SUCCESS {
        return Err(io::Error::from_raw_os_error(told.cast_signed()));
    }
    // SAFETY: the owner is part of the descriptor, which is freed once, here.
    let is_ours = unsafe {
        let is_ours = is_ours(owner);
        LocalFree(descriptor);
        is_ours
    };
    match is_ours {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("`{}` belongs to somebody else than administrators", path.display()),
        )),
    }
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

    #[test]
    fn folders_of_ones_own_are_closed_and_what_is_in_them_stays() {
        let root = std::env::temp_dir().join(format!("stead-trusted-{}", std::process::id()));
        let program = root.join("programs").join("kit").join("stead.exe");
        fs::create_dir_all(program.parent().expect("it is in a folder")).expect("it can be made");
        fs::write(&program, "x").expect("it can be written");
        close_above(&program, &root).expect("all of it is ours");
        assert_eq!(fs::read_to_string(&program).expect("it can be read"), "x");
        fs::remove_dir_all(&root).expect("it can be removed");
    }
}
