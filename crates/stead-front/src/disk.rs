//! The file of the set, and the thread that writes it: a disk that hangs holds up neither clients
//! nor whoever asks.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use stead_wire::file;
use stead_wire::front::{SET_FORMAT, Set};

use crate::shared::Shared;

/// What comes before the name of the file while it is not whole.
const NEW: &str = ".new";

/// Why there is no set to begin with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("it cannot be read: {0}")]
    Read(io::Error),
    #[error(transparent)]
    Damaged(file::FileError),
}

/// The set that was written last; `None` if none ever was.
pub(crate) fn read(path: &Path) -> Result<Option<Set>, ReadError> {
    match fs::read(path) {
        Ok(bytes) => file::decode(SET_FORMAT, &bytes).map(Some).map_err(ReadError::Damaged),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ReadError::Read(error)),
    }
}

/// Replaces the file as a whole.
fn write(path: &Path, set: &Set) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(NEW);
    let new = PathBuf::from(name);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&file::encode(SET_FORMAT, set))?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Writes sets, one at a time.
pub(crate) struct Disk {
    sets: Sender<Set>,
    written: Arc<Mutex<Option<io::Result<()>>>>,
    is_busy: bool,
}

impl Disk {
    /// Starts the thread, which wakes the main one when it has written.
    pub(crate) fn start(path: PathBuf, shared: Arc<Shared>) -> io::Result<Self> {
        let (sets, waiting) = channel();
        let written = Arc::new(Mutex::new(None));
        let told = Arc::clone(&written);
        let work = move || write_all(&path, &waiting, &told, &shared);
        thread::Builder::new().name("disk".to_owned()).spawn(work)?;
        Ok(Self { sets, written, is_busy: false })
    }

    /// Begins to write; `false` while it still writes what it was given before.
    pub(crate) fn begin(&mut self, set: Set) -> bool {
        let begins = !self.is_busy && self.sets.send(set).is_ok();
        self.is_busy |= begins;
        begins
    }

    /// How it went, once.
    pub(crate) fn written(&mut self) -> Option<io::Result<()>> {
        let written = self.written.lock().expect("nobody panics while holding it").take();
        self.is_busy &= written.is_none();
        written
    }
}

fn write_all(
    path: &Path,
    sets: &Receiver<Set>,
    written: &Mutex<Option<io::Result<()>>>,
    shared: &Shared,
) {
    for set in sets {
        let result = write(path, &set);
        *written.lock().expect("nobody panics while holding it") = Some(result);
        shared.main.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_as_it_was_written_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set");
        assert!(read(&path).unwrap().is_none());
        for ports in [&[][..], &[8101, 8102], &[8103]] {
            let address = |port: &u16| ([127, 0, 0, 1], *port).into();
            let set = Set { backends: ports.iter().map(address).collect() };
            write(&path, &set).unwrap();
            assert_eq!(read(&path).unwrap(), Some(set));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left over");
        fs::write(&path, "{").unwrap();
        assert!(matches!(read(&path), Err(ReadError::Damaged(_))));
        assert!(matches!(read(folder.path()), Err(ReadError::Read(_))));
    }
}
