//! What is known of a run's place before it is entered, with the rights of the keeper.

use std::fs;
use std::path::{Path, PathBuf};

use stead_core::launch::Launch;
use stead_core::preflight::{PathList, PathWhy, PortWhy, Preflight, Refused};
use stead_proc::{capability_bounds, find_program, listener_everywhere};

/// The profiles of AppArmor, a folder each.
const APPARMOR_PROFILES: &str = "/sys/kernel/security/apparmor/policy/profiles";
const SELINUX_ENFORCES: &str = "/sys/fs/selinux/enforce";
const SELINUX_CONTEXT: &str = "/proc/self/attr/current";

/// What is to be looked at from inside.
pub(super) struct Outside {
    /// As exec finds it.
    pub(super) program: PathBuf,
    pub(super) is_there: bool,
    /// Paths that its arguments and variables name, and that are there.
    pub(super) arguments: Vec<String>,
    /// Paths of the sandbox that are there.
    pub(super) listed: Vec<(String, PathList)>,
    /// Declared ports that the host does not open for it.
    pub(super) ports: Vec<(String, u16)>,
}

impl Outside {
    /// `None`: the program is in no folder of the PATH. Adds what is refused already.
    pub(super) fn look(
        folder: &Path,
        asked: &Preflight,
        refused: &mut Vec<Refused>,
    ) -> Option<Self> {
        let launch = &*asked.launch;
        let name = launch.argv.first().map_or("", String::as_str);
        let path = launch.env.get("PATH").map_or("", String::as_str);
        let directory = Path::new(&launch.directory);
        let Ok(program) = find_program(name, Some(directory), path) else {
            refused.push(Refused::NotInPath { program: name.to_owned(), path: path.to_owned() });
            return None;
        };
        let whole = directory.join(&program);
        refused.extend(capabilities(launch));
        refused.extend(mandatory(&whole));
        // Those that the keeper opens are tried with its rights.
        let handed = launch.listen.iter().filter_map(|it| super::inside::port(&it.name, it.port));
        refused.extend(handed.filter_map(|it| name_holder(it, folder, asked.first)));
        let opens_itself =
            |(name, _): &(&String, &u16)| launch.listen.iter().all(|socket| socket.name != **name);
        let ports = asked.ports.iter().filter(opens_itself);
        Some(Self {
            is_there: whole.exists(),
            arguments: named_paths(launch.argv.iter().skip(1).chain(launch.env.values())),
            listed: listed(folder, launch, refused),
            ports: ports.map(|(name, port)| (name.clone(), *port)).collect(),
            program,
        })
    }
}

/// Says who has a port that could not be had. What may be its own is nobody's.
pub(super) fn name_holder(refused: Refused, folder: &Path, first: bool) -> Option<Refused> {
    let Refused::Port { name, port, why: PortWhy::Used } = refused else { return Some(refused) };
    if !first {
        return None;
    }
    let why = match listener_everywhere(port) {
        Ok(Some(holder)) if !is_of_this_root(holder.pid, folder) => {
            PortWhy::Taken { pid: holder.pid, program: holder.program }
        }
        Ok(Some(_) | None) | Err(_) => PortWhy::Used,
    };
    Some(Refused::Port { name, port, why })
}

/// Whether it is an instance of the same root, its keeper, or the agent: what leaves may still have
/// the port that what comes is given.
fn is_of_this_root(pid: u32, folder: &Path) -> bool {
    let Some(instances) = folder.parent().map(|it| format!("{}/", it.display())) else {
        return false;
    };
    let holds = |file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains(&instances)
    };
    pid == stead_proc::parent_pid() || holds("environ") || holds("cmdline")
}

/// Capabilities that are asked for and that nobody here can have.
fn capabilities(launch: &Launch) -> Vec<Refused> {
    let Some(sandbox) = &launch.sandbox else { return Vec::new() };
    let Ok(bounds) = capability_bounds() else { return Vec::new() };
    let is_out = |number: u8| bounds >> number & 1 == 0;
    let out = sandbox.capabilities.iter().filter(|capability| is_out(capability.number()));
    out.map(|capability| Refused::Capability(*capability)).collect()
}

/// Whole paths among arguments and variables that are there, and could be read like a file.
fn named_paths<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<String> {
    let path = |text: &String| {
        let value = text.split_once('=').map_or(text.as_str(), |(_, value)| value);
        let path = [text, value].into_iter().find(|text| text.starts_with('/'))?;
        let meta = fs::metadata(path).ok()?;
        // Nobody is to read all of `/`, which means something else then.
        let is_meant = !path.trim_matches('/').is_empty() && (meta.is_file() || meta.is_dir());
        is_meant.then(|| path.to_owned())
    };
    let mut paths: Vec<String> = texts.filter_map(path).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// The paths of a sandbox that are there and not below stead's own root.
fn listed(folder: &Path, launch: &Launch, refused: &mut Vec<Refused>) -> Vec<(String, PathList)> {
    let Some(files) = launch.sandbox.as_ref().and_then(|it| it.files.as_ref()) else {
        return Vec::new();
    };
    let root = folder.parent().and_then(Path::parent).unwrap_or(folder);
    let read = files.read.iter().map(|path| (path, PathList::Read));
    let all = read.chain(files.write.iter().map(|path| (path, PathList::Write)));
    let others = all.filter(|(path, _)| !Path::new(path).starts_with(root));
    let (there, missing): (Vec<_>, Vec<_>) =
        others.map(|(path, list)| (path.clone(), list)).partition(|it| Path::new(&it.0).exists());
    let missing = missing.into_iter();
    refused.extend(missing.map(|(path, list)| Refused::Path { path, list, why: PathWhy::Missing }));
    there
}

/// What else on this host keeps programs within a policy.
fn mandatory(program: &Path) -> Vec<Refused> {
    // As the kernel sees it, past every link.
    let program = program.canonicalize().unwrap_or_else(|_| program.to_path_buf());
    let program = program.display().to_string();
    let profile = enforced_profile(Path::new(APPARMOR_PROFILES), &program);
    let by_profile = profile.map(|profile| Refused::AppArmor { program, profile });
    let enforces = fs::read_to_string(SELINUX_ENFORCES).is_ok_and(|text| text.trim() == "1");
    let context = fs::read_to_string(SELINUX_CONTEXT).unwrap_or_default();
    let context = confined(context.trim_end_matches('\0')).filter(|_| enforces);
    let by_context = context.map(|context| Refused::SeLinux { context: context.to_owned() });
    by_profile.into_iter().chain(by_context).collect()
}

/// The enforced profile for a program; `None` where there is no AppArmor.
fn enforced_profile(profiles: &Path, program: &str) -> Option<String> {
    let read = |folder: &Path, name| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let folders = fs::read_dir(profiles).ok()?.flatten().map(|entry| entry.path());
    folders.into_iter().find_map(|folder| {
        let name = read(&folder, "name");
        let is_its = [name.trim(), read(&folder, "attach").trim()].contains(&program);
        let is_enforced = read(&folder, "mode").trim() == "enforce";
        (is_its && is_enforced).then(|| name.trim().to_owned())
    })
}

/// The type of a context that SELinux holds to its policy; others may do what root may.
fn confined(context: &str) -> Option<&str> {
    let kind = context.split(':').nth(2)?;
    (!kind.starts_with("unconfined")).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_paths_that_are_there_are_found_among_arguments() {
        let argv = ["--data=/usr", "/etc/passwd", "/etc/passwd", "/", "/no/such", "usr"];
        let found = named_paths(argv.map(ToOwned::to_owned).iter());
        assert_eq!(found, ["/etc/passwd", "/usr"]);
    }

    #[test]
    fn an_enforced_profile_is_found_by_its_name_and_by_what_it_is_for() {
        let folder = std::env::temp_dir().join(format!("stead-profiles-{}", std::process::id()));
        let profiles = [
            ("a.1", "/opt/a", "/opt/a", "enforce"),
            ("b.2", "b", "/opt/b", "enforce"),
            ("c.3", "/opt/c", "/opt/c", "complain"),
        ];
        for (file, name, attach, mode) in profiles {
            let folder = folder.join(file);
            fs::create_dir_all(&folder).unwrap();
            for (file, text) in [("name", name), ("attach", attach), ("mode", mode)] {
                fs::write(folder.join(file), format!("{text}\n")).unwrap();
            }
        }
        let found = |program| enforced_profile(&folder, program);
        assert_eq!(found("/opt/a").as_deref(), Some("/opt/a"));
        assert_eq!(found("/opt/b").as_deref(), Some("b"));
        assert_eq!((found("/opt/c"), found("/opt/d")), (None, None));
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found("/opt/a"), None);
    }

    #[test]
    fn what_selinux_holds_to_its_policy_is_told_from_the_rest() {
        assert_eq!(confined("system_u:system_r:init_t:s0"), Some("init_t"));
        assert_eq!(confined("system_u:system_r:unconfined_service_t:s0"), None);
        assert_eq!(confined("unconfined"), None);
    }
}
