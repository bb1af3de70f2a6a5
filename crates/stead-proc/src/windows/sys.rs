//! What every call of the system needs: its errors, its texts, its handles.

#![expect(unsafe_code, reason = "handles are numbers until somebody owns them")]

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, HANDLE, INVALID_HANDLE_VALUE, LocalFree, WAIT_OBJECT_0,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{PSECURITY_DESCRIPTOR, SECURITY_ATTRIBUTES};
use windows_sys::Win32::Storage::FileSystem::GetShortPathNameW;
use windows_sys::Win32::System::Threading::{
    CreateEventW, GetCurrentProcess, ResetEvent, SetEvent, WaitForSingleObject,
};

/// What a call says: nothing went wrong, or what the system has noted.
pub(crate) fn check(went_well: i32) -> io::Result<()> {
    if went_well == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes what a call has made.
///
/// # Safety
/// The handle is new, or none, and nobody else closes it.
pub(crate) unsafe fn made(handle: HANDLE) -> io::Result<OwnedHandle> {
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is a handle, and by the caller's word ours.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle.cast()) })
}

/// The handle as calls take it.
pub(crate) fn raw(handle: &impl AsRawHandle) -> HANDLE {
    handle.as_raw_handle().cast()
}

/// A text as the system has it; one that holds a NUL cannot be said.
pub(crate) fn wide(text: impl AsRef<OsStr>) -> io::Result<Vec<u16>> {
    let mut units: Vec<u16> = text.as_ref().encode_wide().collect();
    if units.contains(&0) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the text holds a NUL"));
    }
    units.push(0);
    Ok(units)
}

/// Paths longer than this are taken only in a form of their own.
const PATH_LEN_MAX: usize = 248;

/// A path as the system takes it, however long it is.
pub(crate) fn long(path: &Path) -> io::Result<Vec<u16>> {
    let whole = std::path::absolute(path)?;
    if whole.as_os_str().encode_wide().count() < PATH_LEN_MAX {
        return wide(whole);
    }
    let mut verbatim = OsString::from(r"\\?\");
    verbatim.push(whole);
    wide(verbatim)
}

/// A directory that a program is to begin in: its short name, where its own is too long for that.
pub(crate) fn short(directory: &Path) -> io::Result<Vec<u16>> {
    let own = wide(directory)?;
    if own.len() < PATH_LEN_MAX {
        return Ok(own);
    }
    let verbatim = long(directory)?;
    let mut name = vec![0_u16; verbatim.len()];
    // SAFETY: the path ends with a zero, and the buffer has so much room.
    let len = unsafe {
        GetShortPathNameW(verbatim.as_ptr(), name.as_mut_ptr(), name.len() as u32) as usize
    };
    if len == 0 || len >= name.len() {
        // It may still be taken; if not, the error is that of the start.
        return Ok(own);
    }
    name.truncate(len);
    let prefix: Vec<u16> = r"\\?\".encode_utf16().collect();
    let mut name: Vec<u16> = name.strip_prefix(prefix.as_slice()).unwrap_or(&name).to_vec();
    name.push(0);
    Ok(name)
}

/// A duplicate of a handle in a process, as the number it has there.
pub(crate) fn duplicate_into(
    handle: BorrowedHandle<'_>,
    process: HANDLE,
    inherited: bool,
    rights: Option<u32>,
) -> io::Result<HANDLE> {
    let mut copy = ptr::null_mut();
    let options = if rights.is_some() { 0 } else { DUPLICATE_SAME_ACCESS };
    // SAFETY: both processes and the handle are open, and the copy's number is ours to read.
    check(unsafe {
        DuplicateHandle(
            GetCurrentProcess(),
            raw(&handle),
            process,
            &raw mut copy,
            rights.unwrap_or(0),
            inherited.into(),
            options,
        )
    })?;
    Ok(copy)
}

/// A duplicate of what another process has by this number.
pub(crate) fn duplicate_from(process: HANDLE, number: u64) -> io::Result<OwnedHandle> {
    let mut copy = ptr::null_mut();
    let number = usize::try_from(number).map_err(io::Error::other)?;
    // SAFETY: a number that is not open there is refused.
    unsafe {
        check(DuplicateHandle(
            process,
            ptr::without_provenance_mut(number),
            GetCurrentProcess(),
            &raw mut copy,
            0,
            0,
            DUPLICATE_SAME_ACCESS,
        ))?;
        made(copy)
    }
}

/// Something to wait for that stays as it was set.
#[derive(Debug)]
pub(crate) struct Event(pub(crate) OwnedHandle);

impl Event {
    pub(crate) fn new(is_set: bool) -> io::Result<Self> {
        // SAFETY: a new event without a name.
        Ok(Self(unsafe { made(CreateEventW(ptr::null(), 1, is_set.into(), ptr::null()))? }))
    }

    pub(crate) fn set(&self) {
        // SAFETY: the event is open.
        unsafe { SetEvent(raw(&self.0)) };
    }

    pub(crate) fn reset(&self) {
        // SAFETY: the event is open.
        unsafe { ResetEvent(raw(&self.0)) };
    }

    pub(crate) fn is_set(&self) -> bool {
        is_signaled(raw(&self.0))
    }
}

/// Whether waiting for it would be over at once.
pub(crate) fn is_signaled(handle: HANDLE) -> bool {
    // SAFETY: a handle that is not open is no harm but an error.
    unsafe { WaitForSingleObject(handle, 0) == WAIT_OBJECT_0 }
}

/// That only who runs this process, the system and its administrators may open something.
pub struct Owners {
    descriptor: PSECURITY_DESCRIPTOR,
    attributes: SECURITY_ATTRIBUTES,
}

impl Owners {
    pub fn new() -> io::Result<Self> {
        // Nothing comes from the folder it is in, and what is in it is the same; all rights for the
        // owner, the system and administrators.
        let text = wide("D:P(A;OICI;FA;;;OW)(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)")?;
        let mut descriptor = ptr::null_mut();
        // SAFETY: the text ends with a zero; what is made is freed once, by this value.
        check(unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                ptr::null_mut(),
            )
        })?;
        let attributes = SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: descriptor,
            bInheritHandle: 0,
        };
        Ok(Self { descriptor, attributes })
    }

    pub fn attributes(&self) -> *const SECURITY_ATTRIBUTES {
        &raw const self.attributes
    }

    pub(crate) fn descriptor(&self) -> PSECURITY_DESCRIPTOR {
        self.descriptor
    }
}

impl Drop for Owners {
    fn drop(&mut self) {
        // SAFETY: it was made by a call that says to free it so.
        unsafe { LocalFree(self.descriptor.cast()) };
    }
}
