//! PM2: an ecosystem file, as JSON. Source: PM2's "Ecosystem File" documentation.

use std::path::Path;

use serde_json::{Map, Value};

use super::fleet_text::{Imported, braced, key, quoted};
use super::words;

/// What a fleet file says in other words, or what PM2 alone has a use for.
const UNDERSTOOD: [&str; 19] = [
    "args",
    "autorestart",
    "cwd",
    "env",
    "exec_mode",
    "exp_backoff_restart_delay",
    "instances",
    "interpreter",
    "interpreter_args",
    "kill_timeout",
    "max_memory_restart",
    "min_uptime",
    "name",
    "node_args",
    "restart_delay",
    "script",
    "time",
    "merge_logs",
    "vizion",
];

pub(super) fn read(json: &str, folder: &Path) -> Result<Vec<Imported>, String> {
    let value: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
    // The apps of a list, or of the object around it.
    let apps = value.get("apps").unwrap_or(&value);
    let one = std::slice::from_ref(apps);
    let apps = apps.as_array().map_or(one, Vec::as_slice);
    apps.iter()
        .map(|app| app.as_object().ok_or("an app is no object".to_owned()))
        .map(|app| service(app?, folder))
        .collect()
}

fn service(app: &Map<String, Value>, folder: &Path) -> Result<Imported, String> {
    let text = |name: &str| app.get(name).and_then(Value::as_str);
    let script = text("script").ok_or("an app has no `script`")?;
    let name = text("name").unwrap_or(script);
    let mut service = Imported::new(name, &format!("the PM2 app `{name}`"));
    let cwd = text("cwd").map_or_else(|| folder.to_owned(), |cwd| folder.join(cwd));
    let cwd = std::path::absolute(&cwd).unwrap_or(cwd);
    service.set_list("run", &command(app, script));
    service.set_text("directory", &braced(&cwd.to_string_lossy()));
    if let Some(env) = app.get("env").and_then(Value::as_object) {
        let pairs: Vec<String> =
            env.iter().map(|(name, value)| format!("{} = {}", key(name), scalar(value))).collect();
        service.set("env", format!("{{ {} }}", pairs.join(", ")));
    }
    service.set_list("inherit", &["PATH"]);
    instances(app, &mut service);
    restarts(app, &mut service);
    if let Some(ms) = app.get("kill_timeout").and_then(Value::as_u64) {
        service.set_text("stop.timeout", &format!("{ms}ms"));
    }
    // What PM2 sends.
    service.set_text("stop.signal", "INT");
    if let Some(size) = text("max_memory_restart") {
        match size.strip_suffix(['M', 'G', 'K']) {
            Some(number) => {
                let unit = &size[number.len()..];
                service.set_text("limits.memory", &format!("{number}{unit}iB"));
                service.left("max_memory_restart: `limits.memory` is held at once, not polled");
            }
            None => service.left(format!("max_memory_restart = {size}")),
        }
    }
    let inner = app.iter().filter(|(name, _)| !UNDERSTOOD.contains(&name.as_str()));
    for (name, value) in inner.filter(|(_, value)| **value != Value::Bool(false)) {
        service.left(format!("{name} = {value}"));
    }
    Ok(service)
}

fn command(app: &Map<String, Value>, script: &str) -> Vec<String> {
    let list = |name: &str| match app.get(name) {
        Some(Value::Array(words)) => {
            words.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(Value::String(text)) => {
            words::shell(text).unwrap_or_else(|| text.split(' ').map(str::to_owned).collect())
        }
        _ => Vec::new(),
    };
    let by_end = match script.rsplit('.').next() {
        Some("js" | "cjs" | "mjs") => Some("node"),
        Some("py") => Some("python3"),
        Some("sh") => Some("/bin/sh"),
        Some("ts") => Some("bun"),
        _ => None,
    };
    let told = app.get("interpreter").and_then(Value::as_str);
    let interpreter = told.or(by_end).filter(|it| *it != "none");
    let mut argv: Vec<String> = interpreter.map(str::to_owned).into_iter().collect();
    argv.extend(list("interpreter_args"));
    argv.extend(list("node_args"));
    let is_path = interpreter.is_some() || script.contains('/');
    argv.push(if is_path { script.to_owned() } else { format!("./{script}") });
    argv.extend(list("args"));
    argv.iter().map(|word| braced(word)).collect()
}

fn instances(app: &Map<String, Value>, service: &mut Imported) {
    let count = match app.get("instances") {
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => Some(1),
    };
    match count {
        Some(1) => (),
        Some(count @ 2..=256) => service.set("count", count),
        Some(_) | None => {
            service.left("instances: as many as there are cores; say how many with `count`");
        }
    }
    if app.get("exec_mode").and_then(Value::as_str).is_some_and(|mode| mode.starts_with("cluster"))
    {
        service.left(
            "exec_mode = cluster: instances do not share one port by themselves; give them a \
             `port` each and put a `front` before them",
        );
    }
}

fn restarts(app: &Map<String, Value>, service: &mut Imported) {
    if app.get("autorestart") == Some(&Value::Bool(false)) {
        service.set_text("restart.when", "never");
    }
    let delay = ["exp_backoff_restart_delay", "restart_delay"];
    let delay = delay.iter().find_map(|name| app.get(*name)?.as_u64());
    if let Some(ms) = delay.filter(|ms| *ms > 0) {
        service.set_text("restart.backoff", &format!("{}ms..{}ms", ms.max(10), ms.max(15_000)));
    }
    if let Some(ms) = app.get("min_uptime").and_then(Value::as_u64).filter(|ms| *ms >= 1000) {
        service.set_text("restart.reset_after", &format!("{ms}ms"));
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(&braced(text)),
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Object(_) => {
            quoted(&braced(&value.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_becomes_a_service() {
        let json = r#"{"apps": [{"name": "Api", "script": "server.js", "args": "--port 80",
            "instances": 2, "exec_mode": "cluster", "max_memory_restart": "300M",
            "env": {"NODE_ENV": "production", "N": 3}, "watch": true, "restart_delay": 200}]}"#;
        let services = read(json, Path::new("/srv/app")).unwrap();
        let api = &services[0];
        let fields = [
            ("run", r#"["node", "server.js", "--port", "80"]"#),
            ("directory", "\"/srv/app\""),
            ("count", "2"),
            ("limits.memory", "\"300MiB\""),
            ("restart.backoff", "\"200ms..15000ms\""),
            ("env", "{ N = 3, NODE_ENV = \"production\" }"),
        ];
        for (name, value) in fields {
            assert_eq!(api.field(name), Some(value), "{name}");
        }
        assert!(api.left.iter().any(|left| left.starts_with("watch")), "{:?}", api.left);
        assert!(read("{}", Path::new(".")).is_err());
    }
}
