//! Fleets with hosts that run Windows, deployed from here: the shop, built for Windows, under Wine.
//! `cargo xtask windows test` runs this, since it needs Wine and programs for Windows.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod check;
mod host;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use host::{WindowsHost, ask, until};

const ORDER: &str = r#"{"customer":"ada","item":"tea","quantity":2,"cents":1250000}"#;

/// The example's fleet file, with what was built already; its services log every request.
fn shop(host: &WindowsHost) -> String {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop/windows.toml");
    let text = fs::read_to_string(example).unwrap();
    let built = "../../target/windows/x86_64-pc-windows-gnu/release";
    assert!(text.contains(built), "the example has what it builds there");
    let lines = text.lines().filter(|line| !line.starts_with("build "));
    let text = lines.collect::<Vec<_>>().join("\n") + "\n";
    let text = text.replace(built, host.programs.to_str().unwrap());
    text.replace("\"--faults\"", "\"--faults\", \"--log-requests\"")
}

#[track_caller]
fn takes_orders() {
    let taken = || ask(8080, "POST", "/orders", ORDER).filter(|text| text.contains("\"id\""));
    until("the shop takes an order", taken);
    let flagged = || ask(8090, "GET", "/flagged", "").filter(|text| text.contains("ada"));
    until("the risk desk has seen it", flagged);
}

#[test]
fn the_shop_is_brought_to_windows_and_kept_there() {
    let host = WindowsHost::new("shop");
    host.write(&shop(&host));
    let planned = host.ends(0, &["plan"]);
    assert!(planned.contains("5 to add"), "{planned}");
    assert!(!host.root().exists(), "who looks changes nothing");
    let said = host.ends(0, &["deploy", "--bake", "0s"]);
    assert!(said.contains("stead was brought to win1"), "{said}");
    let mut homes = fs::read_dir(host.home()).unwrap().flatten();
    let is_ours = |name: &str| name.starts_with("stead-");
    assert!(!homes.any(|it| is_ours(&it.file_name().to_string_lossy())), "nothing is left there");
    takes_orders();

    let before = host.instance("orders.1").unwrap();
    let killed = host.on(Path::new("taskkill"), &["/f", "/pid", &before["pid"].to_string()]);
    assert!(killed.0, "{}", killed.1);
    let after = until("it is back", || {
        host.instance("orders.1").filter(|now| now["pid"] != before["pid"] && now["phase"] == "up")
    });
    assert_eq!(after["run"], 2);
    takes_orders();

    stops_with_all_its_lines(&host);
}

/// Asked to end, it finishes what is under way, says so, and ends by itself; what it said is there
/// to the last line.
fn stops_with_all_its_lines(host: &WindowsHost) {
    let before = host.instance("orders.0").unwrap();
    for n in 0..200 {
        let path = format!("/orders/nobody-{n}");
        ask(8100, "GET", &path, "").unwrap();
    }
    host.done_there(&["stop", "orders.0"]);
    let stopped = host.instance("orders.0").unwrap();
    assert_eq!((&stopped["phase"], &stopped["run"]), (&"down".into(), &before["run"]));
    assert_eq!(stopped["last_exit"]["code"], 0, "{stopped}");
    let logs = host.done_there(&["logs", "orders.0", "-n", "100000"]);
    for n in 0..200 {
        assert_eq!(logs.matches(&format!("GET /orders/nobody-{n} 404")).count(), 1, "{logs}");
    }
    let drained =
        logs.lines().find_map(|line| line.split_once("drained after ")).expect("it drained");
    let requests_n: usize = drained.1.split(' ').next().unwrap().parse().unwrap();
    let told_n = logs.lines().filter(|line| line.ends_with(" us")).count();
    assert_eq!(told_n, requests_n, "{logs}");
    host.done_there(&["start", "orders.0"]);
    takes_orders();
}

#[test]
fn a_release_gives_way_to_the_next_while_its_files_are_in_use() {
    let host = WindowsHost::new("next");
    let first = shop(&host).replace("orders.exe\"]", "orders.exe\", \"notes.txt\"]");
    fs::write(host.folder.join("notes.txt"), "one").unwrap();
    host.write(&first);
    host.ends(0, &["deploy", "--bake", "0s"]);
    let before = host.instance("orders.0").unwrap();
    fs::write(host.folder.join("notes.txt"), "two").unwrap();
    let said = host.ends(0, &["deploy", "--bake", "0s"]);
    assert!(!said.contains("stead was brought"), "it is there already: {said}");
    let after = host.instance("orders.0").unwrap();
    assert_ne!(after["release"], before["release"]);
    assert_eq!(after["phase"], "up");
    host.ends(0, &["rollback", "orders", "--bake", "0s"]);
    let back = host.instance("orders.0").unwrap();
    assert_eq!((&back["release"], &back["phase"]), (&before["release"], &"up".into()));
    // One that cannot run is taken back.
    host.write(&first.replace("orders.exe\", \"--listen\"", "orders.exe\", \"--no-such\""));
    let said = host.ends(5, &["deploy", "--bake", "0s"]);
    assert!(said.contains("no-such"), "its own words are told: {said}");
    assert_eq!(host.instance("orders.0").unwrap()["release"], before["release"]);
    takes_orders();
}

#[test]
fn what_cannot_be_brought_is_told_and_changes_nothing() {
    let host = WindowsHost::new("refused");
    host.write(&shop(&host));
    let kit = host.folder.join("kits/windows-x86_64");
    fs::rename(&kit, host.folder.join("elsewhere")).unwrap();
    let said = host.ends(6, &["deploy"]);
    assert!(said.contains("no programs for hosts with Windows"), "{said}");
    assert!(said.contains(kit.to_str().unwrap()), "{said}");
    fs::rename(host.folder.join("elsewhere"), &kit).unwrap();
    fs::write(host.cut(), "").unwrap();
    let said = host.ends(4, &["deploy"]);
    assert!(said.contains("could not be put there"), "{said}");
    // As after a transfer that went wrong: the name is that of other bytes.
    let (done, said) =
        host.on(&host.programs.join("stead.exe"), &["agent", "put", "0123456789abcdef", "0"]);
    assert!(!done && said.contains("came damaged"), "{said}");
    assert!(!host.root().exists());
    fs::remove_file(host.cut()).unwrap();
    // Anybody may have made the root, and put there what would be run.
    let planted = host.root().join("programs").join("current");
    fs::create_dir_all(planted.parent().unwrap()).unwrap();
    fs::write(&planted, "planted").unwrap();
    fs::set_permissions(host.root(), Permissions::from_mode(0o777)).unwrap();
    let said = host.ends(4, &["deploy"]);
    assert!(said.contains("is open to others"), "{said}");
    assert_eq!(fs::read_to_string(&planted).unwrap(), "planted");
    fs::remove_dir_all(host.root()).unwrap();
    // Control: the same host, with nothing in the way.
    host.ends(0, &["deploy", "--bake", "0s"]);
    takes_orders();
}
