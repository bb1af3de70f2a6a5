//! A run takes the place of another without a request lost, and only when it is ready.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use stead_core::launch::{KeeperReady, Launch, LaunchSocket};
use stead_core::machine::PhaseName;
use stead_wire::file::mark;
use stead_wire::journal::Event;
use stead_wire::keeper::{Report, Request};

use crate::rig::{Rig, born, eventually, is_alive, probe};

/// A port that nobody has now, and that no connection gets by chance: those begin at 32768.
fn free_port() -> u16 {
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 1000).unwrap() * 10;
    loop {
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let port = 20_000 + (first + number) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A server that is handed its socket and says that it is ready.
fn server(options: &[&str]) -> (Rig, u16) {
    let probe = probe();
    let mut argv = vec![probe.as_str(), "serve", "notify"];
    argv.extend(options);
    let mut rig = Rig::new(&argv);
    let port = free_port();
    let (name, address) = ("http".to_owned(), "127.0.0.1".to_owned());
    rig.launch.listen = vec![LaunchSocket { name, address, port }];
    rig.launch.notify = true;
    rig.launch.ready = KeeperReady::Notify;
    rig.launch.replace.overlap = true;
    rig.launch.stop.timeout = std::time::Duration::from_secs(10);
    (rig, port)
}

/// The same server started with other options.
fn changed(launch: &Launch, options: &[&str]) -> Box<Launch> {
    let mut launch = launch.clone();
    launch.argv.truncate(3);
    launch.argv.extend(options.iter().map(|option| (*option).to_owned()));
    Box::new(launch)
}

/// Load on a port until it is told to end.
struct Load(Child);

impl Load {
    fn on(port: u16, rate: u32, kind: &[&str]) -> Self {
        let mut command = Command::new(probe());
        command.args(["load", &format!("to=127.0.0.1:{port}"), &format!("rate={rate}")]);
        command.args(kind).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    fn end(self) -> serde_json::Value {
        let output = self.0.wait_with_output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// Lets time go by in which something would happen, or does.
fn pass(time: std::time::Duration) {
    let until = std::time::Instant::now() + time;
    while std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(2)); // bounded poll
    }
}

fn settled(report: &Report) -> bool {
    report.phase == PhaseName::Up && report.coming.is_none() && report.going.is_none()
}

fn replaced(rig: &Rig, run: u64) {
    rig.wait_until("the next run has taken the place", |r| settled(r) && r.run >= run);
}

/// How often the place changes under load, and how many requests a second there are of each kind.
const REPLACEMENTS: u64 = 5;
const RATE: u32 = 500;
/// How long each run is under load before the next takes its place: every connection is used.
const LOADED_FOR: std::time::Duration = std::time::Duration::from_millis(150);

fn lost_over_restarts(rig: &Rig, port: u16) -> u64 {
    let loads = [Load::on(port, RATE, &[]), Load::on(port, RATE, &["fresh"])];
    let first = rig.report().unwrap().run;
    for number in 1..=REPLACEMENTS {
        pass(LOADED_FOR);
        rig.ask(&Request::Restart).unwrap();
        replaced(rig, first + number);
    }
    let tallies = loads.map(Load::end);
    for tally in &tallies {
        assert!(tally["sent"].as_u64().unwrap() > 0, "{tally}");
    }
    tallies.iter().map(|tally| tally["lost"].as_u64().unwrap()).sum()
}

#[test]
fn no_request_is_lost_while_runs_take_each_others_place() {
    for flags in [&[][..], &["--no-cgroup"]] {
        let (rig, port) = server(&[]);
        let mut rig = rig.flag(flags);
        rig.start();
        rig.wait_until("ready", |report| report.ready == Some(true));
        assert_eq!(lost_over_restarts(&rig, port), 0, "{flags:?}");
        let is_replaced = |it: &&Event| matches!(it, Event::Replaced { .. });
        let replaced = rig.events().iter().filter(is_replaced).count();
        assert_eq!(replaced as u64, REPLACEMENTS, "{flags:?}");
    }
}

#[test]
fn control_a_run_that_is_stopped_before_the_next_begins_loses_requests() {
    let (mut rig, port) = server(&[]);
    rig.launch.replace.overlap = false;
    // The socket is what keeps connections waiting meanwhile; without it they are refused.
    rig.launch.listen.clear();
    rig.launch.argv.push(format!("port={port}"));
    rig.start();
    rig.wait_until("ready", |report| report.ready == Some(true));
    assert!(lost_over_restarts(&rig, port) > 0);
}

#[test]
fn control_a_service_that_cuts_its_connections_loses_requests() {
    let (mut rig, port) = server(&["cut"]);
    rig.start();
    rig.wait_until("ready", |report| report.ready == Some(true));
    assert!(lost_over_restarts(&rig, port) > 0);
}

/// What becomes of a launch.
type Change<'a> = &'a dyn Fn(&Launch) -> Box<Launch>;

#[test]
fn a_next_run_that_is_never_ready_or_crashes_or_cannot_start_leaves_the_old_one_at_work() {
    let changed_to = |options: &'static [&str]| move |launch: &Launch| changed(launch, options);
    let never_ready = changed_to(&["never-ready"]);
    // What it had accepted before it crashed would be lost with it.
    let crashes = changed_to(&["never-ready", "accept-when-ready", "crash-after=50"]);
    let cannot_start = |launch: &Launch| {
        let mut launch = Box::new(launch.clone());
        launch.argv[0] = "/no/such/program".to_owned();
        launch
    };
    let rows: [(Change<'_>, u64, &str); 3] = [
        (&never_ready, 300, "not ready within 300ms"),
        (&crashes, 20_000, "it ended before it was ready: exit code 3"),
        (&cannot_start, 20_000, "it could not start: "),
    ];
    for (change, within_ms, why) in rows {
        let (mut rig, port) = server(&[]);
        rig.launch.replace.within = std::time::Duration::from_millis(within_ms);
        rig.start();
        let first = rig.wait_until("ready", |report| report.ready == Some(true));
        let old = born(first.pid.unwrap());
        let load = Load::on(port, RATE, &["fresh"]);
        let next = change(&rig.launch);
        let next_mark = mark(&next);
        rig.ask(&Request::Update { launch: next }).unwrap();
        let kept = rig.wait_until("the old run is kept", |report| {
            settled(report) && report.rejected.is_some()
        });
        assert!(is_alive(old) && kept.pid == first.pid && kept.run == first.run, "{kept:?}");
        let rejected = kept.rejected.unwrap();
        assert_eq!(rejected.launch_mark, next_mark);
        assert!(rejected.why.contains(why), "{rejected:?}");
        assert_eq!(kept.launch_mark, first.launch_mark);
        assert_eq!(load.end()["lost"], 0);
        // Mended, it takes the place.
        rig.ask(&Request::Update { launch: changed(&rig.launch, &["drain=1000"]) }).unwrap();
        let mended = rig.wait_until("the mended one serves", |report| {
            settled(report) && report.launch_mark != first.launch_mark
        });
        assert!(mended.rejected.is_none() && mended.pid != first.pid && !is_alive(old));
    }
}

#[test]
fn a_keeper_killed_at_any_point_of_a_replacement_leaves_one_run_of_the_right_spec() {
    for killed_after in ["Replacing", "Starting", "Started", "Ready", "Replaced", "Stopping"] {
        let (mut rig, _) = server(&[]);
        rig.start();
        let first = rig.wait_until("ready", |report| report.ready == Some(true));
        let old = born(first.pid.unwrap());
        let before = rig.events().len();
        let next = changed(&rig.launch, &["ready-after=100"]);
        let wanted = mark(&next);
        rig.ask(&Request::Update { launch: next.clone() }).unwrap();
        eventually(|| {
            let seen = rig.events();
            let kind = |event: &Event| format!("{event:?}").starts_with(killed_after);
            seen[before..].iter().any(kind).then_some(())
        })
        .unwrap();
        rig.kill_keeper();
        rig.start_as_it_is();
        // The agent asks again for what it wants.
        let there = rig.wait_until("a keeper is there", |_| true);
        if there.launch_mark != wanted {
            rig.ask(&Request::Update { launch: next }).unwrap();
        }
        let after = rig.wait_until("the next spec runs alone", |report| {
            settled(report) && report.launch_mark == wanted && report.pid.is_some()
        });
        assert!(!is_alive(old), "killed after {killed_after}: {after:?}");
    }
}

/// Kills a keeper that no agent holds duplicates for, and says how a fresh run comes of it then.
fn restarted_by_the_next_keeper(flags: &[&str]) -> (Report, serde_json::Value) {
    let (rig, port) = server(&[]);
    let mut rig = rig.flag(flags);
    rig.start();
    let first = rig.wait_until("ready", |report| report.ready == Some(true));
    let load = Load::on(port, RATE, &["fresh"]);
    rig.kill_keeper();
    rig.start_as_it_is();
    rig.wait_until("a keeper is there", |_| true);
    rig.ask(&Request::Restart).unwrap();
    let failed = |event: &Event| matches!(event, Event::ReplaceFailed { .. });
    let after = rig.wait_until("it came to something", |report| {
        settled(report) && (report.run > first.run || rig.events().iter().any(failed))
    });
    (after, load.end())
}

#[test]
fn a_port_that_only_the_run_holds_any_more_is_taken_back_from_it() {
    let (after, tally) = restarted_by_the_next_keeper(&[]);
    assert_eq!((after.run, after.holds_sockets), (2, true), "{after:?}");
    assert_eq!(tally["lost"], 0, "{tally}");
}

#[test]
fn control_a_port_that_is_not_taken_back_is_handed_to_no_further_run() {
    let (after, _) = restarted_by_the_next_keeper(&["--fault", "no-take-back"]);
    assert_eq!(after.run, 1, "{after:?}");
}

#[test]
fn a_run_that_stops_saying_that_it_is_well_is_restarted_once() {
    let (mut rig, _) = server(&["watchdog-for=200"]);
    rig.launch.watchdog = Some(std::time::Duration::from_millis(300));
    rig.start();
    let first = rig.wait_until("ready", |report| report.ready == Some(true)).run;
    rig.wait_until("another run", |report| report.run > first);
    let events = rig.events();
    let unhealthy =
        events.iter().filter(|it| matches!(it, Event::Unhealthy { run, .. } if *run == first));
    assert_eq!(unhealthy.count(), 1);
    let aborted = |it: &Event| matches!(it, Event::Stopping { how, .. } if how.contains("ABRT"));
    assert!(events.iter().any(aborted), "{events:?}");
}

#[test]
fn control_a_run_that_goes_on_saying_that_it_is_well_is_left_alone() {
    let (mut rig, _) = server(&["watchdog-for=600000"]);
    rig.launch.watchdog = Some(std::time::Duration::from_millis(300));
    rig.start();
    let first = rig.wait_until("ready", |report| report.ready == Some(true)).run;
    // Four times its limit.
    pass(std::time::Duration::from_millis(1200));
    assert_eq!(rig.report().unwrap().run, first);
}

#[test]
fn what_another_process_says_is_not_heard() {
    let (mut rig, _) = server(&["never-ready"]);
    rig.start();
    rig.wait_up();
    let address = stead_proc::NotifySocket::address(&rig.folder).unwrap();
    let mut python = Command::new("python3");
    python.arg("-c").arg(
        "import os,socket;s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM);\
         s.sendto(b'READY=1','\\0'+os.environ['A'][1:])",
    );
    let sent = python.env("A", &address).status();
    assert!(sent.unwrap().success());
    // It would be heard at once.
    pass(std::time::Duration::from_millis(200));
    assert_eq!(rig.report().unwrap().ready, Some(false));
}
