//! Whatever is offered, sent and put: the folder holds nothing that is not named by its content.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use stead_release::patch::compress;
use stead_release::release::Release;
use stead_release::store::Store;

/// What is done with a store: an offer, a content that is named anyhow, one that is named rightly,
/// a release that is put together.
type Step<'a> = (u8, &'a str, &'a [u8]);

fuzz_target!(|steps: Vec<Step<'_>>| {
    let folder = stead_fuzz::folder("store");
    let (incoming, releases) = (folder.join("incoming"), folder.join("releases"));
    for part in [&incoming, &releases] {
        fs::create_dir(part).expect("the folder is ours");
    }
    let store = Store::new(incoming);
    for (what, text, bytes) in steps.iter().take(16) {
        let manifest = || match serde_json::from_str(text) {
            Ok(manifest) => manifest,
            // A good one, of what was sent.
            Err(_) => serde_json::json!({"x": {
                "kind": "file", "mode": 0o444, "len": bytes.len(),
                "digest": blake3::hash(bytes).to_hex().to_string(),
            }}),
        };
        match what % 4 {
            0 => drop(store.lacking(&manifest(), &releases)),
            1 => drop(store.put_content(text, bytes)),
            2 => {
                let sent = compress(bytes, None).expect("memory takes it");
                let named = format!("{}/{}", blake3::hash(bytes).to_hex(), bytes.len());
                store.put_content(&named, &sent).expect("it is as it is named");
            }
            _ => {
                if store.put(&manifest(), &releases).is_ok() {
                    stead_fuzz::control();
                }
            }
        }
    }
    for entry in fs::read_dir(&releases).expect("the folder is there") {
        let entry = entry.expect("the folder can be read");
        let digest = entry.file_name().to_string_lossy().into_owned().try_into();
        let digest = digest.expect("nothing else is put there");
        assert!(Release::stands(&entry.path(), &digest).expect("it can be read"));
    }
    let names = fs::read_dir(&folder).expect("the folder is there").count();
    assert_eq!(names, 2, "something was written beside");
});
