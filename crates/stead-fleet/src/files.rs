//! Whether the files of a fleet are there.

use std::io;
use std::path::Path;

use crate::fleet::{Fleet, Program, ReleaseFile, Service};
use crate::problem::{Problem, Problems, escaped, quoted};
use crate::read::At;
use crate::suggest::nearest;

/// How many names of a folder are compared to find what a missing one was meant to be.
const NAMES_READ_MAX: usize = 1000;

/// Which files must be there already.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// All: the builds have run.
    Built,
    /// Those that no build makes.
    NotBuilt,
}

impl Fleet {
    /// Says which files of the releases are missing from `folder`, the one of the fleet file.
    ///
    /// `text` is what the fleet was parsed from. Paths may lead out of the folder, since build
    /// outputs often lie above it, and may be absolute.
    pub fn check_files(&self, text: &str, folder: &Path, stage: Stage) -> Result<(), Problems> {
        let mut problems = Vec::new();
        for service in self.services.values() {
            for program in service.programs.values() {
                let goes_by = program.sign.iter().flat_map(|sign| &sign.goes_by);
                problems.extend(goes_by.filter_map(|(field, file)| missing(field, file, folder)));
                if stage == Stage::NotBuilt && program.build.is_some() {
                    continue;
                }
                let files = program.files.iter().chain(&program.config);
                problems.extend(files.filter_map(|file| problem(service, program, file, folder)));
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems::of(text, problems)) }
    }
}

/// What a `sign` goes by and is no file. No build makes it.
fn missing(field: &str, file: &At<String>, folder: &Path) -> Option<Problem> {
    let path = folder.join(&file.value);
    let because = match std::fs::metadata(&path) {
        Ok(is) if is.is_file() => return None,
        Ok(_) => "it is no file".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            format!("there is none in {}", escaped(&folder.display().to_string()))
        }
        Err(error) => error.to_string(),
    };
    let what = format!("there is no {field} to sign with: `{}`", quoted(&file.value));
    let try_this = match neighbour(&path) {
        Some(near) => {
            let start = file.value.rfind('/').map_or(0, |at| at + 1);
            format!("`{field} = \"{}\"`", quoted(&format!("{}{near}", &file.value[..start])))
        }
        None => "the path of the file, from the folder of the fleet file on".into(),
    };
    Some(Problem::new(file.span.clone(), what, because, try_this))
}

fn problem(
    service: &Service,
    program: &Program,
    file: &ReleaseFile,
    folder: &Path,
) -> Option<Problem> {
    let path = folder.join(&file.path);
    let shown = quoted(&file.path);
    let what = format!("service `{}` has no file `{shown}`", service.name);
    let say = |because: String, try_this: String| {
        Some(Problem::new(file.span.clone(), what.clone(), because, try_this))
    };
    match std::fs::metadata(&path) {
        Ok(is) if is.is_file() || is.is_dir() => None,
        Ok(_) => say("it is neither a file nor a folder".into(), "a file or a folder".into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = escaped(&folder.display().to_string());
            let because = match &program.build {
                Some(build) => format!("`{}` did not make it in {folder}", quoted(build)),
                None => format!("there is none in {folder}"),
            };
            let try_this = match (neighbour(&path), &program.build) {
                (Some(near), _) => {
                    let start = file.path.len() - file.path.trim_end_matches('/').len();
                    let parent = &file.path[..file.path.len() - start - file.name.len()];
                    format!("`\"{}\"`", quoted(&format!("{parent}{near}")))
                }
                (None, Some(_)) => "the path that the build writes to".into(),
                (None, None) => {
                    "another path, or `build = \"…\"` with the command that makes it".into()
                }
            };
            say(because, try_this)
        }
        Err(error) => say(error.to_string(), "a file that you may read".into()),
    }
}

/// The file beside a missing one that has almost its name.
fn neighbour(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?.read_dir().ok()?;
    let names =
        folder.take(NAMES_READ_MAX).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: Vec<String> = names.collect();
    nearest(name, names.iter().map(String::as_str)).map(Into::into)
}
