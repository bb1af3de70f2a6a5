//! Transient scopes: where systemd runs, cgroups are its own, and a scope is how it lets others
//! have some.
//!
//! It is asked with `busctl`, which is part of it. Source: systemd's `org.freedesktop.systemd1(5)`
//! and "Control Group APIs and Delegation".

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long systemd may take to make a scope or to move a process.
const WITHIN: Duration = Duration::from_secs(10);

/// How often to look whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Where the keeper stands: a cgroup with processes of its own cannot share out controllers.
const KEEPER: &str = "keeper";

/// The slice of all scopes.
const SLICE: &str = "stead.slice";

/// At the end of the host the agent comes first: it ends services in the order of their needs.
const AGENT: &str = "stead-agent.service";

/// Longer than any stop ladder should take; past it systemd kills.
const STOP_TIMEOUT: Duration = Duration::from_secs(180);

/// Which systemd is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Manager {
    System,
    User { uid: u32 },
}

/// The manager of this process; `None` where there is none.
pub(super) fn manager() -> Option<Manager> {
    if !Path::new("/run/systemd/system").exists() {
        return None;
    }
    let uid = rustix::process::geteuid().as_raw();
    match uid {
        0 => Some(Manager::System),
        _ => Some(Manager::User { uid }),
    }
}

/// Whether the host, or the session of this user, is going down.
pub fn host_ends() -> bool {
    let Some(manager) = manager() else { return false };
    let mut systemctl = Command::new("/usr/bin/systemctl");
    if let Manager::User { uid } = manager {
        systemctl.env("XDG_RUNTIME_DIR", format!("/run/user/{uid}")).arg("--user");
    }
    let output = systemctl.arg("is-system-running").stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.stdout.starts_with(b"stopping"))
}

/// The cgroup of the manager itself.
pub(super) fn manager_cgroup(manager: Manager, mount: &Path) -> PathBuf {
    match manager {
        Manager::System => mount.to_owned(),
        Manager::User { uid } => {
            mount.join(format!("user.slice/user-{uid}.slice/user@{uid}.service"))
        }
    }
}

/// Brings this process into the scope of this name, made unless it is there; says its folder.
pub(super) fn join(manager: Manager, name: &str, mount: &Path) -> io::Result<PathBuf> {
    let unit = format!("{name}.scope");
    let scope = manager_cgroup(manager, mount).join(SLICE).join(&unit);
    // After an upgrade in place it is there already.
    if is_in(&unit) {
        return settle(&scope);
    }
    // It ends with the last process in it, which may be now: then it is made anew.
    if scope.exists() && attach(manager, &unit).is_ok() && wait_until_in(&unit).is_ok() {
        return settle(&scope);
    }
    start(manager, &unit)?;
    wait_until_in(&unit)?;
    settle(&scope)
}

fn start(manager: Manager, unit: &str) -> io::Result<()> {
    let pid = std::process::id().to_string();
    let stop = STOP_TIMEOUT.as_micros().to_string();
    let unlimited = u64::MAX.to_string();
    let description = format!("Description s {unit}");
    let properties = [
        format!("PIDs au 1 {pid}"),
        "Delegate b true".to_owned(),
        format!("Slice s {SLICE}"),
        format!("TasksMax t {unlimited}"),
        "CollectMode s inactive-or-failed".to_owned(),
        format!("TimeoutStopUSec t {stop}"),
        format!("Before as 1 {AGENT}"),
        description,
    ];
    let mut args = vec!["StartTransientUnit".to_owned(), "ssa(sv)a(sa(sv))".to_owned()];
    args.extend([unit.to_owned(), "fail".to_owned(), properties.len().to_string()]);
    for property in &properties {
        args.extend(property.split(' ').map(str::to_owned));
    }
    args.push("0".to_owned());
    ask(manager, &args)
}

fn attach(manager: Manager, unit: &str) -> io::Result<()> {
    let pid = std::process::id().to_string();
    let below = format!("/{KEEPER}");
    ask(manager, &["AttachProcessesToUnit", "ssau", unit, &below, "1", &pid].map(str::to_owned))
}

fn ask(manager: Manager, args: &[String]) -> io::Result<()> {
    let mut busctl = Command::new("/usr/bin/busctl");
    match manager {
        Manager::System => busctl.arg("--system"),
        Manager::User { uid } => {
            let runtime = format!("/run/user/{uid}");
            busctl.env("XDG_RUNTIME_DIR", runtime).arg("--user")
        }
    };
    busctl.arg(format!("--timeout={}", WITHIN.as_secs())).arg("call").args([
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
    ]);
    let output = busctl.args(args).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("systemd refused a scope: {}", said.trim())))
}

/// The cgroup of this process, as the kernel shows it.
fn own() -> String {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default().to_owned()
}

fn is_in(unit: &str) -> bool {
    own().split('/').any(|part| part == unit)
}

/// systemd answers before it has done it.
fn wait_until_in(unit: &str) -> io::Result<()> {
    let until = Instant::now() + WITHIN;
    while !is_in(unit) {
        if Instant::now() >= until {
            return Err(io::Error::other(format!("systemd did not move it into `{unit}`")));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Stands in the keeper's part of the scope.
fn settle(scope: &Path) -> io::Result<PathBuf> {
    let keeper = scope.join(KEEPER);
    match fs::create_dir(&keeper) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => (),
    }
    if !own().ends_with(&format!("/{KEEPER}")) {
        fs::write(keeper.join("cgroup.procs"), std::process::id().to_string())?;
    }
    Ok(scope.to_owned())
}
