//! What hosts with Windows alone tell, and how what is told of their names and paths is read.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::String;

use serde::Serialize;

use crate::check::facts::number;

/// What the keys of these facts begin with.
pub(crate) const PREFIX: &str = "windows.";

/// Facts of a host with Windows; `None` is not known.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Windows {
    /// Whether who asks has an administrator's rights at hand.
    pub is_administrator: bool,
    pub may_make_services: Option<bool>,
    pub uptime_s: Option<u64>,
    /// How busy all processors together were while it was asked.
    pub load_percent: Option<u32>,
    pub disk_bytes: Option<u64>,
    /// `fixed`, `remote`, `removable`, `ram` or `cd`.
    pub drive: Option<String>,
    /// Ports of those asked for that nobody listens at and that are given to nobody.
    pub refused_ports: BTreeSet<u16>,
    /// How the service `sshd` starts: `auto`, `manual` or `disabled`.
    pub ssh_server: Option<String>,
    /// Who waits for a reboot, or `no`.
    pub pending_reboot: Option<String>,
    /// The profiles for which the firewall is on, or `off`.
    pub firewall: Option<String>,
    /// Ports of those asked for that a rule of the firewall lets in.
    pub let_in: BTreeSet<u16>,
    /// Whether Windows Defender looks into files.
    pub has_defender: Option<bool>,
    /// Whether it leaves out the root.
    pub is_excluded: Option<bool>,
    pub has_long_paths: Option<bool>,
    pub code_page: Option<u32>,
}

impl Windows {
    /// Takes one of them, by its key without [`PREFIX`].
    pub(crate) fn take(&mut self, key: &str, value: &str) {
        let (text, yes) = (|| Some(value.to_owned()), value == "yes");
        match key {
            "administrator" => self.is_administrator = yes,
            "code_page" => self.code_page = number(value),
            "defender" => self.has_defender = Some(yes),
            "defender_excluded" => self.is_excluded = Some(yes),
            "disk_kib" => {
                self.disk_bytes = number::<u64>(value).and_then(|kib| kib.checked_mul(1024));
            }
            "drive" => self.drive = text(),
            "firewall" => self.firewall = text(),
            "let_in" => self.let_in.extend(number::<u16>(value)),
            "load_percent" => self.load_percent = number(value),
            "long_paths" => self.has_long_paths = Some(yes),
            "reboot" => self.pending_reboot = text(),
            "refused_port" => self.refused_ports.extend(number::<u16>(value)),
            "services" => self.may_make_services = Some(yes),
            "sshd" => self.ssh_server = text(),
            "up_s" => self.uptime_s = number(value),
            // As of other facts: what a later stead says is passed over.
            _ => (),
        }
    }
}

/// The domain of accounts that each Windows has, where it speaks English.
const AUTHORITY: &str = "nt authority\\";

/// Whether it is an account that each Windows has, by any spelling: names of such accounts are
/// translated, so that the system itself knows one of them alone.
pub fn is_known_account(name: &str) -> bool {
    let lower = name.to_lowercase();
    let name = lower.strip_prefix(AUTHORITY).unwrap_or(&lower);
    let name: String = name.chars().filter(|it| *it != ' ').collect();
    matches!(name.as_str(), "localservice" | "localsystem" | "networkservice" | "system")
}

/// Whether a path is what another leads to, or above it; whatever the case of letters, and with
/// slashes of either kind.
pub fn covers(above: &str, path: &str) -> bool {
    let plain = |path: &str| {
        let path = path.to_lowercase().replace('/', "\\");
        path.trim_end_matches('\\').to_owned()
    };
    let (above, path) = (plain(above), plain(path));
    let rest = path.strip_prefix(above.as_str());
    !above.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('\\'))
}
