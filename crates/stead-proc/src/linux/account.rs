//! Users and groups by name.
//!
//! The binaries are static, so they cannot load the C library's name services themselves: local
//! accounts are read from `/etc`, all others are asked of `getent`, which can.

use std::fs;
use std::io;
use std::process::Command;

use stead_core::launch::Account;

/// Why there is no such account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("there is no group `{0}` on this host")]
    NoGroup(String),
    #[error("there is no user `{0}` on this host")]
    NoUser(String),
    #[error("could not read `{file}`")]
    Read { file: &'static str, source: io::Error },
}

/// Whether this process may do everything.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The number of the user this process runs as.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Looks up a user by name or number, with its own group and every group it is a member of;
/// `group` takes the place of its own group.
pub fn account(user: &str, group: Option<&str>) -> Result<Account, AccountError> {
    let line = entry("/etc/passwd", "passwd", user)?;
    let line = line.ok_or_else(|| AccountError::NoUser(user.to_owned()))?;
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, own_gid, ..] = fields[..] else {
        return Err(AccountError::NoUser(user.to_owned()));
    };
    let (Ok(uid), Ok(own_gid)) = (uid.parse(), own_gid.parse()) else {
        return Err(AccountError::NoUser(user.to_owned()));
    };
    let gid = group.map_or(Ok(own_gid), group_number)?;
    Ok(Account { uid, gid, groups: memberships(name, gid)? })
}

fn group_number(group: &str) -> Result<u32, AccountError> {
    let line = entry("/etc/group", "group", group)?;
    let gid = line.and_then(|line| line.split(':').nth(2)?.parse().ok());
    gid.ok_or_else(|| AccountError::NoGroup(group.to_owned()))
}

/// The line of a user or group by its name or number.
fn entry(file: &'static str, database: &str, key: &str) -> Result<Option<String>, AccountError> {
    let text = read(file)?;
    let is_it = |line: &&str| {
        let mut fields = line.split(':');
        fields.next() == Some(key) || fields.nth(1) == Some(key)
    };
    if let Some(line) = text.lines().find(is_it) {
        return Ok(Some(line.to_owned()));
    }
    // Without getent there are no other sources to ask.
    let asked = Command::new("getent").args([database, key]).output().ok();
    let answer = asked.filter(|output| output.status.success());
    Ok(answer
        .and_then(|output| Some(String::from_utf8(output.stdout).ok()?.lines().next()?.to_owned())))
}

fn memberships(name: &str, gid: u32) -> Result<Vec<u32>, AccountError> {
    let text = read("/etc/group")?;
    let member_of = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let is_member = fields.get(3)?.split(',').any(|member| member == name);
        if is_member { fields.get(2)?.parse().ok() } else { None }
    };
    let mut groups: Vec<u32> = text.lines().filter_map(member_of).collect();
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    Ok(groups)
}

fn read(file: &'static str) -> Result<String, AccountError> {
    fs::read_to_string(file).map_err(|source| AccountError::Read { file, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_by_number() {
        for key in ["root", "0"] {
            let found = account(key, None).unwrap();
            assert_eq!((found.uid, found.gid), (0, 0));
        }
        assert!(matches!(account("no-such-user", None), Err(AccountError::NoUser(_))));
        assert!(matches!(account("root", Some("no-such-group")), Err(AccountError::NoGroup(_))));
    }
}
