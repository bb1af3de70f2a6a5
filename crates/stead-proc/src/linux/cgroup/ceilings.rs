//! What a cgroup holds its processes to, and how often they came up against it.

use std::fs;
use std::io;
use std::path::Path;

use crate::ceilings::{Ceilings, Hits, Keepable};

/// What a cgroup can be asked to keep, as its controllers are called.
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "pids", "io"];

/// CPU time is dealt out by periods of this many microseconds, the kernel's own choice.
const CPU_PERIOD_US: u64 = 100_000;

/// The weight of a cgroup that nothing is said about.
const IO_WEIGHT: u16 = 100;

impl Keepable {
    /// By the list of controllers in a cgroup's `cgroup.controllers` or `cgroup.subtree_control`.
    pub(super) fn of_list(list: &str) -> Self {
        let has = |name: &str| list.split_whitespace().any(|known| known == name);
        Self {
            memory: has("memory"),
            cpu: has("cpu"),
            processes: has("pids"),
            io_weight: has("io"),
        }
    }
}

impl Ceilings {
    /// Holds a cgroup to these, as far as its controllers go; what had a ceiling and is to have
    /// none is freed.
    pub(super) fn apply(&self, folder: &Path) -> io::Result<()> {
        let number = |value: Option<u64>| value.map_or("max".to_owned(), |value| value.to_string());
        let quota = self.cpu.map(|milli| u64::from(milli) * CPU_PERIOD_US / 1000);
        let set = |name: &str, text: &str| fs::write(folder.join(name), text);
        // A controller that is not there has no file, and then there is no ceiling to take away.
        let write = |name: &str, text: &str| match folder.join(name).exists() {
            true => set(name, text),
            false => Ok(()),
        };
        write("memory.max", &number(self.memory))?;
        // Else what is above the ceiling would go to the disk, and the host would crawl.
        write("memory.swap.max", if self.memory.is_some() { "0" } else { "max" })?;
        // A service that has lost one of its processes is rarely still one.
        write("memory.oom.group", if self.memory.is_some() { "1" } else { "0" })?;
        write("cpu.max", &format!("{} {CPU_PERIOD_US}", number(quota)))?;
        write("pids.max", &number(self.processes.map(u64::from)))?;
        match self.io_weight {
            Some(weight) => set("io.weight", &format!("default {weight}")),
            None => write("io.weight", &format!("default {IO_WEIGHT}")),
        }
    }
}

/// Lets what is below a cgroup have every controller there is; says which it has then.
pub(super) fn enable(folder: &Path) -> Keepable {
    for name in CONTROLLERS {
        // One that is refused must not keep the others away; what came of it is read below.
        let _ = fs::write(folder.join("cgroup.subtree_control"), format!("+{name}"));
    }
    enabled(folder)
}

/// What cgroups below this one can be held to.
pub(super) fn enabled(folder: &Path) -> Keepable {
    let list = fs::read_to_string(folder.join("cgroup.subtree_control"));
    Keepable::of_list(&list.unwrap_or_default())
}

/// What there is to read of these; a file that is not there counts nothing.
pub(super) fn hits(folder: &Path) -> Hits {
    let count = |file: &str, key: &str| {
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        value(&text, key)
    };
    Hits {
        // Kernels before 5.17 do not count the kills of whole groups.
        out_of_memory: count("memory.events", "oom_kill"),
        processes: count("pids.events", "max"),
        throttled_us: count("cpu.stat", "throttled_usec"),
    }
}

fn value(text: &str, key: &str) -> u64 {
    let find = |line: &str| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok();
    text.lines().find_map(find).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_by_their_whole_name() {
        let text = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(["max", "oom", "oom_kill", "kill"].map(|key| value(text, key)), [12, 3, 2, 0]);
    }

    #[test]
    fn what_is_wanted_and_not_there_is_named() {
        let wanted = Ceilings { memory: Some(1), io_weight: Some(9), ..Ceilings::default() };
        let keepable = Keepable::of_list("cpuset cpu memory hugetlb pids");
        assert_eq!(keepable.missing(&wanted), ["io_weight"]);
        assert_eq!(Keepable::of_list("").missing(&wanted), ["memory", "io_weight"]);
        assert_eq!(Keepable::of_list("").missing(&Ceilings::default()), [""; 0]);
    }

    #[test]
    fn ceilings_are_written_as_the_kernel_reads_them() {
        let folder = std::env::temp_dir().join(format!("ceilings-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let files = ["memory.max", "memory.swap.max", "memory.oom.group", "cpu.max", "pids.max"];
        for file in files {
            fs::write(folder.join(file), "").unwrap();
        }
        let read = || files.map(|file| fs::read_to_string(folder.join(file)).unwrap());
        let all = Ceilings {
            memory: Some(1 << 20),
            cpu: Some(1500),
            processes: Some(7),
            io_weight: None,
        };
        all.apply(&folder).unwrap();
        assert_eq!(read(), ["1048576", "0", "1", "150000 100000", "7"]);
        Ceilings::default().apply(&folder).unwrap();
        assert_eq!(read(), ["max", "max", "0", "max 100000", "max"]);
        assert!(!folder.join("io.weight").exists(), "a controller that is not there stays so");
        fs::remove_dir_all(folder).unwrap();
    }
}
