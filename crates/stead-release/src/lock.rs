//! Who brings something to a host and who collects what is old there keep out of each other's way.
//!
//! Who puts looks first what is there, and does not bring that again; it is safe only once a plan
//! names it. So it holds the lock, together with all others that put, from before it looks until
//! the plan was taken. Who collects holds it alone, as long as it decides and takes things out of
//! their places, and puts it off where it cannot have the lock. The kernel takes it back from who
//! dies.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Below the root. Only its owner opens it, so that no service can hold up a deploy.
const NAME: &str = "store.lock";

/// How long who puts waits for who collects, which is a few renames; a disk that takes longer
/// takes nothing else either.
const WAIT_MAX: Duration = Duration::from_secs(10);

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// As long as it is there, nothing is collected.
#[derive(Debug)]
pub struct Putting {
    _file: File,
}

/// As long as it is there, nothing is put.
#[derive(Debug)]
pub struct Collecting {
    _file: File,
}

impl Putting {
    /// Begins to put things below a root, which is there.
    pub fn begin(root: &Path) -> io::Result<Self> {
        let file = open(root)?;
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            match file.try_lock_shared() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                    let why = "what is old there is being collected, and that takes too long";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, why));
                }
                Err(TryLockError::WouldBlock) => thread::sleep(LOOK_EVERY),
            }
        }
    }
}

impl Collecting {
    /// Begins to collect, unless somebody puts something.
    pub fn begin(root: &Path) -> io::Result<Option<Self>> {
        let file = open(root)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn open(root: &Path) -> io::Result<File> {
    stead_proc::open_closed_file(&root.join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_may_put_and_who_collects_is_alone() {
        let root = std::env::temp_dir().join(format!("stead-lock-{}", std::process::id()));
        std::fs::create_dir_all(&root).unwrap();
        let putting = [Putting::begin(&root).unwrap(), Putting::begin(&root).unwrap()];
        assert!(Collecting::begin(&root).unwrap().is_none());
        drop(putting);
        let collecting = Collecting::begin(&root).unwrap();
        assert!(collecting.is_some() && Collecting::begin(&root).unwrap().is_none());
        // Who puts meanwhile waits until that has ended.
        let other = root.clone();
        let waiting = thread::spawn(move || Putting::begin(&other).map(drop));
        drop(collecting);
        waiting.join().unwrap().unwrap();
        std::fs::remove_dir_all(&root).unwrap();
    }
}
