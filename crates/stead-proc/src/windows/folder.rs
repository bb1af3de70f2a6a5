//! Folders with one owner, and what stands for FIFOs, links and modes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::OwnedHandle;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use stead_core::launch::Account;
use windows_sys::Win32::Foundation::ERROR_SHARING_VIOLATION;
use windows_sys::Win32::Storage::FileSystem::FILE_SHARE_READ;

/// The right to be the one process that works on a folder; the system takes it back at death.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
}

impl FolderLock {
    /// Takes the lock; when another process has it, says which, as far as it has written that.
    pub fn acquire(folder: &Path) -> io::Result<Result<Self, Option<u32>>> {
        let path = folder.join("lock");
        let mut options = OpenOptions::new();
        // Who holds it lets others read it, and nobody write.
        options.write(true).create(true).truncate(true).share_mode(FILE_SHARE_READ);
        match options.open(&path) {
            Ok(mut file) => {
                // Only for people and messages: the lock itself is the truth.
                let _ = writeln!(file, "{}", std::process::id());
                Ok(Ok(Self { file }))
            }
            Err(error) if error.raw_os_error() == Some(ERROR_SHARING_VIOLATION as i32) => {
                let text = fs::read_to_string(&path).unwrap_or_default();
                Ok(Err(text.trim().parse().ok()))
            }
            Err(error) => Err(error),
        }
    }

    /// What of it may be held while its folder is removed: nothing, since a file that is held has
    /// its name until it is let go.
    pub fn while_removed(self) -> Option<Self> {
        None
    }

    /// No process becomes another here.
    pub fn keep_through_exec(&self) -> io::Result<()> {
        Ok(())
    }

    /// The lock as a file, which holds it until it is closed.
    pub fn into_file(self) -> File {
        self.file
    }

    pub fn from_file(file: File) -> io::Result<Self> {
        Ok(Self { file })
    }
}

/// The one path that a folder has, as long as it is named by no link: programs do not understand
/// what the system itself says of a path.
pub fn one_path(folder: &Path) -> io::Result<PathBuf> {
    let whole = std::path::absolute(folder)?;
    if !whole.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(whole)
}

/// Pipes have no path here: nothing is to be made.
pub fn make_fifo(_path: &Path, _account: Option<&Account>) -> io::Result<()> {
    Ok(())
}

/// Runs hold their own pipes open; whoever asks for one gets nothing that does anything.
pub fn open_fifo(_path: &Path) -> io::Result<OwnedHandle> {
    Ok(File::open("NUL")?.into())
}

/// Files belong to whoever runs stead.
pub fn own(_path: &Path, _account: &Account) -> io::Result<()> {
    Ok(())
}

/// Files have no modes here; who may read them is inherited from their folder.
pub fn set_mode(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// Turns a link: whoever follows it gets to the old place or the new one; says whether it led
/// elsewhere. Making links may take a right that only administrators have.
pub fn replace_link(place: &Path, to: &str) -> io::Result<bool> {
    if fs::read_link(place).is_ok_and(|there| there == Path::new(to)) {
        return Ok(false);
    }
    let temporary = place.with_extension("new");
    match fs::remove_dir(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => (),
    }
    std::os::windows::fs::symlink_dir(to, &temporary)?;
    fs::rename(&temporary, place)?;
    Ok(true)
}

/// Who looks what a name stands for has it open for less than this.
const POINTER_FREE_WITHIN: Duration = Duration::from_secs(1);
const POINTER_LOOK_EVERY: Duration = Duration::from_millis(10);

/// The longest name that something may stand for, in bytes.
const POINTER_LEN_MAX: u64 = 1 << 10;

/// Has a name stand for the thing beside it that is called this, at once: a file that holds that
/// name, since making links may take a right that only administrators have. Paths do not go through
/// it.
pub fn set_pointer(place: &Path, to: &str) -> io::Result<()> {
    if read_pointer(place).is_ok_and(|there| there == Path::new(to)) {
        return Ok(());
    }
    let temporary = place.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(to.as_bytes())?;
    file.sync_all()?;
    drop(file);
    let began = Instant::now();
    loop {
        match fs::rename(&temporary, place) {
            // Who looks at it just now has it open.
            Err(error) if is_in_use(&error) && began.elapsed() < POINTER_FREE_WITHIN => {
                sleep(POINTER_LOOK_EVERY);
            }
            set => return set,
        }
    }
}

/// Whether somebody has the file open.
fn is_in_use(error: &io::Error) -> bool {
    let is_shared = error.raw_os_error() == Some(ERROR_SHARING_VIOLATION.cast_signed());
    is_shared || error.kind() == io::ErrorKind::PermissionDenied
}

/// What a name stands for by [`set_pointer`].
pub fn read_pointer(place: &Path) -> io::Result<PathBuf> {
    let mut name = String::new();
    File::open(place)?.take(POINTER_LEN_MAX).read_to_string(&mut name)?;
    match name.is_empty() {
        false => Ok(name.into()),
        true => Err(io::ErrorKind::InvalidData.into()),
    }
}
