//! What a run would be refused, seen from its place: as its account, in its sandbox.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use stead_core::launch::Launch;
use stead_core::preflight::{PathList, PathWhy, PortWhy, ProgramWhy, Refused};
use stead_proc::{may_execute, may_take_port, mode_lets_read, mode_lets_write};

use super::outside::Outside;

/// As much of a script's first line as the kernel reads.
const FIRST_LINE_LEN_MAX: u64 = 256;

/// Looks at everything.
pub(super) fn look(launch: &Launch, outside: &Outside) -> Vec<Refused> {
    let mut refused = Vec::new();
    match std::env::set_current_dir(&launch.directory) {
        Ok(()) => refused.extend(program(outside)),
        Err(error) => {
            let why = error.to_string();
            refused.push(Refused::Directory { path: launch.directory.clone(), why });
        }
    }
    let ports = outside.ports.iter().filter_map(|(name, port)| self::port(name, *port));
    // A program that may gain privileges may be one that is let listen there.
    let may_gain = |it: &Refused| {
        launch.new_privileges && matches!(it, Refused::Port { why: PortWhy::Low, .. })
    };
    refused.extend(ports.filter(|it| !may_gain(it)));
    refused.extend(outside.listed.iter().filter_map(|(path, list)| {
        let why = why_closed(Path::new(path), *list, false)?;
        Some(Refused::Path { path: path.clone(), list: *list, why })
    }));
    refused.extend(outside.arguments.iter().filter_map(|path| {
        let why = why_closed(Path::new(path), PathList::Read, true)?;
        Some(Refused::Argument { path: path.clone(), why })
    }));
    refused
}

fn program(outside: &Outside) -> Option<Refused> {
    let Outside { program, is_there, .. } = outside;
    let name = program.display().to_string();
    let why = |why| Some(Refused::Program { program: name.clone(), why });
    match fs::metadata(program) {
        Err(_) if *is_there => return why(ProgramWhy::Hidden),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return why(ProgramWhy::Missing),
        Err(error) => return why(ProgramWhy::Refused(error.to_string())),
        Ok(meta) if !meta.is_file() => return why(ProgramWhy::NotAFile),
        Ok(_) => (),
    }
    if let Err(error) = may_execute(program) {
        return why(ProgramWhy::Refused(error.to_string()));
    }
    let interpreter = interpreter(program)?;
    let why = may_execute(Path::new(&interpreter)).err()?.to_string();
    Some(Refused::Interpreter { program: name, interpreter, why })
}

/// The program that a script names in its first line; `None` if it is none, or cannot be read.
fn interpreter(program: &Path) -> Option<String> {
    let mut first = Vec::new();
    File::open(program).ok()?.take(FIRST_LINE_LEN_MAX).read_to_end(&mut first).ok()?;
    let line = first.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    Some(line.split_whitespace().next()?.to_owned())
}

pub(super) fn port(name: &str, port: u16) -> Option<Refused> {
    let error = may_take_port(port).err()?.kind();
    let why = if error == io::ErrorKind::PermissionDenied {
        PortWhy::Low
    } else if error == io::ErrorKind::AddrInUse {
        PortWhy::Used
    } else {
        // The machine's trouble, not the service's.
        return None;
    };
    Some(Refused::Port { name: name.to_owned(), port, why })
}

/// Why something that is there cannot be used; it is opened only if it `opens`.
fn why_closed(path: &Path, list: PathList, opens: bool) -> Option<PathWhy> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(PathWhy::Hidden),
        Err(_) => return Some(PathWhy::Account),
        Ok(_) => (),
    }
    let mode_lets = match list {
        PathList::Read => mode_lets_read(path),
        PathList::Write => mode_lets_write(path),
    };
    if !mode_lets {
        return Some(PathWhy::Account);
    }
    (opens && File::open(path).is_err()).then_some(PathWhy::Sandbox)
}
