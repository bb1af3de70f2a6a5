//! A running VM: QEMU without KVM, reached over SSH.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::image::Image;

/// How long a boot may take beside other tests; alone it is 15 s.
const BOOT_WITHIN: Duration = Duration::from_secs(180);

/// How long the VM may take to end itself.
const END_WITHIN: Duration = Duration::from_secs(120);

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// QEMU must not outlive the test: it ends when our end of its standard input is closed.
const UNTIL_WE_END: &str = "exec 3<&0; \"$@\" 3<&- & qemu=$!; \
    (read _ <&3; kill $qemu) & reader=$!; wait $qemu; kill $reader";

/// A machine of its own, ended when this is dropped.
#[derive(Debug)]
pub struct Vm {
    image: Image,
    folder: PathBuf,
    port: u16,
    qemu: Option<Child>,
}

/// What a command in the VM has said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Vm {
    /// Boots a fresh copy of the image in this folder, and returns once it takes commands.
    pub fn boot(image: &Image, folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let copied = Command::new("cp")
            .args(["--sparse=always", "--reflink=auto"])
            .args([image.file("disk"), folder.join("disk")])
            .status()?;
        if !copied.success() {
            return Err(io::Error::other("cannot copy the disk"));
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut vm = Self { image: image.clone(), folder: folder.to_owned(), port, qemu: None };
        vm.write_ssh_config()?;
        vm.power_on()?;
        Ok(vm)
    }

    /// Starts it with the disk as it was left, and returns once it takes commands.
    pub fn power_on(&mut self) -> io::Result<()> {
        let mut qemu = Command::new("sh");
        qemu.args(["-c", UNTIL_WE_END, "qemu", "qemu-system-x86_64"]);
        // Not KVM: where it is there and does not work, a guest hangs without a word.
        qemu.args(["-accel", "tcg,thread=multi"]);
        qemu.args([
            "-cpu",
            "max",
            "-m",
            "1024",
            "-smp",
            "2",
            "-display",
            "none",
            "-no-user-config",
        ]);
        qemu.arg("-kernel").arg(self.image.file("vmlinuz"));
        qemu.arg("-initrd").arg(self.image.file("initrd"));
        qemu.args(["-append", "root=/dev/vda rw console=ttyS0 quiet panic=-1"]);
        let disk = format!("file={},if=virtio,format=raw", self.folder.join("disk").display());
        qemu.args(["-drive", &disk]);
        let net = format!("user,id=net,restrict=off,hostfwd=tcp:127.0.0.1:{}-:22", self.port);
        qemu.args(["-netdev", &net, "-device", "virtio-net-pci,netdev=net"]);
        qemu.arg("-serial").arg(format!("file:{}", self.folder.join("console").display()));
        let log = fs::File::create(self.folder.join("qemu.log"))?;
        qemu.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        self.qemu = Some(qemu.spawn()?);
        self.wait_up(|_| true)
    }

    /// Waits until it takes commands, in a boot that is the meant one.
    fn wait_up(&mut self, is_meant: impl Fn(&str) -> bool) -> io::Result<()> {
        let until = Instant::now() + BOOT_WITHIN;
        loop {
            if self.boot_id().is_some_and(|id| is_meant(&id)) {
                return Ok(());
            }
            if let Some(qemu) = &mut self.qemu
                && qemu.try_wait()?.is_some()
            {
                let log = fs::read_to_string(self.folder.join("qemu.log")).unwrap_or_default();
                return Err(io::Error::other(format!("the VM has ended: {log}")));
            }
            if Instant::now() >= until {
                let console = fs::read(self.folder.join("console")).unwrap_or_default();
                let console = String::from_utf8_lossy(&console).into_owned();
                return Err(io::Error::other(format!("the VM does not come up: {console}")));
            }
            sleep(LOOK_EVERY);
        }
    }

    fn boot_id(&self) -> Option<String> {
        let said = self.try_sh("cat /proc/sys/kernel/random/boot_id").ok()?;
        (said.code == Some(0)).then_some(said.out)
    }

    /// Reboots it by its own means, and returns once it takes commands again.
    pub fn reboot(&mut self) -> io::Result<()> {
        let before = self.boot_id().unwrap_or_default();
        // The connection may break before it answers.
        let _ = self.try_sh("systemctl reboot");
        self.wait_up(|now| now != before)
    }

    /// Switches it off by its own means.
    pub fn power_off(&mut self) -> io::Result<()> {
        let _ = self.try_sh("systemctl poweroff");
        let Some(mut qemu) = self.qemu.take() else { return Ok(()) };
        let until = Instant::now() + END_WITHIN;
        while qemu.try_wait()?.is_none() {
            if Instant::now() >= until {
                self.qemu = Some(qemu);
                return Err(io::Error::other("the VM does not switch itself off"));
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Runs a script as root; panics if it fails, with what it said.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let said = self.try_sh(script).expect("ssh can be run");
        assert_eq!(said.code, Some(0), "`{script}` failed: {}{}", said.out, said.err);
        said.out.trim_end().to_owned()
    }

    /// Runs a script as root.
    pub fn try_sh(&self, script: &str) -> io::Result<Said> {
        let output = self.ssh().arg("vm").arg(script).stdin(Stdio::null()).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        Ok(Said { code: output.status.code(), out, err })
    }

    /// Writes a file, with its mode.
    pub fn put(&self, from: &Path, to: &str, mode: u32) -> io::Result<()> {
        let script =
            format!("cat > '{to}.new' && chmod {mode:o} '{to}.new' && mv '{to}.new' '{to}'");
        let mut ssh = self.ssh();
        let status = ssh
            .arg("vm")
            .arg(script)
            .stdin(fs::File::open(from)?)
            .stderr(Stdio::null())
            .status()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("cannot put `{}` into the VM", from.display()))),
        }
    }

    fn ssh(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.ssh_config());
        ssh
    }

    /// What `ssh -F` reads to reach it, by any name.
    pub fn ssh_config(&self) -> PathBuf {
        self.folder.join("ssh-config")
    }

    fn write_ssh_config(&self) -> io::Result<()> {
        let text = format!(
            "Host *\n HostName 127.0.0.1\n Port {}\n User root\n IdentityFile {}\n \
             BatchMode yes\n ConnectTimeout 5\n ServerAliveInterval 5\n LogLevel QUIET\n \
             StrictHostKeyChecking no\n UserKnownHostsFile /dev/null\n",
            self.port,
            self.image.file("key").display()
        );
        fs::write(self.ssh_config(), text)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if let Some(mut qemu) = self.qemu.take() {
            drop(qemu.stdin.take());
            // It ends by itself now; nobody else waits for it.
            let _ = qemu.wait();
        }
    }
}
