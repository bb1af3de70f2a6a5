//! What this user's machine keeps to save work, or to do it the same way again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The folder of this name where this user's caches are, if that is anywhere.
pub(crate) fn folder(name: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty());
    let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")));
    Some(cache?.join("stead").join(name))
}

/// Removes the oldest files of a folder until so many bytes are left.
pub(crate) fn drop_oldest(folder: &Path, len_max: u64) -> io::Result<()> {
    let mut all: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_file() {
            all.push((meta.modified()?, meta.len(), entry.path()));
        }
    }
    all.sort();
    let mut len: u64 = all.iter().map(|(_, len, _)| len).sum();
    for (_, one, path) in all {
        if len <= len_max {
            break;
        }
        fs::remove_file(path)?;
        len -= one;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_only_as_much_as_is_too_much() {
        let folder = std::env::temp_dir().join(format!("stead-cache-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("no-file")).unwrap();
        for (age, name) in [(30, "c"), (10, "a"), (20, "b")] {
            let path = folder.join(name);
            fs::write(&path, [0; 100]).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age))
                .unwrap();
        }
        drop_oldest(&folder, 250).unwrap();
        let left = |name: &str| folder.join(name).exists();
        assert!(!left("a") && left("b") && left("c") && left("no-file"));
        fs::remove_dir_all(folder).unwrap();
    }
}
