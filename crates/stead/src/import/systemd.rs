//! A service of systemd. Sources: systemd.service(5), systemd.exec(5), systemd.kill(5),
//! systemd.resource-control(5).

use std::collections::BTreeMap;

use super::fleet_text::{Imported, braced, key, list, quoted};
use super::foreground;
use super::unit_file::UnitFile;
use super::words;

/// Reads a file that a unit names; `None` if it is not there.
type ReadFile<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What a fleet file says in other words, or what stead does in any case.
const UNDERSTOOD: &[&str] = &[
    "AmbientCapabilities",
    "CPUQuota",
    "CapabilityBoundingSet",
    "DynamicUser",
    "Environment",
    "EnvironmentFile",
    "ExecReload",
    "ExecStart",
    "ExecStop",
    "Group",
    "IOWeight",
    "KillMode",
    "KillSignal",
    "LimitNOFILE",
    "MemoryLimit",
    "MemoryMax",
    "NoNewPrivileges",
    "NotifyAccess",
    "PIDFile",
    "PassEnvironment",
    "PrivateTmp",
    "ReadWriteDirectories",
    "ReadWritePaths",
    "Restart",
    "RestartSec",
    "StandardError",
    "StandardOutput",
    "SyslogIdentifier",
    "TasksMax",
    "TimeoutSec",
    "TimeoutStartSec",
    "TimeoutStopSec",
    "Type",
    "UMask",
    "User",
    "WatchdogSec",
    "WorkingDirectory",
];

/// Folders that systemd makes, and where.
const FOLDERS: [(&str, &str); 4] = [
    ("CacheDirectory", "/var/cache"),
    ("LogsDirectory", "/var/log"),
    ("RuntimeDirectory", "/run"),
    ("StateDirectory", "/var/lib"),
];

/// Isolation that the sandbox of stead has in its own way, or not at all.
const ISOLATION: [&str; 9] = [
    "Device",
    "Lock",
    "Memory",
    "Private",
    "Protect",
    "Remove",
    "Restrict",
    "SystemCall",
    "NoExec",
];

pub(super) fn read(name: &str, texts: &[String], files: ReadFile<'_>) -> Result<Imported, String> {
    let stem = name.strip_suffix(".service").unwrap_or(name);
    let unit = UnitFile::parse(texts);
    let specifiers = Specifiers::of(stem);
    let mut service = Imported::new(stem, &format!("the unit {name}"));
    let mut env = environment(&unit, &specifiers, files, &mut service);
    // systemd gives it the home of its account, which some look for their secrets in.
    if let Some(home) = unit.last("User").and_then(|user| home(user, files)) {
        env.entry("HOME".to_owned()).or_insert(home);
    }
    let starts = unit.all("ExecStart");
    let [first, more @ ..] = starts.as_slice() else {
        return Err("it has no `ExecStart`".to_owned());
    };
    for start in more {
        service.left(format!("ExecStart={start}: one service runs one program"));
    }
    let argv = command(first, &specifiers, &env)?;
    run(&unit, argv, &mut service);
    account(&unit, &mut service);
    restart(&unit, &mut service);
    stop(&unit, &specifiers, &env, &mut service);
    reload(&unit, &specifiers, &env, &mut service);
    limits(&unit, &mut service);
    sandbox(&unit, &specifiers, &mut service);
    if !env.is_empty() {
        let pair = |(name, value): (&String, &String)| {
            format!("{} = {}", key(name), quoted(&braced(value)))
        };
        let pairs: Vec<String> = env.iter().map(pair).collect();
        service.set("env", format!("{{ {} }}", pairs.join(", ")));
    }
    leftovers(&unit, &mut service);
    Ok(service)
}

/// What `%` stands for in a unit.
struct Specifiers {
    unit: String,
    prefix: String,
    instance: String,
}

impl Specifiers {
    fn of(stem: &str) -> Self {
        let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
        Self { unit: stem.to_owned(), prefix: prefix.to_owned(), instance: instance.to_owned() }
    }

    fn fill(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                filled.push(c);
                continue;
            }
            match chars.next() {
                Some('i') => filled.push_str(&self.instance),
                Some('I') => filled.push_str(&self.instance.replace('-', "/")),
                Some('n') => filled.push_str(&format!("{}.service", self.unit)),
                Some('N') => filled.push_str(&self.unit),
                Some('p' | 'P') => filled.push_str(&self.prefix),
                Some('t') => filled.push_str("/run"),
                Some('S') => filled.push_str("/var/lib"),
                Some('C') => filled.push_str("/var/cache"),
                Some('L') => filled.push_str("/var/log"),
                Some('T') => filled.push_str("/tmp"),
                Some('%') => filled.push('%'),
                Some(other) => filled.extend(['%', other]),
                None => filled.push('%'),
            }
        }
        filled
    }
}

/// The home of an account on this machine.
fn home(user: &str, files: ReadFile<'_>) -> Option<String> {
    let accounts = files("/etc/passwd")?;
    let account = accounts.lines().find(|line| line.split(':').next() == Some(user))?;
    account.split(':').nth(5).map(str::to_owned)
}

fn environment(
    unit: &UnitFile,
    specifiers: &Specifiers,
    files: ReadFile<'_>,
    service: &mut Imported,
) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let mut take = |pair: &str| {
        if let Some((name, value)) = pair.split_once('=') {
            env.insert(name.trim().to_owned(), value.to_owned());
        }
    };
    for text in unit.all("Environment") {
        words::systemd(&specifiers.fill(text)).unwrap_or_default().iter().for_each(|it| take(it));
    }
    for path in unit.all("EnvironmentFile") {
        let path = specifiers.fill(path);
        let plain = path.trim_start_matches('-');
        match files(plain) {
            Some(text) => {
                let lines = text.replace("\\\n", " ");
                let lines = lines.lines().map(str::trim);
                for line in lines.filter(|line| !line.starts_with(['#', ';'])) {
                    let Some((name, value)) = line.split_once('=') else { continue };
                    // Quotes may be anywhere in a value and hold it together.
                    let value = words::systemd(value).map(|words| words.join(" "));
                    take(&format!("{}={}", name.trim(), value.unwrap_or_default()));
                }
                service.left(format!(
                    "EnvironmentFile={plain}: its values are in `env` as they are now"
                ));
            }
            None if path.starts_with('-') => (),
            None => service.left(format!("EnvironmentFile={path}: it cannot be read")),
        }
    }
    let names: Vec<String> =
        unit.all("PassEnvironment").iter().flat_map(|it| it.split(' ')).map(Into::into).collect();
    if !names.is_empty() {
        service.set_list("inherit", &names);
    }
    env
}

/// A command line with its places filled in: `$NAME` alone becomes words, `${NAME}` text.
fn command(
    line: &str,
    specifiers: &Specifiers,
    env: &BTreeMap<String, String>,
) -> Result<Vec<String>, String> {
    let line = line.trim_start_matches(['-', '@', ':', '+', '!', '|']);
    let split = words::systemd(&specifiers.fill(line));
    let split = split.ok_or_else(|| format!("`{line}` has a quote that does not end"))?;
    let mut argv = Vec::new();
    for word in split {
        match word.strip_prefix('$').filter(|name| is_name(name)) {
            Some(name) if name != "MAINPID" => {
                let value = env.get(name).cloned().unwrap_or_default();
                argv.extend(words::systemd(&value).unwrap_or_default());
            }
            Some(_) | None => argv.push(fill_variables(&word, env)),
        }
    }
    match argv.is_empty() {
        true => Err(format!("`{line}` comes to nothing")),
        false => Ok(argv),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn fill_variables(word: &str, env: &BTreeMap<String, String>) -> String {
    let mut filled = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}').filter(|(name, _)| is_name(name)) else {
            break;
        };
        filled.push_str(before);
        match name {
            "MAINPID" => filled.push_str("$MAINPID"),
            name => filled.push_str(env.get(name).map_or("", String::as_str)),
        }
        rest = after;
    }
    filled.push_str(rest);
    filled.replace("$$", "$")
}

fn run(unit: &UnitFile, argv: Vec<String>, service: &mut Imported) {
    let kind = unit.last("Type").unwrap_or("simple");
    let mut argv = argv;
    match kind {
        "forking" => match foreground::keep_in_front(&argv) {
            Some(known) => {
                argv = known.argv;
                if let Some(signal) = known.stop {
                    service.set_text("stop.signal", signal);
                }
            }
            None => service.left(
                "Type=forking: the program must stay in the foreground; find its flag for that",
            ),
        },
        "oneshot" => service.left("Type=oneshot: what ends at once is no service"),
        "notify" | "notify-reload" => service.set("ready", "{ notify = true }"),
        "dbus" => service.left("Type=dbus: nothing tells when it is ready; add a `ready` probe"),
        _ => (),
    }
    let argv: Vec<String> = argv.iter().map(|word| braced(word)).collect();
    service.set_list("run", &argv);
    if let Some(folder) = unit.last("WorkingDirectory").filter(|it| it.starts_with('/')) {
        service.set_text("directory", &braced(folder));
    } else {
        // As under systemd, unless something else is said.
        service.set_text("directory", "/");
    }
    if let Some(watchdog) = unit.last("WatchdogSec").and_then(duration)
        && kind == "notify"
    {
        service.set("live", format!("{{ notify = true, timeout = \"{watchdog}\" }}"));
    }
}

fn account(unit: &UnitFile, service: &mut Imported) {
    if !unit.is_on("DynamicUser") {
        service.set_text("user", unit.last("User").filter(|it| !it.is_empty()).unwrap_or("root"));
        if let Some(group) = unit.last("Group").filter(|it| !it.is_empty()) {
            service.set_text("group", group);
        }
    }
    match unit.last("UMask") {
        Some(umask) => service.set_text("umask", &format!("{:0>3}", umask.trim_start_matches('0'))),
        None => service.set_text("umask", "022"),
    }
}

fn restart(unit: &UnitFile, service: &mut Imported) {
    let when = match unit.last("Restart").unwrap_or("no") {
        "always" => "always",
        "on-failure" | "on-abnormal" | "on-abort" | "on-watchdog" => "failure",
        "on-success" => {
            service.left("Restart=on-success: what fails would be left as it is");
            "always"
        }
        _ => "never",
    };
    service.set_text("restart.when", when);
    if let Some(wait) = unit.last("RestartSec").and_then(duration).filter(|it| it != "0s") {
        service.set_text("restart.backoff", &format!("{wait}..5m"));
    }
}

fn stop(
    unit: &UnitFile,
    specifiers: &Specifiers,
    env: &BTreeMap<String, String>,
    service: &mut Imported,
) {
    if let Some(signal) = unit.last("KillSignal") {
        service.set_text("stop.signal", signal.trim_start_matches("SIG"));
    }
    let time = unit.last("TimeoutStopSec").or_else(|| unit.last("TimeoutSec")).and_then(duration);
    // systemd's own default; 0 and `infinity` are no bound.
    let time = time.map_or("90s".to_owned(), |it| if it == "0s" { "1h".to_owned() } else { it });
    service.set_text("stop.timeout", &time);
    for line in unit.all("ExecStop") {
        let Ok(argv) = command(line, specifiers, env) else { continue };
        match means_of(&argv) {
            Means::Signal(signal) => service.set_text("stop.signal", &signal),
            // The program was brought to the foreground, and ends by a signal.
            Means::Hook(_) if unit.last("Type") == Some("forking") => {
                service.left(format!("ExecStop={line}: a signal to its main process instead"));
            }
            Means::Hook(hook) => service.set_list("stop.hook", &hook),
        }
    }
}

fn reload(
    unit: &UnitFile,
    specifiers: &Specifiers,
    env: &BTreeMap<String, String>,
    service: &mut Imported,
) {
    let all = unit.all("ExecReload");
    for line in &all {
        let Ok(argv) = command(line, specifiers, env) else { continue };
        match means_of(&argv) {
            Means::Signal(signal) => service.set("reload", format!("{{ signal = \"{signal}\" }}")),
            Means::Hook(hook) if all.len() == 1 => {
                service.set("reload", format!("{{ hook = {} }}", list(&hook)));
            }
            Means::Hook(_) => service.left(format!("ExecReload={line}")),
        }
    }
}

/// What a command that acts on the main process comes to.
enum Means {
    Hook(Vec<String>),
    Signal(String),
}

fn means_of(argv: &[String]) -> Means {
    let program = argv.first().and_then(|it| it.rsplit('/').next()).unwrap_or_default();
    if program == "kill" && argv.iter().any(|word| word == "$MAINPID") {
        let named = argv.iter().skip(1).find_map(|word| word.strip_prefix('-'));
        let name = match named {
            Some("s") => argv.iter().skip_while(|word| *word != "-s").nth(1).map(String::as_str),
            named => named,
        };
        return Means::Signal(name.unwrap_or("TERM").trim_start_matches("SIG").to_owned());
    }
    let retry = argv.iter().position(|word| word == "--retry").and_then(|at| argv.get(at + 1));
    if program == "start-stop-daemon"
        && let Some((signal, _)) = retry.and_then(|retry| retry.split_once('/'))
    {
        return Means::Signal(signal.trim_start_matches("SIG").to_owned());
    }
    if argv.iter().any(|word| word.contains("$MAINPID")) {
        // Only a shell fills it in.
        let line: Vec<String> = argv.iter().map(|word| braced(word)).collect();
        let line = line.join(" ").replace("$MAINPID", "$STEAD_PID");
        return Means::Hook(
            ["/bin/sh", "-c"].map(str::to_owned).into_iter().chain([line]).collect(),
        );
    }
    Means::Hook(argv.iter().map(|word| braced(word)).collect())
}

fn limits(unit: &UnitFile, service: &mut Imported) {
    let is_number = |text: &&str| text.chars().all(|c| c.is_ascii_digit());
    if let Some(files) = unit.last("LimitNOFILE") {
        match files.rsplit(':').next().filter(is_number) {
            Some(files) => service.set("limits.files", files),
            None => service.left(format!("LimitNOFILE={files}")),
        }
    }
    if let Some(size) = unit.last("MemoryMax").or_else(|| unit.last("MemoryLimit")) {
        let (number, unit) = size.split_at(size.trim_end_matches(['K', 'M', 'G', 'T']).len());
        match (Some(number).filter(is_number), unit) {
            (Some(number), "") => service.set_text("limits.memory", &format!("{number}B")),
            (Some(number), unit) => service.set_text("limits.memory", &format!("{number}{unit}iB")),
            (None, _) if size == "infinity" => (),
            (None, _) => service.left(format!("MemoryMax={size}")),
        }
    }
    if let Some(quota) = unit.last("CPUQuota") {
        match quota.trim_end_matches('%').parse::<u32>() {
            Ok(percent) if percent > 0 => {
                service.set_text("limits.cpu", &format!("{}m", u64::from(percent) * 10));
            }
            Ok(_) | Err(_) => service.left(format!("CPUQuota={quota}")),
        }
    }
    match unit.last("TasksMax") {
        Some(tasks) if is_number(&tasks) => service.set("limits.processes", tasks),
        Some("infinity") | None => (),
        Some(tasks) => service.left(format!("TasksMax={tasks}")),
    }
    if let Some(weight) = unit.last("IOWeight").filter(is_number) {
        service.set("limits.io_weight", weight);
    }
    let limits = ["CPUQuota", "IOWeight", "LimitNOFILE", "MemoryLimit", "MemoryMax", "TasksMax"];
    if limits.iter().any(|name| unit.last(name).is_some()) {
        // systemd, too, runs what it cannot limit.
        service.set_text("limits.enforce", "best");
    }
}

/// As open as under systemd: closing it further is for whoever knows the service.
fn sandbox(unit: &UnitFile, specifiers: &Specifiers, service: &mut Imported) {
    let mut write: Vec<String> = Vec::new();
    for (field, base) in FOLDERS {
        for name in unit.all(field).iter().flat_map(|it| it.split_whitespace()) {
            let path = format!("{base}/{}", specifiers.fill(name));
            let user = unit.last("User").unwrap_or("root");
            service.left(format!("{field}={name}: make it, `install -d -o {user} {path}`"));
            write.push(path);
        }
    }
    let is_root = unit.last("User").is_none_or(|user| user.is_empty() || user == "root");
    if is_root && !unit.is_on("DynamicUser") {
        return service.set_text("sandbox", "off");
    }
    let paths = unit.all("ReadWritePaths").into_iter().chain(unit.all("ReadWriteDirectories"));
    write.extend(
        paths
            .flat_map(str::split_whitespace)
            .map(|path| specifiers.fill(path.trim_start_matches(['-', '+']))),
    );
    let mut table = Vec::new();
    if unit.last("ProtectSystem") == Some("strict") {
        table.push("read = [\"/\"]".to_owned());
        table.push(format!("write = {}", list(&write)));
    } else {
        table.push("files = \"any\"".to_owned());
    }
    table.push("signals = \"any\"".to_owned());
    if !unit.is_on("PrivateTmp") {
        table.push("tmp = \"shared\"".to_owned());
    }
    let capabilities: Vec<&str> = unit
        .all("AmbientCapabilities")
        .iter()
        .flat_map(|it| it.split_whitespace())
        .map(|name| name.trim_start_matches("CAP_"))
        .collect();
    if !capabilities.is_empty() {
        table.push(format!("capabilities = {}", list(&capabilities)));
    }
    service.set("sandbox", format!("{{ {} }}", table.join(", ")));
}

fn leftovers(unit: &UnitFile, service: &mut Imported) {
    let mut isolation = Vec::new();
    for (key, value) in unit.of_section("Service") {
        let is_folder = FOLDERS.iter().any(|(folder, _)| *folder == key);
        if UNDERSTOOD.contains(&key) || is_folder {
            continue;
        }
        if ISOLATION.iter().any(|begin| key.starts_with(begin)) || key == "ExecPaths" {
            isolation.push(key);
            continue;
        }
        service.left(format!("{key}={value}"));
    }
    if !isolation.is_empty() {
        isolation.dedup();
        service.left(format!("{}: see `sandbox` for what stead holds", isolation.join(", ")));
    }
    for key in ["Requires", "BindsTo", "ConditionPathExists", "AssertPathExists", "OnFailure"] {
        for value in unit.all(key) {
            service.left(format!("{key}={value}"));
        }
    }
}

/// A time of systemd, like `1min 30s`, `20` or `500ms`; `None` for one that is no bound.
/// Source: systemd.time(7).
fn duration(text: &str) -> Option<String> {
    let mut total_ms: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() || rest == "infinity" {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters =
            after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let unit_ms: u64 = match unit {
            "" | "s" | "sec" | "second" | "seconds" => 1000,
            "ms" | "msec" => 1,
            "m" | "min" | "minute" | "minutes" => 60_000,
            "h" | "hr" | "hour" | "hours" => 3_600_000,
            "d" | "day" | "days" => 86_400_000,
            _ => return None,
        };
        total_ms = total_ms.checked_add(number.parse::<u64>().ok()?.checked_mul(unit_ms)?)?;
        rest = after.trim_start();
    }
    let shown = stead_core::units::show_duration(std::time::Duration::from_millis(total_ms));
    Some(if total_ms == 0 { "0s".to_owned() } else { shown })
}

#[cfg(test)]
#[path = "systemd_tests.rs"]
mod tests;
