//! Whether runs serve: what is asked of them, and what follows from the answers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;
use stead_core::plan::{Check, Probe, Spec, Startup};
use stead_core::template::Template;

use crate::support::{Root, plan, probe_program, shell, until};

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

fn probe(check: Check) -> Probe {
    let (every, timeout) = (Duration::from_millis(100), Duration::from_millis(200));
    Probe { check, every, timeout, failures: 3, successes: 1 }
}

/// A server with these options, and its port.
fn server(options: &[&str]) -> (Spec, u16) {
    let port = free_port();
    let mut run = vec![probe_program(), "serve".to_owned(), format!("port={port}")];
    run.extend(options.iter().map(|option| (*option).to_owned()));
    let mut spec = Spec::of(run.iter().map(|text| Template::literal(text)).collect());
    spec.sandbox = stead_core::sandbox::Sandbox::Off;
    spec.stop.timeout = Duration::from_secs(2);
    (spec, port)
}

fn http(port: u16) -> Check {
    Check::Http { path: "/healthz".into(), port }
}

fn exec(argv: &[&str]) -> Check {
    Check::Exec(argv.iter().map(|text| Template::literal(text)).collect())
}

#[test]
fn every_kind_of_ready_probe_tells_when_an_instance_may_get_work() {
    let late = "ready-after=300";
    let (mut by_http, port) = server(&[late]);
    by_http.ready = Some(probe(http(port)));
    let (mut by_tcp, port) = server(&[]);
    by_tcp.ready = Some(probe(Check::Tcp { port }));
    let (mut by_word, _) = server(&[late, "notify"]);
    by_word.ready = Some(probe(Check::Notify));
    let mut by_line = shell("sleep 0.3; echo it listens now; exec sleep 1000");
    by_line.ready = Some(probe(Check::Log { text: "listens now".into() }));
    let mut by_exec = shell("sleep 0.3; touch $HOME/ready; exec sleep 1000");
    by_exec.ready = Some(probe(exec(&["/bin/sh", "-c", "test -e $HOME/ready"])));
    let mut root = Root::with_keepers();
    root.start();
    let all = [
        ("a.0", by_http),
        ("b.0", by_tcp),
        ("c.0", by_word),
        ("d.0", by_line),
        ("e.0", by_exec),
        ("f.0", shell("exec sleep 1000")),
    ];
    root.put(&plan(all));
    for name in ["a.0", "b.0", "c.0", "d.0", "e.0", "f.0"] {
        until(&format!("{name} is ready"), || {
            (root.instance(name)?.ready == Some(true)).then_some(())
        });
    }
}

#[test]
fn control_what_never_answers_is_never_ready_and_says_what_it_was_asked() {
    let (mut by_http, port) = server(&["never-ready"]);
    by_http.ready = Some(probe(http(port)));
    let (mut by_word, _) = server(&["never-ready", "notify"]);
    by_word.ready = Some(probe(Check::Notify));
    let mut by_tcp = shell("exec sleep 1000");
    by_tcp.ready = Some(probe(Check::Tcp { port: free_port() }));
    let mut by_line = shell("exec sleep 1000");
    by_line.ready = Some(probe(Check::Log { text: "listens now".into() }));
    let mut by_exec = shell("exec sleep 1000");
    by_exec.ready = Some(probe(exec(&["/bin/sh", "-c", "echo no such table >&2; exit 3"])));
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    root.put(&plan([
        ("a.0", by_http),
        ("b.0", by_tcp),
        ("c.0", by_word),
        ("d.0", by_line),
        ("e.0", by_exec),
    ]));
    let said = [
        ("a.0", "status 503"),
        ("b.0", "refused"),
        ("d.0", "not written a line with `listens now`"),
        ("e.0", "exit status: 3: no such table"),
    ];
    for (name, part) in said {
        until(&format!("{name} says {part}"), || {
            let instance = root.instance(name)?;
            let told = instance.notes.iter().any(|note| note.contains(part));
            (instance.ready == Some(false) && told).then_some(())
        });
    }
    assert_eq!(root.instance("c.0").unwrap().ready, Some(false));
}

#[test]
fn what_needs_another_is_started_once_that_one_is_ready() {
    let (mut db, port) = server(&["ready-after=500"]);
    db.ready = Some(probe(http(port)));
    let web = Spec { needs: vec!["db".parse().unwrap()], ..shell("exec sleep 1000") };
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    root.put(&plan([("db.0", db), ("web.0", web)]));
    until("db is up and web waits for it", || {
        let (db, web) = (root.instance("db.0")?, root.instance("web.0")?);
        (db.phase == "up" && db.ready == Some(false) && web.run == 0).then_some(())
    });
    until("web is up", || {
        let (db, web) = (root.instance("db.0")?, root.instance("web.0")?);
        assert!(web.run == 0 || db.ready == Some(true));
        (web.phase == "up").then_some(())
    });
}

#[test]
fn a_run_whose_live_probe_fails_is_restarted_once_and_why_tells_what_it_said() {
    let (mut spec, port) = server(&["healthz-fails-after=400"]);
    spec.live = Some(probe(http(port)));
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    root.put(&plan([("a.0", spec)]));
    until("another run", || (root.instance("a.0")?.run >= 2).then_some(()));
    let why = root.get("/v1/why/a.0").json();
    let told = why["because"].as_str().unwrap();
    assert!(told.contains("live probe failed 3 times in a row: status 503"), "{why}");
    let events = why["events"].as_array().unwrap();
    let count = |kind: &str, run: u64| {
        events.iter().filter(|it| it["event"] == kind && it["run"] == json!(run)).count()
    };
    assert_eq!((count("unhealthy", 1), count("stopping", 1)), (1, 1), "{why}");
}

/// So many instances that are sick while a file is there.
fn sick_together(root: &Root, n: u32) -> Vec<String> {
    let sick = root.path().join("sick");
    let healthy = format!("test ! -e {}", sick.display());
    let mut plan = plan([]);
    for index in 0..n {
        let mut spec = shell("exec sleep 1000");
        // On a busy machine it may take a while to ask.
        let live =
            Probe { timeout: Duration::from_secs(10), ..probe(exec(&["sh", "-c", &healthy])) };
        (spec.ready, spec.live) = (Some(live.clone()), Some(live));
        plan.instances.insert(format!("a.{index}").parse().unwrap(), spec);
    }
    assert_eq!(root.put(&plan).status, 200);
    let names: Vec<String> = plan.instances.keys().map(ToString::to_string).collect();
    for name in &names {
        until("it is ready", || (root.instance(name)?.ready == Some(true)).then_some(()));
    }
    std::fs::write(sick, "").unwrap();
    names
}

#[test]
fn of_many_restarts_that_are_due_at_once_some_are_held_back_and_what_recovers_is_spared() {
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    let names = sick_together(&root, 10);
    let held_back = |name: &String| {
        let notes = root.instance(name).unwrap().notes;
        notes.iter().any(|note| note.contains("its restart is held back"))
    };
    until("some are held back", || {
        (names.iter().filter(|it| held_back(it)).count() >= 3).then_some(())
    });
    std::fs::remove_file(root.path().join("sick")).unwrap();
    until("all are well", || {
        let is_well = |name: &String| root.instance(name).unwrap().ready == Some(true);
        names.iter().all(|name| is_well(name) && !held_back(name)).then_some(())
    });
    let restarted = names.iter().filter(|name| root.instance(name).unwrap().run > 1).count();
    assert!((4..10).contains(&restarted), "{restarted}");
}

#[test]
fn control_few_restarts_that_are_due_at_once_are_not_held_back() {
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    let names = sick_together(&root, 3);
    for name in &names {
        until(&format!("another run of {name}"), || {
            let instance = root.instance(name)?;
            assert!(!instance.notes.iter().any(|note| note.contains("held back")), "{instance:?}");
            (instance.run > 1).then_some(())
        });
    }
}

#[test]
fn a_slow_start_is_no_failure_while_its_start_up_probe_has_time() {
    let (mut slow, port) = server(&["ready-after=1200"]);
    slow.live = Some(probe(http(port)));
    slow.startup = Some(Startup { probe: probe(http(port)), within: Duration::from_secs(20) });
    let (mut hopeless, port) = server(&["never-ready"]);
    hopeless.startup =
        Some(Startup { probe: probe(http(port)), within: Duration::from_millis(400) });
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    root.put(&plan([("slow.0", slow), ("hopeless.0", hopeless)]));
    until("the slow one is ready", || (root.instance("slow.0")?.ready == Some(true)).then_some(()));
    assert_eq!(root.instance("slow.0").unwrap().run, 1);
    until("the hopeless one is restarted", || {
        (root.instance("hopeless.0")?.run >= 2).then_some(())
    });
    let why = root.get("/v1/why/hopeless.0").json();
    assert!(why.to_string().contains("has not come up within 400ms"), "{why}");
}

#[test]
fn a_probe_that_hangs_or_floods_harms_nothing_else() {
    let (mut hangs, port) = server(&["hang-health"]);
    hangs.ready = Some(probe(http(port)));
    let (mut floods, port) = server(&["flood-health"]);
    floods.ready = Some(probe(http(port)));
    let mut forks = shell("exec sleep 1000");
    forks.ready = Some(probe(exec(&["/bin/sh", "-c", "yes | head -c 100000000; sleep 1000"])));
    let (mut well, port) = server(&[]);
    well.ready = Some(probe(http(port)));
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    root.put(&plan([
        ("hangs.0", hangs),
        ("floods.0", floods),
        ("forks.0", forks),
        ("well.0", well),
    ]));
    until("the well one is ready", || (root.instance("well.0")?.ready == Some(true)).then_some(()));
    for (name, ready) in [("hangs.0", false), ("forks.0", false), ("floods.0", true)] {
        until(&format!("the verdict on {name}"), || {
            (root.instance(name)?.ready == Some(ready)).then_some(())
        });
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", root.agent_pid())).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: u64 = rss.trim().trim_end_matches(" kB").trim().parse().unwrap();
    assert!(kib < 64 << 10, "the agent has {kib} KiB");
}

#[test]
fn a_live_probe_counts_once_it_has_passed_and_then_as_often_as_it_was_told() {
    let live = |check: Check| Some(Probe { timeout: Duration::from_secs(10), ..probe(check) });
    // Far more than three answers before it serves.
    let (mut slow, port) = server(&["ready-after=1500"]);
    (slow.ready, slow.live) = (live(http(port)), live(http(port)));
    let (mut alone, alone_port) = server(&["ready-after=1500"]);
    alone.live = live(http(alone_port));
    // Once it has come up two failures are one too few.
    let script = "echo asked >> $HOME/asked; test $(wc -l < $HOME/asked) -gt 2";
    let mut shaky = shell("exec sleep 1000");
    shaky.live = live(exec(&["/bin/sh", "-c", script]));
    shaky.startup =
        Some(Startup { probe: probe(exec(&["/bin/true"])), within: Duration::from_secs(20) });
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    root.put(&plan([("slow.0", slow), ("alone.0", alone), ("shaky.0", shaky)]));
    until("the slow one is ready", || (root.instance("slow.0")?.ready == Some(true)).then_some(()));
    until("the other one serves", || {
        ask_health(alone_port).ok()?.starts_with("HTTP/1.1 200").then_some(())
    });
    let asked = root.path().join("data/shaky.0/asked");
    until("the shaky one was asked five times", || {
        (std::fs::read_to_string(&asked).ok()?.lines().count() >= 5).then_some(())
    });
    for name in ["slow.0", "alone.0", "shaky.0"] {
        assert_eq!(root.instance(name).unwrap().run, 1, "{name}");
    }
}

fn ask_health(port: u16) -> std::io::Result<String> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// How many processes have this as their last argument.
fn alive_with(argument: &str) -> usize {
    let ends = format!("\0{argument}\0");
    let lines = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        std::fs::read(entry.unwrap().path().join("cmdline")).ok() // it may have ended
    });
    lines.filter(|line| line.ends_with(ends.as_bytes())).count()
}

#[test]
fn a_program_that_a_probe_gives_up_is_gone_with_all_it_has_started() {
    /// So many questions, of which at most the last ones are still being ended.
    const ASKED_N: usize = 10;
    const ENDING_MAX: usize = 3;
    let script = |rest: &str| format!("echo asked >> $HOME/asked; {rest}");
    // An argument that nobody else sleeps for.
    let [hanging, left] = [1, 2].map(|n| format!("{}", 10_000_000 * n + std::process::id()));
    let mut hangs = shell("exec sleep 1000");
    hangs.ready =
        Some(probe(exec(&["/bin/sh", "-c", &script(&format!("sleep {hanging}; exit 0"))])));
    let mut leaves = shell("exec sleep 1000");
    leaves.ready = Some(probe(exec(&["/bin/sh", "-c", &script(&format!("sleep {left} &"))])));
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    root.put(&plan([("hangs.0", hangs), ("leaves.0", leaves)]));
    for (name, ready, argument) in [("hangs.0", false, &hanging), ("leaves.0", true, &left)] {
        let asked = root.path().join("data").join(name).join("asked");
        until(&format!("{name} was asked {ASKED_N} times"), || {
            let asked = std::fs::read_to_string(&asked).ok()?;
            (asked.lines().count() >= ASKED_N).then_some(())
        });
        let alive = alive_with(argument);
        assert!(alive <= ENDING_MAX, "{name}: {alive}");
        until("the verdict", || (root.instance(name)?.ready == Some(ready)).then_some(()));
    }
    // Nor does one stay that nobody waits for any more.
    root.kill();
    for argument in [hanging, left] {
        until("all have ended", || (alive_with(&argument) == 0).then_some(()));
    }
}

#[test]
fn an_agent_that_dies_leaves_what_is_ready_and_the_next_one_sees_it() {
    let (mut spec, port) = server(&[]);
    spec.ready = Some(probe(http(port)));
    spec.live = spec.ready.clone();
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    root.put(&plan([("a.0", spec)]));
    let ready = |root: &Root| {
        until("it is ready", || {
            root.instance("a.0").filter(|it| it.ready == Some(true)).map(|it| it.pid)
        })
    };
    let before = ready(&root);
    root.kill();
    root.start();
    assert_eq!(ready(&root), before);
}
