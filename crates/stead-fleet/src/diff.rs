//! What differs between two specs, as a person would write it.

use std::collections::{BTreeMap, BTreeSet};

use stead_core::plan::{
    Check, Digest, Enforce, Limits, LogLimits, Probe, Reload, Restart, SecretRef, Spec, Stop,
    StopHow, Umask, When,
};
use stead_core::reconcile::FieldChange;
use stead_core::registry::{EventSource, KeyPath, Registry, Value};
use stead_core::schedule::{Overlap, Schedule, Times};
use stead_core::template::Template;
use stead_core::units::show_duration;

use crate::problem::escaped;

/// What stands for a value that is not there.
const NONE: &str = "(none)";
/// What stands for a value that nobody should read over a shoulder.
const HIDDEN: &str = "(hidden)";

/// The fields that differ, by their names in the fleet file.
///
/// Values of variables and arguments whose names sound secret are not shown.
pub fn diff(old: &Spec, new: &Spec) -> Vec<FieldChange> {
    let [mut old, mut new] = [shown(old), shown(new)];
    let names: BTreeSet<String> = old.keys().chain(new.keys()).cloned().collect();
    let mut changes = Vec::new();
    for field in names {
        let [from, to] =
            [&mut old, &mut new].map(|fields| fields.remove(&field).unwrap_or_default());
        if from.compared != to.compared {
            changes.push(FieldChange { field, from: from.shown, to: to.shown });
        }
    }
    changes
}

/// A field as it is compared, and as it is shown.
struct Shown {
    compared: Option<String>,
    shown: String,
}

impl Default for Shown {
    fn default() -> Self {
        Self { compared: None, shown: NONE.into() }
    }
}

impl Shown {
    fn plain(text: impl ToString) -> Self {
        let text = text.to_string();
        Self { shown: escaped(&text), compared: Some(text) }
    }

    fn optional(text: Option<impl ToString>) -> Self {
        text.map_or_else(Self::default, Self::plain)
    }

    fn argv(argv: &[Template]) -> Self {
        let args: Vec<String> = argv.iter().cloned().map(String::from).collect();
        // Debug writes borders and quotes, so that no two lists are compared as one.
        Self { compared: Some(format!("{args:?}")), shown: command(&args) }
    }

    fn variable(name: &str, value: &Template) -> Self {
        let text = String::from(value.clone());
        let shown = if sounds_secret(name) { HIDDEN.into() } else { escaped(&text) };
        Self { compared: Some(text), shown }
    }
}

fn shown(spec: &Spec) -> BTreeMap<String, Shown> {
    // Taken apart by name, so that a new field of a spec cannot be forgotten here.
    let Spec {
        run,
        release,
        directory,
        env,
        secrets,
        inherit,
        user,
        group,
        umask: Umask(umask),
        new_privileges,
        ports,
        restart,
        stop,
        log: LogLimits { keep },
        needs,
        ready,
        live,
        limits,
        startup,
        requests,
        sandbox,
        listen,
        replace,
        reload,
        config,
        schedule,
        fronted,
        once,
        registry,
        event_source,
    } = spec;
    let names = |names: &[String]| (!names.is_empty()).then(|| names.join(", "));
    let needs: Vec<String> = needs.iter().map(ToString::to_string).collect();
    let mut fields = BTreeMap::from([
        ("run".to_owned(), Shown::argv(run)),
        ("directory".into(), Shown::optional(directory.clone().map(String::from))),
        ("inherit".into(), Shown::optional(names(inherit))),
        ("user".into(), Shown::optional(user.as_ref())),
        ("group".into(), Shown::optional(group.as_ref())),
        ("umask".into(), Shown::plain(format!("{umask:03o}"))),
        ("new_privileges".into(), Shown::plain(new_privileges)),
        ("log.keep".into(), Shown::plain(keep)),
        ("needs".into(), Shown::optional(names(&needs))),
        ("ready".into(), probe(ready.as_ref())),
        ("live".into(), probe(live.as_ref())),
        ("requests.memory".into(), Shown::optional(requests.memory)),
        ("requests.cpu".into(), Shown::optional(requests.cpu)),
        ("replace.overlap".into(), Shown::plain(replace.overlap)),
        ("replace.within".into(), Shown::plain(show_duration(replace.within))),
        ("reload".into(), reload.as_ref().map_or_else(Shown::default, reload_shown)),
        ("sandbox".into(), Shown::plain(json(sandbox))),
        ("schedule".into(), Shown::optional(schedule.as_ref().map(times))),
        ("front".into(), Shown::optional(fronted.as_ref().map(|fronted| &fronted.by))),
    ]);
    fields.extend(once.then(|| ("once".to_owned(), Shown::plain(once))));
    fields.extend(limit_fields(limits));
    let within = startup.as_ref().map(|startup| show_duration(startup.within));
    fields.insert("startup".into(), probe(startup.as_ref().map(|startup| &startup.probe)));
    fields.insert("startup.within".into(), Shown::optional(within));
    fields.extend(by_name("listen", listen));
    fields.insert("config".into(), digest(config.as_ref()));
    fields.insert("release".into(), digest(release.as_ref()));
    fields.extend(variables(env, secrets));
    fields.extend(by_name("port", ports));
    fields.insert("event_source".into(), source(event_source.as_ref()));
    fields.extend(registry_fields(registry));
    fields.extend(restart_fields(restart));
    fields.extend(stop_fields(stop));
    fields
}

fn by_name<'a, T: ToString>(
    field: &'a str,
    all: &'a BTreeMap<String, T>,
) -> impl Iterator<Item = (String, Shown)> {
    all.iter()
        .map(move |(name, it)| (format!("{field}.{}", escaped(name)), Shown::plain(it.to_string())))
}

fn variables(
    env: &BTreeMap<String, Template>,
    secrets: &BTreeMap<String, SecretRef>,
) -> Vec<(String, Shown)> {
    let field = |name: &String| format!("env.{}", escaped(name));
    let plain = env.iter().map(|(name, value)| (field(name), Shown::variable(name, value)));
    let secrets = secrets.iter().map(|(name, secret)| {
        let shown = format!("secret {} ({})", secret.name, secret.id.short());
        // A text of that form is no secret.
        let compared = Some(format!("{secret:?}"));
        (field(name), Shown { compared, shown })
    });
    plain.chain(secrets).collect()
}

fn source(source: Option<&EventSource>) -> Shown {
    Shown::optional(source.map(EventSource::as_str))
}

/// Each value by its key, and keys that have none.
fn registry_fields(registry: &Registry) -> Vec<(String, Shown)> {
    let field = |key: &KeyPath| format!("registry.{}", escaped(&key.to_string()));
    let empty = registry.0.iter().filter(|(_, values)| values.is_empty());
    let empty = empty.map(|(key, _)| (field(key), Shown::plain("a key without values")));
    let values = registry.values().map(|(key, name, value)| {
        let compared = json(value);
        let shown = match value {
            _ if sounds_secret(name.as_str()) => HIDDEN.into(),
            Value::Dword(number) => number.to_string(),
            Value::Qword(number) => number.to_string(),
            Value::ExpandSz(text) | Value::Sz(text) => escaped(text),
            Value::MultiSz(texts) => escaped(&texts.join(", ")),
        };
        let field = format!("{}.{}", field(key), escaped(name.as_str()));
        (field, Shown { compared: Some(compared), shown })
    });
    empty.chain(values).collect()
}

fn digest(digest: Option<&Digest>) -> Shown {
    let shown = digest.map_or(NONE, Digest::short).into();
    Shown { compared: digest.map(|digest| digest.as_str().to_owned()), shown }
}

fn limit_fields(limits: &Limits) -> [(String, Shown); 6] {
    let Limits { memory, cpu, processes, files, io_weight, enforce: how } = limits;
    [
        ("limits.memory".into(), Shown::optional(*memory)),
        ("limits.cpu".into(), Shown::optional(*cpu)),
        ("limits.processes".into(), Shown::optional(*processes)),
        ("limits.files".into(), Shown::optional(*files)),
        ("limits.io_weight".into(), Shown::optional(*io_weight)),
        ("limits.enforce".into(), Shown::plain(enforce(*how))),
    ]
}

fn enforce(enforce: Enforce) -> &'static str {
    match enforce {
        Enforce::Best => "best",
        Enforce::Must => "must",
    }
}

/// A schedule in a few words.
fn times(schedule: &Schedule) -> String {
    let Schedule { times, overlap, timeout, catch_up } = schedule;
    let mut words = vec![match times {
        Times::Cron { text, zone: None } => format!("cron {text}"),
        Times::Cron { text, zone: Some(zone) } => format!("cron {text} in {zone}"),
        Times::Every { interval } => format!("every {}", show_duration(*interval)),
    }];
    words.extend(match overlap {
        Overlap::Queue => Some("queue".to_owned()),
        Overlap::Replace => Some("replace".to_owned()),
        Overlap::Skip => None,
    });
    words.extend(timeout.map(|timeout| format!("timeout {}", show_duration(timeout))));
    words.extend(catch_up.then(|| "catch up".to_owned()));
    words.join(", ")
}

fn reload_shown(reload: &Reload) -> Shown {
    match reload {
        Reload::Hook(hook) => Shown::argv(hook),
        Reload::Signal(signal) => Shown::plain(signal.name()),
    }
}

/// What has no shorter form.
fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("specs always serialize")
}

fn restart_fields(restart: &Restart) -> [(String, Shown); 3] {
    let Restart { when, backoff_min, backoff_max, reset_after } = restart;
    let when = match when {
        When::Always => "always",
        When::Failure => "failure",
        When::Never => "never",
    };
    let backoff = format!("{}..{}", show_duration(*backoff_min), show_duration(*backoff_max));
    [
        ("restart.when".into(), Shown::plain(when)),
        ("restart.backoff".into(), Shown::plain(backoff)),
        ("restart.reset_after".into(), Shown::plain(show_duration(*reset_after))),
    ]
}

fn stop_fields(stop: &Stop) -> [(String, Shown); 2] {
    let Stop { how, timeout } = stop;
    let (field, how) = match how {
        StopHow::CtrlBreak => ("stop.signal", Shown::plain("ctrl-break")),
        StopHow::CtrlC => ("stop.signal", Shown::plain("ctrl-c")),
        StopHow::Hook(hook) => ("stop.hook", Shown::argv(hook)),
        StopHow::Signal(signal) => ("stop.signal", Shown::plain(signal.name())),
    };
    [(field.into(), how), ("stop.timeout".into(), Shown::plain(show_duration(*timeout)))]
}

fn probe(probe: Option<&Probe>) -> Shown {
    let Some(Probe { check, every, timeout, failures, successes }) = probe else {
        return Shown::default();
    };
    let pace = [every, timeout].map(|duration| show_duration(*duration));
    let mut pace = format!("every {}, timeout {}, failures {failures}", pace[0], pace[1]);
    if *successes != 1 {
        pace.push_str(&format!(", successes {successes}"));
    }
    let check = match check {
        Check::Exec(argv) => Shown::argv(argv),
        Check::Http { path, port } => Shown::plain(format!("http {path} on port {port}")),
        Check::Log { text } => Shown::plain(format!("log {text:?}")),
        Check::Notify => Shown::plain("notify"),
        Check::Tcp { port } => Shown::plain(format!("tcp on port {port}")),
    };
    Shown {
        compared: check.compared.map(|check| format!("{check} {pace}")),
        shown: format!("{}, {pace}", check.shown),
    }
}

/// Whether a variable, or an argument like `--api-token`, may hold a secret.
fn sounds_secret(name: &str) -> bool {
    const SECRET: [&str; 5] = ["CREDENTIAL", "KEY", "PASSW", "SECRET", "TOKEN"];
    let upper = name.to_ascii_uppercase();
    SECRET.iter().any(|word| upper.contains(word))
}

/// Arguments as they would be typed, without those that may be secret.
fn command(args: &[String]) -> String {
    let mut out = Vec::new();
    let mut hide_next = false;
    for arg in args {
        let (name, value) = arg.split_once('=').unwrap_or((arg, ""));
        let names_secret = name.starts_with('-') && sounds_secret(name);
        out.push(if hide_next {
            HIDDEN.into()
        } else if names_secret && !value.is_empty() {
            format!("{}={HIDDEN}", escaped(name))
        } else {
            quoted_for_shell(arg)
        });
        hide_next = names_secret && value.is_empty();
    }
    out.join(" ")
}

fn quoted_for_shell(arg: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+{}".contains(c);
    match !arg.is_empty() && arg.chars().all(plain) {
        true => arg.into(),
        false => format!("'{}'", escaped(arg).replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fleet, Os};

    fn spec(body: &str) -> Spec {
        let text = format!("[service.a]\nrun = [\"/bin/a\"]\n{body}");
        let fleet = Fleet::parse_on(Os::Linux, text.as_bytes());
        let fleet = fleet.unwrap_or_else(|bad| panic!("{}", bad.render("", &text, false)));
        let plan = fleet.plan(&fleet.local_host().unwrap(), &BTreeMap::new(), &BTreeMap::new());
        plan.instances.into_values().next().unwrap()
    }

    fn check(old: &str, new: &str, changes: &[&str]) {
        let found = diff(&spec(old), &spec(new));
        let found: Vec<_> =
            found.iter().map(|c| format!("{}: {} -> {}", c.field, c.from, c.to)).collect();
        assert_eq!(found, changes, "{old} / {new}");
    }

    #[test]
    fn a_change_is_told_as_it_is_written() {
        check("", "", &[]);
        check("env.A = 1", "env.A = \"1\"", &[]);
        check("env.A = 1", "env.B = 2", &["env.A: 1 -> (none)", "env.B: (none) -> 2"]);
        check("", "limits.memory = \"256MiB\"", &["limits.memory: (none) -> 256MiB"]);
        check("port.http = 1", "port.http = 2", &["port.http: 1 -> 2"]);
        check("", "restart = \"never\"", &["restart.when: always -> never"]);
        check("", "umask = \"077\"", &["umask: 027 -> 077"]);
        check("user = \"a\"", "user = \"b\"", &["user: a -> b"]);
        check("", "log.keep = \"1GiB\"", &["log.keep: 200MiB -> 1GiB"]);
        let hook = "stop = { hook = [\"/bin/drain\", \"a b\"] }";
        let changes = ["stop.hook: (none) -> /bin/drain 'a b'", "stop.signal: TERM -> (none)"];
        check("", hook, &changes);
        let probe = "port.http = 1\nready = { tcp = true }";
        let told = "ready: (none) -> tcp on port 1, every 1s, timeout 1s, failures 3";
        check("port.http = 1", probe, &[told]);
    }

    #[test]
    fn a_value_of_the_registry_is_told_by_its_key() {
        let spec = |body: &str| {
            let text = format!("[service.a]\nrun = [\"C:/a.exe\"]\n[service.a.windows]\n{body}");
            let fleet = Fleet::parse_on(Os::Windows, text.as_bytes());
            let fleet = fleet.unwrap_or_else(|bad| panic!("{}", bad.render("", &text, false)));
            let local = fleet.local_host().unwrap();
            let plan = fleet.plan(&local, &BTreeMap::new(), &BTreeMap::new());
            plan.instances.into_values().next().unwrap()
        };
        let old = spec(
            "[service.a.windows.registry.'HKLM\\SOFTWARE\\Shop']\n\
             N = 1\nList = ['a']\nApiKey = 'x'\nGone = ''\nSame = true",
        );
        let new = spec(
            "event_source = 'Shop'\n[service.a.windows.registry.'hklm\\SOFTWARE\\Shop']\n\
             N = 4294967296\nList = ['a', 'b']\nApiKey = 'y'\nSame = 1\n\
             [service.a.windows.registry.'HKLM\\SOFTWARE\\Shop\\empty']",
        );
        let found = diff(&old, &new);
        let found: Vec<_> =
            found.iter().map(|c| format!("{}: {} -> {}", c.field, c.from, c.to)).collect();
        let key = "registry.HKLM\\SOFTWARE\\Shop";
        let expected = [
            "event_source: (none) -> Shop".to_owned(),
            format!("{key}.ApiKey: (hidden) -> (hidden)"),
            format!("{key}.Gone:  -> (none)"),
            format!("{key}.List: a -> a, b"),
            format!("{key}.N: 1 -> 4294967296"),
            format!("{key}\\empty: (none) -> a key without values"),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_secret_is_seen_to_change_and_not_shown() {
        for name in ["API_TOKEN", "DbPassword", "client_secret", "AWS_ACCESS_KEY_ID"] {
            let [old, new] = ["one", "two"].map(|value| format!("env.{name} = \"{value}\""));
            check(&old, &new, &[&format!("env.{name}: (hidden) -> (hidden)")]);
        }
        let [old, new] = ["one", "two"].map(|value| {
            format!(
                "stop.hook = [\"/bin/x\", \"--token={value}\", \"--password\", \"{value}\", \"y\"]"
            )
        });
        let told = "/bin/x --token=(hidden) --password (hidden) y";
        check(&old, &new, &[&format!("stop.hook: {told} -> {told}")]);
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        check("", r#"env.A = "\u001b[2J""#, &["env.A: (none) -> \\u{1b}[2J"]);
    }
}
