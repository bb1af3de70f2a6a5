//! What a run would be refused is found and named before the run is begun.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use stead_core::plan::Spec;
use stead_core::template::Template;

use crate::support::{Root, plan, until};

/// A service that is broken in one way.
struct Broken {
    name: &'static str,
    spec: Spec,
    /// What is told of it, in parts.
    told: [&'static str; 2],
    mend: Box<dyn Fn()>,
}

fn of(run: &[&str]) -> Spec {
    Spec::of(run.iter().map(|text| Template::literal(text)).collect())
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
    vec![
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
    events(root, name).iter().any(|event| event["event"] == "starting")
}

fn told(root: &Root, name: &str, parts: &[&str]) -> Option<()> {
    let notes = root.instance(name)?.notes;
    let is_it = |note: &String| parts.iter().all(|part| note.contains(part));
    notes.iter().any(is_it).then_some(())
}

#[test]
fn what_a_run_would_be_refused_is_named_before_it_is_begun_and_once_mended_it_runs() {
    let folder = open_folder();
    let all = broken(folder.path());
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
    all.iter().for_each(|it| (it.mend)());
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
