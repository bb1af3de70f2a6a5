//! What a release promises.

use serde_json::json;

use super::*;

/// A disk without modes on which names are those of Windows.
const BARE: Disk = Disk { mode_of: None, takes_any_name: false };

/// A folder of one test's own, empty at first.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("stead-release-{}-{name}", std::process::id()));
    remove_folder(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Makes a link; `false` where this account may make none, which is so on Windows.
fn link(to: &str, at: &Path) -> bool {
    let made = stead_proc::make_link(to, at, false).is_ok() && at.is_symlink();
    assert!(made || !stead_proc::TAKES_ANY_NAME, "{}", at.display());
    made
}

/// The mode of a file, if the disk keeps one.
fn mode(path: &Path) -> Option<u32> {
    stead_proc::MODE_OF.map(|mode_of| mode_of(&path.symlink_metadata().unwrap()))
}

fn sources(name: &str) -> PathBuf {
    let base = folder(name);
    fs::create_dir_all(base.join("config/deep")).unwrap();
    fs::create_dir_all(base.join("target/release")).unwrap();
    fs::write(base.join("target/release/orders"), "#!/bin/sh\n").unwrap();
    stead_proc::set_mode(&base.join("target/release/orders"), 0o750).unwrap();
    fs::write(base.join("config/a.toml"), "a = 1\n").unwrap();
    fs::write(base.join("config/deep/b.toml"), "").unwrap();
    link("../a.toml", &base.join("config/deep/link"));
    base
}

/// What stands in the folder of releases, but lists beside them.
fn entries(releases: &Path) -> usize {
    let names = fs::read_dir(releases).unwrap().map(|item| item.unwrap().path());
    names.filter(|path| path.extension().is_none_or(|it| it != "programs")).count()
}

const FILES: [&str; 2] = ["target/release/orders", "config"];

fn read(base: &Path, files: &[&str]) -> Result<Release, PackError> {
    let name = |file: &str| file.rsplit('/').next().unwrap().to_owned();
    let source = |file: &&str| Source { path: base.join(file), name: name(file) };
    Release::read(&files.iter().map(source).collect::<Vec<_>>())
}

#[test]
fn a_release_holds_what_is_named_and_nobody_may_write_to_it() {
    let base = sources("holds");
    let releases = folder("holds-releases");
    let release = read(&base, &FILES).unwrap();
    assert!(release.pack(&releases).unwrap());
    let place = releases.join(release.digest().as_str());
    for (path, expected) in [("orders", 0o555), ("config/a.toml", 0o444), ("config/deep", 0o555)] {
        assert!(mode(&place.join(path)).is_none_or(|mode| mode == expected), "{path}");
    }
    if base.join("config/deep/link").is_symlink() {
        assert_eq!(fs::read_to_string(place.join("config/deep/link")).unwrap(), "a = 1\n");
    }
    assert_eq!(release.len_bytes(), 16);
    assert!(!release.pack(&releases).unwrap(), "the same files are the same release");
    assert_eq!(entries(&releases), 1, "nothing temporary is left");
}

#[test]
fn a_content_in_the_place_of_another_is_as_if_it_had_stood_there() {
    let base = sources("contents");
    let signed = folder("contents-signed").join("signed");
    fs::write(&signed, "#!/bin/sh\n# signed\n").unwrap();
    let before = read(&base, &FILES).unwrap();
    let (first, others) = (before.digest().clone(), [("orders".to_owned(), signed)].into());
    let after = before.with_contents(&others).unwrap();
    assert_ne!(*after.digest(), first);
    // As a program that is itself so.
    fs::write(base.join("target/release/orders"), "#!/bin/sh\n# signed\n").unwrap();
    let itself = read(&base, &FILES).unwrap();
    assert_eq!((after.digest(), after.len_bytes()), (itself.digest(), itself.len_bytes()));
    for path in ["config", "config/none"] {
        let others = [(path.to_owned(), base.join("config/a.toml"))].into();
        let refused = read(&base, &FILES).unwrap().with_contents(&others);
        assert!(matches!(refused, Err(PackError::Missing(_))), "{path} is no file of it");
    }
}

#[test]
fn any_change_makes_another_release_and_time_and_place_do_not() {
    let base = sources("digest");
    let digest = || read(&base, &FILES).unwrap().digest().clone();
    let first = digest();
    fs::write(base.join("config/a.toml"), "a = 1\n").unwrap();
    assert_eq!(digest(), first);
    let elsewhere = sources("digest-elsewhere");
    assert_eq!(*read(&elsewhere, &FILES).unwrap().digest(), first);

    let changes: [(&str, &dyn Fn()); 5] = [
        ("content", &|| fs::write(base.join("config/a.toml"), "a = 2\n").unwrap()),
        ("mode", &|| {
            let path = base.join("config/a.toml");
            stead_proc::set_mode(&path, 0o755).unwrap();
            // Where it has none, it is made a program by what is in it.
            if mode(&path).is_none() {
                fs::write(path, "#!").unwrap();
            }
        }),
        ("name", &|| fs::rename(base.join("config/a.toml"), base.join("config/c.toml")).unwrap()),
        ("folder", &|| fs::create_dir(base.join("config/empty")).unwrap()),
        ("link", &|| {
            let at = base.join("config/d");
            if !link("deep", &at) {
                fs::write(at, "").unwrap();
            }
        }),
    ];
    let mut seen = vec![first];
    for (what, change) in changes {
        change();
        let next = digest();
        assert!(!seen.contains(&next), "{what}");
        seen.push(next);
    }
}

#[test]
fn a_release_somebody_wrote_to_is_packed_again() {
    let base = sources("spoiled");
    let releases = folder("spoiled-releases");
    let release = read(&base, &FILES).unwrap();
    let place = releases.join(release.digest().as_str());
    let spoils: [&dyn Fn(); 4] = [
        &|| fs::remove_file(place.join("config/a.toml")).unwrap(),
        &|| fs::write(place.join("config/more"), "x").unwrap(),
        &|| {
            fs::remove_file(place.join("orders")).unwrap();
            fs::write(place.join("orders"), "longer than it was").unwrap();
        },
        &|| {
            let at = place.join("config/deep/link");
            if !at.is_symlink() {
                return fs::write(at, "x").unwrap();
            }
            fs::remove_file(&at).unwrap();
            link("/etc/passwd", &at);
        },
    ];
    for spoil in spoils {
        release.pack(&releases).unwrap();
        open_folders(&place, 0);
        spoil();
        assert!(release.pack(&releases).unwrap());
        assert!(release.is_at(Disk::HERE, &place));
        assert_eq!(entries(&releases), 1);
    }
}

#[test]
fn what_cannot_be_a_release_is_named() {
    let base = sources("bad");
    fs::write(base.join("config2"), "").unwrap();
    fs::create_dir_all(base.join("other/config")).unwrap();
    let links = [
        ("absolute", "/etc/passwd", false),
        ("out", "../../x", false),
        ("through", "deep/../../../x", false),
        ("dangling-inside", "../orders", true),
        ("here", "./a.toml", true),
    ];
    for (name, to, kept) in links {
        let at = base.join("config").join(name);
        if !link(to, &at) {
            continue;
        }
        let read = read(&base, &FILES);
        assert_eq!(read.is_ok(), kept, "{name}: {read:?}");
        assert!(kept || matches!(read, Err(PackError::LinkOut { .. })), "{name}");
        fs::remove_file(at).unwrap();
    }
    let missing = read(&base, &["nope"]).unwrap_err();
    assert!(matches!(&missing, PackError::Missing(path) if path.ends_with("nope")), "{missing}");
    let clash = read(&base, &["config", "other/config"]).unwrap_err();
    assert!(matches!(&clash, PackError::Clash(name) if name == "config"), "{clash}");
}

#[test]
fn a_device_is_no_part_of_a_release() {
    // Only where devices are among the files.
    if stead_proc::MODE_OF.is_some() {
        let special = read(Path::new("/dev"), &["null"]).unwrap_err();
        assert!(matches!(special, PackError::Special(_)), "{special}");
    }
}

#[test]
fn a_file_that_changes_while_it_is_packed_leaves_nothing_behind() {
    let base = sources("changing");
    let releases = folder("changing-releases");
    let release = read(&base, &FILES).unwrap();
    fs::write(base.join("config/a.toml"), "a = 3\n").unwrap();
    let error = release.pack(&releases).unwrap_err();
    assert!(matches!(error, PackError::Changed(_)), "{error}");
    assert_eq!(fs::read_dir(&releases).unwrap().count(), 0);
}

#[test]
fn the_same_files_have_the_same_name_on_every_system() {
    let base = folder("same");
    fs::create_dir(base.join("config")).unwrap();
    fs::write(base.join("config/a.toml"), "a = 1\n").unwrap();
    fs::write(base.join("run"), "#!/bin/sh\n").unwrap();
    fs::write(base.join("orders.exe"), "MZ").unwrap();
    for program in ["run", "orders.exe"] {
        stead_proc::set_mode(&base.join(program), 0o755).unwrap();
    }
    let release = read(&base, &["config", "orders.exe", "run"]).unwrap();
    assert_eq!(
        release.digest().as_str(),
        "f06b37958bcaa5c8408ec6ef33c8d7b47ad75889590e4e76a7d425e2d907c0fc"
    );
}

/// A release of which no mode is what one would guess; its contents are in the folder.
fn strange(base: &Path) -> Release {
    let file = |content: &str, mode: u32| {
        let digest = blake3::hash(content.as_bytes()).to_hex();
        fs::write(base.join(digest.as_str()), content).unwrap();
        let digest = digest.as_str();
        json!({"kind": "file", "mode": mode, "len": content.len(), "digest": digest})
    };
    let manifest = json!({
        "lib": {"kind": "folder"}, "lib/a.dll": file("MZ", 0o555), "orders.exe": file("M", 0o444),
        "script": file("#!/bin/sh\n", 0o444), "tool": file("x", 0o555),
    });
    Release::of_manifest(&manifest, base).unwrap()
}

#[test]
fn where_files_have_no_modes_a_release_stands_with_the_list_of_its_programs() {
    let base = folder("bare");
    let releases = folder("bare-releases");
    let release = strange(&base);
    let place = releases.join(release.digest().as_str());
    let list = place.with_extension("programs");
    let stands = || Release::stands_on(BARE, &place, release.digest()).unwrap();
    assert!(release.put_into(BARE, &releases, Files::Copied).unwrap());
    assert_eq!(fs::read_to_string(&list).unwrap(), r#"["lib/a.dll","tool"]"#);
    for path in ["lib/a.dll", "orders.exe", "script", "tool"] {
        stead_proc::set_mode(&place.join(path), 0o644).unwrap();
    }
    assert!(stands() && !release.put_into(BARE, &releases, Files::Copied).unwrap());
    let there = Release::of_folder_on(BARE, &place).unwrap();
    assert_eq!(there.manifest(), release.manifest());
    // Without the list, or with another one, it is not what its name says, and is packed again.
    let spoils: [&dyn Fn(); 3] = [
        &|| fs::remove_file(&list).unwrap(),
        &|| fs::write(&list, r#"["lib/a.dll","orders.exe","tool"]"#).unwrap(),
        &|| fs::write(&list, r#"["lib/a.d"#).unwrap(),
    ];
    for spoil in spoils {
        spoil();
        assert!(!stands() && !release.is_at(BARE, &place));
        assert!(release.put_into(BARE, &releases, Files::Copied).unwrap() && stands());
    }
    // A content that was changed is seen there, too.
    stead_proc::set_mode(&place.join("tool"), 0o644).unwrap();
    fs::write(place.join("tool"), "y").unwrap();
    assert!(!stands());
}

#[test]
fn a_list_without_its_release_is_removed_once_it_is_old() {
    let base = folder("lists");
    let releases = folder("lists-releases");
    let release = strange(&base);
    let own = releases.join(format!("{}.programs", release.digest().as_str()));
    let [old, new] = ["a", "b"].map(|digit| releases.join(digit.repeat(64) + ".programs"));
    for list in [&old, &new] {
        fs::write(list, "[]").unwrap();
    }
    let long_ago = SystemTime::now() - 2 * LEFTOVER_AGE;
    File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
    assert!(release.put_into(BARE, &releases, Files::Copied).unwrap());
    assert!(!old.exists() && new.exists() && own.exists());
    // Control: of a release that is there, it stays at any age.
    File::options().write(true).open(&own).unwrap().set_modified(long_ago).unwrap();
    sweep_leftovers(BARE, &releases);
    assert!(own.exists());
}

#[test]
fn a_name_that_the_disk_takes_for_something_else_is_refused_before_anything_is_written() {
    let base = folder("names");
    let releases = folder("names-releases");
    for names in [["con.txt", "x"], ["README", "readme"], ["a.", "x"]] {
        let folder = json!({"kind": "folder"});
        let manifest = json!({ names[0]: folder, names[1]: folder });
        let release = Release::of_manifest(&manifest, &base).unwrap();
        let error = release.put_into(BARE, &releases, Files::Copied).unwrap_err();
        assert!(matches!(&error, PackError::Name { path, .. } if names.contains(&path.as_str())));
        assert!(error.to_string().contains("cannot stand on this system"), "{error}");
        assert_eq!(fs::read_dir(&releases).unwrap().count(), 0);
        // Control: where any name is one, it is put.
        let any = Disk { takes_any_name: true, ..BARE };
        if stead_proc::TAKES_ANY_NAME {
            assert!(release.put_into(any, &releases, Files::Copied).unwrap());
            remove_folder(&releases);
            fs::create_dir(&releases).unwrap();
        }
    }
}
