//! A file as memory, without a copy of it.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

/// The bytes of a file that nobody changes while they are looked at. Should somebody cut it short
/// all the same, whoever reads what is not there any more is killed by SIGBUS: for processes whose
/// end costs no more than a new attempt.
#[derive(Debug)]
pub struct MappedFile {
    start: NonNull<u8>,
    len: usize,
}

impl MappedFile {
    /// The whole of it, as long as it is now.
    pub fn open(file: &File) -> io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        // Nothing cannot be mapped.
        if len == 0 {
            return Ok(Self { start: NonNull::dangling(), len });
        }
        let fd = file.as_raw_fd();
        let (prot, flags) = (libc::PROT_READ, libc::MAP_PRIVATE | libc::MAP_POPULATE);
        #[expect(unsafe_code, reason = "mmap has no safe form")]
        // SAFETY: the system chooses a place where nothing is.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, len })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        #[expect(unsafe_code, reason = "a mapping is known by its address alone")]
        // SAFETY: so many bytes are mapped there for as long as this value lives, and it is read
        // only; that the file stays as it is, whoever maps it sees to.
        unsafe {
            std::slice::from_raw_parts(self.start.as_ptr(), self.len)
        }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        #[expect(unsafe_code, reason = "munmap has no safe form")]
        // SAFETY: it was mapped by this value, and nothing borrows from it any more.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_file_of_any_length_is_seen_as_it_is_also_once_its_name_is_gone() {
        let path = std::env::temp_dir().join(format!("stead-mapped-{}", std::process::id()));
        for len in [0, 1, 4095, 4096, 4097, 300_000] {
            let bytes: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[0]).collect();
            File::create(&path).unwrap().write_all(&bytes).unwrap();
            let mapped = MappedFile::open(&File::open(&path).unwrap()).unwrap();
            std::fs::remove_file(&path).unwrap();
            assert_eq!(*mapped, *bytes, "{len}");
        }
    }
}
