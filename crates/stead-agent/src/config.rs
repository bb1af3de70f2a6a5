//! The configuration of an instance: a copy of what was packed that its account alone may read.
//!
//! What is packed lies in `configs/DIGEST`, closed to all services. An instance has a copy in
//! `config/NAME/DIGEST`, made under another name and renamed, so that it is there as a whole or
//! not at all. Copies are never changed; those that nothing goes by any more are removed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use stead_core::launch::Account;
use stead_core::names::InstanceName;
use stead_core::plan::Digest;
use stead_proc::{
    MODE_OF, create_closed_file, group_of, make_closed_folder, make_link, read_link, sync_folder,
};
use stead_wire::file;

use crate::hands::read_launch;
use crate::layout::{Layout, PASS_THROUGH, make_folder, remove_folder};
use crate::store::Found;

/// The owner is the agent's user; an account reads by its group. Without one the agent's own user
/// is all, and the group it happens to have gets nothing.
const FOLDER: u32 = 0o550;
const PROGRAM: u32 = 0o550;
const FILE: u32 = 0o440;
const ALONE: u32 = 0o700;

/// Where a copy is while it is made.
const NEW: &str = "new";

/// The most folders one in another: as for what is packed, below the folder that holds it all.
const DEPTH_MAX: usize = 65;

/// Why an instance does not have its configuration.
#[derive(Debug, thiserror::Error)]
#[error("its configuration could not be copied to `{}`: {error}", path.display())]
pub(crate) struct ConfigError {
    path: PathBuf,
    error: io::Error,
}

/// Has the configuration of a launch ready.
pub(crate) fn put(
    layout: &Layout,
    name: &InstanceName,
    account: Option<&Account>,
    wanted: Option<&Digest>,
) -> Result<(), ConfigError> {
    let folder = layout.config(name);
    let failed = |path: &Path, error| ConfigError { path: path.to_path_buf(), error };
    let Some(digest) = wanted else { return Ok(()) };
    make_folder(&folder, PASS_THROUGH).map_err(|error| failed(&folder, error))?;
    let place = folder.join(digest.as_str());
    copy(&layout.packed_config(digest), &folder, &place, account)
        .map_err(|error| failed(&place, error))
}

fn copy(from: &Path, folder: &Path, place: &Path, account: Option<&Account>) -> io::Result<()> {
    let gid = account.map(|account| account.gid);
    match fs::symlink_metadata(place) {
        Ok(there) if gid.is_none_or(|gid| group_of(&there) == Some(gid)) => return Ok(()),
        // It is another account's by now; the folder itself is given last, as a mark.
        Ok(_) => return give_to(place, gid, 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (),
        Err(error) => return Err(error),
    }
    let new = folder.join(NEW);
    remove_folder(&new)?;
    copy_folder(from, &new, if gid.is_some() { !0 } else { ALONE }, 0)?;
    give_to(&new, gid, 0)?;
    fs::rename(&new, place)?;
    sync_folder(folder)
}

fn copy_folder(from: &Path, to: &Path, who: u32, depth: usize) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    make_closed_folder(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.metadata()?;
        if kind.is_dir() {
            copy_folder(&from, &to, who, depth + 1)?;
        } else if kind.is_symlink() {
            let leads_to = read_link(&from)?;
            let leads_to = leads_to.to_str().ok_or(io::ErrorKind::InvalidData)?;
            make_link(leads_to, &to, fs::metadata(&from).is_ok_and(|there| there.is_dir()))?;
        } else {
            let is_program = MODE_OF.is_some_and(|mode_of| mode_of(&kind) & 0o111 != 0);
            copy_file(&from, &to, who & if is_program { PROGRAM } else { FILE })?;
        }
    }
    stead_proc::set_mode(to, who & FOLDER)?;
    sync_folder(to)
}

fn copy_file(from: &Path, to: &Path, mode: u32) -> io::Result<()> {
    let mut copy = create_closed_file(to)?;
    io::copy(&mut File::open(from)?, &mut copy)?;
    stead_proc::set_file_mode(&copy, mode)?;
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
    stead_proc::give_to_group(path, gid)
}

/// Removes copies that nothing goes by any more. `settled` is the mark of the launch that the
/// instance runs by, as long as its keeper says that no run goes by another one.
pub(crate) fn sweep(
    layout: &Layout,
    name: &InstanceName,
    settled: u32,
    wanted: Option<&Digest>,
) -> io::Result<()> {
    let Found::Whole(launch) = read_launch(&layout.instance(name)) else { return Ok(()) };
    if file::mark(&launch) != settled {
        return Ok(());
    }
    let kept: BTreeSet<&str> = launch.config.iter().chain(wanted).map(Digest::as_str).collect();
    let entries = match fs::read_dir(layout.config(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let digest = Digest::try_from(entry.file_name().to_string_lossy().into_owned());
        if digest.is_ok_and(|digest| !kept.contains(digest.as_str())) {
            remove_folder(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use stead_core::launch::{HostSide, launch};
    use stead_core::plan::Spec;
    use stead_core::template::Places;

    use super::*;
    use crate::hands::LAUNCH_FORMAT;
    use crate::testing::{TempRoot, spec};

    fn digest(c: &str) -> Digest {
        Digest::try_from(c.repeat(64)).unwrap()
    }

    fn pack(layout: &Layout, digest: &Digest, text: &str) {
        let folder = layout.packed_config(digest);
        fs::create_dir_all(folder.join("certs")).unwrap();
        fs::write(folder.join("app.toml"), text).unwrap();
        fs::write(folder.join("certs/key"), "secret").unwrap();
        make_link("app.toml", &folder.join("link"), false).unwrap();
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
        let (folder, file) = if account.is_some() { (0o550, 0o440) } else { (0o500, 0o400) };
        for (path, mode) in
            [("", folder), ("app.toml", file), ("certs", folder), ("certs/key", file)]
        {
            let there = fs::metadata(place.join(path)).unwrap();
            assert!(MODE_OF.is_none_or(|mode_of| mode_of(&there) == mode), "{path}");
            let group = group_of(&there);
            assert!(account.as_ref().is_none_or(|it| Some(it.gid) == group), "{path}");
        }
        let packed = fs::metadata(layout.packed_configs()).unwrap();
        assert!(
            MODE_OF.is_none_or(|mode_of| mode_of(&packed) == 0o700),
            "closed to whoever knows a digest"
        );
    }

    /// Writes the launch that an instance runs by; says its mark.
    fn holds(layout: &Layout, name: &InstanceName, c: &str) -> u32 {
        let spec = Spec { config: Some(digest(c)), ..spec(&["/bin/true"]) };
        let places =
            Places { config: "", data: "", kit: "", ports: &spec.ports, release: "", tmp: "" };
        let host =
            HostSide { places, account: None, env: BTreeMap::new(), isolates: false, secrets: "" };
        let launch = launch(name, &spec, host);
        fs::create_dir_all(layout.instance(name)).unwrap();
        let bytes = file::encode(LAUNCH_FORMAT, &launch);
        fs::write(layout.instance(name).join("spec.json"), bytes).unwrap();
        file::mark(&launch)
    }

    #[test]
    fn what_nothing_goes_by_any_more_is_removed_and_nothing_as_long_as_that_is_not_known() {
        let root = TempRoot::new("config-sweep");
        let (layout, name) = (root.layout(), "a.0".parse().unwrap());
        layout.make_root().unwrap();
        for c in ["a", "b", "c"] {
            pack(&layout, &digest(c), c);
            put(&layout, &name, None, Some(&digest(c))).unwrap();
        }
        let wanted = Some(digest("c"));
        sweep(&layout, &name, 0, wanted.as_ref()).unwrap();
        let mark = holds(&layout, &name, "b");
        sweep(&layout, &name, mark ^ 1, wanted.as_ref()).unwrap();
        assert_eq!(copies(&layout, &name), ["a", "b", "c"]);
        sweep(&layout, &name, mark, wanted.as_ref()).unwrap();
        assert_eq!(copies(&layout, &name), ["b", "c"]);
        sweep(&layout, &name, mark, None).unwrap();
        assert_eq!(copies(&layout, &name), ["b"]);
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
