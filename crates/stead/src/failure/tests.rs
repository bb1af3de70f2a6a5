//! What people are told when a command fails.

use super::*;
use crate::client::refusal_without_words;
use std::io::ErrorKind;

/// Every failure there is, some in more than one way.
fn all() -> Vec<Failure> {
    let mut all = of_the_agent();
    all.extend(of_this_side());
    all.extend(of_the_fleet());
    all.extend(of_signing().into_iter().map(Failure::from));
    all
}

fn of_the_agent() -> Vec<Failure> {
    let root = || PathBuf::from("/var/lib/stead");
    let io = |kind: ErrorKind| io::Error::from(kind);
    let refused = [("db.0".to_owned(), "its keeper does not answer".to_owned())];
    let refusal = |status| Failure::AgentRefused {
        status,
        refusal: Box::new(Refusal {
            what: "the plan was not taken".into(),
            because: "it replaces generation 1, and the host has generation 2".into(),
            try_this: "look at the plan that is there".into(),
        }),
    };
    vec![
        Failure::ActRefused { refused: refused.into() },
        Failure::Agent { source: AgentError::Held { root: root(), pid: Some(7) } },
        Failure::AgentAnswer { source: "expected value at line 1".into() },
        Failure::AgentDenied { root: root(), source: io(ErrorKind::PermissionDenied) },
        Failure::AgentLost { source: io(ErrorKind::ConnectionReset).into() },
        Failure::AgentMissing { root: root(), source: io(ErrorKind::NotFound) },
        refusal(404),
        refusal(409),
        refusal(503),
        refusal(507),
        Failure::AgentRefused { status: 500, refusal: refusal_without_words(500, "oops\x1b[2J") },
        Failure::AgentSilent { waited_s: 15 },
        Failure::Import { from: "x.service".into(), why: "it has no `ExecStart`".into() },
        Failure::Install {
            step: "copy the programs".into(),
            why: "no space left on device".into(),
        },
        Failure::Service(ServiceError {
            step: "install or change the service `stead-agent`".into(),
            why: "Access is denied. (os error 5)".into(),
            try_this: "do it from an elevated prompt".into(),
        }),
        Failure::AgentStart { why: "it ended at once".into(), tail: "error: a\n  b\n".into() },
    ]
}

fn of_signing() -> [SignFailure; 9] {
    let io = |kind: ErrorKind| io::Error::from(kind);
    let sign = |password: Option<&str>| SignFailure::Sign {
        file: "shop.exe".into(),
        service: "web".into(),
        tool: "osslsigncode",
        password: password.map(Into::into),
        why: "mac verify failure".into(),
    };
    let verify = |copy: Option<&str>| SignFailure::Verify {
        file: "shop.exe".into(),
        service: "web".into(),
        tool: "osslsigncode",
        why: "certificate has expired".into(),
        copy: copy.map(Into::into),
    };
    let tool = |kind| SignFailure::Tool { tool: "signtool", source: io(kind) };
    [
        SignFailure::Cache { folder: "/c/signed".into(), source: io(ErrorKind::StorageFull) },
        SignFailure::Certificate { path: "/k/a.pem".into(), source: io(ErrorKind::NotFound) },
        SignFailure::NoCache,
        sign(None),
        sign(Some("signing")),
        tool(ErrorKind::NotFound),
        tool(ErrorKind::PermissionDenied),
        verify(None),
        verify(Some("/c/signed/1.exe")),
    ]
}

fn of_the_fleet() -> Vec<Failure> {
    let by_host = |told: &[(&str, &str)]| {
        told.iter().map(|(host, why)| ((*host).to_owned(), (*why).to_owned())).collect()
    };
    let gate = || FleetFailure::Gate { why: "`web.0` ended 2 times: exit code 3".into() };
    let lost = by_host(&[("h1", "connection refused"), ("h2", "connection refused")]);
    let all = [
        gate(),
        FleetFailure::Collected {
            service: "web".into(),
            hosts: by_host(&[("h1", "its release 0123456789ab is not there any more")]),
        },
        FleetFailure::Lost { host: "h1".into(), why: "connection refused".into() },
        FleetFailure::LostAll { lost },
        FleetFailure::NoEntry { hosts: by_host(&[("h1", "it has 1, 2, 3")]) },
        FleetFailure::NoKit {
            os: stead_fleet::Os::Windows,
            looked_at: "/opt/stead/kits/windows-x86_64".into(),
        },
        FleetFailure::Pack {
            path: "dist/orders-linux-0123456789ab".into(),
            source: io::Error::from(ErrorKind::StorageFull),
        },
        FleetFailure::OnHost { host: "h1".into(), source: Box::new(gate().into()) },
        FleetFailure::Refused {
            why: stead_core::rollout::HostRefusal::Busy {
                who: "ada@laptop".into(),
                id: "r7".parse().unwrap(),
            },
        },
        FleetFailure::Refused { why: stead_core::rollout::HostRefusal::Stale { epoch: 8 } },
        FleetFailure::RolledBack {
            why: "interrupted".into(),
            old: by_host(&[("h1", "it is as it was"), ("h2", "it is as it was")]),
        },
        FleetFailure::Ship {
            path: "target/orders".into(),
            source: io::Error::from(ErrorKind::NotFound),
        },
        FleetFailure::Split {
            why: "it was not committed everywhere".into(),
            new: vec!["h1".into()],
            old: by_host(&[("h2", "it is reverted")]),
            unknown: by_host(&[("h3", "connection refused")]),
        },
    ];
    all.into_iter().map(Failure::from).collect()
}

fn of_this_side() -> Vec<Failure> {
    let root = || PathBuf::from("/var/lib/stead");
    let io = |kind: ErrorKind| io::Error::from(kind);
    let name = |text: &str| text.parse::<FleetName>().unwrap();
    let missing = PathBuf::from("/src/target/orders");
    vec![
        Failure::Build {
            service: "orders".into(),
            command: "cargo build".into(),
            why: "exit status: 101".into(),
        },
        Failure::Exec { keeper: "/k/stead-keeper".into(), source: io(ErrorKind::NotFound) },
        Failure::NothingRuns { name: "orders".into() },
        Failure::FleetFile { file: "a.toml".into(), rendered: "its own words\n".into() },
        Failure::FleetRead { path: "stead.toml".into(), source: io(ErrorKind::NotFound) },
        Failure::FleetRead { path: "b.toml".into(), source: io(ErrorKind::PermissionDenied) },
        Failure::Interrupted { hint: None },
        Failure::Interrupted { hint: Some("it goes on".into()) },
        Failure::KeeperMissing { looked_at: "/usr/bin/stead-keeper".into() },
        Failure::Manual { source: io(ErrorKind::PermissionDenied) },
        Failure::NoLocalHost,
        Failure::NoRoot,
        Failure::NotThere {
            goal: "up and ready",
            names: vec!["db.0".into(), "web.1".into()],
            why: "it took longer than 60s".into(),
        },
        Failure::OtherFleet { running: name("bank"), wanted: name("shop"), root: root() },
        Failure::Output { source: io(ErrorKind::StorageFull) },
        Failure::OutputClosed,
        Failure::Pack {
            service: "orders".into(),
            part: Part::Files,
            at: "stead.toml:4:9".into(),
            source: PackError::Missing(missing.clone()),
        },
        Failure::Pack {
            service: "orders".into(),
            part: Part::Files,
            at: "stead.toml:4:9".into(),
            source: PackError::Write(missing, io(ErrorKind::StorageFull)),
        },
        Failure::Pack {
            service: "orders".into(),
            part: Part::Config,
            at: "stead.toml:5:10".into(),
            source: PackError::LinkOut { link: "conf/key".into(), to: "/etc/key".into() },
        },
        Failure::RemoteHost {
            service: "orders".into(),
            host: "vm1".into(),
            address: "deploy@10.0.0.11".into(),
        },
        Failure::Root { root: root(), source: io(ErrorKind::PermissionDenied) },
        Failure::Runtime { source: io(ErrorKind::OutOfMemory) },
        Failure::UnknownName {
            name: "oders".into(),
            near: Some("orders".into()),
            known: vec!["db".into(), "orders".into()],
        },
        Failure::UnknownName { name: "x".into(), near: None, known: Vec::new() },
    ]
}

#[test]
fn every_failure_says_what_because_and_try_and_has_its_code() {
    let show = |failure: &Failure| {
        format!("──── {}\n{}", failure.exit().code(), failure.render(Paint(false)))
    };
    let text: String = all().iter().map(show).collect();
    assert!(!text.contains('\x1b'));
    insta::assert_snapshot!("failures", text);
}
