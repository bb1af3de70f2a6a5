//! The faults, seen from outside the process as a supervisor would see them.
#![cfg(target_os = "linux")]

use std::fs;

use axum::http::StatusCode;
use shop_common::client::{AskError, Client};
use shop_common::testing::{Folder, Process, client, within_patience};

const ORDERS: &str = env!("CARGO_BIN_EXE_orders");
const MIB: u64 = 1 << 20;

fn start(data: &Folder) -> Process {
    Process::start(ORDERS, &[&"--faults", &"--data", data])
}

async fn fault(client: &Client, orders: &Process, fault: &str) {
    let path = format!("/fault/{fault}");
    let answer = client.post(orders.address, &path, None, "").await.expect("orders answers");
    assert_eq!(answer.status, StatusCode::OK, "{fault}");
}

/// Memory of the process that is really there, in bytes.
fn resident(orders: &Process) -> u64 {
    let status = proc_file(orders, "status");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it is alive");
    1024 * number(line.split_whitespace().nth(1))
}

/// CPU time of the process, in ticks of the kernel.
fn cpu_ticks(orders: &Process) -> u64 {
    let stat = proc_file(orders, "stat");
    // The name of the program may hold anything, so count from behind it.
    let (_, after_name) = stat.rsplit_once(')').expect("the name is in brackets");
    let mut fields = after_name.split_whitespace().skip(11);
    number(fields.next()) + number(fields.next())
}

fn proc_file(orders: &Process, name: &str) -> String {
    fs::read_to_string(format!("/proc/{}/{name}", orders.id())).expect("the process is a child")
}

fn number(field: Option<&str>) -> u64 {
    field.and_then(|field| field.parse().ok()).expect("the kernel writes a number here")
}

#[tokio::test]
async fn without_faults_allowed_there_are_none() {
    let data = Folder::new();
    let orders = Process::start(ORDERS, &[&"--data", &data]);
    let answer = client().post(orders.address, "/fault/crash", None, "").await.unwrap();
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_leak_is_memory_that_is_really_there_and_ends_where_told() {
    let (data, client) = (Folder::new(), client());
    let orders = start(&data);
    let before = resident(&orders);
    let leak = format!("leak?bytes_per_second={}&max_bytes={}", 320 * MIB, 64 * MIB);
    fault(&client, &orders, &leak).await;
    within_patience("nothing leaked", || (resident(&orders) >= before + 64 * MIB).then_some(()));
    assert!(resident(&orders) < before + 96 * MIB);
}

#[tokio::test]
async fn burning_takes_cpu_until_off() {
    let (data, client) = (Folder::new(), client());
    let orders = start(&data);
    let before = cpu_ticks(&orders);
    fault(&client, &orders, "burn?threads=2").await;
    within_patience("nothing burns", || (cpu_ticks(&orders) > before + 20).then_some(()));
    fault(&client, &orders, "off").await;
    within_patience("it burns on", || {
        let threads = fs::read_dir(format!("/proc/{}/task", orders.id())).unwrap();
        let mut names =
            threads.flatten().filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        (!names.any(|name| name.trim() == "fault")).then_some(())
    });
}

#[tokio::test]
async fn a_hang_catches_probes_and_requests_until_off() {
    let (data, client) = (Folder::new(), Client::new());
    let orders = start(&data);
    fault(&client, &orders, "hang").await;
    let answers = tokio::join!(
        client.get(orders.address, "/healthz"),
        client.get(orders.address, "/metrics"),
        client.get(orders.address, "/events"),
    );
    for answer in [answers.0, answers.1, answers.2] {
        assert!(matches!(answer, Err(AskError::Unanswered { .. })), "{answer:?}");
    }
    fault(&client, &orders, "off").await;
    let answer = client.get(orders.address, "/healthz").await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn a_crash_is_an_abort() {
    use std::os::unix::process::ExitStatusExt;
    let (data, client) = (Folder::new(), client());
    let mut orders = start(&data);
    assert!(client.post(orders.address, "/fault/crash", None, "").await.is_err());
    assert_eq!(orders.ended().signal(), Some(6), "SIGABRT");
}

#[tokio::test]
async fn errors_are_logged_and_fail_their_share_of_requests() {
    let (data, client) = (Folder::new(), client());
    let orders = start(&data);
    fault(&client, &orders, "errors?per_second=50&percent=50").await;
    orders.line_with(" error fault: error number 3");
    let mut failed_n = 0;
    for _ in 0..10 {
        let answer = client.get(orders.address, "/events").await.unwrap();
        failed_n += usize::from(answer.status == StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(failed_n, 5);
    let metrics = client.get(orders.address, "/metrics").await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(metrics.contains("shop_requests_total{class=\"5xx\"} 5\n"), "{metrics}");
}
