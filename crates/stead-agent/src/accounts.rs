//! Whom an instance runs as.
//!
//! Under a root agent a service without `user` gets a number of its own that no account file
//! knows. It is allotted once and kept, since the service's data belongs to it.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use serde::{Deserialize, Serialize};
use stead_core::launch::Account;
use stead_core::names::{InstanceName, ServiceName};
use stead_core::plan::Spec;
use stead_wire::file;

use crate::layout::Layout;
use crate::store::{self, Found};

/// The first number an agent allots.
///
/// Distributions allot from below 65536, container runtimes from 524288 to 1879048191, and
/// numbers from 2^31 on upset programs that take them for negative; between them nobody allots.
pub const ACCOUNT_FIRST: u32 = 1_900_000_000;

/// The most services that get an account of their own below one root.
pub(crate) const ACCOUNTS_MAX: u32 = 4096;

/// Roots that can be told apart: agents on one machine should not give one number twice.
const ROOTS_MAX: u32 = 50_000;

const FORMAT: &str = "stead-accounts/1";

/// The numbers allotted below one root.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Accounts {
    first: u32,
    by_service: BTreeMap<ServiceName, u32>,
}

/// Why an instance has no account to run as.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAccount {
    #[error("{0}")]
    Account(#[from] stead_proc::AccountError),
    #[error("all {ACCOUNTS_MAX} account numbers of this root are taken; set `user`")]
    AllTaken,
    #[error("`{field} = \"{value}\"` needs an agent that runs as root; this one does not")]
    NotRoot { field: &'static str, value: String },
    #[error("the account's number could not be kept in `accounts.json`: {0}")]
    Write(io::Error),
}

/// An account and the name its environment gives it; no account means the agent's own.
#[derive(Debug)]
pub(crate) struct Whom {
    pub(crate) account: Option<Account>,
    pub(crate) user: Option<String>,
}

impl Accounts {
    /// Reads what was allotted. A lost or damaged file is made up for by the owners of the data.
    pub(crate) fn load(layout: &Layout) -> (Self, Option<String>) {
        let found = match store::read::<Self>(&layout.accounts(), FORMAT) {
            Found::Whole(accounts) => return (accounts, None),
            Found::Absent => None,
            Found::Damaged { why, .. } => Some(why),
        };
        let slot =
            u32::try_from(
                layout.root().as_os_str().as_encoded_bytes().iter().fold(0_u64, |hash, byte| {
                    (hash * 31 + u64::from(*byte)) % u64::from(ROOTS_MAX)
                }),
            );
        let first = ACCOUNT_FIRST + slot.unwrap_or(0) * ACCOUNTS_MAX;
        let mut accounts = Self { first, by_service: BTreeMap::new() };
        for entry in fs::read_dir(layout.data_all()).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().parse::<InstanceName>();
            let owner = entry.metadata().ok().as_ref().and_then(stead_proc::owner_of);
            if let (Ok(name), Some(owner)) = (name, owner.filter(|it| *it >= ACCOUNT_FIRST)) {
                accounts.by_service.insert(name.service().clone(), owner);
            }
        }
        (accounts, found)
    }

    /// The number of a service, the same each time.
    fn allot(&mut self, layout: &Layout, service: &ServiceName) -> Result<u32, NoAccount> {
        if let Some(number) = self.by_service.get(service) {
            return Ok(*number);
        }
        let number = self.free().ok_or(NoAccount::AllTaken)?;
        self.by_service.insert(service.clone(), number);
        match store::replace(&layout.accounts(), &file::encode(FORMAT, self)) {
            Ok(()) => Ok(number),
            Err(error) => {
                self.by_service.remove(service);
                Err(NoAccount::Write(error))
            }
        }
    }

    fn free(&self) -> Option<u32> {
        let taken = |number: &u32| self.by_service.values().any(|used| used == number);
        (self.first..self.first + ACCOUNTS_MAX).find(|number| !taken(number))
    }

    /// Whom the instances of a service run as.
    pub(crate) fn whom(
        &mut self,
        layout: &Layout,
        service: &ServiceName,
        spec: &Spec,
    ) -> Result<Whom, NoAccount> {
        let group = spec.group.as_deref();
        let needs_root = |field, value: &str| NoAccount::NotRoot { field, value: value.into() };
        match (&spec.user, group) {
            (Some(user), _) if stead_proc::is_root() => {
                let account = stead_proc::account(user, group)?;
                Ok(Whom { account: Some(account), user: Some(user.clone()) })
            }
            (_, Some(group)) if !stead_proc::is_root() => Err(needs_root("group", group)),
            (Some(user), _) => {
                if stead_proc::account(user, None)?.uid != stead_proc::own_uid() {
                    return Err(needs_root("user", user));
                }
                Ok(Whom { account: None, user: Some(user.clone()) })
            }
            (None, _) if stead_proc::is_root() => {
                let uid = self.allot(layout, service)?;
                let gid = match group {
                    // Only the group is looked up: its number does not depend on the user.
                    Some(_) => stead_proc::account("root", group)?.gid,
                    None => uid,
                };
                let account = Account { uid, gid, groups: vec![gid] };
                Ok(Whom { account: Some(account), user: Some(format!("stead-{service}")) })
            }
            (None, _) => Ok(Whom { account: None, user: None }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> ServiceName {
        text.parse().unwrap()
    }

    #[test]
    fn a_service_keeps_its_number_and_no_two_share_one() {
        let root = crate::testing::TempRoot::new("accounts");
        let layout = root.layout();
        let (mut accounts, damage) = Accounts::load(&layout);
        assert_eq!(damage, None);
        let a = accounts.allot(&layout, &service("a")).unwrap();
        let b = accounts.allot(&layout, &service("b")).unwrap();
        assert!(a >= ACCOUNT_FIRST && b >= ACCOUNT_FIRST && a != b);
        let (mut again, _) = Accounts::load(&layout);
        assert_eq!(again, accounts);
        assert_eq!(again.allot(&layout, &service("a")).unwrap(), a);
    }

    #[test]
    fn the_last_number_of_the_last_root_is_no_negative_one() {
        let last = ACCOUNT_FIRST + (ROOTS_MAX - 1) * ACCOUNTS_MAX + ACCOUNTS_MAX - 1;
        assert!(i32::try_from(last).is_ok());
    }

    #[test]
    fn a_damaged_file_is_said_and_the_owners_of_the_data_tell_the_numbers() {
        let root = crate::testing::TempRoot::new("accounts-damaged");
        let layout = root.layout();
        fs::write(layout.accounts(), "{").unwrap();
        if stead_proc::is_root() {
            let data = layout.data(&"db.0".parse().unwrap());
            fs::create_dir(&data).unwrap();
            let number = ACCOUNT_FIRST + 7;
            let account = Account { uid: number, gid: number, groups: Vec::new() };
            stead_proc::own(&data, &account).unwrap();
        }
        let (accounts, damage) = Accounts::load(&layout);
        assert!(damage.is_some());
        let expected = stead_proc::is_root().then_some(ACCOUNT_FIRST + 7);
        assert_eq!(accounts.by_service.get(&service("db")).copied(), expected);
    }
}
