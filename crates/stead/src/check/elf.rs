//! What a program asks of a host: read from its ELF file.

use std::fs::File;
use std::io;
use std::path::Path;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader as _};
use object::{Endianness, FileKind, ReadCache, ReadRef};
use stead_core::check::{Binary, Glibc, System};

/// What versions of glibc begin with, among those of other libraries.
const GLIBC: &str = "GLIBC_";

/// Reads it; `None` if it is no ELF file, and so is for whoever else can run it.
pub(super) fn read(path: &Path) -> io::Result<Option<Binary>> {
    let file = ReadCache::new(File::open(path)?);
    Ok(parse(&file).unwrap_or_else(|error| {
        Some(Binary { damage: Some(error.to_string()), ..Binary::default() })
    }))
}

fn parse<'data>(data: impl ReadRef<'data>) -> object::Result<Option<Binary>> {
    // A file that is too short for its kind to be told is none.
    let Ok(kind) = FileKind::parse(data) else { return Ok(None) };
    if kind == FileKind::Elf32 {
        return parse_as::<FileHeader32<Endianness>>(data).map(Some);
    }
    if kind == FileKind::Elf64 {
        return parse_as::<FileHeader64<Endianness>>(data).map(Some);
    }
    Ok(None)
}

fn parse_as<'data, H: FileHeader<Endian = Endianness>>(
    data: impl ReadRef<'data>,
) -> object::Result<Binary> {
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let mut interpreter = None;
    for segment in header.program_headers(endian, data)? {
        if let Some(path) = segment.interpreter(endian, data)? {
            interpreter = Some(String::from_utf8_lossy(path).into_owned());
        }
    }
    let sections = header.sections(endian, data)?;
    let mut glibc: Option<Glibc> = None;
    if let Some((mut libraries, names)) = sections.gnu_verneed(endian, data)? {
        let names = sections.strings(endian, data, names)?;
        while let Some((_, mut versions)) = libraries.next()? {
            while let Some(version) = versions.next()? {
                let name = String::from_utf8_lossy(version.name(endian, names)?);
                let number = name.strip_prefix(GLIBC).and_then(|number| number.parse().ok());
                glibc = glibc.max(number);
            }
        }
    }
    let machine = machine(header.e_machine(endian), header.is_class_64(), endian);
    Ok(Binary { system: System::Linux, machine, interpreter, glibc, damage: None })
}

/// The processor as `uname -m` says it.
fn machine(machine: u16, is_64: bool, endian: Endianness) -> Option<&'static str> {
    match (machine, is_64, endian) {
        (elf::EM_X86_64, true, _) => Some("x86_64"),
        (elf::EM_AARCH64, true, Endianness::Little) => Some("aarch64"),
        (elf::EM_RISCV, true, _) => Some("riscv64"),
        (elf::EM_PPC64, true, Endianness::Little) => Some("ppc64le"),
        (elf::EM_S390, true, _) => Some("s390x"),
        (elf::EM_386, false, _) => Some("i686"),
        (elf::EM_ARM, false, Endianness::Little) => Some("armv7l"),
        (_, _, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Vec<u8> {
        std::fs::read("/bin/sh").unwrap()
    }

    #[test]
    fn a_program_of_this_machine_is_for_it() {
        let binary = parse(&*own()).unwrap().unwrap();
        assert_eq!(binary.machine, Some(std::env::consts::ARCH));
        // One that is loaded by another is loaded by one that is there.
        if let Some(interpreter) = &binary.interpreter {
            assert!(Path::new(interpreter).exists(), "{interpreter}");
        }
        assert_eq!(read(Path::new("/bin/sh")).unwrap(), Some(binary));
    }

    #[test]
    fn what_it_names_is_what_it_asks() {
        let bytes = own();
        let parsed = parse(&*bytes).unwrap().unwrap();
        let Some(glibc) = parsed.glibc else { return };
        let patched = with_glibc(bytes.clone(), &format!("{GLIBC}{glibc}"), "2.99");
        assert_eq!(parse(&*patched).unwrap().unwrap().glibc, "2.99".parse().ok());
        let mut other = bytes;
        // Where the header says the machine.
        other[18..20].copy_from_slice(&elf::EM_AARCH64.to_le_bytes());
        assert_eq!(parse(&*other).unwrap().unwrap().machine, Some("aarch64"));
    }

    /// The same with another version in place of this one, which is no shorter.
    fn with_glibc(mut bytes: Vec<u8>, old: &str, version: &str) -> Vec<u8> {
        let old = [old.as_bytes(), b"\0"].concat();
        let at = bytes.windows(old.len()).position(|it| it == old).unwrap();
        let new = format!("{GLIBC}{version}\0");
        bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
        bytes
    }

    #[test]
    fn what_is_no_elf_file_or_is_cut_off_is_told_and_nothing_breaks() {
        for bytes in [&b""[..], b"#!/bin/sh\necho\n", b"\x7fELF"] {
            assert!(matches!(parse(bytes), Ok(None)), "{bytes:?}");
        }
        let whole = own();
        for len in (0..whole.len()).step_by(whole.len() / 200 + 1) {
            let _ = parse(&whole[..len]);
        }
        for at in 0..2000.min(whole.len()) {
            let mut bent = whole.clone();
            bent[at] ^= 0xff;
            let _ = parse(&*bent);
        }
    }
}
