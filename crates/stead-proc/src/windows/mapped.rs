//! A file as memory.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::ops::Deref;

/// The bytes of a file that nobody changes while they are looked at. Here it is a copy: a file that
/// is mapped cannot be removed, and whoever has one at hand removes it soon.
#[derive(Debug)]
pub struct MappedFile {
    bytes: Vec<u8>,
}

impl MappedFile {
    /// The whole of it, as long as it is now.
    pub fn open(file: &File) -> io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len)?;
        let mut file = file;
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(Self { bytes })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_any_length_is_seen_as_it_is_also_once_its_name_is_gone() {
        let path = std::env::temp_dir().join(format!("stead-mapped-{}", std::process::id()));
        for len in [0, 1, 4095, 4096, 4097, 300_000] {
            let bytes: Vec<u8> = (0..len).map(|n: u32| n.to_le_bytes()[0]).collect();
            std::fs::write(&path, &bytes).unwrap();
            let mapped = MappedFile::open(&File::open(&path).unwrap()).unwrap();
            std::fs::remove_file(&path).unwrap();
            assert_eq!(*mapped, *bytes, "{len}");
        }
    }
}
