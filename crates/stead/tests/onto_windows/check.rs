//! A Windows that is looked at before anything is brought to it.

use std::fs;

use serde_json::Value;

use crate::host::WindowsHost;

/// What is found of the host.
#[track_caller]
fn checked(host: &WindowsHost, code: i32) -> Value {
    let output = host.stead(&["check", "--json"]);
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    all["hosts"]["win1"].clone()
}

fn levels(found: &Value, check: &str) -> Vec<String> {
    let findings = found["findings"].as_array().unwrap();
    let of_check = findings.iter().filter(|finding| finding["check"] == check);
    of_check.map(|finding| finding["level"].as_str().unwrap().to_owned()).collect()
}

/// What of ours is in the home of whoever logs in.
fn left(host: &WindowsHost) -> Vec<String> {
    let entries = fs::read_dir(host.home()).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("stead-")).collect()
}

#[test]
fn a_host_without_stead_is_looked_at_and_is_as_before() {
    let host = WindowsHost::new("check");
    let shop = super::shop(&host);
    host.write(&shop);
    let found = checked(&host, 0);
    for check in ["system", "program-system", "program-machine", "root", "disk-space", "port"] {
        assert_eq!(levels(&found, check), ["ok"], "{check}: {found}");
    }
    let (facts, offset) = (&found["facts"], &found["facts"]["offset"]);
    assert_eq!((&facts["system"], &facts["is_whole"]), (&"Windows".into(), &true.into()));
    // The clocks are one and the same, and the error is no longer than the way there.
    let (ms, within_ms) = (offset["ms"].as_i64().unwrap(), offset["within_ms"].as_u64().unwrap());
    assert!(ms.unsigned_abs() <= within_ms, "{offset}");
    assert!(left(&host).is_empty() && !host.root().exists(), "{:?}", left(&host));
    let said = host.ends(0, &["check", "--apply"]);
    assert!(said.contains("win1: on Windows nothing is mended from afar yet"), "{said}");

    // What is not for that system, and an account that is not there.
    let orders = host.programs.join("orders.exe");
    let here = std::env::current_exe().unwrap();
    let wrong = shop.replacen(orders.to_str().unwrap(), here.to_str().unwrap(), 1);
    host.write(&(wrong + "user = \"no such user\"\n"));
    let found = checked(&host, 6);
    assert_eq!(levels(&found, "program-system"), ["fail"], "{found}");
    assert_eq!(levels(&found, "user"), ["fail"], "{found}");
    assert!(left(&host).is_empty() && !host.root().exists());
}

#[test]
fn what_is_brought_for_a_look_is_removed_when_it_fails_and_not_brought_where_it_is() {
    let host = WindowsHost::new("check-cut");
    host.write(&super::shop(&host));
    fs::write(host.cut(), "").unwrap();
    let found = checked(&host, 4);
    assert!(found["error"].as_str().unwrap().contains("could not be put there"), "{found}");
    assert!(left(&host).is_empty() && !host.root().exists(), "{:?}", left(&host));
    // Control: with the programs below the root nothing is brought, so nothing can be cut.
    fs::remove_file(host.cut()).unwrap();
    host.ends(0, &["deploy", "--bake", "0s"]);
    fs::write(host.cut(), "").unwrap();
    let found = checked(&host, 0);
    // Wine holds sockets for its programs, so whose these are is not told.
    let listeners = found["facts"]["listeners"].as_array().unwrap();
    assert_eq!(listeners.len(), 5, "{found}");
    fs::remove_file(host.cut()).unwrap();
}
