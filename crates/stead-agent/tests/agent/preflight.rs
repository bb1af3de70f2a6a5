//! What a run would be refused is found and named before the run is begun.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;
use stead_core::plan::Spec;
use stead_core::sandbox::{Loosened, Sandbox};
use stead_core::template::Template;

use crate::support::{Root, plan, shell, sleeper, until};

/// A service that is broken in one way.
struct Broken {
    name: &'static str,
    spec: Spec,
    /// What is told of it, in parts.
    told: [&'static str; 2],
    mend: Box<dyn FnMut()>,
}

fn of(run: &[&str]) -> Spec {
    Spec::of(run.iter().map(|text| Template::literal(text)).collect())
}

fn with_port(mut spec: Spec, port: u16) -> Spec {
    spec.ports.insert("http".into(), port);
    spec
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A folder that every account may enter, and the sandbox lets it see.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("stead-preflight-").tempdir_in("/opt").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

const LIVES: &str = "#!/bin/sh\nexec sleep 1000\n";

fn broken(folder: &Path) -> Vec<Broken> {
    let at = |name: &str| folder.join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    let (missing, closed, script, place) = (at("missing"), at("closed"), at("script"), at("place"));
    write(&closed, LIVES, 0o644);
    write(&script, &LIVES.replace("/bin/sh", &text("no-shell")), 0o755);
    let shell = at("no-shell");
    let mut in_no_place = of(&["/bin/sleep", "1000"]);
    in_no_place.directory = Some(Template::literal(&text("place")));
    let mut holder = Some(TcpListener::bind("0.0.0.0:0").unwrap());
    let port = holder.as_ref().unwrap().local_addr().unwrap().port();
    let taken = with_port(of(&["/bin/sleep", "1000"]), port);
    let mut other = Some(TcpListener::bind("0.0.0.0:0").unwrap());
    let port = other.as_ref().unwrap().local_addr().unwrap().port();
    let mut handed = with_port(of(&["/bin/sleep", "1000"]), port);
    handed.listen.insert("http".into(), "127.0.0.1".into());
    vec![
        Broken {
            name: "handed.0",
            spec: handed,
            told: ["port `http`", "another port"],
            mend: Box::new(move || drop(other.take())),
        },
        Broken {
            name: "missing.0",
            spec: of(&[&text("missing")]),
            told: ["/missing` cannot run: there is no such file", "mend `run`"],
            mend: Box::new(move || write(&missing, LIVES, 0o755)),
        },
        Broken {
            name: "closed.0",
            spec: of(&[&text("closed")]),
            told: ["/closed` cannot run: Permission denied", "chmod +x"],
            mend: Box::new(move || write(&closed, LIVES, 0o755)),
        },
        Broken {
            name: "script.0",
            spec: of(&[&text("script")]),
            told: ["it is a script for `/opt/", "mend the first line"],
            mend: Box::new(move || std::os::unix::fs::symlink("/bin/sh", &shell).unwrap()),
        },
        Broken {
            name: "taken.0",
            spec: taken,
            told: ["port `http`", "another port"],
            mend: Box::new(move || drop(holder.take())),
        },
        Broken {
            name: "place.0",
            spec: in_no_place,
            told: ["it cannot start in `/opt/", "another `directory`"],
            mend: Box::new(move || fs::create_dir(&place).unwrap()),
        },
    ]
}

fn events(root: &Root, name: &str) -> Vec<Value> {
    root.get(&format!("/v1/events?name={name}")).lines()
}

fn has_begun(root: &Root, name: &str) -> bool {
    let begins = ["starting", "spawn-failed"];
    events(root, name).iter().any(|event| begins.iter().any(|kind| event["event"] == **kind))
}

fn told(root: &Root, name: &str, parts: &[&str]) -> Option<()> {
    let notes = root.instance(name)?.notes;
    let is_it = |note: &String| parts.iter().all(|part| note.contains(part));
    notes.iter().any(is_it).then_some(())
}

#[test]
fn what_a_run_would_be_refused_is_named_before_it_is_begun_and_once_mended_it_runs() {
    let folder = open_folder();
    let mut all = broken(folder.path());
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    let mut plan = plan([]);
    plan.instances = all.iter().map(|it| (it.name.parse().unwrap(), it.spec.clone())).collect();
    root.put(&plan);
    for Broken { name, told: parts, .. } in &all {
        until(&format!("{name}: {parts:?}"), || told(&root, name, parts));
        assert_eq!(root.instance(name).unwrap().phase, "failed", "{name}");
        assert!(!has_begun(&root, name), "{name}");
        let why = root.get(&format!("/v1/why/{name}")).json();
        assert!(why["because"].as_str().unwrap().contains(parts[0]), "{why}");
    }
    all.iter_mut().for_each(|it| (it.mend)());
    for Broken { name, .. } in &all {
        root.until_up(name);
    }
}

#[test]
fn control_without_a_preflight_each_of_them_is_started_and_fails_by_itself() {
    let folder = open_folder();
    let all = broken(folder.path());
    let mut root = Root::with_keepers();
    root.keeper_args(&["--fault", "no-preflight"]);
    root.open_to_others();
    root.start();
    let mut plan = plan([]);
    plan.instances = all.iter().map(|it| (it.name.parse().unwrap(), it.spec.clone())).collect();
    root.put(&plan);
    for Broken { name, told: parts, .. } in &all {
        until(&format!("{name} is begun"), || has_begun(&root, name).then_some(()));
        assert_eq!(told(&root, name, parts), None, "{name}");
    }
}

#[test]
fn a_low_port_is_refused_to_a_service_that_has_not_the_capability_for_it() {
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    let spec = |sandbox| Spec { sandbox, ..with_port(sleeper(), 81) };
    root.put(&plan([("a.0", spec(Sandbox::Off))]));
    until("its port is named", || told(&root, "a.0", &["port `http`, 81", "NET_BIND_SERVICE"]));
    root.put(&plan([("a.0", spec(Sandbox::default()))]));
    root.until_up("a.0");
}

#[test]
fn a_capability_that_the_host_has_given_up_is_named() {
    let mut root = Root::with_keepers();
    root.open_to_others();
    let agent = root.agent_command(false, None);
    let mut without = Command::new("setpriv");
    without.arg("--bounding-set=-wake_alarm").arg(agent.get_program()).args(agent.get_args());
    without.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    root.spawn_as(without);
    until("the agent answers", || root.try_ask("GET", "/v1/status", "").is_ok().then_some(()));
    let capabilities = vec!["WAKE_ALARM".parse().unwrap()];
    let sandbox = Sandbox::On(Loosened { capabilities, ..Loosened::default() });
    root.put(&plan([("a.0", Spec { sandbox, ..sleeper() })]));
    until("it is named", || told(&root, "a.0", &["capability `WAKE_ALARM`"]));
    assert!(!has_begun(&root, "a.0"));
}

#[test]
fn what_may_be_refused_is_a_note_until_it_is_let_through() {
    let folder = tempfile::Builder::new().prefix("stead-notes-").tempdir_in("/var/lib").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    write(Path::new(&text("open")), "open", 0o644);
    write(Path::new(&text("closed")), "closed", 0o600);
    fs::create_dir(text("folder")).unwrap();
    let mut spec = shell("exec sleep 1000");
    let arguments = ["x".to_owned(), text("closed"), format!("--data={}", text("open"))];
    spec.run.extend(arguments.iter().map(|text| Template::literal(text)));
    write(Path::new(&text("named")), "named", 0o600);
    spec.env.insert("CONFIG".into(), Template::literal(&text("named")));
    let with = |read: &[&str], write: &[&str]| {
        let [read, write] = [read, write].map(|names| {
            names.iter().map(|name| Template::literal(&text(name))).collect::<Vec<_>>()
        });
        let sandbox = Sandbox::On(Loosened { read, write, ..Loosened::default() });
        plan([("a.0", Spec { sandbox, ..spec.clone() })])
    };
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    root.put(&with(&["missing"], &["folder"]));
    root.until_up("a.0");
    let [closed, open] = ["/closed`, which", "/open`, which"];
    for parts in [
        [closed, "its account may not"],
        ["/named`, which its command or environment names", "its account may not"],
        [open, "set `sandbox = { read = ["],
        ["/missing` of `sandbox.read`", "it is not there"],
        ["/folder` of `sandbox.write`", "its account may not"],
    ] {
        assert!(told(&root, "a.0", &parts).is_some(), "{:?}", root.instance("a.0"));
    }
    root.put(&with(&["open"], &[]));
    until("only what its account may not is left", || {
        let notes = root.instance("a.0")?.notes;
        (notes.len() == 2 && notes.iter().any(|note| note.contains(closed))).then_some(())
    });
}

#[test]
fn a_changed_launch_that_would_be_refused_leaves_the_run_as_it_is() {
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    root.put(&plan([("a.0", sleeper())]));
    let before = root.until_up("a.0");
    let data = root.path().join("data/a.0");
    let owner = fs::metadata(&data).unwrap().uid();
    let nobody = Spec { user: Some("nobody".into()), ..of(&["/opt/no-such-program"]) };
    root.put(&plan([("a.0", nobody)]));
    let parts = ["it keeps its old spec", "/opt/no-such-program` cannot run"];
    until("it is told", || told(&root, "a.0", &parts));
    assert_eq!(root.instance("a.0").unwrap().pid, before.pid);
    assert_eq!(fs::metadata(&data).unwrap().uid(), owner, "its data is its own still");
    root.put(&plan([("a.0", Spec { umask: stead_core::plan::Umask(0o077), ..sleeper() })]));
    until("it has a new run", || (root.until_up("a.0").pid != before.pid).then_some(()));
}

#[test]
fn what_the_kernels_log_tells_of_a_denial_is_told_of_the_run_that_it_was_denied() {
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    root.put(&plan([("a.0", sleeper()), ("b.0", sleeper())]));
    let pid = root.until_up("a.0").pid.unwrap();
    root.until_up("b.0");
    // As AppArmor would have it said; this host may have none.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let line = format!(
        "<5>audit: type=1400 audit({now}.000:1): apparmor=\"DENIED\" operation=\"open\" \
         profile=\"stead-test\" name=\"/srv/stead-test\" pid={pid} comm=\"stead-test\"\n"
    );
    fs::write("/dev/kmsg", line).unwrap();
    let why = |name: &str| root.get(&format!("/v1/why/{name}")).json()["denials"].clone();
    let told = "AppArmor denied it `open` of `/srv/stead-test` (profile `stead-test`)";
    assert_eq!(why("a.0"), serde_json::json!([told]));
    assert_eq!(why("b.0"), Value::Null);
}
