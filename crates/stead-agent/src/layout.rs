//! Where everything is below the root, and who may enter.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use stead_core::launch::Account;
use stead_core::names::InstanceName;
use stead_core::plan::Digest;
use stead_proc::{HandOverError, MODE_OF, hand_over};
use stead_release::secret::SECRETS;
use stead_release::sign::TRUSTED_KEYS;
use stead_wire::journal::Stream;

/// Why an instance has not all that it needs on disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstanceError {
    #[error("its pipes could not be made: {0}")]
    Fifos(io::Error),
    #[error("its folders could not be made: {0}")]
    Folders(io::Error),
    #[error(transparent)]
    HandOver(#[from] HandOverError),
}

/// The folders of an agent.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// A service's user must pass through these to its own files, but may not look around.
pub(crate) const PASS_THROUGH: u32 = 0o711;
/// Only the agent and the keepers.
const CLOSED: u32 = 0o700;

/// The most folders one in another that are opened to be removed: more than a configuration has,
/// and few enough for any stack.
const OPENED_DEPTH_MAX: usize = 128;

impl Layout {
    /// `root` must be absolute: it becomes part of what services are started with.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn plan(&self) -> PathBuf {
        self.root.join("plan.json")
    }

    pub(crate) fn rollout(&self) -> PathBuf {
        self.root.join("rollout.json")
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.root.join("history")
    }

    pub(crate) fn trusted_keys(&self) -> PathBuf {
        self.root.join(TRUSTED_KEYS)
    }

    /// The folder with the values of secrets.
    pub(crate) fn secrets(&self) -> PathBuf {
        self.root.join(SECRETS)
    }

    pub(crate) fn accounts(&self) -> PathBuf {
        self.root.join("accounts.json")
    }

    /// What the registry was before stead.
    pub(crate) fn registry(&self) -> PathBuf {
        self.root.join("registry.json")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("agent.sock")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("agent.log")
    }

    pub(crate) fn events(&self) -> PathBuf {
        self.root.join("events")
    }

    pub(crate) fn releases(&self) -> PathBuf {
        self.root.join("releases")
    }

    /// Contents that have come and are not part of a release yet.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }

    /// The programs of agents and relays, each kit in a folder of its own.
    pub(crate) fn programs(&self) -> PathBuf {
        self.root.join("programs")
    }

    /// The programs of keepers and fronts, each kit in a folder of its own.
    pub(crate) fn kits(&self) -> PathBuf {
        self.root.join("kit")
    }

    pub(crate) fn release(&self, digest: &Digest) -> PathBuf {
        self.releases().join(digest.as_str())
    }

    pub(crate) fn kit(&self, digest: &str) -> PathBuf {
        self.kits().join(digest)
    }

    pub(crate) fn instances(&self) -> PathBuf {
        self.root.join("instances")
    }

    pub(crate) fn instance(&self, name: &InstanceName) -> PathBuf {
        self.instances().join(name.to_string())
    }

    pub(crate) fn data_all(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(crate) fn data(&self, name: &InstanceName) -> PathBuf {
        self.data_all().join(name.to_string())
    }

    pub(crate) fn tmp(&self, name: &InstanceName) -> PathBuf {
        self.root.join("tmp").join(name.to_string())
    }

    /// What was packed as configurations.
    pub(crate) fn packed_configs(&self) -> PathBuf {
        self.root.join("configs")
    }

    pub(crate) fn packed_config(&self, digest: &Digest) -> PathBuf {
        self.packed_configs().join(digest.as_str())
    }

    /// The folder with the configurations that an instance has; `current` in it leads to the one
    /// that holds, where the instance is told to read it again.
    pub(crate) fn config(&self, name: &InstanceName) -> PathBuf {
        self.root.join("config").join(name.to_string())
    }

    /// Makes the folders that hold those of the instances.
    pub(crate) fn make_root(&self) -> io::Result<()> {
        let closed = ["configs", "history", "instances"];
        let open = ["config", "data", "kit", "releases", "tmp"];
        for name in closed.into_iter().chain(open) {
            let mode = if closed.contains(&name) { CLOSED } else { PASS_THROUGH };
            make_folder(&self.root.join(name), mode)?;
        }
        // A root that others made closed would shut out the services' users.
        if let Some(mode_of) = MODE_OF.filter(|_| stead_proc::is_root()) {
            let mode = mode_of(&fs::metadata(&self.root)?);
            stead_proc::set_mode(&self.root, mode | PASS_THROUGH)?;
        }
        Ok(())
    }

    /// Makes the folders and pipes of an instance. `data` and `tmp` with what is in them, and the
    /// pipes, belong to its account.
    pub(crate) fn make_instance(
        &self,
        name: &InstanceName,
        account: Option<&Account>,
    ) -> Result<(), InstanceError> {
        let folder = self.instance(name);
        let own = [self.data(name), self.tmp(name)];
        for folder in [&folder, &folder.join("log")].into_iter().chain(&own) {
            make_folder(folder, CLOSED).map_err(InstanceError::Folders)?;
        }
        if let Some(account) = account {
            own.iter().try_for_each(|folder| hand_over(folder, account))?;
        }
        // Last: while the folders cannot be handed over, what runs keeps its pipes.
        for fifo in self.fifos(name) {
            stead_proc::make_fifo(&fifo, account).map_err(InstanceError::Fifos)?;
        }
        Ok(())
    }

    /// The pipes that an instance writes its streams into.
    pub(crate) fn fifos(&self, name: &InstanceName) -> [PathBuf; 2] {
        Stream::ALL.map(|stream| self.instance(name).join(stream.as_str()))
    }

    /// Removes what an instance that has left must not leave behind; its data stays. Its folder
    /// goes last: as long as that is there, what could not be removed is tried again.
    pub(crate) fn remove_instance(&self, name: &InstanceName) -> io::Result<()> {
        let folders = [self.config(name), self.tmp(name), self.instance(name)];
        folders.iter().try_for_each(|folder| remove_folder(folder))
    }

    /// The instances that have a folder, and names in that place that are no instance.
    pub(crate) fn list(&self) -> io::Result<(Vec<InstanceName>, Vec<String>)> {
        let (mut names, mut strange) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(self.instances())? {
            let text = entry?.file_name().to_string_lossy().into_owned();
            match text.parse() {
                Ok(name) => names.push(name),
                Err(_) => strange.push(text),
            }
        }
        names.sort();
        Ok((names, strange))
    }

    /// The first folder above the root that other users cannot pass through.
    pub(crate) fn closed_above(&self) -> Option<PathBuf> {
        let mode_of = MODE_OF?;
        let open = |folder: &&Path| fs::metadata(folder).is_ok_and(|it| mode_of(&it) & 1 == 1);
        self.root.ancestors().skip(1).find(|folder| !open(folder)).map(Path::to_path_buf)
    }
}

/// Makes a folder with exactly this mode, whatever the umask; one that is there keeps its own.
pub(crate) fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    match stead_proc::make_folder(path, mode) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes a folder, if it is there, with all that is in it.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Nobody but root removes what is in folders that may not be written to. They are this
        // user's own, so they can be opened; root need not, and would follow what a service left.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !stead_proc::is_root() => {
            open(path, 0)?;
            fs::remove_dir_all(path)
        }
        other => other,
    }
}

fn open(folder: &Path, depth: usize) -> io::Result<()> {
    stead_proc::set_mode(folder, CLOSED)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && depth < OPENED_DEPTH_MAX {
            open(&entry.path(), depth + 1)?;
        }
    }
    Ok(())
}
