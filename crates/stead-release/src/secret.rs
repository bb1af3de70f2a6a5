//! Values that no plan holds: a plan names them, and the host has them in files of its own.
//!
//! The name of such a file is made of the value, so that another value has another name. It takes
//! time and memory to make, since a plan can be read by more people than a secret: whoever tries
//! to guess a weak one from its name pays for each guess.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use stead_core::names::{FleetName, SecretName};
use stead_core::plan::Digest;

/// The longest value, in bytes: with it a variable is half as long as Linux takes one.
pub const SECRET_LEN_MAX: usize = 64 << 10;

/// The folder with the values, below a root.
pub const SECRETS: &str = "secrets";

/// What each guess costs: KiB of memory, and how often they are gone through.
const COST: (u32, u32) = (19 << 10, 2);

/// Why a value cannot be a secret. None of them holds a part of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SecretError {
    #[error("it is empty")]
    Empty,
    #[error("it is not text in UTF-8")]
    NotText,
    #[error("it holds a NUL byte, which no variable can")]
    Nul,
    #[error("it is longer than {SECRET_LEN_MAX} bytes")]
    TooLong,
}

/// A value with the name of its file. There is no `Debug`: nothing could print it by mistake.
#[derive(Clone)]
pub struct Secret {
    id: Digest,
    value: String,
}

impl Secret {
    /// Of what a file or a command holds: a line end behind the value is not part of it.
    pub fn of_bytes(
        fleet: &FleetName,
        name: &SecretName,
        mut bytes: Vec<u8>,
    ) -> Result<Self, SecretError> {
        if bytes.ends_with(b"\n") {
            bytes.pop();
            bytes.pop_if(|last| *last == b'\r');
        }
        Self::new(fleet, name, String::from_utf8(bytes).map_err(|_| SecretError::NotText)?)
    }

    pub fn new(fleet: &FleetName, name: &SecretName, value: String) -> Result<Self, SecretError> {
        match value.len() {
            0 => return Err(SecretError::Empty),
            SECRET_LEN_MAX.. if value.len() > SECRET_LEN_MAX => return Err(SecretError::TooLong),
            _ if value.contains('\0') => return Err(SecretError::Nul),
            _ => (),
        }
        let salt = blake3::hash(format!("stead-secret/1\n{fleet}\n{name}").as_bytes());
        let (memory, times) = COST;
        let params = Params::new(memory, times, 1, None).expect("they are within bounds");
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut id = [0; blake3::OUT_LEN];
        let hashed = argon.hash_password_into(value.as_bytes(), salt.as_bytes(), &mut id);
        hashed.expect("value, salt and result have lengths that it takes");
        let hex = blake3::Hash::from_bytes(id).to_hex().to_string();
        Ok(Self { id: Digest::try_from(hex).expect("it is 64 hexadecimal digits"), value })
    }

    /// What plans know it by.
    pub fn id(&self) -> &Digest {
        &self.id
    }

    pub fn value(&self) -> &str {
        &self.value
    }

    /// Puts it on the disk, in the folder with the values.
    pub fn put(&self, folder: &Path) -> io::Result<()> {
        let at = folder.join(self.id.as_str());
        if is_at(&at, &self.value) {
            return Ok(());
        }
        // A half-written one would be taken for the value.
        let new = folder.join(format!("{}.new", self.id.as_str()));
        let _ = fs::remove_file(&new);
        // Only for who keeps the runs.
        let mut file = stead_proc::create_closed_file(&new)?;
        file.write_all(self.value.as_bytes())?;
        file.sync_all()?;
        drop(file);
        fs::rename(&new, at)?;
        stead_proc::sync_folder(folder)
    }
}

/// Whether this is what a file holds.
pub fn is_at(path: &Path, value: &str) -> bool {
    fs::read(path).is_ok_and(|there| there == value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(fleet: &str, name: &str, value: &[u8]) -> Result<Secret, SecretError> {
        Secret::of_bytes(&fleet.parse().unwrap(), &name.parse().unwrap(), value.to_vec())
    }

    #[test]
    fn a_value_is_known_by_what_it_is_and_whose() {
        let id = |fleet, name, value: &[u8]| secret(fleet, name, value).ok().unwrap().id;
        let first = id("shop", "db", b"hunter2");
        assert_eq!(first, id("shop", "db", b"hunter2\n"), "its line end is left out");
        assert_eq!(first, id("shop", "db", b"hunter2\r\n"));
        for other in [
            id("shop", "db", b"hunter3"),
            id("shop", "db", b"hunter2 "),
            id("shop", "db", b"hunter2\n\n"),
            id("shop", "api", b"hunter2"),
            id("bank", "db", b"hunter2"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn what_no_variable_can_hold_is_no_secret() {
        let longest = vec![b'x'; SECRET_LEN_MAX];
        assert!(secret("shop", "db", &longest).is_ok());
        let too_long = [&longest[..], b"x"].concat();
        for (value, why) in [
            (&b""[..], SecretError::Empty),
            (b"\n", SecretError::Empty),
            (b"a\0b", SecretError::Nul),
            (b"\xff", SecretError::NotText),
            (&too_long, SecretError::TooLong),
        ] {
            assert_eq!(secret("shop", "db", value).err(), Some(why));
        }
    }

    #[test]
    fn on_the_disk_only_its_owner_reads_it() {
        let folder = std::env::temp_dir().join(format!("stead-secret-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let secret = secret("shop", "db", b"hunter2").ok().unwrap();
        let at = folder.join(secret.id().as_str());
        // One that was damaged is put there anew.
        for before in [None, Some("hunter"), Some("hunter2")] {
            if let Some(before) = before {
                fs::write(&at, before).unwrap();
            }
            secret.put(&folder).unwrap();
            assert!(is_at(&at, "hunter2"));
            let mode = stead_proc::MODE_OF.map(|mode_of| mode_of(&fs::metadata(&at).unwrap()));
            assert!(mode.is_none_or(|mode| mode == 0o600), "{mode:?}");
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
        fs::remove_dir_all(folder).unwrap();
    }
}
