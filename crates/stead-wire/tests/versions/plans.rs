//! A plan and a launch of today with every field told.

use stead_core::launch::{
    Account, KeeperReady, Launch, LaunchReload, LaunchSocket, LaunchStop, LaunchStopHow, Second,
};
use stead_core::plan::{
    Check, Digest, Enforce, Fronted, Limits, LogLimits, Plan, Probe, Reload, Replace, Requests,
    Restart, SecretRef, Spec, Startup, Stop, StopHow, Umask, When,
};
use stead_core::registry::{Registry, Value};
use stead_core::sandbox::{Capability, LaunchSandbox, Loosened, Sandbox, SandboxFiles};
use stead_core::schedule::{Overlap, Schedule, Times};
use stead_core::template::Template;
use stead_core::units::{Bytes, MilliCpu};

use crate::fresh::{DIGEST, millis, name, some};

fn digest() -> Digest {
    DIGEST.to_owned().try_into().expect("it is one")
}

fn capability() -> Capability {
    "NET_ADMIN".to_owned().try_into().expect("it is one")
}

fn words() -> Vec<Template> {
    vec![name("./web"), name("{data}")]
}

pub(crate) fn plan() -> Plan {
    let mut checked = spec();
    checked.ready = Some(probe(Check::Notify));
    checked.live = Some(probe(Check::Exec(words())));
    checked.startup = Some(Startup { probe: probe(Check::Tcp { port: 8000 }), within: millis(9) });
    checked.sandbox = Sandbox::Off;
    checked.reload = Some(Reload::Signal(name("HUP")));
    checked.stop.how = StopHow::Hook(words());
    let instances = [(name("web.0"), spec()), (name("web.1"), checked)].into();
    Plan { fleet: name("shop"), host: name("local"), instances }
}

/// One instance with everything as by default.
pub(crate) fn small_plan() -> Plan {
    let instances = [(name("web.0"), Spec::of(words()))].into();
    Plan { fleet: name("shop"), host: name("local"), instances }
}

fn probe(check: Check) -> Probe {
    Probe { check, every: millis(5), timeout: millis(6), failures: 2, successes: 3 }
}

fn spec() -> Spec {
    let check = Check::Http { path: "/up".into(), port: 8000 };
    Spec {
        run: words(),
        release: Some(digest()),
        directory: Some(name("{data}")),
        env: [("A".into(), name("b"))].into(),
        secrets: [("TOKEN".into(), SecretRef { name: name("token"), id: digest() })].into(),
        inherit: vec!["TZ".into()],
        user: some("web"),
        group: some("web"),
        umask: Umask(0o27),
        new_privileges: true,
        ports: [("http".into(), 8000)].into(),
        restart: restart(),
        stop: Stop { how: StopHow::Signal(name("TERM")), timeout: millis(7) },
        log: LogLimits { keep: Bytes(1 << 20) },
        needs: vec![name("db")],
        ready: Some(probe(check)),
        live: Some(probe(Check::Log { text: "up".into() })),
        limits: limits(),
        startup: Some(Startup { probe: probe(Check::Notify), within: millis(9) }),
        requests: Requests { memory: Some(Bytes(1)), cpu: Some(MilliCpu(2)) },
        sandbox: Sandbox::On(Loosened {
            read: words(),
            write: words(),
            capabilities: vec![capability()],
            syscalls: vec!["bpf".into()],
            shared_tmp: true,
            any_files: true,
            any_signals: true,
        }),
        listen: [("http".into(), "127.0.0.1".into())].into(),
        replace: replace(),
        reload: Some(Reload::Hook(words())),
        config: Some(digest()),
        schedule: Some(schedule()),
        fronted: Some(Fronted { by: name("web-front.0"), port: "http".into() }),
        once: true,
        registry: registry(),
        event_source: "Web".to_owned().try_into().ok(),
    }
}

fn registry() -> Registry {
    let key = "HKLM\\SOFTWARE\\Web".to_owned().try_into().expect("it is one");
    let values = [
        ("Dword", Value::Dword(1)),
        ("ExpandSz", Value::ExpandSz("%A%".into())),
        ("MultiSz", Value::MultiSz(vec!["a".into()])),
        ("Qword", Value::Qword(1 << 32)),
        ("Sz", Value::Sz("a".into())),
    ];
    let values = values.map(|(name, value)| (name.to_owned().try_into().expect("one"), value));
    Registry([(key, values.into())].into())
}

fn restart() -> Restart {
    Restart {
        when: When::Failure,
        backoff_min: millis(1),
        backoff_max: millis(2),
        reset_after: millis(3),
    }
}

fn replace() -> Replace {
    Replace { overlap: true, within: millis(8) }
}

fn limits() -> Limits {
    Limits {
        memory: Some(Bytes(1)),
        cpu: Some(MilliCpu(2)),
        processes: Some(3),
        files: Some(4),
        io_weight: Some(5),
        enforce: Enforce::Best,
    }
}

fn schedule() -> Schedule {
    let times = Times::Cron { text: "0 3 * * *".into(), zone: some("UTC") };
    Schedule { times, overlap: Overlap::Queue, timeout: Some(millis(4)), catch_up: true }
}

pub(crate) fn launch() -> Launch {
    let argv = vec!["/r/web".to_owned()];
    let env = [("A".to_owned(), "b".to_owned())];
    Launch {
        instance: name("web.0"),
        release: Some(digest()),
        argv: argv.clone(),
        directory: "/r".into(),
        env: env.clone().into(),
        secrets: [("TOKEN".into(), "/s/1".into())].into(),
        account: Some(Account { uid: 1, gid: 2, groups: vec![3] }),
        umask: Umask(0o27),
        new_privileges: true,
        restart: restart(),
        stop: LaunchStop { how: LaunchStopHow::Signal(name("TERM")), timeout: millis(7) },
        log: LogLimits { keep: Bytes(1 << 20) },
        limits: limits(),
        sandbox: Some(LaunchSandbox {
            files: Some(SandboxFiles { read: argv.clone(), write: argv.clone() }),
            tmp: some("/t"),
            capabilities: vec![capability()],
            syscalls: vec!["bpf".into()],
            any_signals: true,
        }),
        listen: vec![LaunchSocket { name: "http".into(), address: "127.0.0.1".into(), port: 8000 }],
        second: Some(Second { argv: argv.clone(), env: env.into(), stop: LaunchStopHow::CtrlC }),
        notify: true,
        watchdog: Some(millis(9)),
        ready: KeeperReady::Notify,
        replace: replace(),
        reload: Some(LaunchReload::Hook(argv)),
        config: Some(digest()),
        config_link: some("/c/current"),
        schedule: Some(schedule()),
        registry: registry(),
    }
}
