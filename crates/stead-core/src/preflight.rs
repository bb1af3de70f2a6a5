//! What a run would be refused in the place where it is to be, as sentences.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::launch::Launch;
use crate::sandbox::Capability;

/// What a preflight looks at.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Preflight {
    pub launch: Box<Launch>,
    /// The ports that it declares, by name.
    pub ports: BTreeMap<String, u16>,
    /// It has had no run yet: what it finds in use cannot be its own.
    pub first: bool,
}

/// Something that a run would be refused, for people.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// A run would fail for sure, so none is begun.
    pub blocks: bool,
    pub what: String,
    pub because: String,
    pub try_this: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.what, self.because, self.try_this)
    }
}

/// Something that a run would be refused.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refused {
    /// A path among its arguments and variables.
    Argument {
        path: String,
        why: PathWhy,
    },
    /// A profile of AppArmor is enforced for its program.
    AppArmor {
        program: String,
        profile: String,
    },
    /// A capability that nobody on this host can be given.
    Capability(Capability),
    /// The directory that it starts in.
    Directory {
        path: String,
        why: String,
    },
    /// The program that a script names in its first line.
    Interpreter {
        program: String,
        interpreter: String,
        why: String,
    },
    /// No folder of the PATH has the program.
    NotInPath {
        program: String,
        path: String,
    },
    /// A path that its sandbox lets through.
    Path {
        path: String,
        list: PathList,
        why: PathWhy,
    },
    /// The place itself could not be entered.
    Place {
        why: String,
    },
    /// A declared port.
    Port {
        name: String,
        port: u16,
        why: PortWhy,
    },
    Program {
        program: String,
        why: ProgramWhy,
    },
    /// SELinux keeps what it runs as within its policy.
    SeLinux {
        context: String,
    },
}

/// The list of a sandbox that names a path.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathList {
    Read,
    Write,
}

/// Why a path cannot be opened.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathWhy {
    /// By its mode, or that of a folder above it.
    Account,
    /// It is there, but not where the run is to be.
    Hidden,
    Missing,
    /// Its mode would let the account through, the sandbox does not.
    Sandbox,
}

/// Why a port cannot be listened at.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortWhy {
    /// Only the privileged may.
    Low,
    /// Another process listens there, on all addresses.
    Taken { pid: u32, program: String },
    /// Somebody has it, on some address or in some way.
    Used,
}

/// Why a program cannot be run.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProgramWhy {
    /// It is there, but not where the run is to be.
    Hidden,
    Missing,
    NotAFile,
    Refused(String),
}

impl Refused {
    /// What people are told of it.
    pub fn finding(&self) -> Finding {
        match self {
            Self::Argument { path, why } => argument(path, *why),
            Self::AppArmor { program, profile } => warns(
                format!("its program `{program}` may be refused something by AppArmor"),
                format!("the profile `{profile}` is enforced for it"),
                "if it fails, `stead why` tells what AppArmor denied it",
            ),
            Self::Capability(capability) => blocks(
                format!("it cannot have the capability `{capability}`"),
                "nothing on this host can: whoever started the agent gave it up".to_owned(),
                "leave it out of `sandbox.capabilities`, or let this host have it",
            ),
            Self::Directory { path, why } => blocks(
                format!("it cannot start in `{path}`"),
                why.clone(),
                "make that folder and let its account enter it, or set another `directory`",
            ),
            Self::Interpreter { program, interpreter, why } => blocks(
                format!("its program `{program}` cannot run"),
                format!("it is a script for `{interpreter}`: {why}"),
                "install that, or mend the first line of the script",
            ),
            Self::NotInPath { program, path } => blocks(
                format!("its program `{program}` cannot run"),
                format!("it is in none of the folders of PATH ({path})"),
                "install it, or write its whole path",
            ),
            Self::Path { path, list, why } => listed(path, *list, *why),
            Self::Place { why } => blocks(
                "a run could not be made".to_owned(),
                why.clone(),
                "look at its `user`, `sandbox` and `limits.files`",
            ),
            Self::Port { name, port, why } => self::port(name, *port, why),
            Self::Program { program, why } => self::program(program, why),
            Self::SeLinux { context } => warns(
                "it may be refused something by SELinux".to_owned(),
                format!("SELinux enforces its policy, and it runs as `{context}`"),
                "if it fails, `stead why` tells what SELinux denied it",
            ),
        }
    }
}

fn argument(path: &str, why: PathWhy) -> Finding {
    let what = format!("`{path}`, which its command or environment names, cannot be read by it");
    let (because, try_this) = match why {
        PathWhy::Account => ("its account may not", account_mend()),
        PathWhy::Hidden => (HIDDEN, shared_tmp_mend()),
        PathWhy::Missing => ("it is not there", "mend `run`".to_owned()),
        PathWhy::Sandbox => (
            "its sandbox does not let it through",
            format!("set `sandbox = {{ read = [\"{path}\"] }}`, or `write` if it writes there"),
        ),
    };
    warns(what, because.to_owned(), &try_this)
}

fn listed(path: &str, list: PathList, why: PathWhy) -> Finding {
    let (name, verb) = match list {
        PathList::Read => ("read", "read"),
        PathList::Write => ("write", "written"),
    };
    let what = format!("`{path}` of `sandbox.{name}` cannot be {verb} by it");
    let (because, try_this) = match why {
        PathWhy::Account | PathWhy::Sandbox => ("its account may not", account_mend()),
        PathWhy::Hidden => (HIDDEN, shared_tmp_mend()),
        PathWhy::Missing => (
            "it is not there, and what is made there later stays closed to it",
            "make it, then change the service, so that its sandbox is made anew".to_owned(),
        ),
    };
    warns(what, because.to_owned(), &try_this)
}

/// Why what is there cannot be seen.
const HIDDEN: &str = "it is there, but the service has a `/tmp` and `/var/tmp` of its own";

fn account_mend() -> String {
    "let its account: by `chown`, `chmod`, or `user`".to_owned()
}

fn shared_tmp_mend() -> String {
    "move it, or set `sandbox = { tmp = \"shared\" }`".to_owned()
}

fn port(name: &str, port: u16, why: &PortWhy) -> Finding {
    let what = format!("it cannot listen at its port `{name}`, {port}");
    match why {
        PortWhy::Low => blocks(
            what,
            "only the privileged may listen at a port so low, and it has not the capability \
             `NET_BIND_SERVICE`"
                .to_owned(),
            "take a port from 1024 on; under a root agent, `listen` or a sandbox that is on, which \
             then gives it the capability, let it have this one",
        ),
        PortWhy::Taken { pid, program } => blocks(
            what,
            format!("`{program}` (process {pid}) listens there"),
            "end that, or give one of them another port",
        ),
        PortWhy::Used => warns(
            format!("it may not be able to listen at its port `{name}`, {port}"),
            "somebody has that port, on one address at least".to_owned(),
            "if it fails, give it another port",
        ),
    }
}

fn program(program: &str, why: &ProgramWhy) -> Finding {
    let what = format!("its program `{program}` cannot run");
    let (because, try_this) = match why {
        ProgramWhy::Hidden => (
            "it is there, but its account may not enter a folder above it, or the service has a \
             `/tmp` of its own",
            "put it into the release or a folder that all may enter",
        ),
        ProgramWhy::Missing => (
            "there is no such file",
            "put it there, or mend `run`; in a release, a path begins with `./`",
        ),
        ProgramWhy::NotAFile => ("it is no file that could be run", "mend `run`"),
        ProgramWhy::Refused(why) => (
            why.as_str(),
            "let its account execute it (`chmod +x`), on a file system that lets programs run, \
             and in a folder that its sandbox lets through",
        ),
    };
    blocks(what, because.to_owned(), try_this)
}

fn blocks(what: String, because: String, try_this: &str) -> Finding {
    Finding { blocks: true, what, because, try_this: try_this.to_owned() }
}

fn warns(what: String, because: String, try_this: &str) -> Finding {
    Finding { blocks: false, ..blocks(what, because, try_this) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_refusal_says_what_why_and_what_to_try_and_only_sure_failures_block() {
        let text = String::from;
        let program = |why| Refused::Program { program: text("./orders"), why };
        let port = |why| Refused::Port { name: text("http"), port: 80, why };
        let argument = |why| Refused::Argument { path: text("/srv/x"), why };
        let listed = |list, why| Refused::Path { path: text("/srv/x"), list, why };
        let taken = PortWhy::Taken { pid: 7, program: text("nginx") };
        let (sh, enoent) = (text("/bin/bash"), text("No such file or directory"));
        let script = Refused::Interpreter { program: text("./x"), interpreter: sh, why: enoent };
        let cases = [
            (argument(PathWhy::Account), false, ["`/srv/x`", "its account may not", "chown"]),
            (argument(PathWhy::Hidden), false, ["`/srv/x`", "`/tmp`", "tmp = \"shared\""]),
            (argument(PathWhy::Missing), false, ["`/srv/x`", "not there", "`run`"]),
            (argument(PathWhy::Sandbox), false, ["`/srv/x`", "sandbox", "read = [\"/srv/x\"]"]),
            (
                Refused::AppArmor { program: text("/x"), profile: text("p") },
                false,
                ["`/x`", "`p` is enforced", "`stead why`"],
            ),
            (
                Refused::Capability(Capability::NET_BIND_SERVICE),
                true,
                ["`NET_BIND_SERVICE`", "nothing on this host", "sandbox.capabilities"],
            ),
            (
                Refused::Directory { path: text("/srv/d"), why: text("gone") },
                true,
                ["start in `/srv/d`", "gone", "`directory`"],
            ),
            (script, true, ["`./x` cannot run", "`/bin/bash`: No such", "first line"]),
            (
                Refused::NotInPath { program: text("orders"), path: text("/bin") },
                true,
                ["`orders` cannot run", "PATH (/bin)", "whole path"],
            ),
            (listed(PathList::Read, PathWhy::Missing), false, ["`sandbox.read`", "later", "make"]),
            (listed(PathList::Write, PathWhy::Account), false, ["written", "account", "chmod"]),
            (
                Refused::Place { why: text("no memory") },
                true,
                ["could not be made", "no memory", "`user`"],
            ),
            (port(PortWhy::Low), true, ["`http`, 80", "NET_BIND_SERVICE", "`listen`"]),
            (port(taken), true, ["`http`, 80", "`nginx` (process 7)", "another port"]),
            (port(PortWhy::Used), false, ["may not", "one address", "another port"]),
            (program(ProgramWhy::Hidden), true, ["`./orders`", "`/tmp` of its own", "release"]),
            (program(ProgramWhy::Missing), true, ["`./orders`", "no such file", "`./`"]),
            (program(ProgramWhy::NotAFile), true, ["`./orders`", "no file", "`run`"]),
            (program(ProgramWhy::Refused(text("denied"))), true, ["`./orders`", "denied", "+x"]),
            (
                Refused::SeLinux { context: text("svc_t") },
                false,
                ["SELinux", "`svc_t`", "`stead why`"],
            ),
        ];
        for (refused, blocks, [what, because, try_this]) in cases {
            let finding = refused.finding();
            assert_eq!(finding.blocks, blocks, "{finding}");
            assert!(finding.what.contains(what), "{finding}");
            assert!(finding.because.contains(because), "{finding}");
            assert!(finding.try_this.contains(try_this), "{finding}");
            assert!(finding.to_string().contains(&finding.because));
        }
    }
}
