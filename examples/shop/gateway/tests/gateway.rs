//! What the gateway promises, tried on the real program before instances that misbehave.
#![cfg(unix)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use shop_common::order::{IdempotencyKey, KEY_HEADER};
use shop_common::testing::{Process, client};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

const GATEWAY: &str = env!("CARGO_BIN_EXE_gateway");
const TEA: &str = r#"{"customer":"ada","item":"tea","quantity":1,"cents":250}"#;

/// How a made-up instance takes orders.
#[derive(Clone)]
struct Instance {
    answer: StatusCode,
    taken_n: Arc<AtomicUsize>,
    heard: mpsc::UnboundedSender<()>,
    /// An order is answered only with a permit.
    permits: Arc<Semaphore>,
}

impl Instance {
    async fn start(answer: StatusCode) -> (SocketAddr, Instance, mpsc::UnboundedReceiver<()>) {
        Self::start_with(answer, Semaphore::MAX_PERMITS).await
    }

    async fn start_with(
        answer: StatusCode,
        permits_n: usize,
    ) -> (SocketAddr, Instance, mpsc::UnboundedReceiver<()>) {
        let (heard, hearing) = mpsc::unbounded_channel();
        let permits = Arc::new(Semaphore::new(permits_n));
        let instance = Instance { answer, taken_n: Arc::default(), heard, permits };
        let routes = Router::new()
            .route("/orders", post(take))
            .route("/orders/{id}", get(async || (StatusCode::OK, "{}")))
            .with_state(instance.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async { axum::serve(listener, routes).await });
        (address, instance, hearing)
    }

    fn taken_n(&self) -> usize {
        self.taken_n.load(Ordering::SeqCst)
    }
}

async fn take(State(instance): State<Instance>, headers: HeaderMap) -> Response {
    assert!(headers.contains_key(KEY_HEADER), "the gateway gives every order a key");
    let _ = instance.heard.send(());
    let _permit = instance.permits.acquire().await.expect("never closed");
    instance.taken_n.fetch_add(1, Ordering::SeqCst);
    (instance.answer, "{}").into_response()
}

/// An address where nothing listens.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    listener.local_addr().expect("it is bound")
}

/// An instance that reads each request and hangs up; returns how often.
async fn breaker() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    let broken_n = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&broken_n);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (address, broken_n)
}

fn gateway(orders: &[SocketAddr]) -> Process {
    let orders: Vec<_> = orders.iter().map(ToString::to_string).collect();
    Process::start(GATEWAY, &[&"--orders", &orders.join(",")])
}

#[tokio::test]
async fn orders_are_spread_evenly() {
    let (a, first, _a) = Instance::start(StatusCode::CREATED).await;
    let (b, second, _b) = Instance::start(StatusCode::CREATED).await;
    let gateway = gateway(&[a, b]);
    let client = client();
    for _ in 0..10 {
        let answer = client.post(gateway.address, "/orders", None, TEA).await.unwrap();
        assert_eq!(answer.status, StatusCode::CREATED);
    }
    assert_eq!((first.taken_n(), second.taken_n()), (5, 5));
}

#[tokio::test]
async fn with_one_instance_gone_every_order_is_still_taken() {
    let (up, instance, _up) = Instance::start(StatusCode::CREATED).await;
    let gateway = gateway(&[nobody().await, up]);
    let client = client();
    for _ in 0..10 {
        let answer = client.post(gateway.address, "/orders", None, TEA).await.unwrap();
        assert_eq!(answer.status, StatusCode::CREATED);
    }
    assert_eq!(instance.taken_n(), 10);
    gateway.line_with("was not reached: set aside");
}

#[tokio::test]
async fn an_order_that_was_refused_goes_to_the_next() {
    let (full, refusing, _full) = Instance::start(StatusCode::SERVICE_UNAVAILABLE).await;
    let (up, taking, _up) = Instance::start(StatusCode::CREATED).await;
    let gateway = gateway(&[full, up]);
    let answer = client().post(gateway.address, "/orders", None, TEA).await.unwrap();
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!((refusing.taken_n(), taking.taken_n()), (1, 1));
}

#[tokio::test]
async fn an_order_that_may_be_stored_goes_to_no_other_instance() {
    let (breaking, broken_n) = breaker().await;
    let (up, instance, _up) = Instance::start(StatusCode::CREATED).await;
    let gateway = gateway(&[breaking, up]);
    let answer = client().post(gateway.address, "/orders", None, TEA).await.unwrap();
    assert_eq!(answer.status, StatusCode::GATEWAY_TIMEOUT);
    assert!(broken_n.load(Ordering::SeqCst) > 1, "the same instance is asked again");
    assert_eq!(instance.taken_n(), 0);
}

#[tokio::test]
async fn a_key_of_the_clients_own_always_leads_to_the_same_instance() {
    let (a, first, _a) = Instance::start(StatusCode::CREATED).await;
    let (b, second, _b) = Instance::start(StatusCode::CREATED).await;
    let gateway = gateway(&[a, b]);
    let client = client();
    let key = IdempotencyKey::parse("cart-1").unwrap();
    for _ in 0..6 {
        client.post(gateway.address, "/orders", Some(&key), TEA).await.unwrap();
    }
    let mut taken = [first.taken_n(), second.taken_n()];
    taken.sort_unstable();
    assert_eq!(taken, [0, 6]);
}

#[tokio::test]
async fn an_order_is_found_although_an_instance_is_gone() {
    let (up, _instance, _up) = Instance::start(StatusCode::CREATED).await;
    let gateway = gateway(&[nobody().await, up]);
    let client = client();
    let answer = client.get(gateway.address, "/orders/s-1").await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let answer = client.get(gateway.address, "/orders/..%2Fevents").await.unwrap();
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn term_waits_for_the_answer_that_is_under_way() {
    let (up, instance, mut hearing) = Instance::start_with(StatusCode::CREATED, 0).await;
    let mut gateway = gateway(&[up]);
    let address = gateway.address;
    let asking = tokio::spawn(async move { client().post(address, "/orders", None, TEA).await });
    hearing.recv().await.unwrap();
    gateway.term();
    gateway.line_with("TERM: draining");
    instance.permits.add_permits(1);
    assert_eq!(asking.await.unwrap().unwrap().status, StatusCode::CREATED);
    assert!(gateway.ended().success());
}
