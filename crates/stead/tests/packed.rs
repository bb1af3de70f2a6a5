//! What `stead pack` writes: what a deploy would bring, and nothing else.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const FLEET: &str = r#"
name = "shop"
[host.vm1]
address = "deploy@10.0.0.11"
[host.win1]
address = "Administrator@10.0.0.21"
os = "windows"
[service.web]
files = ["web", "static/"]
run = ["./web"]
[service.web.windows]
files = ["web.exe", "static/"]
run = ["web.exe"]
"#;

fn folder(name: &str) -> PathBuf {
    let name = format!("packed-{}-{name}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("static/css")).unwrap();
    for (file, text) in [("web", "#!/bin/sh\n"), ("web.exe", "MZ"), ("static/css/a.css", "a{}")] {
        fs::write(folder.join(file), text).unwrap();
    }
    stead_proc::set_mode(&folder.join("web"), 0o755).unwrap();
    fs::write(folder.join("stead.toml"), FLEET).unwrap();
    folder
}

fn pack(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stead"));
    command.current_dir(folder).args(["pack", "--output", "out"]).args(args).output().unwrap()
}

/// What it has made, by the names that it prints.
fn made(folder: &Path, args: &[&str]) -> Vec<PathBuf> {
    let output = pack(folder, args);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    said.lines().map(|line| folder.join(line)).collect()
}

#[test]
fn each_system_of_a_service_becomes_a_folder_with_its_files() {
    let folder = folder("folders");
    for _ in 0..2 {
        let made = made(&folder, &[]);
        let [linux, windows] = made.as_slice() else { panic!("{made:?}") };
        for (packed, name, program) in
            [(linux, "web-linux-", "web"), (windows, "web-windows-", "web.exe")]
        {
            assert!(packed.file_name().unwrap().to_str().unwrap().starts_with(name));
            let mut inside: Vec<_> =
                fs::read_dir(packed).unwrap().map(|it| it.unwrap().file_name()).collect();
            inside.sort();
            assert_eq!(inside, ["static", program]);
            // Whoever has made it can remove it, root or not.
            let folder = fs::metadata(packed.join("static/css")).unwrap();
            assert!(!folder.permissions().readonly());
            assert_eq!(fs::read_to_string(packed.join("static/css/a.css")).unwrap(), "a{}");
        }
    }
    assert_eq!(made(&folder, &["--host", "win1"]).len(), 1);
    // One that holds something else is not touched.
    let linux = made(&folder, &["--host", "vm1"]).remove(0);
    stead_proc::set_mode(&linux, 0o755).unwrap();
    fs::write(linux.join("more"), "x").unwrap();
    let refused = pack(&folder, &["--host", "vm1"]);
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    assert!(linux.join("more").exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_same_release_is_the_same_zip_file() {
    let folder = folder("zip");
    let kept = made(&folder, &["--host", "vm1"]).remove(0);
    let first = made(&folder, &["--zip", "--host", "vm1"]).remove(0);
    assert!(kept.join("web").exists(), "the folder of before is left alone");
    let left = fs::read_dir(folder.join("out")).unwrap().count();
    assert_eq!(left, 2, "the folder and the zip file, and nothing in between");
    let bytes = fs::read(&first).unwrap();
    let mut zip = zip::ZipArchive::new(File::open(&first).unwrap()).unwrap();
    let mut names: Vec<_> = zip.file_names().map(|name| name.unwrap().into_owned()).collect();
    names.sort();
    assert_eq!(names, ["static/", "static/css/", "static/css/a.css", "web"]);
    let mut program = zip.by_name("web").unwrap();
    assert_eq!(program.unix_mode().unwrap() & 0o777, 0o555);
    let mut text = String::new();
    program.read_to_string(&mut text).unwrap();
    assert_eq!(text, "#!/bin/sh\n");
    fs::write(folder.join("web"), "#!/bin/sh\n").unwrap();
    assert_eq!(made(&folder, &["--zip", "--host", "vm1"]), std::slice::from_ref(&first));
    assert_eq!(fs::read(first).unwrap(), bytes);
    fs::remove_dir_all(folder).unwrap();
}
