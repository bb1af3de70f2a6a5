//! Hosts that take only what a key has signed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::fleet::{Fleet, GOOD, QUICK};

impl Fleet {
    /// Makes a key; says its public one.
    fn key(&self, name: &str) -> String {
        let said = self.stead(&["key", "new", name]);
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    }

    /// The release of this version, signed by this key.
    fn signed(&self, version: &str, key: &str) {
        self.release(version, GOOD);
        let file = self.folder.join("stead.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("signing_key = {key:?}\n{text}")).unwrap();
    }
}

#[test]
fn a_host_with_a_trusted_key_takes_what_it_has_signed_and_nothing_else() {
    let Some(fleet) = Fleet::get("signed", 2) else { return };
    let (own, _) = (fleet.key("own.key"), fleet.key("other.key"));
    // Control: a host that trusts no key takes anybody's.
    fleet.release("v1", GOOD);
    fleet.deploy(0, &[]);
    for n in 0..2 {
        let listed = fleet.on(n, &["agent", "trust", &own]);
        assert_eq!(String::from_utf8_lossy(&listed.stdout).trim(), own);
    }
    fleet.release("v2", GOOD);
    assert!(fleet.deploy(6, &[]).contains("it is not signed"));
    fleet.signed("v2", "other.key");
    assert!(fleet.deploy(6, &[]).contains("does not trust the key"));
    assert_eq!(fleet.served(), vec![Some("v1".to_owned()); 2]);
    fleet.signed("v2", "own.key");
    fleet.deploy(0, &[]);
    fleet.all_serve("v2");
    // The way back is signed as well, for what it is.
    assert!(fleet.ends(0, &[&["rollback", "web"], &QUICK[..]].concat()).contains("deployed"));
    fleet.all_serve("v1");
    // No signature makes up for bytes that were changed on the way or on the disk.
    let releases = fleet.root(1).join("releases");
    for release in fs::read_dir(&releases).unwrap() {
        spoil(&release.unwrap().path().join("version"));
    }
    fleet.signed("v2", "own.key");
    let said = fleet.deploy(6, &[]);
    assert!(said.contains("is not what its name says"), "{said}");
    assert_eq!(fleet.served(), vec![Some("v1".to_owned()); 2]);
    // A key that is not trusted any more, of nobody else, leaves things as before.
    assert!(fleet.on(0, &["agent", "trust", &own, "--remove"]).status.success());
    assert!(fleet.on(1, &["agent", "trust", &own, "--remove"]).status.success());
    fleet.release("v3", GOOD);
    fleet.deploy(0, &[]);
    fleet.all_serve("v3");
}

/// Changes a byte of a file that nobody may write to; its length stays.
fn spoil(path: &Path) {
    let mode = |mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o600);
    let mut bytes = fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write(path, bytes).unwrap();
    mode(0o444);
}
