//! Which hosts are switched together.

use alloc::vec::Vec;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many hosts are switched at a time.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wave {
    Count(u32),
    /// Of all hosts, rounded up.
    Percent(u8),
}

/// Why a text says no wave.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is a number of hosts like `2`, or a share of all like `25%`")]
pub struct WaveError;

impl FromStr for Wave {
    type Err = WaveError;

    fn from_str(text: &str) -> Result<Self, WaveError> {
        let percent = text.strip_suffix('%').map(|share| share.parse().map_err(|_| WaveError));
        match percent {
            Some(share) => match share? {
                share @ 1..=100 => Ok(Self::Percent(share)),
                0 | 101.. => Err(WaveError),
            },
            None => match text.parse().map_err(|_| WaveError)? {
                0 => Err(WaveError),
                count => Ok(Self::Count(count)),
            },
        }
    }
}

impl Wave {
    /// At least one.
    fn len(self, hosts_n: usize) -> usize {
        let len = match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Self::Percent(percent) => (hosts_n * usize::from(percent)).div_ceil(100),
        };
        len.max(1)
    }
}

/// Splits hosts, in their order, into those that are switched first, `canary` of them, and waves of
/// the rest. A share is one of `hosts_n`, which may be more than these.
pub fn waves<T: Clone>(hosts: &[T], canary: usize, wave: Wave, hosts_n: usize) -> Vec<Vec<T>> {
    // Where all would be canaries there is nothing that they are tried for.
    let canary = if hosts.len() > 1 { canary.min(hosts.len() - 1) } else { 0 };
    let (first, rest) = hosts.split_at(canary);
    let rest = rest.chunks(wave.len(hosts_n)).map(<[T]>::to_vec);
    [first.to_vec()].into_iter().filter(|first| !first.is_empty()).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_is_a_count_or_a_share() {
        let cases = [
            ("2", Some(Wave::Count(2))),
            ("25%", Some(Wave::Percent(25))),
            ("100%", Some(Wave::Percent(100))),
        ];
        for (text, wave) in cases {
            assert_eq!(text.parse().ok(), wave, "{text}");
        }
        for text in ["", "0", "0%", "101%", "256%", "%", "-1", "1.5", "2 %", "many"] {
            assert_eq!(text.parse::<Wave>(), Err(WaveError), "{text}");
        }
    }

    #[test]
    fn every_host_is_in_one_wave_and_the_canaries_go_first() {
        let cases: [(usize, usize, Wave, &[usize]); 7] = [
            (0, 1, Wave::Percent(25), &[]),
            (1, 1, Wave::Percent(25), &[1]),
            (2, 1, Wave::Percent(25), &[1, 1]),
            (5, 1, Wave::Percent(25), &[1, 2, 2]),
            (8, 0, Wave::Percent(50), &[4, 4]),
            (5, 9, Wave::Count(3), &[4, 1]),
            (3, 0, Wave::Count(0), &[1, 1, 1]),
        ];
        for (hosts_n, canary, wave, lens) in cases {
            let hosts: Vec<usize> = (0..hosts_n).collect();
            let waves = waves(&hosts, canary, wave, hosts_n);
            let found: Vec<usize> = waves.iter().map(Vec::len).collect();
            assert_eq!(found, lens, "{hosts_n} hosts, canary {canary}, {wave:?}");
            assert_eq!(waves.concat(), hosts);
        }
    }
}
