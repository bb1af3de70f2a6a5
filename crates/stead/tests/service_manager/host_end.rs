//! The end of the host. No service manager sends its message on request, so what the agent does
//! with it is shown on an agent in this very process, told as the service is.

use std::fs;
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use stead_agent::{AgentError, Ended, Options};

use crate::place::{Place, eventually, is_alive, probe, stead};

/// Two services that note when they are asked to end, one of which needs the other.
fn write(place: &Place, noted: impl Fn(&str) -> String) {
    let service = |name: &str, more: &str| {
        let (probe, noted) = (probe(), noted(name));
        format!("[service.{name}]\nrun = ['{probe}', 'told', '{noted}']\n{more}")
    };
    let text =
        format!("name = \"shop\"\n{}{}", service("db", ""), service("web", "needs = [\"db\"]\n"));
    fs::write(place.fleet_file(), text).unwrap();
}

fn begin(place: &Place) -> JoinHandle<Result<Ended, AgentError>> {
    let keeper_program = stead().with_file_name("stead-keeper.exe");
    let options = Options { root: place.root(), keeper_program, ..Options::default() };
    let agent = thread::spawn(|| stead_agent::run(options));
    eventually("the agent answers", || place.stead(&["status"]).status.success().then_some(()));
    agent
}

fn pids(place: &Place) -> Vec<serde_json::Value> {
    place.instances().into_iter().map(|instance| instance["pid"].clone()).collect()
}

fn noted_at(path: &Path) -> SystemTime {
    fs::metadata(path).and_then(|there| there.modified()).expect("it was asked to end")
}

#[test]
fn at_the_end_of_the_host_instances_end_in_the_order_of_needs_and_are_wanted_still() {
    let mut place = Place::new("host-end");
    let noted = |name: &str| place.root().with_file_name(format!("{name} ended"));
    write(&place, |name| noted(name).to_string_lossy().into_owned());
    let agent = begin(&place);
    place.done(&["up", "--detach"]);
    let before = pids(&place);
    assert_eq!(before.len(), 2);
    // A control: an agent that is stopped and hears of no end of the host ends alone.
    stead_local::interrupt();
    assert_eq!(agent.join().unwrap().unwrap(), Ended::Signalled);
    assert!(before.iter().all(is_alive), "they live on without an agent");

    let agent = begin(&place);
    eventually("they are adopted", || (pids(&place) == before).then_some(()));
    stead_proc::tell_host_ends();
    stead_local::interrupt();
    assert_eq!(agent.join().unwrap().unwrap(), Ended::Signalled);
    assert!(!before.iter().any(is_alive), "all have ended");
    let [db, web] = ["db", "web"].map(|name| noted_at(&noted(name)));
    assert!(web < db, "what needs another ends first: {web:?} {db:?}");

    place.start_agent();
    eventually("they are up again", || {
        let up = place.instances().into_iter().filter(|instance| instance["phase"] == "up");
        (up.count() == 2).then_some(())
    });
}
