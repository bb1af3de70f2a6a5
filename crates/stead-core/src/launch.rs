//! What a keeper needs to know of its instance: a [`Spec`] with the host's side filled in.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::names::InstanceName;
use crate::plan::{Digest, LogLimits, Restart, Spec, StopHow, Umask};
use crate::signal::Signal;
use crate::template::{Places, Template};
use crate::units::as_millis;

/// What a keeper runs. Everything in it is true on this host; nothing is left to look up.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Launch {
    pub instance: InstanceName,
    pub release: Option<Digest>,
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// Absolute path the run starts in.
    pub directory: String,
    /// The whole environment of a run, but for the names stead adds itself.
    pub env: BTreeMap<String, String>,
    /// Whom it runs as; `None` for whoever the keeper is.
    pub account: Option<Account>,
    pub umask: Umask,
    pub new_privileges: bool,
    pub restart: Restart,
    pub stop: LaunchStop,
    pub log: LogLimits,
}

/// User and groups by number.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// The stop ladder with its hook filled in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LaunchStop {
    pub how: LaunchStopHow,
    #[serde(with = "as_millis", rename = "timeout_ms")]
    pub timeout: Duration,
}

/// The first rung of the stop ladder, with its places filled in.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaunchStopHow {
    CtrlBreak,
    CtrlC,
    Hook(Vec<String>),
    Signal(Signal),
}

/// What a host adds to a spec to make it a [`Launch`].
#[derive(Clone, Debug)]
pub struct HostSide<'a> {
    pub places: Places<'a>,
    pub account: Option<Account>,
    /// Variables every run gets (PATH, HOME, …), weakest first.
    pub env: BTreeMap<String, String>,
}

/// Fills in the host's side of a spec.
pub fn launch(instance: &InstanceName, spec: &Spec, host: HostSide<'_>) -> Launch {
    let fill = |texts: &[Template]| texts.iter().map(|text| text.fill(&host.places)).collect();
    let default_directory = || match spec.release {
        Some(_) => host.places.release.into(),
        None => host.places.data.into(),
    };
    let mut env = host.env;
    env.extend(spec.env.iter().map(|(name, value)| (name.clone(), value.fill(&host.places))));
    Launch {
        instance: instance.clone(),
        release: spec.release.clone(),
        argv: fill(&spec.run),
        directory: spec
            .directory
            .as_ref()
            .map_or_else(default_directory, |text| text.fill(&host.places)),
        env,
        account: host.account,
        umask: spec.umask,
        new_privileges: spec.new_privileges,
        restart: spec.restart,
        stop: LaunchStop {
            how: match &spec.stop.how {
                StopHow::CtrlBreak => LaunchStopHow::CtrlBreak,
                StopHow::CtrlC => LaunchStopHow::CtrlC,
                StopHow::Hook(hook) => LaunchStopHow::Hook(fill(hook)),
                StopHow::Signal(signal) => LaunchStopHow::Signal(*signal),
            },
            timeout: spec.stop.timeout,
        },
        log: spec.log,
    }
}
