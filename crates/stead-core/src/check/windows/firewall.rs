//! Rules of the firewall of Windows, as its registry has them.

/// The number by which a rule names TCP.
const TCP: &str = "6";

/// Whether a rule lets whoever asks in to a port, whichever program listens there. It reads like
/// `v2.30|Action=Allow|Active=TRUE|Dir=In|Protocol=6|LPort=8080|Name=web|`.
///
/// One for a program, a service or some addresses alone is none: who listens moves with releases.
pub fn lets_in(rule: &str, port: u16) -> bool {
    let (mut is_allow, mut is_active, mut is_in, mut is_tcp) = (false, false, false, true);
    let (mut names_ports, mut has_port) = (false, false);
    for (key, value) in rule.split('|').filter_map(|part| part.split_once('=')) {
        match key {
            "Action" => is_allow = value.eq_ignore_ascii_case("Allow"),
            "Active" => is_active = value.eq_ignore_ascii_case("TRUE"),
            "Dir" => is_in = value.eq_ignore_ascii_case("In"),
            "Protocol" => is_tcp = value == TCP,
            "LPort" | "LPort2_10" | "LPort2_20" => {
                names_ports = true;
                has_port |= value.split(',').any(|part| has(part, port));
            }
            // Who may come, and to what, is narrower than a port.
            "App" | "Svc" | "RA4" | "RA6" | "RA42" | "RA62" | "RPort" | "LUAuth" | "LUOwn"
            | "AppPkgId" => return false,
            _ => (),
        }
    }
    is_allow && is_active && is_in && is_tcp && (has_port || !names_ports)
}

/// Whether a port or a range of them has this one.
fn has(part: &str, port: u16) -> bool {
    let (from, to) = part.split_once('-').unwrap_or((part, part));
    let ends = (from.trim().parse::<u16>(), to.trim().parse::<u16>());
    matches!(ends, (Ok(from), Ok(to)) if (from..=to).contains(&port))
}
