//! What a program for Windows asks of a host: read from its PE file.

use std::fs::File;
use std::io;
use std::path::Path;

use object::pe::{self, ImageNtHeaders32, ImageNtHeaders64};
use object::read::pe::{ImageNtHeaders, PeFile};
use object::{FileKind, LittleEndian, ReadCache, ReadRef};
use stead_core::check::{Binary, System};

/// Reads it; `None` if it is no PE file.
pub(super) fn read(path: &Path) -> io::Result<Option<Binary>> {
    let file = ReadCache::new(File::open(path)?);
    let whole = Binary { system: System::Windows, ..Binary::default() };
    Ok(match parse(&file) {
        Ok(None) => None,
        Ok(Some(machine)) => Some(Binary { machine: name(machine), ..whole }),
        Err(error) => Some(Binary { damage: Some(error.to_string()), ..whole }),
    })
}

/// The number of the processor that it is for.
fn parse<'data>(data: impl ReadRef<'data>) -> object::Result<Option<u16>> {
    // A file that is too short for its kind to be told is none.
    let Ok(kind) = FileKind::parse(data) else { return Ok(None) };
    if kind == FileKind::Pe32 {
        return machine::<ImageNtHeaders32>(data).map(Some);
    }
    if kind == FileKind::Pe64 {
        return machine::<ImageNtHeaders64>(data).map(Some);
    }
    Ok(None)
}

fn machine<'data, H: ImageNtHeaders>(data: impl ReadRef<'data>) -> object::Result<u16> {
    let file = PeFile::<'data, H, _>::parse(data)?;
    Ok(file.nt_headers().file_header().machine.get(LittleEndian))
}

/// The processor as `uname -m` says it.
fn name(machine: u16) -> Option<&'static str> {
    match machine {
        pe::IMAGE_FILE_MACHINE_AMD64 => Some("x86_64"),
        pe::IMAGE_FILE_MACHINE_ARM64 => Some("aarch64"),
        // Also what .NET translates for any processor.
        pe::IMAGE_FILE_MACHINE_I386 => Some("i686"),
        pe::IMAGE_FILE_MACHINE_ARMNT => Some("armv7l"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The least that is a program: its headers, and one section of nothing.
    fn program(machine: u16) -> Vec<u8> {
        const NT_AT: usize = 0x40;
        const OPTIONAL_LEN: u16 = 240;
        const SECTION_LEN: usize = 40;
        let mut bytes = vec![0; NT_AT + 24 + usize::from(OPTIONAL_LEN) + SECTION_LEN];
        let mut put = |at: usize, what: &[u8]| bytes[at..at + what.len()].copy_from_slice(what);
        put(0, b"MZ");
        put(0x3c, &[NT_AT as u8]);
        put(NT_AT, b"PE\0\0");
        put(NT_AT + 4, &machine.to_le_bytes());
        put(NT_AT + 6, &[1]);
        put(NT_AT + 20, &OPTIONAL_LEN.to_le_bytes());
        put(NT_AT + 24, &pe::IMAGE_NT_OPTIONAL_HDR64_MAGIC.to_le_bytes());
        // How many more parts the optional header has: all that there can be.
        put(NT_AT + 24 + 108, &[16]);
        bytes
    }

    #[test]
    fn a_program_says_for_which_processor_it_is() {
        for (machine, expected) in [
            (pe::IMAGE_FILE_MACHINE_AMD64, Some("x86_64")),
            (pe::IMAGE_FILE_MACHINE_ARM64, Some("aarch64")),
            (pe::IMAGE_FILE_MACHINE_I386, Some("i686")),
            (pe::IMAGE_FILE_MACHINE_IA64, None),
        ] {
            let found = parse(&*program(machine)).unwrap().unwrap();
            assert_eq!((found, name(found)), (machine, expected));
        }
        let path = std::env::temp_dir().join(format!("stead-pe-{}.exe", std::process::id()));
        std::fs::write(&path, program(pe::IMAGE_FILE_MACHINE_AMD64)).unwrap();
        let whole = read(&path).unwrap().unwrap();
        assert_eq!((whole.system, whole.machine), (System::Windows, Some("x86_64")));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_no_program_or_is_cut_off_is_told_and_nothing_breaks() {
        for bytes in [&b""[..], b"@echo off\r\n", b"MZ", b"\x7fELF"] {
            assert!(matches!(parse(bytes), Ok(None)), "{bytes:?}");
        }
        let whole = program(pe::IMAGE_FILE_MACHINE_AMD64);
        for len in 0..whole.len() {
            let _ = parse(&whole[..len]);
        }
        for at in 0..whole.len() {
            let mut bent = whole.clone();
            bent[at] ^= 0xff;
            let _ = parse(&*bent);
        }
    }
}
