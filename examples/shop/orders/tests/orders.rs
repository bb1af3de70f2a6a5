//! What the orders service promises, tried on the real program over real sockets.
#![cfg(unix)]

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use axum::http::StatusCode;
use shop_common::client::Client;
use shop_common::order::{Events, IdempotencyKey, Order};
use shop_common::testing::{Folder, PATIENCE, Process, client, within_patience};
use tokio::task::JoinSet;

const ORDERS: &str = env!("CARGO_BIN_EXE_orders");
const TEA: &str = r#"{"customer":"ada","item":"tea","quantity":1,"cents":250}"#;

async fn events(client: &Client, orders: &Process, after: i64, limit: u32) -> Events {
    let path = format!("/events?after={after}&limit={limit}");
    let answer = client.get(orders.address, &path).await.expect("orders answers");
    serde_json::from_slice(&answer.body).expect("a page of events")
}

/// Sends a request up to its body and returns once the service waits for the rest.
fn half_a_request(orders: &Process) -> TcpStream {
    let mut stream = TcpStream::connect(orders.address).expect("orders listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let head = format!(
        "POST /orders HTTP/1.1\r\nhost: shop\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nexpect: 100-continue\r\n\r\n",
        TEA.len()
    );
    stream.write_all(head.as_bytes()).expect("orders reads");
    // The service says this once it asks for the body: the request is under way.
    let expected = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).expect("orders asks for the body");
    assert_eq!(got, expected);
    stream
}

#[tokio::test]
async fn an_order_is_stored_and_found() {
    let data = Folder::new();
    let orders = Process::start(ORDERS, &[&"--data", &data]);
    let client = client();
    let placed = client.post(orders.address, "/orders", None, TEA).await.unwrap();
    assert_eq!(placed.status, StatusCode::CREATED);
    let order: Order = serde_json::from_slice(&placed.body).unwrap();
    let found = client.get(orders.address, &format!("/orders/{}", order.id)).await.unwrap();
    assert_eq!(serde_json::from_slice::<Order>(&found.body).unwrap(), order);
    let other = client.get(orders.address, "/orders/nobody-1").await.unwrap();
    assert_eq!(other.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn each_order_has_exactly_one_event_however_often_it_is_sent() {
    let data = Folder::new();
    let orders = Process::start(ORDERS, &[&"--data", &data]);
    let client = client();
    let mut sending = JoinSet::new();
    for n in 0..300 {
        // Each order is sent three times, at once.
        let key = IdempotencyKey::parse(&format!("cart-{}", n % 100)).unwrap();
        let (client, address) = (client.clone(), orders.address);
        sending.spawn(async move { client.post(address, "/orders", Some(&key), TEA).await });
    }
    let mut created_n = 0;
    let mut ids = HashSet::new();
    for answer in sending.join_all().await {
        let answer = answer.unwrap();
        created_n += usize::from(answer.status == StatusCode::CREATED);
        ids.insert(serde_json::from_slice::<Order>(&answer.body).unwrap().id);
    }
    assert_eq!((created_n, ids.len()), (100, 100));

    // Read in pages that fit nowhere, to see that they join without gap or overlap.
    let mut seen = Vec::new();
    loop {
        let after = i64::try_from(seen.len()).unwrap();
        let page = events(&client, &orders, after, 7).await;
        if page.events.is_empty() {
            break;
        }
        seen.extend(page.events);
    }
    assert!((1..).zip(&seen).all(|(seq, event)| event.seq == seq));
    assert_eq!(seen.len(), 100);
    assert_eq!(seen.into_iter().map(|event| event.order.id).collect::<HashSet<_>>(), ids);
}

#[tokio::test]
async fn what_was_confirmed_survives_a_crash_with_one_event_each() {
    let data = Folder::new();
    let mut orders = Process::start(ORDERS, &[&"--faults", &"--data", &data]);
    let client = client();
    let confirmed = Arc::new(tokio::sync::Mutex::new(HashSet::new()));
    let mut sending = JoinSet::new();
    for _ in 0..8 {
        let (client, address) = (client.clone(), orders.address);
        let confirmed = Arc::clone(&confirmed);
        sending.spawn(async move {
            while let Ok(answer) = client.post(address, "/orders", None, TEA).await {
                let order: Order = serde_json::from_slice(&answer.body).unwrap();
                confirmed.lock().await.insert(order.id);
            }
        });
    }
    while confirmed.lock().await.len() < 50 {
        tokio::task::yield_now().await;
    }
    assert!(client.post(orders.address, "/fault/crash", None, "").await.is_err());
    sending.join_all().await;
    assert!(!orders.ended().success());

    let orders = Process::start(ORDERS, &[&"--data", &data]);
    let mut ids = HashSet::new();
    let mut after = 0;
    loop {
        let page = events(&client, &orders, after, 1_000).await;
        let Some(last) = page.events.last() else { break };
        after = last.seq;
        for event in page.events {
            assert!(ids.insert(event.order.id), "two events for one order");
        }
    }
    for id in confirmed.lock().await.iter() {
        assert!(ids.contains(id), "{id} was confirmed and has no event");
        let found = client.get(orders.address, &format!("/orders/{id}")).await.unwrap();
        assert_eq!(found.status, StatusCode::OK);
    }
}

#[test]
fn term_finishes_what_is_under_way_and_takes_nothing_more() {
    let data = Folder::new();
    let mut orders = Process::start(ORDERS, &[&"--data", &data]);
    // Neither a connection that says nothing nor an idle one holds up the end.
    let _silent = TcpStream::connect(orders.address).unwrap();
    let mut under_way = half_a_request(&orders);
    orders.term();
    orders.line_with("TERM: draining");
    within_patience("orders still accepts", || TcpStream::connect(orders.address).err());

    under_way.write_all(TEA.as_bytes()).unwrap();
    let mut answer = String::new();
    under_way.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert!(orders.ended().success());
    orders.line_with("drained after 1 requests");
    assert!(!data.path().join("orders.db-wal").exists(), "the end leaves one whole file");
}

#[tokio::test]
async fn a_bad_order_is_refused_and_a_taken_key_is_a_conflict() {
    let data = Folder::new();
    let orders = Process::start(ORDERS, &[&"--data", &data]);
    let client = client();
    let bad = TEA.replace("250", "0");
    let answer = client.post(orders.address, "/orders", None, bad).await.unwrap();
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    let key = IdempotencyKey::parse("cart-1").unwrap();
    for (order, status) in [
        (TEA.to_owned(), StatusCode::CREATED),
        (TEA.to_owned(), StatusCode::OK),
        (TEA.replace("tea", "rum"), StatusCode::CONFLICT),
    ] {
        let answer = client.post(orders.address, "/orders", Some(&key), order).await.unwrap();
        assert_eq!(answer.status, status);
    }
}
