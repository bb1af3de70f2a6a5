//! Faults on demand: the ways a real service goes bad, so that watching it can be tried.
//!
//! Each fault is switched apart from the others; `off` ends them all. What was leaked stays
//! leaked: like any leak, only the end of the process gives it back.

use std::fmt;
use std::hint;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use tokio::sync::watch;

use crate::{Refusal, log};

/// Leaks end here unless `max_bytes` says otherwise: a test host should survive a typing error.
const LEAK_BYTES_MAX: u64 = 1 << 30;
const BURN_THREADS_MAX: u32 = 64;
const ERRORS_PER_SECOND_MAX: u32 = 10_000;
/// How often a leak grows and errors are logged.
const TICK: Duration = Duration::from_millis(100);
const TICKS_PER_SECOND: u64 = 10;

/// The parameters of all faults, each read by its own and ignored by the others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    bytes_per_second: Option<u64>,
    max_bytes: Option<u64>,
    per_second: Option<u32>,
    percent: Option<u32>,
    threads: Option<u32>,
}

/// A fault with all it needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    Burn { threads: u32 },
    Crash,
    Errors { per_second: u32, percent: u32 },
    Hang,
    Leak { bytes_per_second: u64, max_bytes: u64 },
    Off,
}

impl Fault {
    fn parse(name: &str, parameters: &Parameters) -> Result<Self, Refusal> {
        let bad = |message: &str| Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        match name {
            "burn" => match parameters.threads.unwrap_or(1) {
                threads @ 1..=BURN_THREADS_MAX => Ok(Fault::Burn { threads }),
                _ => bad("`threads` must be 1 to 64"),
            },
            "crash" => Ok(Fault::Crash),
            "errors" => {
                let per_second = parameters.per_second.unwrap_or(10);
                let percent = parameters.percent.unwrap_or(0);
                if per_second > ERRORS_PER_SECOND_MAX || percent > 100 {
                    return bad("`per_second` must be at most 10000 and `percent` at most 100");
                }
                Ok(Fault::Errors { per_second, percent })
            }
            "hang" => Ok(Fault::Hang),
            "leak" => Ok(Fault::Leak {
                bytes_per_second: parameters.bytes_per_second.unwrap_or(1 << 20),
                max_bytes: parameters.max_bytes.unwrap_or(LEAK_BYTES_MAX),
            }),
            "off" => Ok(Fault::Off),
            _ => bad("a fault is one of leak, burn, hang, crash, errors, off"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Burn { threads } => write!(f, "burning CPU on {threads} threads"),
            Fault::Crash => write!(f, "crashing"),
            Fault::Errors { per_second, percent } => {
                write!(f, "logging {per_second} errors/s and failing {percent} % of requests")
            }
            Fault::Hang => write!(f, "hanging"),
            Fault::Leak { bytes_per_second, max_bytes } => {
                write!(f, "leaking {bytes_per_second} bytes/s up to {max_bytes} bytes")
            }
            Fault::Off => write!(f, "all faults off"),
        }
    }
}

/// Which faults are on.
pub(crate) struct Faults {
    hang: watch::Sender<bool>,
    fail_percent: AtomicU32,
    requests_n: AtomicU64,
    running: Mutex<Running>,
}

/// The threads of faults that need one.
#[derive(Default)]
struct Running {
    burn: Option<Switch>,
    errors: Option<Switch>,
    leak: Option<Switch>,
}

/// Tells its thread to end when it is dropped.
struct Switch(Arc<AtomicBool>);

impl Drop for Switch {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Faults {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Faults {
            hang: watch::Sender::new(false),
            fail_percent: AtomicU32::new(0),
            requests_n: AtomicU64::new(0),
            running: Mutex::default(),
        })
    }

    fn set(&self, fault: Fault) {
        log::warn(format_args!("fault: {fault}"));
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Fault::Burn { threads } => running.burn = Some(start(threads, burn)),
            Fault::Crash => process::abort(),
            Fault::Errors { per_second, percent } => {
                self.fail_percent.store(percent, Ordering::Relaxed);
                running.errors = Some(start(1, move |on| log_errors(on, per_second)));
            }
            Fault::Hang => drop(self.hang.send_replace(true)),
            Fault::Leak { bytes_per_second, max_bytes } => {
                running.leak = Some(start(1, move |on| leak(on, bytes_per_second, max_bytes)));
            }
            Fault::Off => {
                *running = Running::default();
                self.fail_percent.store(0, Ordering::Relaxed);
                self.hang.send_replace(false);
            }
        }
    }

    /// Returns once nothing hangs.
    pub(crate) async fn wait_while_hanging(&self) {
        // The sender lives as long as `self`, so waiting cannot end for another reason.
        let _ = self.hang.subscribe().wait_for(|hang| !hang).await;
    }

    /// Whether this request is one of those that fail: evenly spread, not by chance.
    pub(crate) fn request_fails(&self) -> bool {
        let percent = u64::from(self.fail_percent.load(Ordering::Relaxed));
        if percent == 0 {
            return false;
        }
        let n = self.requests_n.fetch_add(1, Ordering::Relaxed);
        (n + 1) * percent / 100 > n * percent / 100
    }
}

/// `POST /fault/{name}`
pub(crate) async fn post_fault(
    State(faults): State<Arc<Faults>>,
    Path(name): Path<String>,
    Query(parameters): Query<Parameters>,
) -> Result<String, Refusal> {
    let fault = Fault::parse(&name, &parameters)?;
    faults.set(fault);
    Ok(format!("{fault}\n"))
}

/// `POST /fault/{name}` of a service that was started without `--faults`.
pub(crate) async fn post_fault_closed() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "this service was started without `--faults`")
}

fn start(threads_n: u32, work: impl Fn(&AtomicBool) + Clone + Send + 'static) -> Switch {
    let on = Arc::new(AtomicBool::new(true));
    for _ in 0..threads_n {
        let (on, work) = (Arc::clone(&on), work.clone());
        // Detached: it ends within a tick of its switch, or with the process.
        let started = thread::Builder::new().name("fault".to_owned()).spawn(move || work(&on));
        if let Err(error) = started {
            log::error(format_args!("cannot start a thread for the fault: {error}"));
        }
    }
    Switch(on)
}

fn burn(on: &AtomicBool) {
    let mut n = 0_u64;
    while on.load(Ordering::Relaxed) {
        n = hint::black_box(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

fn leak(on: &AtomicBool, bytes_per_second: u64, max_bytes: u64) {
    let mut leaked = 0;
    for tick in 1.. {
        if !on.load(Ordering::Relaxed) || leaked >= max_bytes {
            return;
        }
        // Computed from the start, so that slow rates are not rounded away tick by tick.
        let goal = (bytes_per_second.saturating_mul(tick) / TICKS_PER_SECOND).min(max_bytes);
        let len = usize::try_from(goal - leaked).expect("a leak is far smaller than memory");
        // Every byte is written: untouched memory is only promised and shows in no RSS.
        Box::leak(vec![0xA5_u8; len].into_boxed_slice());
        leaked = goal;
        thread::sleep(TICK);
    }
}

fn log_errors(on: &AtomicBool, per_second: u32) {
    let per_second = u64::from(per_second);
    let mut logged = 0;
    for tick in 1.. {
        let goal = per_second * tick / TICKS_PER_SECOND;
        while logged < goal && on.load(Ordering::Relaxed) {
            logged += 1;
            log::error(format_args!("fault: error number {logged}"));
        }
        if !on.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(TICK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Parameters = Parameters {
        bytes_per_second: None,
        max_bytes: None,
        per_second: None,
        percent: None,
        threads: None,
    };

    #[test]
    fn a_fault_has_defaults_and_limits() {
        assert_eq!(Fault::parse("burn", &NOTHING).unwrap(), Fault::Burn { threads: 1 });
        let leak = Fault::parse("leak", &Parameters { bytes_per_second: Some(7), ..NOTHING });
        let expected = Fault::Leak { bytes_per_second: 7, max_bytes: LEAK_BYTES_MAX };
        assert_eq!(leak.unwrap(), expected);
        assert!(Fault::parse("burn", &Parameters { threads: Some(65), ..NOTHING }).is_err());
        assert!(Fault::parse("errors", &Parameters { percent: Some(101), ..NOTHING }).is_err());
        assert!(Fault::parse("fire", &NOTHING).is_err());
    }

    #[test]
    fn exactly_the_named_share_of_requests_fails() {
        for percent in [0, 1, 33, 50, 100] {
            let faults = Faults::new();
            faults.fail_percent.store(percent, Ordering::Relaxed);
            let failed = (0..1_000).filter(|_| faults.request_fails()).count();
            assert_eq!(failed, 10 * percent as usize);
        }
    }

    #[tokio::test]
    async fn off_frees_what_hangs() {
        let faults = Faults::new();
        faults.set(Fault::Hang);
        let waiting = {
            let faults = Arc::clone(&faults);
            tokio::spawn(async move { faults.wait_while_hanging().await })
        };
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        faults.set(Fault::Off);
        waiting.await.unwrap();
    }

    #[test]
    fn a_switch_ends_its_threads_when_dropped() {
        let (ended, heard) = std::sync::mpsc::channel();
        let switch = start(2, move |on| {
            burn(on);
            let _ = ended.send(());
        });
        drop(switch);
        // One message of each thread, then the channel closes with the last of them.
        assert_eq!(heard.iter().count(), 2);
    }
}
