//! Good inputs, from which a fuzzer goes on.

use std::path::PathBuf;

use serde_json::json;
use stead_core::plan::{Plan, Spec};
use stead_release::patch::compress;

/// Writes them to where STEAD_FUZZ_SEEDS says; done before a fuzzer reads what it has.
pub fn write(seeds: Vec<Vec<u8>>) {
    let Some(folder) = std::env::var_os("STEAD_FUZZ_SEEDS").map(PathBuf::from) else { return };
    for (n, seed) in seeds.into_iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{n}")), seed).expect("a seed can be written");
    }
}

pub fn manifests() -> Vec<Vec<u8>> {
    let digest = "a".repeat(64);
    let file = json!({"kind": "file", "mode": 0o555, "len": 3, "digest": digest});
    let link = json!({"kind": "link", "to": "../program"});
    let folder = json!({"kind": "folder"});
    vec![json!({"program": file, "conf": folder, "conf/link": link}).to_string().into_bytes()]
}

pub fn patches() -> Vec<Vec<u8>> {
    let content = b"some content of a program, as it is now";
    let seed = |base: Option<&[u8]>| {
        let sent = compress(content, base).expect("memory takes it");
        let base = base.unwrap_or_default();
        let head = [u8::from(!base.is_empty()), base.len() as u8, content.len() as u8, 0];
        [&head[..], base, &sent].concat()
    };
    vec![seed(None), seed(Some(b"some content of a program, as it was"))]
}

pub fn wires() -> Vec<Vec<u8>> {
    let plan = Plan {
        fleet: "shop".parse().expect("a name"),
        host: "h1".parse().expect("a name"),
        instances: [("web.0".parse().expect("an instance"), Spec::of(Vec::new()))].into(),
    };
    let about = json!({"what": "deploy", "started_at": 1, "hosts": ["h1"]});
    let staged = json!({"plan": plan, "about": about, "commit_within_ms": 1000});
    let ask = |what: serde_json::Value| json!({"epoch": 7, "id": "r7", "what": what}).to_string();
    let claim = ask(json!({"claim": {"who": "ann", "resume": false}}));
    let mut stage = json!({"epoch": 7, "id": "r7", "what": "stage"});
    stage["staged"] = staged;
    let rest = ["switch", "keep", "commit"].map(|what| ask(json!(what)));
    let revert = ask(json!({"revert": {"why": "red"}}));
    let whole = [&[claim.clone(), stage.to_string()], &rest[..]].concat().join("\n");
    let back = [claim, stage.to_string(), rest[0].clone(), revert].join("\n");
    vec![whole.into_bytes(), back.into_bytes()]
}
