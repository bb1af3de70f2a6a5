//! The file as written: every field checked by itself, none by another, nothing defaulted.
//!
//! The doc comments of the fields are their descriptions in the JSON schema.

use serde_json::{Value, json};
use stead_core::names::{FleetName, HostName, SecretName, ServiceName};
use stead_core::plan::{Enforce, Umask, When};
use stead_core::sandbox::Capability;
use stead_core::schedule::Overlap;
use stead_core::units::MilliCpu;
use toml::de::DeValue;

use crate::fleet::{Address, Os};
use crate::hooks::HookCommand;
use crate::leaf::{
    Account, Argv, Build, EnvName, FilePath, HostRoot, HttpPath, IpText, LineText, PortName,
    ReloadSignal, StopSignal, Text,
};
use crate::quantity::{Backoff, KEEP_MIN, Lasting, MEMORY_MIN, Size, WaveText};
use crate::read::{At, Field, FromText, List, Named, Node, Read, Reader, Whole, table};
use crate::registry::RawWindows;
use crate::sandbox::{AbsolutePath, Strictness, SyscallName, TmpKind};
use crate::schedule::{CronText, ZoneName};
use crate::secret::{EnvValue, SecretCommand};
use crate::sign::RawSign;

/// The most instances of one service on one host.
pub const COUNT_MAX: i64 = 256;

pub(crate) type Port = Whole<1, 65_535, 8100>;
pub(crate) type Env = Named<EnvName, EnvValue>;

/// A life this long at least must pass before failures are forgotten: with less, backoff would
/// never begin.
const RESET_AFTER_MIN_MS: u64 = 1_000;
const EVERY_MIN_MS: u64 = 100;
/// What runs more often than this is a service.
const RUN_EVERY_MIN_MS: u64 = 1_000;
const READY_WITHIN_MIN_MS: u64 = 1_000;
/// Hosts are told in time that their operator is there, also where the way is slow.
pub(crate) const COMMIT_WITHIN_MIN_MS: u64 = 10_000;
const HOSTS_MAX: i64 = crate::assemble::HOSTS_MAX as i64;
const PROBE_TIMEOUT_MIN_MS: u64 = 1;

table! {
    /// The fleet file of stead: which services run on which hosts.
    RawFleet, "a fleet file", "{}" {
        /// The name of the fleet; `fleet` if it is left out.
        name: FleetName,
        /// The file with the key that signs what is brought to hosts, from the folder of the fleet
        /// file on. Hosts that trust keys take nothing else.
        signing_key: FilePath,
        /// How fast hosts are given something new, and what stops it.
        rollout: RawRollout,
        /// The hosts by name. A file without hosts is about this machine.
        host: Named<HostName, RawHost>,
        /// The secrets by name, which variables of services are.
        secret: Named<SecretName, RawSecret>,
        /// The services by name.
        service: Named<ServiceName, RawService>,
    }
}

table! {
    /// The pace of a rollout; options of `stead deploy` and `stead rollback` take their place.
    RawRollout, "the pace of a rollout", r#"{ wave = "25%", bake = "30s" }"# {
        /// How many hosts are switched before all others; 1 if it is left out.
        canary: Whole<0, HOSTS_MAX, 1>,
        /// How many hosts are switched at a time after that: a count, or a share of all; `25%` if
        /// it is left out.
        wave: WaveText,
        /// How many hosts of a wave may be on their way to ready at the same time; all, if it is
        /// left out.
        max_unavailable: Whole<1, HOSTS_MAX, 1>,
        /// How many hosts may be left out since they cannot be reached; none, if it is left out.
        max_unreachable: Whole<0, HOSTS_MAX, 1>,
        /// How long everything must have been well on a host before the next wave; `10s` if it is
        /// left out.
        bake: Lasting<0>,
        /// Whether to fail where a fresh run has far more memory, CPU or errors than the one before
        /// it on the host had; true if it is left out.
        compare: bool,
        /// How long everything may take to be ready on a host; `60s` if it is left out.
        ready_within: Lasting<READY_WITHIN_MIN_MS>,
        /// After which time without a word from the operator a host takes a switch back by itself;
        /// `120s` if it is left out.
        commit_within: Lasting<COMMIT_WITHIN_MIN_MS>,
        /// How long the migration of a service may take; `10m` if it is left out.
        migrate_within: Lasting<READY_WITHIN_MIN_MS>,
        /// A command that `stead deploy` runs here, in the folder of the fleet file, once every
        /// host is reached; unless it ends with 0 nothing is changed.
        before: HookCommand,
        /// A command that `stead deploy` runs here once it has ended, however it has; it finds
        /// that in `STEAD_OUTCOME`.
        after: HookCommand,
    }
}

table! {
    /// A value that is in no plan: where the operator's machine gets it from, by exactly one of
    /// `file`, `command` and `env`. A line end behind it is left out.
    RawSecret, "a secret", r#"{ command = "pass show shop/db" }"# {
        /// The file that holds it, from the folder of the fleet file on.
        file: FilePath,
        /// A command that prints it, run by the shell in the folder of the fleet file.
        command: SecretCommand,
        /// The name of a variable of the operator's environment.
        env: EnvName,
    }
}

table! {
    /// A machine that runs services.
    RawHost, "a host", r#"{ address = "deploy@10.0.0.11" }"# {
        /// What `ssh` is told, or `local` for this machine; the name of the host if it is left
        /// out.
        address: Address,
        /// Its system: `linux` if it is left out, for `local` the one of this machine.
        os: Os,
        /// The folder of all of stead's state there, from `/` on; as by default there, if it is
        /// left out.
        root: HostRoot,
        /// Whether who logs in becomes root by `sudo`, which must not ask for a password.
        sudo: bool,
    }
}

table! {
    /// A program to keep running.
    RawService, "a service", r#"{ run = ["./orders"] }"# {
        /// A command run in the folder of the fleet file before the files are packed.
        build: Build,
        /// Files and folders that make up a release, from the folder of the fleet file on.
        /// Each is found in the release by the last part of its path.
        files: List<FilePath>,
        /// How its programs are signed.
        sign: RawSign,
        /// Files and folders that make up its configuration, apart from the release: what changes
        /// here alone is reloaded, or gives it a fresh run. Each is found in `{config}` by the last
        /// part of its path.
        config: List<FilePath>,
        /// Program and arguments. `{data}`, `{tmp}`, `{release}`, `{config}` and `{port.NAME}` are
        /// filled in for each instance; `{{` is a brace.
        run: Argv,
        /// Where a run starts: `{release}` if there are files, else `{data}`.
        directory: Text,
        /// The hosts it runs on; every host of the file if it is left out.
        on: List<HostName>,
        /// How many instances run on each host; 1 if it is left out.
        count: Whole<1, COUNT_MAX, 2>,
        /// Ports by name: instance n gets the number plus n.
        port: Named<PortName, Port>,
        /// Environment variables; their texts may hold the same places as `run`, and
        /// `{ secret = "NAME" }` is a secret.
        env: Env,
        /// Names of variables taken over from the environment of the agent.
        inherit: List<EnvName>,
        /// Whom it runs as. Left out, an agent of root gives it an account of its own.
        user: Account,
        /// The group it runs as; the one of its user if it is left out.
        group: Account,
        /// The file mode bits its new files do not get, in octal; `027` if it is left out.
        umask: Umask,
        /// Whether its programs may gain privileges, as `sudo` does; false if it is left out.
        new_privileges: bool,
        /// The check that says whether an instance may get work.
        ready: RawProbe,
        /// The check that says whether an instance must be restarted.
        live: RawProbe,
        /// The check that says that a run has come up; until it passes nothing else is asked.
        startup: RawStartup,
        /// Ports by name that stead opens itself and hands to each run, with the address.
        listen: Named<PortName, IpText>,
        /// A front that takes its connections, so that it can be replaced without a gap.
        front: RawFront,
        /// How a run gives way to a fresh one.
        replace: RawReplace,
        /// How an instance is told to read its configuration again: a signal or a hook.
        reload: RawReload,
        /// Program and arguments that bring what all hosts share, like a database, to what a new
        /// release needs: run once for the fleet by `stead deploy`, before any host is switched.
        migrate: Argv,
        /// When an ended run is followed by the next one.
        restart: RawRestart,
        /// When it runs, if not always: `every` so often, or at the times of `cron`.
        schedule: RawSchedule,
        /// How an instance is asked to end, before its whole tree is killed.
        stop: RawStop,
        /// What it may do besides its work: a table that loosens its sandbox, or `off`.
        sandbox: RawSandbox,
        /// Ceilings of one instance.
        limits: RawLimits,
        /// What one instance is expected to use.
        requests: RawRequests,
        /// How much of its output is kept.
        log: RawLog,
        /// Services that are started before it and stopped after it.
        needs: List<ServiceName>,
        /// What differs on Linux.
        linux: RawVariant,
        /// What differs on Windows.
        windows: RawWindows,
    }
}

table! {
    /// What differs on one system. Variables are added to those of the service, and `stop` keeps
    /// the timeout of the service; anything else takes the place of the service's field.
    RawVariant, "the part for one system", r#"{ run = ["orders.exe"] }"# {
        /// In place of the service's `build`.
        build: Build,
        /// In place of the service's `files`.
        files: List<FilePath>,
        /// In place of the service's `sign`, as a whole.
        sign: RawSign,
        /// In place of the service's `config`.
        config: List<FilePath>,
        /// In place of the service's `run`.
        run: Argv,
        /// In place of the service's `user`.
        user: Account,
        /// In place of the service's `stop`, field by field.
        stop: RawStop,
        /// Added to the service's `env`.
        env: Env,
    }
}

table! {
    /// A check of an instance: exactly one of `http`, `tcp`, `exec`, `notify` and `log`.
    RawProbe, "a probe", r#"{ http = "/healthz", port = "http" }"# {
        /// The path of a request that must be answered with a status below 400.
        http: HttpPath,
        /// True for a connection that must be accepted.
        tcp: bool,
        /// A program and its arguments that must end with 0.
        exec: Argv,
        /// True for a service that says so itself, by the protocol of `sd_notify`.
        notify: bool,
        /// A text that a line of its output holds once it has come up.
        log: LineText,
        /// The name of the port for `http` and `tcp`; not needed if the service has just one.
        port: PortName,
        /// How often; `1s` if it is left out.
        every: Lasting<EVERY_MIN_MS>,
        /// How long the answer may take, `1s` if it is left out; for `live` with `notify` the
        /// longest silence, `30s`.
        timeout: Lasting<PROBE_TIMEOUT_MIN_MS>,
        /// So many failures in a row make the verdict; 3 if it is left out.
        failures: Whole<1, 1000, 3>,
        /// So many successes in a row take it back; 1 if it is left out.
        successes: Whole<1, 1000, 2>,
    }
}

/// A check of a run that comes up: a probe, and how long it has.
#[derive(Debug)]
pub(crate) struct RawStartup {
    pub probe: RawProbe,
    pub within: Field<Lasting<EVERY_MIN_MS>>,
}

impl Read for RawStartup {
    fn wanted() -> String {
        "a table".into()
    }

    fn example() -> String {
        r#"{ http = "/healthz", within = "60s" }"#.into()
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        let table = reader.table::<Self>(node)?;
        let names: Vec<&str> = RawProbe::FIELDS.iter().copied().chain(["within"]).collect();
        reader.unknown(node, table, "a start-up probe", &names);
        let within = reader.field(node, table, "within");
        Some(Self { probe: RawProbe::read_fields(node, table, reader), within })
    }

    fn schema() -> Value {
        let mut schema = RawProbe::schema();
        schema["description"] =
            "A check of a run that comes up: a probe, and the time it has.".into();
        let mut within = Lasting::<EVERY_MIN_MS>::schema();
        within["description"] =
            "A run that has not passed by then is restarted; `60s` if it is left out.".into();
        schema["properties"]["within"] = within;
        schema
    }
}

table! {
    /// A front that takes the connections of a service and joins them to its instances.
    RawFront, "`front`", "{ port = 80 }" {
        /// The port that it takes connections at.
        port: Port,
        /// The IP address that it takes them at; `127.0.0.1` if it is left out.
        address: IpText,
        /// The name of the port that they are passed on to; not needed if there is just one.
        to: PortName,
    }
}

table! {
    /// When a service runs that does not run always: either `every` or `cron`.
    RawSchedule, "`schedule`", r#"{ cron = "30 2 * * *" }"# {
        /// From the start of one run to the start of the next; the first comes after as long.
        every: Lasting<RUN_EVERY_MIN_MS>,
        /// Minute, hour, day of the month, month, day of the week, as cron has them.
        cron: CronText,
        /// The time zone of `cron` by its name in the IANA database; the host's if it is left out.
        zone: ZoneName,
        /// What happens to a time that comes while the last run still goes on: `skip` it, `queue`
        /// one run behind that one, or `replace` that one; `skip` if it is left out.
        overlap: Overlap,
        /// A run that takes longer is stopped, and has failed.
        timeout: Lasting<RUN_EVERY_MIN_MS>,
        /// Whether times that passed while the host or its agent was down are made up for, by one
        /// run; false if it is left out.
        catch_up: bool,
    }
}

table! {
    /// How a run gives way to a fresh one.
    RawReplace, "`replace`", r#"{ overlap = true, within = "1m" }"# {
        /// Whether the fresh run begins beside the old one, which is stopped once the fresh one is
        /// ready; true if it is left out for a service with `listen`, else false.
        overlap: bool,
        /// The fresh run is ready within this, or the old one is kept; `60s` if it is left out.
        within: Lasting<EVERY_MIN_MS>,
    }
}

table! {
    /// How an instance is told to read its configuration again: a signal or a hook.
    RawReload, "`reload`", r#"{ signal = "HUP" }"# {
        /// A signal like `HUP`.
        signal: ReloadSignal,
        /// A program and its arguments.
        hook: Argv,
    }
}

table! {
    /// When an ended run is followed by the next one.
    RawRestartTable, "`restart`", "\"always\"" {
        /// `always` if it is left out, after a `failure`, or `never`.
        when: When,
        /// The waits from the second restart in a row on: the first and the longest, doubled
        /// between; `100ms..30s` if it is left out.
        backoff: Backoff,
        /// A life at least this long clears the count of failures; `60s` if it is left out.
        reset_after: Lasting<RESET_AFTER_MIN_MS>,
    }
}

table! {
    /// How an instance is asked to end: a signal or a hook.
    RawStop, "`stop`", r#"{ signal = "TERM", timeout = "10s" }"# {
        /// A signal like `TERM` for Linux, `ctrl-break` or `ctrl-c` for Windows; `TERM` and
        /// `ctrl-break` if it is left out.
        signal: StopSignal,
        /// A program and its arguments that ask the instance to end.
        hook: Argv,
        /// How long it has until its whole tree is killed; `10s` if it is left out.
        timeout: Lasting<0>,
    }
}

table! {
    /// What the sandbox of a service lets through besides what every service may.
    RawLoosened, "`sandbox`", r#"{ read = ["/srv/maps"] }"# {
        /// Files and folders that it may read, and run programs from.
        read: List<AbsolutePath>,
        /// Files and folders that it may read and write.
        write: List<AbsolutePath>,
        /// Capabilities that its processes have, like `NET_RAW`.
        capabilities: List<Capability>,
        /// System calls that are denied to others, like `ptrace`.
        syscalls: List<SyscallName>,
        /// `shared` for the `/tmp` of the host; `private` if it is left out.
        tmp: TmpKind,
        /// `any` for whatever its account may open; `strict` if it is left out.
        files: Strictness,
        /// `any` for whatever its account may signal; `strict` if it is left out.
        signals: Strictness,
    }
}

/// `sandbox` as `off` or as a table.
#[derive(Debug)]
pub(crate) enum RawSandbox {
    Off,
    On(Box<RawLoosened>),
}

impl Read for RawSandbox {
    fn wanted() -> String {
        "\"off\", or a table,".into()
    }

    fn example() -> String {
        RawLoosened::example()
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        if let DeValue::Table(_) = node.value {
            return RawLoosened::read(node, reader).map(|it| Self::On(Box::new(it)));
        }
        if node.value.as_str() == Some("off") {
            return Some(Self::Off);
        }
        reader.wrong_type::<Self>(node);
        None
    }

    fn schema() -> Value {
        json!({ "oneOf": [{ "type": "string", "enum": ["off"] }, RawLoosened::schema()] })
    }
}

table! {
    /// Ceilings of one instance; what is left out has none.
    RawLimits, "`limits`", r#"{ memory = "256MiB" }"# {
        /// Memory of the whole tree.
        memory: Size<MEMORY_MIN>,
        /// CPU time: `500m` is half a core, `2` two cores.
        cpu: MilliCpu,
        /// Processes and threads of the whole tree.
        processes: Whole<1, 4_194_304, 64>,
        /// Files that each of its processes may hold open.
        files: Whole<16, 1_073_741_816, 65_536>,
        /// Its share of the disk when several want it; 100 for one that says nothing.
        io_weight: Whole<1, 10_000, 200>,
        /// What becomes of it on a host that cannot keep its limits: `must` refuses it, `best`
        /// runs it without them; `must` if it is left out.
        enforce: Enforce,
    }
}

table! {
    /// What one instance is expected to use: a host takes no more than it has.
    RawRequests, "`requests`", r#"{ memory = "1GiB", cpu = "500m" }"# {
        /// Memory of the whole tree.
        memory: Size<MEMORY_MIN>,
        /// CPU time: `500m` is half a core, `2` two cores.
        cpu: MilliCpu,
    }
}

table! {
    /// What is kept of the output of an instance.
    RawLog, "`log`", r#"{ keep = "200MiB" }"# {
        /// The most that is kept of both streams together; `200MiB` if it is left out.
        keep: Size<KEEP_MIN>,
    }
}

/// `restart` as a word or as a table.
#[derive(Debug)]
pub(crate) struct RawRestart(pub RawRestartTable);

impl Read for RawRestart {
    fn wanted() -> String {
        "a word like \"always\", or a table,".into()
    }

    fn example() -> String {
        "\"always\"".into()
    }

    fn read(node: &Node<'_>, reader: &mut Reader<'_>) -> Option<Self> {
        match node.value {
            DeValue::String(_) => {
                let value = When::read(node, reader)?;
                let when = Field::Given(At { span: node.span.clone(), value });
                let (backoff, reset_after) = (Field::Absent, Field::Absent);
                Some(Self(RawRestartTable { when, backoff, reset_after }))
            }
            DeValue::Table(_) => RawRestartTable::read(node, reader).map(Self),
            DeValue::Array(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Float(_)
            | DeValue::Integer(_) => {
                reader.wrong_type::<Self>(node);
                None
            }
        }
    }

    fn schema() -> Value {
        json!({ "oneOf": [When::text_schema(), RawRestartTable::schema()] })
    }
}

/// The JSON schema (2020-12) of the fleet file, for editors.
pub fn schema() -> Value {
    let mut schema = RawFleet::schema();
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "stead.toml".into();
    schema
}
