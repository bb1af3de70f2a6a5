//! Procfiles: a name, a colon, a command for a shell.

use super::fleet_text::{Imported, braced};
use super::words;

/// Where the ports of its services begin, a hundred apart, as with foreman.
const PORT_FIRST: u32 = 5000;

pub(super) fn read(text: &str) -> Result<Vec<Imported>, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut services = Vec::new();
    for (at, line) in lines.filter(|line| !line.starts_with('#')).enumerate() {
        let (name, command) = line
            .split_once(':')
            .ok_or_else(|| format!("`{line}` is not a name, a colon and a command"))?;
        let mut service = Imported::new(name.trim(), "a Procfile");
        let command = command.trim();
        match words::shell(command) {
            Some(words) => {
                service.set_list("run", &words.iter().map(|it| braced(it)).collect::<Vec<_>>())
            }
            None => {
                let command = format!("exec {command}");
                // A list of commands would end with its first.
                let is_one = !command.contains(['&', '|', ';', '\n']) && !command.contains('=');
                let command = if is_one { &command[..] } else { &command[5..] };
                service.set_list("run", &["/bin/sh", "-c", &braced(command)]);
            }
        }
        if command.contains("$PORT") || command.contains("${PORT") {
            let port = PORT_FIRST + 100 * u32::try_from(at).unwrap_or(0);
            service.set("port.http", port);
            service.set("env", "{ PORT = \"{port.http}\" }");
        }
        service.set_list("inherit", &["PATH"]);
        service.left("`.env` files and the folder it is started from: set `env` and `directory`");
        services.push(service);
    }
    Ok(services)
}
