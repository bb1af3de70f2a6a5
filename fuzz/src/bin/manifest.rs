//! A manifest that is taken stays inside of its release, and comes back as it was.
#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use stead_release::release::Release;

fuzz_target!(init: stead_fuzz::seeds::write(stead_fuzz::seeds::manifests()), |bytes: &[u8]| {
    let Ok(manifest) = serde_json::from_slice(bytes) else { return };
    let contents = Path::new("/contents");
    let Ok(release) = Release::of_manifest(&manifest, contents) else { return };
    for (path, digest, from, _) in release.files() {
        let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        assert!(plain, "{path:?} leads elsewhere");
        assert!(from.starts_with(contents) && from.ends_with(&digest));
        stead_fuzz::control();
    }
    let again = Release::of_manifest(&release.manifest(), contents).expect("it was taken before");
    assert_eq!(again.digest(), release.digest());
});
