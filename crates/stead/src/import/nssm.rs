//! NSSM: what `nssm dump NAME` prints, one command per line.

use super::fleet_text::{Imported, braced, key, list, quoted};
use super::words;

pub(super) fn read(text: &str) -> Result<Vec<Imported>, String> {
    let mut services: Vec<Service> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words = words::windows(&line.replace("^", ""));
        let [program, verb, name, rest @ ..] = words.as_slice() else {
            return Err(format!("`{line}` is no line of `nssm dump`"));
        };
        if !program.to_lowercase().contains("nssm") {
            return Err(format!("`{line}` is no line of `nssm dump`"));
        }
        match (verb.as_str(), rest) {
            ("install", [program, arguments @ ..]) => {
                let mut service = Service::new(name);
                service.program = program.clone();
                service.arguments = arguments.to_vec();
                services.push(service);
            }
            ("set", [field, values @ ..]) => {
                let known = services.iter_mut().find(|service| service.id == *name);
                match known {
                    Some(service) => service.set(field, values),
                    None => return Err(format!("`{name}` is set before it is installed")),
                }
            }
            _ => return Err(format!("`{line}` is no line of `nssm dump`")),
        }
    }
    Ok(services.into_iter().map(Service::finish).collect())
}

struct Service {
    id: String,
    program: String,
    arguments: Vec<String>,
    when: &'static str,
    delay_ms: Option<u32>,
    stop_ms: u32,
    imported: Imported,
}

impl Service {
    fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            program: String::new(),
            arguments: Vec::new(),
            when: "always",
            delay_ms: None,
            stop_ms: 0,
            imported: Imported::new(id, &format!("the NSSM service `{id}`")),
        }
    }

    fn set(&mut self, field: &str, values: &[String]) {
        let value = values.join(" ");
        let left = |imported: &mut Imported| imported.left(format!("{field} {value}"));
        match field {
            "AppParameters" => self.arguments = words::windows(&value),
            "AppDirectory" => self.imported.set_text("directory", &braced(&value)),
            "AppEnvironment" | "AppEnvironmentExtra" => {
                let pair = |text: &String| {
                    let (name, value) = text.split_once('=')?;
                    Some(format!("{} = {}", key(name), quoted(&braced(value))))
                };
                let pairs: Vec<String> = values.iter().filter_map(pair).collect();
                self.imported.set("env", format!("{{ {} }}", pairs.join(", ")));
            }
            "AppExit" => match values {
                [code, action] if code == "Default" => match action.as_str() {
                    "Restart" => self.when = "always",
                    "Exit" | "Ignore" | "Suicide" => self.when = "never",
                    _ => left(&mut self.imported),
                },
                _ => left(&mut self.imported),
            },
            "AppRestartDelay" => self.delay_ms = value.parse().ok().filter(|ms| *ms > 0),
            "AppStopMethodConsole" | "AppStopMethodWindow" | "AppStopMethodThreads" => {
                self.stop_ms = self.stop_ms.saturating_add(value.parse().unwrap_or(0));
            }
            "AppThrottle" => match value.parse::<u32>() {
                Ok(ms) if ms >= 1000 => {
                    self.imported.set_text("restart.reset_after", &format!("{ms}ms"));
                }
                Ok(_) | Err(_) => left(&mut self.imported),
            },
            "DisplayName" | "Description" | "Type" => (),
            "Start" if value == "SERVICE_AUTO_START" => (),
            "ObjectName" if value == "LocalSystem" => (),
            _ => left(&mut self.imported),
        }
    }

    fn finish(self) -> Imported {
        let Self { program, arguments, when, delay_ms, stop_ms, mut imported, .. } = self;
        let run: Vec<String> =
            std::iter::once(&program).chain(&arguments).map(|word| braced(word)).collect();
        imported.on_windows = true;
        imported.set("run", list(&run));
        imported.set_text("restart.when", when);
        if let Some(ms) = delay_ms {
            imported.set_text("restart.backoff", &format!("{}ms..5m", ms.max(10)));
        }
        if stop_ms > 0 {
            imported.set_text("stop.timeout", &format!("{stop_ms}ms"));
        }
        imported
    }
}
