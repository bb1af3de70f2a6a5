//! What a run's processes are held to together, and how often they came up against it.

/// The ceilings of one tree; `None` is no ceiling.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ceilings {
    /// Bytes, swap included.
    pub memory: Option<u64>,
    /// Thousandths of a core.
    pub cpu: Option<u32>,
    /// Processes and threads.
    pub processes: Option<u32>,
    /// 1 to 10000.
    pub io_weight: Option<u16>,
}

/// Which ceilings can be kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Keepable {
    pub memory: bool,
    pub cpu: bool,
    pub processes: bool,
    pub io_weight: bool,
}

/// How often a tree came up against its ceilings, since it was made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Hits {
    /// Times the kernel killed for want of memory.
    pub out_of_memory: u64,
    /// Processes or threads that were refused.
    pub processes: u64,
    /// Microseconds that were waited for CPU time.
    pub throttled_us: u64,
}

impl Keepable {
    /// The names of those among these ceilings that cannot be kept.
    pub fn missing(&self, wanted: &Ceilings) -> Vec<&'static str> {
        [
            ("memory", wanted.memory.is_some() && !self.memory),
            ("cpu", wanted.cpu.is_some() && !self.cpu),
            ("processes", wanted.processes.is_some() && !self.processes),
            ("io_weight", wanted.io_weight.is_some() && !self.io_weight),
        ]
        .into_iter()
        .filter_map(|(name, is_missing)| is_missing.then_some(name))
        .collect()
    }
}

impl Ceilings {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
