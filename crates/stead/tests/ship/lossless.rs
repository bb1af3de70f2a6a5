//! Deploys under load: no request is lost, where the service takes its socket or has a front.

use std::io::{self, Write as _};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::fleet::{Fleet, PORT, program};

/// Deploys under load, and for the control, where a few are enough to see the loss.
const DEPLOYS: usize = 20;
const DEPLOYS_CONTROL: usize = 3;

/// Requests a second over kept and over fresh connections.
const RATE: u32 = 1000;

/// Where the front of the service is.
const FRONT: u16 = 8000;

impl Fleet {
    fn load(&self, port: u16, kind: &[&str]) -> Child {
        let mut command = Command::new(program("STEAD_PROBE_BIN", "stead-probe"));
        let to = format!("to={}:{port}", self.hosts.address(0));
        command.args(["load", &to, &format!("rate={RATE}")]).args(kind);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }

    /// Deploys so often under both kinds of load; says how many requests were lost.
    fn lost_over(&self, deploys: usize, port: u16, arguments: &str, fields: &str) -> u64 {
        self.write("v0", arguments, fields);
        self.deploy(0, &[]);
        let loads = [("kept", self.load(port, &[])), ("fresh", self.load(port, &["fresh"]))];
        for n in 1..=deploys {
            self.write(&format!("v{n}"), arguments, fields);
            self.deploy(0, &[]);
        }
        loads.into_iter().fold(0, |lost, (kind, load)| {
            let output = load.wait_with_output().unwrap();
            let tally: Value = serde_json::from_slice(&output.stdout).unwrap();
            // Past the test runner, which would keep it back.
            let mut past = io::stderr().lock();
            writeln!(past, "{deploys} deploys, {kind} connections: {tally}").unwrap();
            assert!(tally["sent"].as_u64().unwrap() > u64::from(RATE), "that was no such load");
            lost + tally["lost"].as_u64().unwrap()
        })
    }
}

#[test]
fn twenty_deploys_of_a_service_that_takes_its_socket_lose_no_request() {
    let Some(fleet) = Fleet::get("socket", 1) else { return };
    let lost = fleet.lost_over(DEPLOYS, PORT, "\"drain=2000\"", "listen.http = \"0.0.0.0\"");
    assert_eq!(lost, 0);
}

#[test]
fn twenty_deploys_of_a_fronted_service_lose_no_request() {
    let Some(fleet) = Fleet::get("fronted", 1) else { return };
    let front = format!("front = {{ port = {FRONT}, address = \"0.0.0.0\" }}");
    let lost = fleet.lost_over(DEPLOYS, FRONT, "\"port={port.http}\"", &front);
    assert_eq!(lost, 0);
}

#[test]
fn control_deploys_of_a_service_that_is_stopped_and_then_started_lose_requests() {
    let Some(fleet) = Fleet::get("gap", 1) else { return };
    let arguments = "\"public\", \"port={port.http}\"";
    assert!(fleet.lost_over(DEPLOYS_CONTROL, PORT, arguments, "") > 0);
}
