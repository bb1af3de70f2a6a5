//! What the risk desk promises, tried on the real program before a made-up orders instance.
#![cfg(unix)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use shop_common::client::Client;
use shop_common::order::{Event, Events, Order};
use shop_common::testing::{Folder, Process, client};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const RISK: &str = env!("CARGO_BIN_EXE_risk");

/// A made-up orders instance: what it has, and a channel that tells what it was asked for.
#[derive(Clone)]
struct Source {
    events: Arc<Mutex<Events>>,
    asked: mpsc::UnboundedSender<Page>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
struct Page {
    after: i64,
    limit: usize,
}

impl Source {
    async fn start(store: &str) -> (SocketAddr, Source, mpsc::UnboundedReceiver<Page>) {
        let (asked, asking) = mpsc::unbounded_channel();
        let events = Events { store: store.to_owned(), events: Vec::new() };
        let source = Source { events: Arc::new(Mutex::new(events)), asked };
        let routes = Router::new().route("/events", get(events_of)).with_state(source.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async { axum::serve(listener, routes).await });
        (address, source, asking)
    }

    fn add(&self, cents: u32) {
        let mut page = self.events.lock().expect("no test panics with it");
        let seq = i64::try_from(page.events.len()).expect("few events") + 1;
        let order = Order {
            id: format!("{}-{seq}", page.store),
            customer: format!("customer-{seq}"),
            item: "tea".into(),
            quantity: 1,
            cents,
            at_ms: seq,
        };
        page.events.push(Event { seq, order });
    }
}

async fn events_of(State(source): State<Source>, Query(page): Query<Page>) -> Json<Events> {
    let all = source.events.lock().expect("no test panics with it").clone();
    let events = all.events.into_iter().filter(|event| event.seq > page.after);
    let events = events.take(page.limit).collect();
    let _ = source.asked.send(page);
    Json(Events { store: all.store, events })
}

/// Waits until the desk asks for what follows `after`, so all before is in its database. Returns
/// where it began to read.
async fn read_up_to(asking: &mut mpsc::UnboundedReceiver<Page>, after: i64) -> i64 {
    let mut first = None;
    loop {
        let page = asking.recv().await.expect("the source is up");
        // The question for the name of the store asks for no events.
        if page.limit > 0 {
            let first = *first.get_or_insert(page.after);
            if page.after == after {
                return first;
            }
        }
    }
}

async fn flagged_ids(client: &Client, risk: &Process) -> Vec<String> {
    let answer = client.get(risk.address, "/flagged").await.expect("risk answers");
    let flagged: Vec<serde_json::Value> =
        serde_json::from_slice(&answer.body).expect("a list of flags");
    let id = |flag: &serde_json::Value| flag["order"]["id"].as_str().map(str::to_owned);
    flagged.iter().filter_map(id).collect()
}

#[tokio::test]
async fn after_a_restart_reading_resumes_at_the_cursor() {
    let (address, source, mut asking) = Source::start("s").await;
    let (data, client) = (Folder::new(), client());
    source.add(1_000_000);
    source.add(5);

    let mut risk = Process::start(RISK, &[&"--data", &data, &"--orders", &address]);
    assert_eq!(read_up_to(&mut asking, 2).await, 0);
    risk.term();
    assert!(risk.ended().success());

    source.add(2_000_000);
    while asking.try_recv().is_ok() {}
    let mut risk = Process::start(RISK, &[&"--data", &data, &"--orders", &address]);
    assert_eq!(read_up_to(&mut asking, 3).await, 2);
    assert_eq!(flagged_ids(&client, &risk).await, ["s-3", "s-1"]);

    // The same after a death without warning.
    risk.kill();
    risk.ended();
    source.add(3_000_000);
    while asking.try_recv().is_ok() {}
    let risk = Process::start(RISK, &[&"--data", &data, &"--orders", &address]);
    assert_eq!(read_up_to(&mut asking, 4).await, 3);
    assert_eq!(flagged_ids(&client, &risk).await, ["s-4", "s-3", "s-1"]);
}

#[tokio::test]
async fn each_source_has_a_cursor_of_its_own() {
    let (one, first, mut asking_one) = Source::start("one").await;
    let (two, second, mut asking_two) = Source::start("two").await;
    let (data, client) = (Folder::new(), client());
    first.add(1_000_000);
    second.add(1_000_000);
    second.add(1_000_000);
    let orders = format!("{one},{two}");
    let risk = Process::start(RISK, &[&"--data", &data, &"--orders", &orders]);
    read_up_to(&mut asking_one, 1).await;
    read_up_to(&mut asking_two, 2).await;
    let mut ids = flagged_ids(&client, &risk).await;
    ids.sort_unstable();
    assert_eq!(ids, ["one-1", "two-1", "two-2"]);
}

#[tokio::test]
async fn another_store_at_the_same_address_is_read_from_its_beginning() {
    let (address, source, mut asking) = Source::start("old").await;
    let (data, client) = (Folder::new(), client());
    source.add(1_000_000);
    source.add(1);
    let risk = Process::start(RISK, &[&"--data", &data, &"--orders", &address]);
    read_up_to(&mut asking, 2).await;
    *source.events.lock().unwrap() = Events { store: "new".into(), events: Vec::new() };
    source.add(1_000_000);
    read_up_to(&mut asking, 1).await;
    assert_eq!(flagged_ids(&client, &risk).await, ["new-1", "old-1"]);
}

#[tokio::test]
async fn a_source_that_is_gone_does_not_keep_the_others_from_being_read() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let (address, source, mut asking) = Source::start("s").await;
    let (data, client) = (Folder::new(), client());
    source.add(1_000_000);
    let orders = format!("{gone},{address}");
    let risk = Process::start(RISK, &[&"--data", &data, &"--orders", &orders]);
    read_up_to(&mut asking, 1).await;
    assert_eq!(flagged_ids(&client, &risk).await, ["s-1"]);
    risk.line_with("was not reached");
}
