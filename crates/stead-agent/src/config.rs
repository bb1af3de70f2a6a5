//! The configuration of an instance: a copy of what was packed that its account alone may read.
//!
//! What is packed lies in `configs/DIGEST`, closed to all services. An instance has a copy in
//! `config/NAME/DIGEST`, made under another name and renamed, so that it is there as a whole or
//! not at all. Copies are never changed; those that nothing goes by any more are removed.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use stead_core::launch::{Account, Launch};
use stead_core::names::InstanceName;
use stead_core::plan::Digest;

use crate::hands::{LAUNCH_FORMAT, read_launch};
use crate::layout::{Layout, PASS_THROUGH, make_folder};
use crate::store::{self, Found};

/// The owner is the agent's user; the account reads by its group.
const FOLDER: u32 = 0o550;
const PROGRAM: u32 = 0o550;
const FILE: u32 = 0o440;

/// Where a copy is while it is made.
const NEW: &str = "new";

/// The most folders one in another, as for what is packed.
const DEPTH_MAX: usize = 64;

/// Why an instance does not have its configuration.
#[derive(Debug, thiserror::Error)]
#[error("its configuration could not be copied to `{}`: {error}", path.display())]
pub(crate) struct ConfigError {
    path: PathBuf,
    error: io::Error,
}

/// Has the configuration of this launch ready, and removes those of before that nothing goes by.
pub(crate) fn put(
    layout: &Layout,
    name: &InstanceName,
    account: Option<&Account>,
    wanted: Option<&Digest>,
) -> Result<(), ConfigError> {
    let folder = layout.config(name);
    let failed = |path: &Path, error| ConfigError { path: path.to_path_buf(), error };
    if let Some(digest) = wanted {
        make_folder(&folder, PASS_THROUGH).map_err(|error| failed(&folder, error))?;
        let place = folder.join(digest.as_str());
        copy(&layout.packed_config(digest), &folder, &place, account)
            .map_err(|error| failed(&place, error))?;
    }
    // What cannot be removed now is removed with the next change.
    let _ = sweep(layout, name, wanted);
    Ok(())
}

fn copy(from: &Path, folder: &Path, place: &Path, account: Option<&Account>) -> io::Result<()> {
    let gid = account.map(|account| account.gid);
    match fs::symlink_metadata(place) {
        Ok(there) if gid.is_none_or(|gid| there.gid() == gid) => return Ok(()),
        // It is another account's by now; the folder itself is given last, as a mark.
        Ok(_) => return give_to(place, gid, 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (),
        Err(error) => return Err(error),
    }
    let new = folder.join(NEW);
    remove(&new)?;
    copy_folder(from, &new, 0)?;
    give_to(&new, gid, 0)?;
    fs::rename(&new, place)?;
    File::open(folder)?.sync_all()
}

fn copy_folder(from: &Path, to: &Path, depth: usize) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.metadata()?;
        if kind.is_dir() {
            copy_folder(&from, &to, depth + 1)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from)?, &to)?;
        } else {
            let is_program = kind.permissions().mode() & 0o111 != 0;
            copy_file(&from, &to, if is_program { PROGRAM } else { FILE })?;
        }
    }
    let folder = File::open(to)?;
    folder.set_permissions(fs::Permissions::from_mode(FOLDER))?;
    folder.sync_all()
}

fn copy_file(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    let mut options = File::options();
    let mut copy = options.write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut File::open(from)?, &mut copy)?;
    copy.set_permissions(fs::Permissions::from_mode(mode))?;
    copy.sync_all()
}

/// Lets a group read it. Nobody but the agent can change what is there meanwhile.
fn give_to(path: &Path, gid: Option<u32>, depth: usize) -> io::Result<()> {
    let Some(gid) = gid else { return Ok(()) };
    if fs::symlink_metadata(path)?.is_dir() && depth <= DEPTH_MAX {
        for entry in fs::read_dir(path)? {
            give_to(&entry?.path(), Some(gid), depth + 1)?;
        }
    }
    std::os::unix::fs::lchown(path, None, Some(gid))
}

/// Removes copies that neither the launches on disk nor the one to come go by.
fn sweep(layout: &Layout, name: &InstanceName, wanted: Option<&Digest>) -> io::Result<()> {
    let folder = layout.config(name);
    let instance = layout.instance(name);
    let next = store::read::<Box<Launch>>(&instance.join("next.json"), LAUNCH_FORMAT);
    let known = [read_launch(&instance), next].into_iter().filter_map(|found| match found {
        Found::Whole(launch) => launch.config.map(String::from),
        Found::Absent | Found::Damaged { .. } => None,
    });
    let kept: BTreeSet<String> = known.chain(wanted.cloned().map(String::from)).collect();
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let is_copy = Digest::try_from(entry.file_name().to_string_lossy().into_owned()).is_ok();
        if is_copy && !kept.contains(entry.file_name().to_string_lossy().as_ref()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Folders that may not be written to: the agent is not root.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open(folder, 0)?;
            fs::remove_dir_all(folder)
        }
        other => other,
    }
}

fn open(folder: &Path, depth: usize) -> io::Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && depth <= DEPTH_MAX {
            open(&entry.path(), depth + 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempRoot;

    fn digest(c: &str) -> Digest {
        Digest::try_from(c.repeat(64)).unwrap()
    }

    fn pack(layout: &Layout, digest: &Digest, text: &str) {
        let folder = layout.packed_config(digest);
        fs::create_dir_all(folder.join("certs")).unwrap();
        fs::write(folder.join("app.toml"), text).unwrap();
        fs::write(folder.join("certs/key"), "secret").unwrap();
        std::os::unix::fs::symlink("app.toml", folder.join("link")).unwrap();
    }

    fn copies(layout: &Layout, name: &InstanceName) -> Vec<String> {
        let entries = fs::read_dir(layout.config(name)).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .map(|name| name[..1].to_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_copy_is_whole_and_its_accounts_alone() {
        let root = TempRoot::new("config");
        let (layout, name) = (root.layout(), "a.0".parse().unwrap());
        layout.make_root().unwrap();
        let number = 1_899_000_007;
        let account = Account { uid: number, gid: number, groups: vec![number] };
        let account = stead_proc::is_root().then_some(account);
        let digest = digest("a");
        pack(&layout, &digest, "one");
        put(&layout, &name, account.as_ref(), Some(&digest)).unwrap();
        let place = layout.config(&name).join(digest.as_str());
        assert_eq!(fs::read_to_string(place.join("link")).unwrap(), "one");
        for (path, mode) in
            [("", 0o550), ("app.toml", 0o440), ("certs", 0o550), ("certs/key", 0o440)]
        {
            let there = fs::metadata(place.join(path)).unwrap();
            assert_eq!(there.mode() & 0o7777, mode, "{path}");
            assert!(account.as_ref().is_none_or(|account| account.gid == there.gid()), "{path}");
        }
        let packed = fs::metadata(layout.packed_configs()).unwrap();
        assert_eq!(packed.mode() & 0o777, 0o700, "closed to whoever knows a digest");
    }

    #[test]
    fn what_nothing_goes_by_any_more_is_removed() {
        let root = TempRoot::new("config-sweep");
        let (layout, name) = (root.layout(), "a.0".parse().unwrap());
        layout.make_root().unwrap();
        for c in ["a", "b"] {
            pack(&layout, &digest(c), c);
            put(&layout, &name, None, Some(&digest(c))).unwrap();
        }
        assert_eq!(copies(&layout, &name), ["b"]);
        put(&layout, &name, None, None).unwrap();
        assert!(copies(&layout, &name).is_empty());
    }

    #[test]
    fn what_was_not_packed_is_named() {
        let root = TempRoot::new("config-missing");
        let (layout, name) = (root.layout(), "a.0".parse().unwrap());
        layout.make_root().unwrap();
        let why = put(&layout, &name, None, Some(&digest("c"))).unwrap_err().to_string();
        assert!(why.contains("its configuration") && why.contains("cccc"), "{why}");
    }
}
