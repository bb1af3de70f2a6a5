//! Settings of the host, as its registry has them.

use std::io;
use std::path::Path;

use stead_core::check::{covers, lets_in};

use super::{Told, registry, services};

const FILES: &str = r"SYSTEM\CurrentControlSet\Control\FileSystem";
const SESSIONS: &str = r"SYSTEM\CurrentControlSet\Control\Session Manager";

/// Keys that are there as long as somebody waits for a reboot.
const WAITING: [(&str, &str); 2] = [
    (
        "servicing",
        r"SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending",
    ),
    (
        "update",
        r"SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired",
    ),
];

/// The service that is the firewall, and where its settings are: the host's own, and what a domain
/// has told it, which goes before.
const FIREWALL_SERVICE: &str = "mpssvc";
const FIREWALL: &str = r"SYSTEM\CurrentControlSet\Services\SharedAccess\Parameters\FirewallPolicy";
const FIREWALL_POLICY: &str = r"SOFTWARE\Policies\Microsoft\WindowsFirewall";

/// Its profiles, each with its own name, that of the key in which the host has it, and that of a
/// domain's.
const PROFILES: [(&str, &str, &str); 3] = [
    ("domain", "DomainProfile", "DomainProfile"),
    ("private", "StandardProfile", "PrivateProfile"),
    ("public", "PublicProfile", "PublicProfile"),
];

const DEFENDER_SERVICE: &str = "WinDefend";
const DEFENDER: &str = r"SOFTWARE\Microsoft\Windows Defender";
const DEFENDER_POLICY: &str = r"SOFTWARE\Policies\Microsoft\Windows Defender";

pub(super) fn tell(told: &mut Told<'_>, root: &Path, ports: &[u16]) -> io::Result<()> {
    told.say("windows.reboot", reboot())?;
    if let Some(on) = registry::number(FILES, "LongPathsEnabled") {
        told.say_whether("windows.long_paths", on == 1)?;
    }
    if let Some(profiles) = firewall() {
        let rules = rules();
        for port in ports.iter().filter(|port| rules.iter().any(|rule| lets_in(rule, **port))) {
            told.say("windows.let_in", port)?;
        }
        told.say("windows.firewall", profiles)?;
    }
    if let Some(looks) = defender() {
        told.say_whether("windows.defender", looks)?;
        if let Some(is_excluded) = is_excluded(root) {
            told.say_whether("windows.defender_excluded", is_excluded)?;
        }
    }
    Ok(())
}

/// Who waits for a reboot, or `no`.
fn reboot() -> String {
    let there = WAITING.iter().filter(|(_, key)| registry::is_there(key) == Some(true));
    let mut who: Vec<&str> = there.map(|(name, _)| *name).collect();
    // An empty list is two zeros at most.
    let renames_len = registry::len(SESSIONS, "PendingFileRenameOperations");
    if renames_len.is_some_and(|len| len > 4) {
        who.push("renames");
    }
    if who.is_empty() { "no".into() } else { who.join(", ") }
}

/// The profiles for which it is on, or `off`; `None` where there is none.
fn firewall() -> Option<String> {
    if !services::runs(FIREWALL_SERVICE)? {
        return Some("off".into());
    }
    let is_on = |(_, own, policy): &&(&str, &str, &str)| {
        let told = registry::number(&format!(r"{FIREWALL_POLICY}\{policy}"), "EnableFirewall");
        let own = || registry::number(&format!(r"{FIREWALL}\{own}"), "EnableFirewall");
        told.or_else(own) != Some(0)
    };
    let on: Vec<&str> = PROFILES.iter().filter(is_on).map(|(name, _, _)| *name).collect();
    Some(if on.is_empty() { "off".into() } else { on.join(", ") })
}

/// All rules of the firewall.
fn rules() -> Vec<String> {
    let both = [FIREWALL, FIREWALL_POLICY];
    let values = both.iter().filter_map(|of| registry::values(&format!(r"{of}\FirewallRules")));
    values.flatten().map(|(_, rule)| rule).collect()
}

/// Whether Windows Defender looks into files as they are written and run; `None` where it is not
/// there.
fn defender() -> Option<bool> {
    let is_set = |path: &str, name: &str| registry::number(path, name) == Some(1);
    let is_off = [DEFENDER, DEFENDER_POLICY].iter().any(|of| {
        is_set(of, "DisableAntiSpyware")
            || is_set(&format!(r"{of}\Real-Time Protection"), "DisableRealtimeMonitoring")
    });
    Some(services::runs(DEFENDER_SERVICE)? && !is_off)
}

/// Whether it leaves out the root; `None` where who asks may not know, who is no administrator.
fn is_excluded(root: &Path) -> Option<bool> {
    let root = root.to_string_lossy();
    let mut is_known = false;
    for of in [DEFENDER, DEFENDER_POLICY] {
        let Some(paths) = registry::values(&format!(r"{of}\Exclusions\Paths")) else { continue };
        is_known |= of == DEFENDER;
        if paths.iter().any(|(path, _)| covers(&expanded(path), &root)) {
            return Some(true);
        }
    }
    is_known.then_some(false)
}

/// A path with what variables of the environment stand for: `%ProgramData%\stead`.
fn expanded(path: &str) -> String {
    let mut parts = path.split('%');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    while let Some(name) = parts.next() {
        match (std::env::var(name), parts.next()) {
            (Ok(value), Some(rest)) => {
                whole.push_str(&value);
                whole.push_str(rest);
            }
            // It names no variable, so the sign is one of a name.
            (_, rest) => {
                whole.push('%');
                whole.push_str(name);
                if let Some(rest) = rest {
                    whole.push('%');
                    whole.push_str(rest);
                }
            }
        }
    }
    whole
}
