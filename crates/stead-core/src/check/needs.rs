//! What the services of a host need of it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use serde::Serialize;

use crate::names::{InstanceName, ServiceName};
use crate::plan::{Plan, Spec};
use crate::sandbox::Sandbox;

/// A system that programs are for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum System {
    #[default]
    Linux,
    Windows,
}

impl System {
    /// As `uname -s` says it, and as Windows calls itself.
    pub fn name(self) -> &'static str {
        self.pick("Linux", "Windows")
    }

    /// What is so on one, or on the other.
    pub(super) fn pick<T>(self, on_linux: T, on_windows: T) -> T {
        match self {
            Self::Linux => on_linux,
            Self::Windows => on_windows,
        }
    }
}

/// What is needed of a host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Needs {
    pub plan: Plan,
    /// The system that the host is to have.
    pub system: System,
    /// The processor that stead's own programs are for.
    pub machine: &'static str,
    /// Whether its agent is begun by a login from elsewhere.
    pub is_remote: bool,
    /// What is brought there at most.
    pub release_bytes: u64,
    pub programs: Vec<Program>,
    pub signatures: Vec<Signature>,
}

/// A program of a service that is brought along.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Program {
    pub service: ServiceName,
    /// As the fleet file has it.
    pub file: String,
    /// `None`: it is yet to be built.
    pub binary: Option<Binary>,
}

/// A program that the fleet file has signed, and how that stands here, before anything is brought
/// anywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signature {
    pub service: ServiceName,
    /// As the release has it.
    pub file: String,
    pub state: SignatureState,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SignatureState {
    /// It does not verify; `copy` is the file that is kept of it.
    Bad {
        why: String,
        copy: String,
    },
    /// The tool that signs is not on this machine.
    NoTool {
        tool: &'static str,
    },
    Verified,
    /// A deploy will sign it.
    Unsigned,
}

/// What a program asks of a host to be run at all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Binary {
    /// The system that it is for, as its format tells.
    pub system: System,
    /// The processor that it is for, as `uname -m` says it; `None` is one that we do not know.
    pub machine: Option<&'static str>,
    /// What loads it; a static program has none.
    pub interpreter: Option<String>,
    /// The highest of the versions of glibc that it names.
    pub glibc: Option<Glibc>,
    /// What in it makes no sense; the rest is then not known.
    pub damage: Option<String>,
}

/// A version of glibc.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Glibc {
    numbers: [u32; 3],
}

/// A text that is no version of glibc.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a version of glibc is two or three numbers")]
pub struct GlibcError;

impl FromStr for Glibc {
    type Err = GlibcError;
    fn from_str(text: &str) -> Result<Self, GlibcError> {
        let mut numbers = [0; 3];
        let mut n = 0;
        for part in text.split('.') {
            *numbers.get_mut(n).ok_or(GlibcError)? = part.parse().map_err(|_| GlibcError)?;
            n += 1;
        }
        if n >= 2 { Ok(Self { numbers }) } else { Err(GlibcError) }
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}")?;
        if patch == 0 { Ok(()) } else { write!(f, ".{patch}") }
    }
}

impl Serialize for Glibc {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// A port that an instance listens at.
pub(super) struct Port<'a> {
    pub(super) instance: &'a InstanceName,
    pub(super) number: u16,
    /// Whether it may be a low one, under an agent that is root.
    pub(super) may_be_low: bool,
}

impl Needs {
    /// The ports of all instances; with the second one of those behind a front.
    pub(super) fn ports(&self) -> impl Iterator<Item = Port<'_>> {
        self.plan.instances.iter().flat_map(|(instance, spec)| {
            let runs_as_root = matches!(spec.user.as_deref(), Some("root" | "0"));
            let is_boxed = spec.sandbox != Sandbox::Off;
            spec.ports.iter().flat_map(move |(name, port)| {
                let second = spec.fronted.as_ref().map(|_| port.saturating_add(1));
                let may_be_low = runs_as_root || is_boxed || spec.listen.contains_key(name);
                let numbers = [Some(*port), second].into_iter().flatten();
                numbers.map(move |number| Port { instance, number, may_be_low })
            })
        })
    }

    /// What the host is asked about, each behind its kind.
    pub fn questions(&self) -> Vec<String> {
        let ask = |kind: &str, of: &dyn fmt::Display| alloc::format!("{kind}:{of}");
        let ports: BTreeSet<u16> = self.ports().map(|port| port.number).collect();
        let interpreters = self.interpreters();
        let ports = ports.iter().map(|port| ask("port", port));
        let users = self.users();
        let users = users.keys().map(|user| ask("user", user));
        let groups = self.groups();
        let groups = groups.keys().map(|group| ask("group", group));
        let paths = interpreters.iter().map(|path| ask("path", path));
        ports.chain(users).chain(groups).chain(paths).collect()
    }

    fn interpreters(&self) -> BTreeSet<&str> {
        let binaries = self.programs.iter().filter_map(|program| program.binary.as_ref());
        // What is for another system is loaded by nothing there.
        let binaries = binaries.filter(|binary| binary.system == self.system);
        binaries.filter_map(|binary| binary.interpreter.as_deref()).collect()
    }

    /// Users that are asked for, each by whom.
    pub(super) fn users(&self) -> BTreeMap<&str, BTreeSet<&ServiceName>> {
        self.named(|spec| spec.user.as_deref())
    }

    pub(super) fn groups(&self) -> BTreeMap<&str, BTreeSet<&ServiceName>> {
        self.named(|spec| spec.group.as_deref())
    }

    fn named<'a>(
        &'a self,
        name: impl Fn(&'a Spec) -> Option<&'a str>,
    ) -> BTreeMap<&'a str, BTreeSet<&'a ServiceName>> {
        let mut by_name: BTreeMap<&str, BTreeSet<&ServiceName>> = BTreeMap::new();
        for (instance, spec) in &self.plan.instances {
            if let Some(name) = name(spec) {
                by_name.entry(name).or_default().insert(instance.service());
            }
        }
        by_name
    }

    /// The sum of something over all instances.
    pub(super) fn sum(&self, of: impl Fn(&Spec) -> Option<u64>) -> u64 {
        self.plan.instances.values().filter_map(of).fold(0, u64::saturating_add)
    }
}

/// Services as a list.
pub(super) fn list(services: &BTreeSet<&ServiceName>) -> String {
    let names: Vec<String> = services.iter().map(|name| name.to_string()).collect();
    names.join(", ")
}
