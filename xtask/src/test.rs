//! `cargo xtask test`: what the tests need, the tests, and an honest end.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::packages::{self, Package};
use crate::windows::MINGW;
use crate::workspace::{Binaries, cargo, scratch};
use crate::{generated, process, say, windows};

#[derive(clap::Args)]
pub(crate) struct Test {
    /// Only the tests inside the crates: nothing is installed, no binary is built for them
    #[arg(long)]
    fast: bool,
    /// Run only tests whose name contains one of these
    filters: Vec<String>,
}

const PACKAGES: &[Package] = &[
    Package {
        name: "default-jdk-headless",
        program: "javac",
        reason: "a service in Java is kept up like one in Rust",
    },
    Package {
        name: "e2fsprogs",
        program: "mkfs.ext4",
        reason: "a small file system of its own can be full or frozen",
    },
    Package {
        name: "golang-go",
        program: "go",
        reason: "a service in Go is kept up like one in Rust",
    },
    Package {
        name: "gunicorn",
        program: "gunicorn",
        reason: "a service in Python that forks workers",
    },
    Package {
        name: "nodejs",
        program: "node",
        reason: "a service in Node, and PM2's files, which are programs",
    },
    Package {
        name: "postgresql",
        program: "pg_ctlcluster",
        reason: "a foreign service that wants an account with a name",
    },
    Package {
        name: "prometheus",
        program: "prometheus",
        reason: "a foreign service that reloads on a signal",
    },
    Package {
        name: "rabbitmq-server",
        program: "rabbitmqctl",
        reason: "a foreign service that leaves a helper behind",
    },
    Package {
        name: "mmdebstrap",
        program: "mmdebstrap",
        reason: "makes the disk of a VM with systemd",
    },
    Package { name: "openssh-client", program: "ssh", reason: "commands a VM" },
    Package {
        name: "openssl",
        program: "openssl",
        reason: "makes certificates to sign programs with",
    },
    Package {
        name: "osslsigncode",
        program: "osslsigncode",
        reason: "signs programs for Windows, and verifies that",
    },
    MINGW,
    Package {
        name: "openssh-server",
        program: "/usr/sbin/sshd",
        reason: "makes a network namespace a host to deploy to",
    },
    Package { name: "iproute2", program: "ip", reason: "makes network namespaces" },
    Package {
        name: "qemu-system-x86",
        program: "qemu-system-x86_64",
        reason: "boots a VM with systemd, cgroups and an end of its own",
    },
    Package {
        name: "nginx",
        program: "nginx",
        reason: "a foreign service that forks workers and reopens its logs",
    },
    Package {
        name: "redis-server",
        program: "redis-server",
        reason: "a foreign service that saves its data when it is told to stop",
    },
    Package {
        name: "util-linux",
        program: "fsfreeze",
        reason: "freezes a file system under a running service",
    },
];

/// Where test helpers append a line beginning `SKIPPED:` for what they could not try.
const SKIPS: &str = "STEAD_SKIPS";

pub(crate) fn run(test: &Test) -> Result<()> {
    let skips = scratch("xtask")?.join("skips");
    fs::write(&skips, "").context("cannot empty the list of skipped tests")?;
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"])?;
    command.env(SKIPS, &skips);
    let mut stead = None;
    if test.fast {
        command.args(["--lib", "--bins"]);
    } else {
        packages::ensure(PACKAGES)?;
        let binaries = Binaries::tested()?;
        command.env("STEAD_BIN", binaries.path("stead"));
        command.env("STEAD_KEEPER_BIN", binaries.path("stead-keeper"));
        command.env("STEAD_PROBE_BIN", binaries.path("stead-probe"));
        stead = Some(binaries.path("stead"));
    }
    command.arg("--").args(&test.filters);
    let (tally, tests) = run_counted(&mut command)?;
    let rest = match &stead {
        Some(stead) => generated::check_all(Some(stead)).and_then(|()| for_windows(&skips)),
        None => Ok(()),
    };
    conclude(&tally, &skips, tests.and(rest))
}

/// Tries what is shipped for Windows, or notes why that cannot be done here.
fn for_windows(skips: &Path) -> Result<()> {
    match windows::missing() {
        None => windows::try_all(),
        Some(why) => {
            let mut list = OpenOptions::new().append(true).open(skips)?;
            writeln!(list, "SKIPPED: all for Windows: {why}").context("cannot note a skip")
        }
    }
}

/// Says what was skipped and how it went; in CI a skip is a failure.
fn conclude(tally: &Tally, skips: &Path, went: Result<()>) -> Result<()> {
    let skips = fs::read_to_string(skips).context("cannot read the list of skipped tests")?;
    let skips: Vec<String> = skips.lines().map(str::to_owned).collect();
    if !skips.is_empty() {
        say::loudly("NOT EVERYTHING WAS TRIED", &skips);
    }
    let Tally { passed, failed } = tally;
    say::result(format_args!("{passed} passed, {failed} failed, {} skipped", skips.len()));
    went?;
    if tally.passed == 0 {
        bail!("no test ran");
    }
    if !skips.is_empty() && process::env_set("CI") {
        bail!("a skipped test is a failure when CI is set");
    }
    Ok(())
}

/// Runs cargo test, hands its output on as it comes and adds up its result lines.
fn run_counted(command: &mut Command) -> Result<(Tally, Result<()>)> {
    let line = process::shown(command);
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{line}`"))?;
    let stdout = child.stdout.take().expect("stdout is piped");
    let mut tally = Tally::default();
    for text in BufReader::new(stdout).split(b'\n') {
        let text = text.context("cannot read the output of cargo test")?;
        let text = String::from_utf8_lossy(&text);
        tally.add(&text);
        say::result(text);
    }
    let status = child.wait().context("cannot wait for cargo test")?;
    let tests = if status.success() { Ok(()) } else { Err(anyhow!("`{line}` failed: {status}")) };
    Ok((tally, tests))
}

#[derive(Debug, Default, Eq, PartialEq)]
struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Adds one `test result: ok. 3 passed; 0 failed; …` line; any other line adds nothing.
    fn add(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let Some((_, counts)) = result.split_once(". ") else { return };
        for count in counts.split("; ") {
            match count.split_once(' ') {
                Some((n, "passed")) => self.passed += n.parse().unwrap_or(0),
                Some((n, "failed")) => self.failed += n.parse().unwrap_or(0),
                Some(_) | None => (),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_add_up_and_other_lines_do_not() {
        let mut tally = Tally::default();
        for line in [
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished",
            "test a_name ... ok",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
            "test result: ",
        ] {
            tally.add(line);
        }
        assert_eq!(tally, Tally { passed: 13, failed: 2 });
    }
}
