//! What is to happen in a world: how many hosts, what the releases are like, and all that goes
//! wrong.

use fastrand::Rng;
use stead_core::rollout::{Pace, Wave};

use crate::script::Script;
use crate::{Ms, Version};

/// From here on nothing goes wrong any more.
pub(crate) const HEALED_AT: Ms = 120_000;

const HOSTS_MAX: usize = 6;

/// Operators that are begun while things go wrong.
const OPERATORS_MAX: usize = 3;

/// A protection that is left out, to see that its absence is noticed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Broken {
    /// A host takes asks of operators that were overtaken.
    Fence,
    /// An agent acts before its memory is durable.
    Durable,
    /// A host never takes back by itself what nobody commits.
    SelfRevert,
    /// A host that was told to go back may be switched by what comes late.
    ToldStays,
    /// Who resumes goes by what it saw before its claims.
    LookAfterClaim,
    /// A commit is sent before the gates have been passed.
    Gate,
}

impl Broken {
    pub const ALL: [Self; 6] = [
        Self::Fence,
        Self::Durable,
        Self::SelfRevert,
        Self::ToldStays,
        Self::LookAfterClaim,
        Self::Gate,
    ];

    /// What scripts and the command line call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fence => "fence",
            Self::Durable => "durable",
            Self::SelfRevert => "self-revert",
            Self::ToldStays => "told-stays",
            Self::LookAfterClaim => "look-after-claim",
            Self::Gate => "gate",
        }
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// What a release does on a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Good,
    NeverReady,
    Crashes,
    /// It passes, and fails so long after.
    FailsAfter(Ms),
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    OperatorDies { operator: usize },
    Interrupt { operator: usize },
    OperatorSleeps { operator: usize, lasts: Ms },
    PowerLost { host: usize, lasts: Ms },
    AgentDies { host: usize, lasts: Ms },
    Cut { host: usize, lasts: Ms },
    DiskFull { host: usize, lasts: Ms },
}

/// What an operator is begun for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Task {
    Deploy(Version),
    Resume,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub hosts_n: usize,
    pub pace: Pace,
    /// By version, then by host. The first one is good.
    pub kinds: Vec<Vec<Kind>>,
    pub begun: Vec<(Ms, Task)>,
    pub faults: Vec<(Ms, Fault)>,
    /// Of a thousand asks, so many get lost on their way, or late there, or have their answer lost.
    pub lost_permille: u32,
    pub delay_ms_max: Ms,
    pub broken: Option<Broken>,
    /// Where there is one, nothing is left to chance.
    pub script: Option<Script>,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64, broken: Option<Broken>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let hosts_n = rng.usize(1..=HOSTS_MAX);
        let operators_n = rng.usize(1..=OPERATORS_MAX);
        let mut begun = vec![(0, Task::Deploy(1))];
        for n in 1..operators_n {
            let version = Version::try_from(n + 1).expect("there are few");
            let task = if rng.bool() { Task::Resume } else { Task::Deploy(version) };
            begun.push((rng.u64(0..HEALED_AT / 2), task));
        }
        let kinds = (0..=OPERATORS_MAX).map(|version| kinds(&mut rng, version, hosts_n)).collect();
        let is_calm = rng.u8(0..4) == 0;
        let faults_n = if is_calm { 0 } else { rng.usize(0..8) };
        let faults = (0..faults_n).map(|_| fault(&mut rng, hosts_n, operators_n)).collect();
        let lost_permille = if is_calm { 0 } else { *pick(&mut rng, &[0, 5, 50, 200]) };
        let delay_ms_max = *pick(&mut rng, &[2, 50, 2000]);
        let pace = pace(&mut rng);
        let script = None;
        Self {
            seed,
            hosts_n,
            pace,
            kinds,
            begun,
            faults,
            lost_permille,
            delay_ms_max,
            broken,
            script,
        }
    }

    /// All that goes wrong, whenever it does.
    pub(crate) fn all_faults(&self) -> impl Iterator<Item = &Fault> {
        let whens = self.script.iter().flat_map(|script| &script.whens);
        self.faults.iter().map(|(_, fault)| fault).chain(whens.map(|when| &when.fault))
    }

    /// What an operator is called.
    pub(crate) fn who(&self, operator: usize) -> String {
        let name = self.script.as_ref().and_then(|script| script.names.get(operator));
        name.cloned().unwrap_or_else(|| format!("op{operator}"))
    }

    pub(crate) fn kind(&self, version: Version, host: usize) -> Kind {
        self.kinds[version as usize][host]
    }
}

fn pick<'a, T>(rng: &mut Rng, of: &'a [T]) -> &'a T {
    &of[rng.usize(0..of.len())]
}

fn kinds(rng: &mut Rng, version: usize, hosts_n: usize) -> Vec<Kind> {
    let is_good = version == 0 || rng.bool();
    let bad = [Kind::NeverReady, Kind::Crashes, Kind::FailsAfter(rng.u64(0..4000))];
    // Some are bad on a single host only.
    let only = rng.bool().then(|| rng.usize(0..hosts_n));
    let kind = *pick(rng, &bad);
    (0..hosts_n)
        .map(|host| if is_good || only.is_some_and(|it| it != host) { Kind::Good } else { kind })
        .collect()
}

fn fault(rng: &mut Rng, hosts_n: usize, operators_n: usize) -> (Ms, Fault) {
    // Most of it while something is under way.
    let at = if rng.bool() { rng.u64(0..5000) } else { rng.u64(0..HEALED_AT / 2) };
    let lasts = *pick(rng, &[500, 5000, 40_000]);
    let (host, operator) = (rng.usize(0..hosts_n), rng.usize(0..operators_n));
    let fault = match rng.u8(0..7) {
        0 => Fault::OperatorDies { operator },
        6 => Fault::Interrupt { operator },
        1 => Fault::OperatorSleeps { operator, lasts },
        2 => Fault::PowerLost { host, lasts },
        3 => Fault::AgentDies { host, lasts },
        4 => Fault::Cut { host, lasts },
        _ => Fault::DiskFull { host, lasts },
    };
    (at, fault)
}

fn pace(rng: &mut Rng) -> Pace {
    let secs = core::time::Duration::from_secs;
    Pace {
        canary: rng.usize(0..=1),
        wave: *pick(rng, &[Wave::Count(1), Wave::Percent(50), Wave::Percent(100)]),
        unavailable_max: *pick(rng, &[1, 2, usize::MAX]),
        unreachable_max: *pick(rng, &[0, 0, 1]),
        bake: secs(*pick(rng, &[0, 1, 3])),
        ready_within: secs(5),
        commit_within: secs(*pick(rng, &[8, 20])),
    }
}
