//! The host's side of a plan: what each instance is launched with on this host.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use stead_core::launch::{HostSide, Launch, config_place, launch};
use stead_core::names::InstanceName;
use stead_core::plan::{Plan, Spec};
use stead_core::template::Places;
use stead_wire::file::mark;

use crate::accounts::{Accounts, Whom};
use crate::agent::fronts::front_port;
use crate::kit;
use crate::layout::Layout;
use crate::probe::Probes;
use crate::store::Stored;
use crate::timetable::Timetable;

/// Why what needs a front is not begun where there can be none.
const NO_FRONT: &str = "it needs a front, and there is no `stead-front` beside this agent's keeper; \
                        leave out `front`, or take programs of stead that have it for this system";

/// Variables of the agent's environment that every run gets when the agent has them.
const INHERITED_ALWAYS: [&str; 2] = ["TZ", "USER"];

/// What the plan wants of an instance, on this host.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) launch: Box<Launch>,
    /// [`mark`] of it, to compare with what a keeper runs by.
    pub(crate) mark: u32,
    /// What its runs are asked, on the first and the second side.
    pub(crate) probes: Box<[Probes; 2]>,
    /// The first of the two ports that a front sends connections to.
    pub(crate) front_port: Option<u16>,
    /// When it runs, if not always.
    pub(crate) timetable: Option<Timetable>,
}

/// Each instance of the plan with its launch, or why it can have none.
pub(crate) type AllWanted = BTreeMap<InstanceName, Result<Wanted, String>>;

/// The variables a plan takes over from the agent's environment.
pub(crate) fn inherited(
    plan: &Plan,
    variable: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, String> {
    let named = plan.instances.values().flat_map(|spec| spec.inherit.iter().map(String::as_str));
    let names = INHERITED_ALWAYS.into_iter().chain(named);
    names.filter_map(|name| Some((name.to_owned(), variable(name)?))).collect()
}

/// Fills in the host's side of a whole plan; `kit` is the folder of stead's own programs.
pub(crate) fn all_wanted(
    layout: &Layout,
    kit: &Path,
    stored: &Stored,
    accounts: &mut Accounts,
) -> AllWanted {
    let mut all = AllWanted::new();
    let fronted = stored.plan.instances.values().filter_map(|spec| spec.fronted.as_ref());
    let fronts: BTreeSet<&InstanceName> = fronted.map(|fronted| &fronted.by).collect();
    let lacks_front = !fronts.is_empty() && !kit::has_front(kit);
    for (name, spec) in &stored.plan.instances {
        if lacks_front && (spec.fronted.is_some() || fronts.contains(name)) {
            all.insert(name.clone(), Err(NO_FRONT.to_owned()));
            continue;
        }
        let whom = accounts.whom(layout, name.service(), spec).map_err(|error| error.to_string());
        let timetable = spec.schedule.as_ref().map(Timetable::of).transpose();
        let wanted = whom.and_then(|whom| {
            let wanted = wanted((layout, kit), name, spec, whom, &stored.inherited);
            Ok(Wanted { timetable: timetable?, ..wanted })
        });
        all.insert(name.clone(), wanted);
    }
    all
}

fn wanted(
    (layout, kit): (&Layout, &Path),
    name: &InstanceName,
    spec: &Spec,
    whom: Whom,
    inherited: &BTreeMap<String, String>,
) -> Wanted {
    let data = layout.data(name).to_string_lossy().into_owned();
    let tmp = layout.tmp(name).to_string_lossy().into_owned();
    let config = config_place(&layout.config(name).to_string_lossy(), spec);
    let kit = kit.to_string_lossy();
    let release = spec.release.as_ref().map(|digest| layout.release(digest));
    let release = release.map_or_else(|| data.clone(), |path| path.to_string_lossy().into_owned());
    let ports = &spec.ports;
    let above = ports.iter().map(|(name, port)| (name.clone(), port.saturating_add(1))).collect();
    let places =
        Places { config: &config, data: &data, kit: &kit, ports, release: &release, tmp: &tmp };
    let probes = [
        Probes::of(spec, &places, false),
        Probes::of(spec, &Places { ports: &above, ..places }, true),
    ];
    let launch = launch(
        name,
        spec,
        HostSide {
            places,
            env: environment(spec, whom.user.as_deref(), (&data, &tmp), inherited),
            account: whom.account,
            isolates: stead_proc::is_root(),
            secrets: &layout.secrets().to_string_lossy(),
        },
    );
    let front_port = front_port(spec);
    let mark = mark(&launch);
    let probes = Box::new(probes);
    Wanted { mark, launch: Box::new(launch), probes, front_port, timetable: None }
}

/// The variables of a run that come from the host, weakest first.
fn environment(
    spec: &Spec,
    user: Option<&str>,
    (data, tmp): (&str, &str),
    inherited: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let user = user.or_else(|| inherited.get("USER").map(String::as_str)).unwrap_or("stead");
    let fixed = [("HOME", data), ("USER", user), ("LOGNAME", user), ("LANG", "C.UTF-8")];
    // Never the agent's own PATH, which differs from shell to shell.
    let base = stead_proc::base_environment(Path::new(tmp)).into_iter();
    let base = base.map(|(name, value)| (name, value.to_string_lossy().into_owned()));
    let mut env: BTreeMap<String, String> = base.collect();
    env.extend(fixed.map(|(name, value)| (name.to_owned(), value.to_owned())));
    for name in ["TZ"].into_iter().chain(spec.inherit.iter().map(String::as_str)) {
        if let Some(value) = inherited.get(name) {
            env.insert(name.to_owned(), value.clone());
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, TempRoot};

    #[test]
    fn a_run_gets_the_hosts_variables_then_the_inherited_then_its_own() {
        let mut spec = testing::spec(&["./orders"]);
        spec.inherit = vec!["TOKEN".into(), "PATH".into(), "MISSING".into()];
        spec.env.insert("LANG".into(), "de_DE.UTF-8".parse().unwrap());
        let plan = testing::plan([("orders.0", spec)]);
        let here = [("TOKEN", "t"), ("PATH", "/agent/path"), ("TZ", "Europe/Berlin"), ("X", "x")];
        let variable = |name: &str| {
            let found = here.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let stored = Stored {
            generation: 1,
            inherited: inherited(&plan, variable),
            leaving: BTreeMap::new(),
            plan,
        };
        let root = TempRoot::new("host-env");
        let layout = root.layout();
        let mut accounts = Accounts::load(&layout).0;
        let all = all_wanted(&layout, Path::new("/kit"), &stored, &mut accounts);
        let name = "orders.0".parse().unwrap();
        let launch = &all[&name].as_ref().unwrap().launch;
        let env = |name: &str| launch.env.get(name).map(String::as_str);
        assert_eq!(env("TOKEN"), Some("t"));
        assert_eq!(env("PATH"), Some("/agent/path"));
        assert_eq!(env("TZ"), Some("Europe/Berlin"));
        assert_eq!(env("LANG"), Some("de_DE.UTF-8"));
        assert_eq!(env("HOME"), layout.data(&name).to_str());
        assert_eq!((env("X"), env("MISSING")), (None, None));
        let again = all_wanted(&layout, Path::new("/kit"), &stored, &mut accounts);
        assert_eq!(again[&name].as_ref().unwrap().mark, all[&name].as_ref().unwrap().mark);
    }

    #[test]
    fn a_service_without_a_user_is_never_root() {
        let root = TempRoot::new("host-user");
        let layout = root.layout();
        let mut accounts = Accounts::load(&layout).0;
        let spec = testing::spec(&["./orders"]);
        let whom = accounts.whom(&layout, &"orders".parse().unwrap(), &spec).unwrap();
        match whom.account {
            Some(account) => assert!(account.uid >= crate::accounts::ACCOUNT_FIRST),
            None => assert!(!stead_proc::is_root()),
        }
    }
}
