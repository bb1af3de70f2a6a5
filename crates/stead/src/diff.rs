//! `stead diff`: what differs in a service between two entries of a host's history. Reads only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value;
use stead_core::names::{InstanceName, ServiceName};
use stead_core::plan::{Digest, Plan, Spec};
use stead_core::reconcile::{Change, changes};
use stead_release::release::{PathChange, Release};
use stead_wire::WallMs;
use stead_wire::api::PlanState;
use stead_wire::rollout::{History, HistoryEntry, Outcome};
use stead_wire::ship;

use crate::Context;
use crate::args::{DiffArgs, ScopeArgs};
use crate::client::Client;
use crate::failure::{Failure, FleetFailure};
use crate::fleet_file::{FleetFile, Part};
use crate::hosts;
use crate::render;

/// What a host has to tell.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Told {
    Difference(Box<Difference>),
    Lost {
        error: String,
    },
    /// A number that its history does not have, and those that it has.
    Unknown {
        unknown: u64,
        numbers: Vec<u64>,
    },
}

/// What differs in the service between two moments of a host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Difference {
    /// `None`: the service never was otherwise than it is.
    pub(crate) from: Option<Side>,
    pub(crate) to: Side,
    pub(crate) instances: BTreeMap<InstanceName, Change>,
    pub(crate) files: Vec<FilesChange>,
}

/// A moment of a host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Side {
    /// The number of its entry; `None` if what runs now is no entry's.
    pub(crate) n: Option<u64>,
    /// It is what runs now.
    pub(crate) is_now: bool,
    pub(crate) at: Option<WallMs>,
    pub(crate) who: String,
    pub(crate) what: String,
    pub(crate) commit: Option<String>,
    /// The releases of the service.
    pub(crate) releases: BTreeSet<Digest>,
}

/// What differs between two releases, or two configurations, of the service.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct FilesChange {
    /// `release` or `configuration`.
    pub(crate) of: &'static str,
    pub(crate) from: Digest,
    pub(crate) to: Digest,
    pub(crate) paths: Vec<PathChange>,
    /// Why they could not be compared.
    pub(crate) unknown: Option<String>,
}

/// A host that is asked about a service.
struct Asked<'a> {
    client: &'a Client,
    service: &'a ServiceName,
    history: History,
    state: PlanState,
}

pub(crate) async fn diff(ctx: &mut Context, args: DiffArgs) -> Result<(), Failure> {
    let file = FleetFile::open(&args.file, &args.tier, ctx.screen.paint_notes)?;
    let service = file.known_service(&args.service)?.name().clone();
    let scope = ScopeArgs { only: vec![args.service.clone()], host: args.host.clone() };
    let file = file.narrowed(&scope)?;
    let mut told = BTreeMap::new();
    for (host, reached) in hosts::look(&file).await? {
        let one = match reached {
            Ok(reached) => tell(&reached.client, &service, (args.from, args.to)).await,
            Err(error) => Ok(Told::Lost { error: error.to_string() }),
        };
        let one = one.unwrap_or_else(|failure| Told::Lost { error: failure.whole() });
        told.insert(host.to_string(), one);
    }
    match args.json {
        true => ctx.screen.json(&told)?,
        false => {
            let paint = ctx.screen.paint;
            let lines = render::diff::lines(&service, &told, &TimeZone::system(), paint);
            ctx.screen.write(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
        }
    }
    ended(told)
}

/// How the command ends: hosts that could not be asked first.
fn ended(told: BTreeMap<String, Told>) -> Result<(), Failure> {
    let (mut lost, mut unknown) = (BTreeMap::new(), BTreeMap::new());
    for (host, one) in told {
        match one {
            Told::Difference(_) => (),
            Told::Lost { error } => drop(lost.insert(host, error)),
            Told::Unknown { numbers, .. } => {
                unknown.insert(host, format!("it has {}", shown(&numbers)));
            }
        }
    }
    match (lost.is_empty(), unknown.is_empty()) {
        (true, true) => Ok(()),
        (true, false) => Err(FleetFailure::NoEntry { hosts: unknown }.into()),
        (false, _) => Err(FleetFailure::LostAll { lost }.into()),
    }
}

/// Numbers as people read them.
pub(crate) fn shown(numbers: &[u64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    if numbers.is_empty() { "none".into() } else { numbers.join(", ") }
}

/// What one host has to tell between these numbers.
async fn tell(
    client: &Client,
    service: &ServiceName,
    (from, to): (Option<u64>, Option<u64>),
) -> Result<Told, Failure> {
    let history: History = client.get("/v1/history").await?;
    let state: PlanState = client.get("/v1/plan").await?;
    let numbers: Vec<u64> = history.entries.iter().map(|entry| entry.n).collect();
    if let Some(unknown) = [from, to].into_iter().flatten().find(|n| !numbers.contains(n)) {
        return Ok(Told::Unknown { unknown, numbers });
    }
    let asked = Asked { client, service, history, state };
    let (to, to_plan) = match to {
        Some(n) => asked.entry(n).await?,
        None => asked.now().await?,
    };
    let from = match from {
        Some(n) => Some(asked.entry(n).await?),
        None => asked.otherwise(to_plan.as_ref()).await?,
    };
    let Some((from, from_plan)) = from else {
        let (instances, files) = (BTreeMap::new(), Vec::new());
        return Ok(Told::Difference(Box::new(Difference { from: None, to, instances, files })));
    };
    let [from_plan, to_plan] = [&from_plan, &to_plan].map(|plan| of(plan.as_ref(), service));
    let mut files = Vec::new();
    for (part, from, to) in packed_otherwise(&from_plan, &to_plan) {
        files.push(asked.files(part, from, to).await?);
    }
    let instances = compared(&from_plan, &to_plan);
    Ok(Told::Difference(Box::new(Difference { from: Some(from), to, instances, files })))
}

/// What a plan says of the service.
type OfService = BTreeMap<InstanceName, Spec>;

fn of(plan: Option<&Plan>, service: &ServiceName) -> OfService {
    // A migration is none of what the service is.
    let specs = plan.into_iter().flat_map(|plan| plan.of_service(service));
    let specs = specs.filter(|(_, spec)| !spec.once);
    specs.map(|(name, spec)| (name.clone(), spec.clone())).collect()
}

fn compared(from: &OfService, to: &OfService) -> BTreeMap<InstanceName, Change> {
    let plan = |instances: &OfService| Plan {
        fleet: "compared".parse().expect("it is a name"),
        host: "compared".parse().expect("it is a name"),
        instances: instances.clone(),
    };
    changes(Some(&plan(from)), &plan(to), stead_fleet::diff)
}

/// What the same instances have packed otherwise, each pair once.
fn packed_otherwise(from: &OfService, to: &OfService) -> BTreeSet<(Part, Digest, Digest)> {
    let both = from.iter().filter_map(|(name, old)| Some((old, to.get(name)?)));
    let pairs = both.flat_map(|(old, new)| {
        [(Part::Config, &old.config, &new.config), (Part::Files, &old.release, &new.release)]
    });
    let pairs = pairs.filter_map(|(part, old, new)| Some((part, old.clone()?, new.clone()?)));
    pairs.filter(|(_, old, new)| old != new).collect()
}

impl Asked<'_> {
    /// An entry of the history, with its plan.
    async fn entry(&self, n: u64) -> Result<(Side, Option<Plan>), Failure> {
        let entry = self.history.entries.iter().find(|entry| entry.n == n);
        let plan = self.client.past_plan(n).await?;
        Ok((self.side(entry, false, plan.as_ref()), plan))
    }

    /// What runs now, with the entry that brought it.
    async fn now(&self) -> Result<(Side, Option<Plan>), Failure> {
        let plan = self.state.plan.clone();
        let last = self.kept().next();
        let brought = match last {
            Some(last) if self.client.past_plan(last.n).await? == plan => Some(last),
            Some(_) | None => None,
        };
        Ok((self.side(brought, true, plan.as_ref()), plan))
    }

    /// The last entry in which the service was otherwise.
    async fn otherwise(
        &self,
        than: Option<&Plan>,
    ) -> Result<Option<(Side, Option<Plan>)>, Failure> {
        let than = of(than, self.service);
        for entry in self.kept() {
            let plan = self.client.past_plan(entry.n).await?;
            if plan.is_some() && of(plan.as_ref(), self.service) != than {
                return Ok(Some((self.side(Some(entry), false, plan.as_ref()), plan)));
            }
        }
        Ok(None)
    }

    /// The entries that were not taken back, the newest first.
    fn kept(&self) -> impl Iterator<Item = &HistoryEntry> {
        let is_kept = |entry: &&HistoryEntry| match entry.outcome {
            Outcome::Committed | Outcome::Put => true,
            Outcome::Reverted(_) => false,
        };
        self.history.entries.iter().rev().filter(is_kept)
    }

    fn side(&self, entry: Option<&HistoryEntry>, is_now: bool, plan: Option<&Plan>) -> Side {
        let specs = plan.into_iter().flat_map(|plan| plan.of_service(self.service));
        Side {
            n: entry.map(|entry| entry.n),
            is_now,
            at: entry.map(|entry| entry.at),
            who: entry.map(|entry| entry.who.clone()).unwrap_or_default(),
            what: entry.map(|entry| entry.what.clone()).unwrap_or_default(),
            commit: entry.and_then(|entry| entry.commit.clone()),
            releases: specs.filter_map(|(_, spec)| spec.release.clone()).collect(),
        }
    }

    async fn files(&self, part: Part, from: Digest, to: Digest) -> Result<FilesChange, Failure> {
        let (old, new) = (self.release(part, &from).await?, self.release(part, &to).await?);
        let (paths, unknown) = match (old, new) {
            (Ok(old), Ok(new)) => (old.changes_to(&new), None),
            (Err(why), _) | (_, Err(why)) => (Vec::new(), Some(why)),
        };
        Ok(FilesChange { of: part.noun(), from, to, paths, unknown })
    }

    /// What a release on the host holds, or why nobody knows any more.
    async fn release(
        &self,
        part: Part,
        digest: &Digest,
    ) -> Result<Result<Release, String>, Failure> {
        let path = format!("{}{}/{}", ship::MANIFEST, part.folder_name(), digest.as_str());
        let manifest = match self.client.get::<Value>(&path).await {
            Ok(manifest) => manifest,
            Err(Failure::AgentRefused { refusal, .. }) => {
                return Ok(Err(format!("{}: {}", digest.short(), refusal.because)));
            }
            Err(other) => return Err(other),
        };
        // Nothing is read by these entries, so it does not matter where their contents would be.
        let release = Release::of_manifest(&manifest, Path::new(""));
        Ok(release.map_err(|error| format!("{}: {error}", digest.short())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stead_core::template::Template;

    fn digest(c: &str) -> Digest {
        Digest::try_from(c.repeat(64)).unwrap()
    }

    fn spec(release: Option<&str>, config: Option<&str>) -> Spec {
        Spec {
            release: release.map(digest),
            config: config.map(digest),
            ..Spec::of(vec![Template::literal("x")])
        }
    }

    fn service<const N: usize>(specs: [(&str, Spec); N]) -> OfService {
        specs.map(|(name, spec)| (name.parse().unwrap(), spec)).into()
    }

    #[test]
    fn what_instances_have_in_common_is_compared_once_and_what_only_one_side_has_not_at_all() {
        let from = service([
            ("web.0", spec(Some("a"), Some("c"))),
            ("web.1", spec(Some("a"), None)),
            ("web.2", spec(Some("b"), None)),
            ("web.3", spec(None, None)),
        ]);
        let to = service([
            ("web.0", spec(Some("b"), Some("d"))),
            ("web.1", spec(Some("b"), Some("d"))),
            ("web.2", spec(Some("b"), None)),
            ("web.4", spec(Some("b"), None)),
        ]);
        let expected =
            [(Part::Config, digest("c"), digest("d")), (Part::Files, digest("a"), digest("b"))];
        assert_eq!(packed_otherwise(&from, &to), expected.into());
        let found = compared(&from, &to);
        let kind = |name: &str| found.get(&name.parse().unwrap()).cloned();
        assert_eq!(kind("web.2"), Some(Change::Keep));
        assert_eq!(kind("web.3"), Some(Change::Remove));
        assert_eq!(kind("web.4"), Some(Change::Add));
    }

    #[test]
    fn a_host_that_is_lost_weighs_more_than_a_number_that_is_unknown() {
        let lost = || Told::Lost { error: "no route".into() };
        let unknown = || Told::Unknown { unknown: 9, numbers: vec![1, 2] };
        let code = |told: Vec<Told>| {
            let told = told.into_iter().enumerate().map(|(n, told)| (format!("h{n}"), told));
            ended(told.collect()).map_err(|failure| failure.exit().code())
        };
        assert_eq!(code(Vec::new()), Ok(()));
        assert_eq!(code(vec![unknown()]), Err(2));
        assert_eq!(code(vec![unknown(), lost()]), Err(4));
    }
}
