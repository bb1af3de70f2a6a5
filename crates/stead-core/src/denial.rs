//! What AppArmor and SELinux deny, as the kernel tells it in its log.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;

/// Something that a process was denied.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial {
    pub pid: u32,
    /// In milliseconds since 1970.
    pub at_ms: u64,
    pub by: DeniedBy,
    /// What it wanted to do.
    pub operation: String,
    /// What it wanted to do that to, if the kernel tells.
    pub to: Option<String>,
}

/// What denied it, and by which rule.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum DeniedBy {
    AppArmor { profile: String },
    SeLinux { source: String, target: String },
}

/// How the kernel begins what it tells of denials: `AUDIT_AVC`.
const BEGINS: &str = "audit: type=1400 audit(";

impl Denial {
    /// Reads a line of the kernel's log; `None` if it tells of no denial. What was let through and
    /// only noted is none.
    pub fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once(BEGINS)?;
        let (stamp, rest) = rest.split_once("):")?;
        let at_ms = at_ms(stamp)?;
        let pid = field(rest, "pid")?.parse().ok()?;
        if let Some(verdict) = field(rest, "apparmor") {
            let to = field(rest, "name").or_else(|| field(rest, "capname"));
            let operation = field(rest, "operation")?;
            let by = DeniedBy::AppArmor { profile: field(rest, "profile")? };
            return (verdict == "DENIED").then_some(Self { pid, at_ms, by, operation, to });
        }
        let (_, denied) = rest.split_once("avc:  denied  {")?;
        let operation = denied.split_once('}')?.0.trim().to_string();
        let by = DeniedBy::SeLinux {
            source: field(rest, "scontext")?,
            target: field(rest, "tcontext")?,
        };
        let to = field(rest, "path").or_else(|| field(rest, "name"));
        let is_held = field(rest, "permissive").is_none_or(|permissive| permissive == "0");
        is_held.then_some(Self { pid, at_ms, by, operation, to })
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, .. } = self;
        let to = self.to.as_ref().map_or_else(String::new, |to| format!(" of `{to}`"));
        match &self.by {
            DeniedBy::AppArmor { profile } => {
                write!(f, "AppArmor denied it `{operation}`{to} (profile `{profile}`)")
            }
            DeniedBy::SeLinux { source, target } => {
                write!(f, "SELinux denied it `{operation}`{to} (it is `{source}`, ")?;
                write!(f, "that is `{target}`)")
            }
        }
    }
}

/// `1364481363.243:24287`: seconds and thousandths, and a number.
fn at_ms(stamp: &str) -> Option<u64> {
    let (seconds, rest) = stamp.split_once('.')?;
    let (thousandths, _) = rest.split_once(':')?;
    let seconds: u64 = seconds.parse().ok()?;
    seconds.checked_mul(1000)?.checked_add(thousandths.parse().ok()?)
}

/// The value of a field. The kernel writes texts with blanks or quotes in them as hexadecimal
/// digits without quotes, so none can pass for another field.
fn field(line: &str, name: &str) -> Option<String> {
    let mut rest = line;
    loop {
        let (before, after) = rest.split_once(name)?;
        let begins = before.is_empty() || before.ends_with(' ');
        match after.strip_prefix('=').filter(|_| begins) {
            None => rest = after,
            Some(value) => {
                if let Some(quoted) = value.strip_prefix('"') {
                    return Some(quoted.split_once('"')?.0.to_string());
                }
                let value = value.split(' ').next().unwrap_or(value);
                let is_text = matches!(name, "name" | "path" | "profile");
                let text = if is_text { from_hex(value) } else { None };
                return Some(text.unwrap_or_else(|| value.to_string()));
            }
        }
    }
}

fn from_hex(digits: &str) -> Option<String> {
    if digits.is_empty() || !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let bytes: Option<alloc::vec::Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    Some(String::from_utf8_lossy(&bytes?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_denial_says_who_denied_what_of_what_and_all_else_is_none() {
        let apparmor = "5,812,90,-;audit: type=1400 audit(1790000000.250:91): apparmor=\"DENIED\" \
            operation=\"open\" class=\"file\" profile=\"/opt/orders\" name=\"/srv/secret\" \
            pid=4711 comm=\"orders\" requested_mask=\"r\" denied_mask=\"r\" fsuid=61001 ouid=0";
        let selinux = "audit: type=1400 audit(1790000001.007:92): avc:  denied  { read } for  \
            pid=4712 comm=\"orders\" name=\"secret\" dev=\"vda1\" ino=17 \
            scontext=system_u:system_r:orders_t:s0 tcontext=system_u:object_r:var_t:s0 \
            tclass=file permissive=0";
        let hex = apparmor.replace("\"/srv/secret\"", "2F73727620612F62");
        let capable = apparmor.replace("operation=\"open\"", "operation=\"capable\"");
        let capable =
            capable.replace("name=\"/srv/secret\"", "capability=12 capname=\"net_admin\"");
        let cases = [
            (
                apparmor,
                (4711, 1_790_000_000_250),
                "AppArmor denied it `open` of `/srv/secret` (profile `/opt/orders`)",
            ),
            (
                selinux,
                (4712, 1_790_000_001_007),
                "SELinux denied it `read` of `secret` (it is `system_u:system_r:orders_t:s0`, \
                 that is `system_u:object_r:var_t:s0`)",
            ),
            (
                &hex,
                (4711, 1_790_000_000_250),
                "AppArmor denied it `open` of `/srv a/b` (profile `/opt/orders`)",
            ),
            (
                &capable,
                (4711, 1_790_000_000_250),
                "AppArmor denied it `capable` of `net_admin` (profile `/opt/orders`)",
            ),
        ];
        for (line, (pid, at_ms), said) in cases {
            let denial = Denial::parse(line).unwrap();
            assert_eq!((denial.pid, denial.at_ms), (pid, at_ms), "{line}");
            assert_eq!(denial.to_string(), said);
        }
        let others = [
            "",
            "6,1,2,-;EXT4-fs (vda1): mounted",
            &apparmor.replace("DENIED", "ALLOWED"),
            &apparmor.replace(" pid=4711", ""),
            &apparmor.replace("type=1400", "type=1107"),
            &selinux.replace("permissive=0", "permissive=1"),
            &selinux.replace("denied", "granted"),
        ];
        for line in others {
            assert_eq!(Denial::parse(line), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(rest in ".*") {
            let _ = Denial::parse(&format!("{BEGINS}{rest}"));
            let _ = Denial::parse(&format!("{BEGINS}1.2:3): apparmor=\"DENIED\" pid=1 {rest}"));
        }
    }
}
