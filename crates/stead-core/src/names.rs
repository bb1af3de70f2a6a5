//! Names: holding one is proof that it was checked.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NameError {
    #[error("a name may not contain {0:?}; use a-z, 0-9 and `-`")]
    Character(char),
    #[error("a name may not be empty")]
    Empty,
    #[error("a name must start with a letter a-z, not {0:?}")]
    FirstCharacter(char),
    #[error("an instance is named SERVICE.N, like `orders.0`")]
    NoIndex,
    #[error("a name may not be longer than {NAME_LEN_MAX} characters; this one has {len}")]
    TooLong { len: usize },
}

/// The most characters a name may have.
pub const NAME_LEN_MAX: usize = 48;

fn parse_name(text: &str) -> Result<String, NameError> {
    let first = text.chars().next().ok_or(NameError::Empty)?;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if let Some(bad) = text.chars().find(|c| !allowed(*c)) {
        return Err(NameError::Character(bad));
    }
    if !first.is_ascii_lowercase() {
        return Err(NameError::FirstCharacter(first));
    }
    if text.len() > NAME_LEN_MAX {
        return Err(NameError::TooLong { len: text.len() });
    }
    Ok(text.to_owned())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                parse_name(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name! {
    /// The name of a fleet: 1 to 48 of `a-z`, `0-9` and `-`, starting with a letter.
    FleetName
}
name! {
    /// The name of a host in the fleet file, by the rule of [`FleetName`].
    HostName
}
name! {
    /// What tells one rollout from every other, by the rule of [`FleetName`].
    RolloutId
}
name! {
    /// The name of a secret, by the rule of [`FleetName`].
    SecretName
}
name! {
    /// The name of a service, by the rule of [`FleetName`].
    ///
    /// It becomes a file name, a cgroup name, a systemd unit name and a Windows service name, so
    /// the rule is the narrowest of them.
    ServiceName
}

name! {
    /// The name of an environment tier, by the rule of [`FleetName`]: it becomes a file name.
    TierName
}

/// One copy of a service on one host: `orders.0`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceName {
    service: ServiceName,
    index: u32,
}

impl InstanceName {
    pub fn new(service: ServiceName, index: u32) -> Self {
        Self { service, index }
    }

    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    pub fn index(&self) -> u32 {
        self.index
    }
}

impl FromStr for InstanceName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (service, digits) = text.rsplit_once('.').ok_or(NameError::NoIndex)?;
        let index: u32 = digits.parse().map_err(|_| NameError::NoIndex)?;
        // `orders.00` would be a second name of the same instance.
        if index.to_string() != digits {
            return Err(NameError::NoIndex);
        }
        Ok(Self { service: service.parse()?, index })
    }
}

impl TryFrom<String> for InstanceName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<InstanceName> for String {
    fn from(name: InstanceName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}", self.service, self.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_narrow_enough_for_every_place_it_ends_up_in() {
        let long = "a".repeat(NAME_LEN_MAX + 1);
        let cases = [
            ("orders", None),
            ("a-1", None),
            ("", Some(NameError::Empty)),
            ("Web", Some(NameError::Character('W'))),
            ("a/b", Some(NameError::Character('/'))),
            ("a.b", Some(NameError::Character('.'))),
            ("é", Some(NameError::Character('é'))),
            ("1a", Some(NameError::FirstCharacter('1'))),
            ("-a", Some(NameError::FirstCharacter('-'))),
            (long.as_str(), Some(NameError::TooLong { len: NAME_LEN_MAX + 1 })),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<ServiceName>().err(), error, "{text:?}");
        }
    }

    #[test]
    fn an_instance_has_exactly_one_spelling() {
        for text in ["orders.0", "a-b.12"] {
            assert_eq!(text.parse::<InstanceName>().unwrap().to_string(), text);
        }
        for text in ["orders", "orders.", "orders.00", "orders.-1", "orders.+1", ".0", "Orders.0"] {
            assert!(text.parse::<InstanceName>().is_err(), "{text}");
        }
    }

    #[test]
    fn instances_sort_by_number_not_by_spelling() {
        let [two, ten] = ["a.2", "a.10"].map(|text| text.parse::<InstanceName>().unwrap());
        assert!(two < ten);
    }
}
