//! What a release promises.

use super::*;
use std::os::unix::fs::symlink;

/// A folder of one test's own, empty at first.
fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("stead-release-{}-{name}", std::process::id()));
    remove_folder(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn sources(name: &str) -> PathBuf {
    let base = folder(name);
    fs::create_dir_all(base.join("config/deep")).unwrap();
    fs::create_dir_all(base.join("target/release")).unwrap();
    fs::write(base.join("target/release/orders"), "#!/bin/sh\n").unwrap();
    let program = fs::Permissions::from_mode(0o750);
    fs::set_permissions(base.join("target/release/orders"), program).unwrap();
    fs::write(base.join("config/a.toml"), "a = 1\n").unwrap();
    fs::write(base.join("config/deep/b.toml"), "").unwrap();
    symlink("../a.toml", base.join("config/deep/link")).unwrap();
    base
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
    let mode = |path: &str| place.join(path).symlink_metadata().unwrap().permissions().mode();
    assert_eq!(mode("orders") & 0o7777, 0o555);
    assert_eq!(mode("config/a.toml") & 0o7777, 0o444);
    assert_eq!(mode("config/deep") & 0o7777, 0o555);
    assert_eq!(fs::read_to_string(place.join("config/deep/link")).unwrap(), "a = 1\n");
    assert_eq!(release.len_bytes(), 16);
    assert!(!release.pack(&releases).unwrap(), "the same files are the same release");
    assert_eq!(fs::read_dir(&releases).unwrap().count(), 1, "nothing temporary is left");
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
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(base.join("config/a.toml"), mode).unwrap();
        }),
        ("name", &|| fs::rename(base.join("config/a.toml"), base.join("config/c.toml")).unwrap()),
        ("folder", &|| fs::create_dir(base.join("config/empty")).unwrap()),
        ("link", &|| symlink("deep", base.join("config/d")).unwrap()),
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
            fs::remove_file(place.join("config/deep/link")).unwrap();
            symlink("/etc/passwd", place.join("config/deep/link")).unwrap();
        },
    ];
    for spoil in spoils {
        release.pack(&releases).unwrap();
        open_folders(&place, 0);
        spoil();
        assert!(release.pack(&releases).unwrap());
        assert!(release.is_at(&place));
        assert_eq!(fs::read_dir(&releases).unwrap().count(), 1);
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
        let link = base.join("config").join(name);
        symlink(to, &link).unwrap();
        let read = read(&base, &FILES);
        assert_eq!(read.is_ok(), kept, "{name}: {read:?}");
        assert!(kept || matches!(read, Err(PackError::LinkOut { .. })), "{name}");
        fs::remove_file(link).unwrap();
    }
    let missing = read(&base, &["nope"]).unwrap_err();
    assert!(matches!(&missing, PackError::Missing(path) if path.ends_with("nope")), "{missing}");
    let clash = read(&base, &["config", "other/config"]).unwrap_err();
    assert!(matches!(&clash, PackError::Clash(name) if name == "config"), "{clash}");
    let special = read(Path::new("/dev"), &["null"]).unwrap_err();
    assert!(matches!(special, PackError::Special(_)), "{special}");
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
