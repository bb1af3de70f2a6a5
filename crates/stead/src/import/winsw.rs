//! WinSW: one XML file beside the program. Source: WinSW's `docs/xml-config-file.md`.

use roxmltree::{Document, Node};

use super::fleet_text::{Imported, braced, key, list, quoted};
use super::words;

/// What is said in other words in a fleet file, or is its default.
const UNDERSTOOD: [&str; 12] = [
    "arguments",
    "depend",
    "description",
    "env",
    "executable",
    "id",
    "name",
    "onfailure",
    "startarguments",
    "stoptimeout",
    "workingdirectory",
    "resetfailure",
];

pub(super) fn read(text: &str) -> Result<Vec<Imported>, String> {
    let document = Document::parse(text).map_err(|error| format!("it is not XML: {error}"))?;
    let root = document.root_element();
    if !root.has_tag_name("service") {
        return Err("its root is not `<service>`".to_owned());
    }
    let text_of = |name: &str| {
        let find = |node: &Node<'_, '_>| node.tag_name().name().eq_ignore_ascii_case(name);
        root.children().find(find).and_then(|node| node.text()).map(str::trim)
    };
    let id = text_of("id").ok_or("it has no `<id>`")?;
    let executable = text_of("executable").ok_or("it has no `<executable>`")?;
    let mut service = Imported::new(id, &format!("the WinSW service `{id}`"));
    // It is WinSW's folder, which nothing in the file says.
    let own = |text: &str| text.replace("%BASE%", "{data}");
    let mut run = vec![own(&braced(executable))];
    let arguments: Vec<&str> =
        ["startarguments", "arguments"].iter().filter_map(|name| text_of(name)).collect();
    run.extend(words::windows(&arguments.join(" ")).iter().map(|word| own(&braced(word))));
    service.on_windows = true;
    service.set("run", list(&run));
    if let Some(folder) = text_of("workingdirectory") {
        service.set_text("directory", &own(&braced(folder)));
    }
    let mut env = Vec::new();
    for node in root.children().filter(|node| node.has_tag_name("env")) {
        if let (Some(name), Some(value)) = (node.attribute("name"), node.attribute("value")) {
            env.push(format!("{} = {}", key(name), quoted(&own(&braced(value)))));
        }
    }
    if !env.is_empty() {
        service.set("env", format!("{{ {} }}", env.join(", ")));
    }
    on_failure(&mut service, &root);
    if let Some(time) = text_of("stoptimeout") {
        match duration(time) {
            Some(time) => service.set_text("stop.timeout", &time),
            None => service.left(format!("<stoptimeout>{time}</stoptimeout>")),
        }
    }
    for node in root.children().filter(Node::is_element) {
        let name = node.tag_name().name().to_lowercase();
        if name == "depend" {
            let on = node.text().unwrap_or_default();
            service.left(format!("<depend>{on}</depend>: `needs` names services of this file"));
        } else if !UNDERSTOOD.contains(&name.as_str()) {
            service.left(format!("<{name}>{}</{name}>", node.text().unwrap_or_default().trim()));
        }
    }
    Ok(vec![service])
}

fn on_failure(service: &mut Imported, root: &Node<'_, '_>) {
    let mut actions = root.children().filter(|node| node.has_tag_name("onfailure"));
    let Some(first) = actions.next() else {
        // Without it WinSW restarts nothing.
        return service.set_text("restart", "never");
    };
    if first.attribute("action") != Some("restart") {
        service.left(format!("<onfailure action=\"{}\">", first.attribute("action").unwrap_or("")));
        return service.set_text("restart", "never");
    }
    let delay = first.attribute("delay").and_then(duration);
    match delay.filter(|delay| delay != "0s") {
        Some(delay) => {
            service.set("restart", format!("{{ when = \"failure\", backoff = \"{delay}..5m\" }}"))
        }
        None => service.set_text("restart", "failure"),
    }
    if actions.next().is_some() {
        service.left("further <onfailure>: every restart is alike, with a growing wait");
    }
}

/// `10 sec` and the like.
fn duration(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit = match unit.trim() {
        "" | "ms" => "ms",
        "sec" | "secs" | "s" | "second" | "seconds" => "s",
        "min" | "mins" | "m" | "minute" | "minutes" => "m",
        "hour" | "hours" | "h" | "hr" | "hrs" => "h",
        "day" | "days" | "d" => "d",
        _ => return None,
    };
    number.parse::<u32>().ok().map(|number| format!("{number}{unit}"))
}
