//! Counters and one histogram, written out as Prometheus text.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;

use crate::VERSION;

/// Upper bounds of the buckets, in microseconds.
const BUCKETS_US: [u64; 11] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 2_500_000];

/// Everything a service counts.
pub struct Metrics {
    service: &'static str,
    started: Instant,
    in_flight: AtomicU64,
    /// Answers by the first digit of their status, 1 to 5.
    answers: [AtomicU64; 5],
    buckets: [AtomicU64; BUCKETS_US.len()],
    took_us: AtomicU64,
    own: Mutex<Vec<Own>>,
}

struct Own {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
    value: Value,
}

/// A number of the service's own. Cheap to clone; all clones are one number.
#[derive(Clone, Debug, Default)]
pub struct Value(Arc<AtomicU64>);

impl Value {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request being answered. One that is dropped unanswered, as when the client went away, still
/// counts as ended.
pub(crate) struct InFlight {
    metrics: Arc<Metrics>,
    began: Instant,
}

impl Metrics {
    pub fn new(service: &'static str) -> Arc<Self> {
        Arc::new(Metrics {
            service,
            started: Instant::now(),
            in_flight: AtomicU64::new(0),
            answers: Default::default(),
            buckets: Default::default(),
            took_us: AtomicU64::new(0),
            own: Mutex::new(Vec::new()),
        })
    }

    pub fn service(&self) -> &'static str {
        self.service
    }

    /// A number that only grows.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Value {
        self.own(name, help, "counter")
    }

    /// A number that goes up and down.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Value {
        self.own(name, help, "gauge")
    }

    fn own(&self, name: &'static str, help: &'static str, kind: &'static str) -> Value {
        let value = Value::default();
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.push(Own { name, help, kind, value: value.clone() });
        value
    }

    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight { metrics: Arc::clone(self), began: Instant::now() }
    }

    pub(crate) fn answered_n(&self) -> u64 {
        self.answers.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// All of it in the text format of Prometheus, version 0.0.4.
    pub(crate) fn render(&self) -> String {
        let mut text = String::with_capacity(2048);
        let mut put = |name, help, kind, samples: &[(String, String)]| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (suffix, value) in samples {
                let _ = writeln!(text, "{name}{suffix} {value}");
            }
        };
        let build = format!("{{service=\"{}\",version=\"{VERSION}\"}}", self.service);
        put("shop_build_info", "Which build answers.", "gauge", &[(build, "1".to_owned())]);
        let uptime = seconds(self.started.elapsed());
        put("shop_uptime_seconds", "Time since the start.", "gauge", &[(String::new(), uptime)]);
        let in_flight = self.in_flight.load(Ordering::Relaxed).to_string();
        let samples = [(String::new(), in_flight)];
        put("shop_requests_in_flight", "Requests being answered.", "gauge", &samples);
        let answers: Vec<_> = (1..)
            .zip(&self.answers)
            .map(|(digit, n)| {
                (format!("{{class=\"{digit}xx\"}}"), n.load(Ordering::Relaxed).to_string())
            })
            .collect();
        put("shop_requests_total", "Requests answered, by class of status.", "counter", &answers);
        put("shop_request_seconds", "Time to answer.", "histogram", &self.histogram());
        for own in self.own.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            put(own.name, own.help, own.kind, &[(String::new(), own.value.read().to_string())]);
        }
        text
    }

    /// Buckets as Prometheus wants them: each holds all that are below it.
    fn histogram(&self) -> Vec<(String, String)> {
        let mut below = 0;
        let mut samples = Vec::with_capacity(BUCKETS_US.len() + 3);
        for (bound, count) in BUCKETS_US.iter().zip(&self.buckets) {
            below += count.load(Ordering::Relaxed);
            let bound = seconds(Duration::from_micros(*bound));
            samples.push((format!("_bucket{{le=\"{bound}\"}}"), below.to_string()));
        }
        // Read after the buckets, so that the last one is never below those before it.
        let all = self.answered_n().max(below);
        let sum = Duration::from_micros(self.took_us.load(Ordering::Relaxed));
        samples.push(("_bucket{le=\"+Inf\"}".to_owned(), all.to_string()));
        samples.push(("_sum".to_owned(), seconds(sum)));
        samples.push(("_count".to_owned(), all.to_string()));
        samples
    }
}

impl InFlight {
    /// Counts the answer; returns how long it took.
    pub(crate) fn answered(self, status: StatusCode) -> Duration {
        let took = self.began.elapsed();
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let class = usize::from(status.as_u16() / 100).clamp(1, 5);
        self.metrics.answers[class - 1].fetch_add(1, Ordering::Relaxed);
        self.metrics.took_us.fetch_add(took_us, Ordering::Relaxed);
        if let Some(bucket) = BUCKETS_US.iter().position(|bound| took_us <= *bound) {
            self.metrics.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        }
        took
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_written_out() {
        let metrics = Metrics::new("orders");
        metrics.counter("shop_orders_total", "Orders stored.").add(3);
        metrics.begin().answered(StatusCode::CREATED);
        let open = metrics.begin();
        let text = metrics.render();
        for line in [
            "# TYPE shop_orders_total counter",
            "shop_orders_total 3",
            "shop_requests_in_flight 1",
            "shop_requests_total{class=\"2xx\"} 1",
            "shop_requests_total{class=\"5xx\"} 0",
            "shop_request_seconds_bucket{le=\"+Inf\"} 1",
            "shop_request_seconds_count 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        drop(open);
        assert!(metrics.render().contains("shop_requests_in_flight 0\n"));
    }
}
