//! The disk of the VM: Debian with systemd and an SSH server, made once and kept.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is in it besides Debian's smallest system.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,openssh-server,iproute2,linux-image-cloud-amd64";

const SUITE: &str = "bookworm";

/// Room for tests; the file is sparse.
const DISK: &str = "4G";

/// Raised when the recipe below changes, so that an old image is made anew.
const RECIPE: u32 = 1;

/// What making and booting it takes.
const PROGRAMS: [&str; 5] = ["mmdebstrap", "mkfs.ext4", "qemu-system-x86_64", "ssh-keygen", "ssh"];

/// A disk with its kernel and the key that opens it.
#[derive(Clone, Debug)]
pub struct Image {
    folder: PathBuf,
}

/// What is missing on this machine to make or boot it.
pub fn missing_programs() -> Vec<&'static str> {
    let folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .collect();
    let is_missing = |program: &&str| !folders.iter().any(|it| it.join(program).is_file());
    PROGRAMS.into_iter().filter(is_missing).collect()
}

impl Image {
    /// The image below `folder`, made unless it is there. Others that ask meanwhile wait.
    pub fn get(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let lock = File::create(folder.join("lock"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
        let image = Self { folder: folder.join(format!("{SUITE}-{RECIPE}")) };
        if !image.folder.is_dir() {
            let new = folder.join("new");
            match fs::remove_dir_all(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => (),
            }
            fs::create_dir(&new)?;
            make(&new)?;
            fs::rename(new, &image.folder)?;
        }
        Ok(image)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn make(folder: &Path) -> io::Result<()> {
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", "key"]), folder)?;
    let hooks = [
        "key=$PWD/key.pub; cd \"$1/root\" && mkdir -p -m 700 .ssh && \
            cp \"$key\" .ssh/authorized_keys",
        "printf '[Match]\\nName=en*\\n[Network]\\nDHCP=yes\\n' \
            > \"$1/etc/systemd/network/all.network\"",
        "chroot \"$1\" systemctl enable systemd-networkd ssh",
        "chroot \"$1\" systemctl mask systemd-networkd-wait-online apt-daily.timer \
            apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer",
        "echo '/dev/vda / ext4 rw 0 1' > \"$1/etc/fstab\" && echo vm > \"$1/etc/hostname\"",
        "cp \"$1\"/boot/vmlinuz-* vmlinuz && cp \"$1\"/boot/initrd.img-* initrd",
    ];
    let mut debstrap = Command::new("mmdebstrap");
    debstrap.args(["--quiet", "--variant=minbase", &format!("--include={PACKAGES}")]);
    debstrap.args(hooks.map(|hook| format!("--customize-hook={hook}")));
    run(debstrap.args([SUITE, "root.tar"]), folder)?;
    fs::create_dir(folder.join("root"))?;
    run(Command::new("tar").args(["-C", "root", "-xf", "root.tar"]), folder)?;
    run(Command::new("truncate").args(["-s", DISK, "disk"]), folder)?;
    let mkfs = ["-c", "PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -d root disk"];
    run(Command::new("sh").args(mkfs), folder)?;
    fs::remove_dir_all(folder.join("root"))?;
    fs::remove_file(folder.join("root.tar"))
}

fn run(command: &mut Command, folder: &Path) -> io::Result<()> {
    let output = command.current_dir(folder).stdin(Stdio::null()).output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(format!("{command:?} failed: {}", said.trim())))
        }
    }
}
