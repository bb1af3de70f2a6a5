//! What a good fleet file means.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stead_core::names::{HostName, SecretName, ServiceName};
use stead_core::plan::{Digest, Plan, Spec, StopHow, When};
use stead_core::rollout::Wave;
use stead_core::template::Places;
use stead_fleet::{Address, Fleet, Os, Packed, Rollout, Stage};

fn fleet(name: &str) -> Fleet {
    let text = std::fs::read_to_string(format!("tests/good/{name}.toml")).expect("it is there");
    parsed(&text)
}

fn parsed(text: &str) -> Fleet {
    match Fleet::parse_on(Os::Linux, text.as_bytes()) {
        Ok(fleet) => fleet,
        Err(problems) => panic!("{}", problems.render("stead.toml", text, false)),
    }
}

/// The plan of one host, with a release for every service.
fn plan(fleet: &Fleet, host: &str) -> Plan {
    let digest = |part: &str| Digest::try_from(part.repeat(32)).ok();
    let packed = Packed { release: digest("ab"), config: digest("cd") };
    let packed: BTreeMap<ServiceName, Packed> =
        fleet.services().map(|service| (service.name().clone(), packed.clone())).collect();
    let host = host.parse().expect("it is a name");
    let id = |name: &SecretName| (name.clone(), digest("ef").expect("it is one"));
    let secrets = fleet.secrets_on(&host).into_keys().map(id).collect();
    fleet.plan(&host, &packed, &secrets)
}

fn spec<'a>(plan: &'a Plan, instance: &str) -> &'a Spec {
    &plan.instances[&instance.parse().expect("it is an instance")]
}

fn argv(spec: &Spec) -> Vec<String> {
    let places = Places {
        config: "/config",
        kit: "/kit",
        ports: &BTreeMap::new(),
        data: "/d",
        release: "/r",
        tmp: "/t",
    };
    spec.run.iter().map(|text| text.fill(&places)).collect()
}

#[test]
fn the_pace_of_rollouts_and_the_key_are_read_as_written() {
    let fleet = fleet("every-field");
    let rollout = fleet.rollout();
    assert_eq!((rollout.canary, rollout.wave), (Some(2), Some(Wave::Percent(50))));
    assert_eq!((rollout.max_unavailable, rollout.max_unreachable), (Some(3), Some(1)));
    assert_eq!(rollout.compare, Some(false));
    let times = [rollout.bake, rollout.ready_within, rollout.commit_within];
    assert_eq!(times, [30, 90, 300].map(|secs| Some(Duration::from_secs(secs))));
    assert_eq!(fleet.signing_key(), Some("keys/deploy.key"));
    let least = parsed("[service.a]\nrun = [\"/a\"]\n");
    assert_eq!((least.rollout(), least.signing_key()), (&Rollout::default(), None));
}

#[test]
fn a_migration_is_its_service_run_once_and_listening_nowhere() {
    let fleet = parsed(
        "[rollout]\nbefore = \"./freeze\"\nafter = \"./tell\"\nmigrate_within = \"5m\"\n\
         [service.web]\nrun = [\"/w\"]\nport.http = 80\nfront = { port = 90 }\n\
         env.AT = \"{port.http}\"\nuser = \"web\"\nneeds = [\"db\"]\nready = { tcp = true }\n\
         migrate = [\"/w\", \"--port={port.http}\"]\n[service.db]\nrun = [\"/d\"]\n",
    );
    let [before, after] = [&fleet.hooks().before, &fleet.hooks().after].map(Option::as_deref);
    assert_eq!((before, after), (Some("./freeze"), Some("./tell")));
    assert_eq!(fleet.rollout().migrate_within, Some(Duration::from_secs(300)));
    let host = fleet.hosts().next().expect("there is one");
    let all = fleet.migrations(host, &BTreeMap::new(), &BTreeMap::new());
    let [migration] = &all[..] else { panic!("{all:?}") };
    assert_eq!(migration.instance.to_string(), "web-migrate.0");
    let spec = &migration.spec;
    assert_eq!(argv(spec), ["/w", "--port=80"]);
    assert_eq!(String::from(spec.env["AT"].clone()), "80");
    assert_eq!(spec.user.as_deref(), Some("web"));
    assert!(spec.once && spec.ports.is_empty() && spec.needs.is_empty());
    assert!(spec.ready.is_none() && spec.fronted.is_none());
    assert_eq!(spec.restart.when, When::Never);
    // Control: the service itself has all of that.
    let plan = plan(&fleet, host.name().as_str());
    let web = self::spec(&plan, "web.0");
    assert!(!web.once && !web.ports.is_empty() && !web.needs.is_empty());
    assert!(plan.instances.keys().all(|name| *name != migration.instance));
}

#[test]
fn a_migration_leaves_the_registry_to_its_service() {
    let fleet = parsed(
        "[host.w]\nos = \"windows\"\n[service.web]\nrun = [\"C:/w\"]\nmigrate = [\"C:/w\"]\n\
         [service.web.windows]\nevent_source = \"Web\"\nregistry.'HKLM\\SOFTWARE\\Web'.A = 1\n",
    );
    let host = fleet.hosts().next().expect("there is one");
    let all = fleet.migrations(host, &BTreeMap::new(), &BTreeMap::new());
    let [migration] = &all[..] else { panic!("{all:?}") };
    assert!(migration.spec.whole_registry().is_empty());
    // Control: the service itself has all of that.
    let plan = plan(&fleet, "w");
    assert_eq!(spec(&plan, "web.0").whole_registry().values().count(), 3);
}

#[test]
fn hosts_with_what_others_need_come_before_them() {
    let text = "[host]\na = {}\nb = {}\nc = {}\n\
        [service.web]\nrun = [\"/w\"]\non = [\"a\", \"b\"]\nneeds = [\"db\"]\n\
        [service.db]\nrun = [\"/d\"]\non = [\"b\", \"c\"]\n";
    let fleet = parsed(text);
    let rank = |host: &str| fleet.rank(&host.parse().expect("it is a name"));
    assert_eq!(["a", "b", "c"].map(rank), [1, 0, 0]);
}

#[test]
fn a_good_file_becomes_these_plans() {
    insta::glob!("good/*.toml", |path| {
        let text = std::fs::read_to_string(path).expect("it was just listed");
        let fleet = parsed(&text);
        let plans: Vec<Plan> =
            fleet.hosts().map(|host| plan(&fleet, host.name().as_str())).collect();
        insta::assert_snapshot!(serde_json::to_string_pretty(&plans).expect("a plan is JSON"));
    });
}

#[test]
fn each_instance_gets_ports_of_its_own() {
    let plan = plan(&fleet("shop"), "vm1");
    let listen = |instance| argv(spec(&plan, instance))[2].clone();
    assert_eq!(listen("orders.0"), "127.0.0.1:8100");
    assert_eq!(listen("orders.1"), "127.0.0.1:8101");
    assert_eq!(spec(&plan, "orders.1").ports["http"], 8101);
}

#[test]
fn a_host_gets_its_own_services_in_the_form_of_its_own_system() {
    let fleet = fleet("shop");
    let plan = plan(&fleet, "win1");
    let names: Vec<_> = plan.instances.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["orders.0", "orders.1"], "db is not for win1");
    let orders = spec(&plan, "orders.0");
    assert_eq!(argv(orders)[0], "orders.exe");
    assert_eq!(orders.user.as_deref(), Some("LocalService"));
    assert_eq!(orders.stop.how, StopHow::CtrlBreak);
    assert!(orders.env.contains_key("RUST_LOG"), "variables of the service hold everywhere");
    let orders = fleet.service(&"orders".parse().expect("it is a name")).expect("it is there");
    let build = |os| orders.program(os).and_then(|program| program.build());
    assert!(build(Os::Windows).expect("it has one").ends_with("windows-gnu"));
    assert!(build(Os::Linux).expect("it has one").ends_with("orders"));
}

#[test]
fn a_file_without_hosts_is_about_this_machine() {
    let fleet = fleet("least");
    let local: HostName = "local".parse().expect("it is a name");
    assert_eq!(fleet.local_host(), Some(local.clone()));
    assert_eq!(fleet.host(&local).map(|host| host.address()), Some(&Address::Local));
    let plan = plan(&fleet, "local");
    assert_eq!(spec(&plan, "clock.0").release, None, "without files there is no release");
}

#[test]
fn a_service_without_on_runs_on_every_host() {
    let fleet = parsed("[host.a]\n[host.b]\naddress = \"x@y\"\n[service.s]\nrun = [\"/bin/s\"]");
    let on = fleet.services().next().expect("it is there").on();
    assert_eq!(on.iter().map(HostName::as_str).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(fleet.local_host(), None);
    let a = fleet.hosts().next().expect("it is there");
    assert_eq!(a.address(), &Address::Ssh("a".into()), "its name is what ssh is told");
}

#[test]
fn a_fleet_without_braces_in_mind_can_still_write_them() {
    let plan = plan(&fleet("every-field"), "here");
    assert_eq!(
        argv(spec(&plan, "gateway.2"))[1..],
        ["--peer={peer}", "--port=9002", "--admin=9102"]
    );
}

/// A folder that is removed with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[&str]) -> Self {
        let path = std::env::temp_dir().join(format!("stead-fleet-{name}-{}", std::process::id()));
        for file in files {
            let file = path.join(file);
            std::fs::create_dir_all(file.parent().expect("it has one")).expect("it can be made");
            std::fs::write(file, "").expect("it can be written");
        }
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("it is ours");
    }
}

fn missing(text: &str, folder: &Path, stage: Stage) -> String {
    match parsed(text).check_files(text, folder, stage) {
        Ok(()) => String::new(),
        Err(problems) => {
            let shown = problems.render("stead.toml", text, false);
            shown.replace(&folder.display().to_string(), "FOLDER")
        }
    }
}

#[test]
fn a_missing_file_is_told_with_what_it_may_be() {
    let folder = Folder::new("missing", &["out/orders", "config/a.toml", "shop/stead.toml"]);
    let shop = folder.0.join("shop");
    let text = "[service.orders]\nfiles = [\"../out/ordesr\", \"../config/\", \"data\"]\n\
         run = [\"./orders\"]\n\n[service.web]\nbuild = \"make web\"\nfiles = [\"web\"]\n\
         run = [\"./web\"]\n\n[service.proxy]\nconfig = [\"../config/b.toml\"]\n\
         run = [\"/usr/bin/proxy\", \"{config}/b.toml\"]\n";
    insta::assert_snapshot!("files-not-built", missing(text, &shop, Stage::NotBuilt));
    insta::assert_snapshot!("files-built", missing(text, &shop, Stage::Built));
    let good =
        text.replace("ordesr", "orders").replace(", \"data\"", "").replace("b.toml", "a.toml");
    assert_eq!(missing(&good, &shop, Stage::NotBuilt), "", "the good twin");
}
