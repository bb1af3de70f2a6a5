//! `stead key` and `stead agent trust`: the key that signs, and those that a host trusts.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use stead_core::plan::Plan;
use stead_release::sign::{SigningKey, TRUSTED_KEYS, TrustedKey, trusted_keys};
use stead_wire::api::Signed;

use crate::Context;
use crate::args::{KeyCommand, TrustArgs};
use crate::failure::Failure;
use crate::root;

/// No key is longer; whatever is, is another file.
const KEY_LEN_MAX: u64 = 4 << 10;

pub(crate) fn key(ctx: &mut Context, command: KeyCommand) -> Result<(), Failure> {
    match command {
        KeyCommand::New { file } => {
            let at = |source| Failure::Key { path: file.clone(), why: source };
            let key = SigningKey::fresh().map_err(|error| at(error.to_string()))?;
            write_new(&file, &key.to_text()).map_err(|error| at(error.to_string()))?;
            ctx.screen.note(&format!("`{}` signs; keep it to yourself", file.display()));
            ctx.screen.write(&format!("{}\n", key.public()))
        }
        KeyCommand::Show { file } => {
            let key = read(&file)?;
            ctx.screen.write(&format!("{}\n", key.public()))
        }
    }
}

/// The key in a file.
pub(crate) fn read(path: &Path) -> Result<SigningKey, Failure> {
    let at = |why: String| Failure::Key { path: path.into(), why };
    let there = fs::metadata(path).map_err(|error| at(error.to_string()))?;
    if there.len() > KEY_LEN_MAX {
        return Err(at("it is too long for a key".into()));
    }
    if stead_proc::MODE_OF.is_some_and(|mode_of| mode_of(&there) & 0o077 != 0) {
        return Err(at("others may read it: `chmod 600` it, if nobody has".into()));
    }
    let text = fs::read_to_string(path).map_err(|error| at(error.to_string()))?;
    SigningKey::of_text(&text).map_err(|error| at(error.to_string()))
}

/// A plan that is signed for a purpose.
pub(crate) fn signed(key: &SigningKey, purpose: &str, plan: &Plan) -> Signed {
    let text = serde_json::to_string(plan).expect("a plan always serializes");
    let signature = key.sign(purpose, &text);
    Signed { key: key.public().to_string(), text, signature }
}

/// A key that is there is never written over: what it had signed could not be known any more.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = stead_proc::create_closed_file(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Lists, adds or removes what the host of this root trusts.
pub(crate) fn trust(ctx: &mut Context, args: &TrustArgs) -> Result<(), Failure> {
    let root = ctx.client()?.root().to_owned();
    let path = root.join(TRUSTED_KEYS);
    let at = |why: String| Failure::Key { path: path.clone(), why };
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|error| at(error.to_string()))?,
    };
    let known = trusted_keys(&text).map_err(|error| at(error.to_string()))?;
    let Some(key) = &args.key else { return list(ctx, &known) };
    let key: TrustedKey = key.parse().map_err(|error| at(format!("`{key}`: {error}")))?;
    let is_known = known.contains(&key);
    let text = match args.remove {
        true if !is_known => return Err(at(format!("it does not hold {key}"))),
        true => without(&text, &key),
        false if is_known => return list(ctx, &known),
        false => format!("{text}{key}\n"),
    };
    root::make(&root).map_err(|error| at(error.to_string()))?;
    replace(&path, &text).map_err(|error| at(error.to_string()))?;
    list(ctx, &trusted_keys(&text).map_err(|error| at(error.to_string()))?)
}

fn list(ctx: &mut Context, keys: &[TrustedKey]) -> Result<(), Failure> {
    if keys.is_empty() {
        return ctx.screen.write("no key is trusted: any plan is taken\n");
    }
    ctx.screen.write(&keys.iter().map(|key| format!("{key}\n")).collect::<String>())
}

/// The lines without those of a key.
fn without(text: &str, key: &TrustedKey) -> String {
    let key = key.to_string();
    let is_other = |line: &&str| line.split_whitespace().next() != Some(&key);
    text.lines().filter(is_other).map(|line| format!("{line}\n")).collect()
}

/// Whole or not at all: half a file would trust nobody, or somebody that was removed.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new: PathBuf = path.with_extension("new");
    let mut file = fs::File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    drop(file);
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), stead_proc::sync_folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_removed_with_its_comment_and_nothing_else_is() {
        let [one, other] = [(); 2].map(|()| SigningKey::fresh().unwrap().public());
        let text = format!("# team\n{one} ann\n{other} bob\n");
        assert_eq!(without(&text, &one), format!("# team\n{other} bob\n"));
    }
}
