//! What who started this process wants to hear.

use std::io;
use std::sync::OnceLock;

static TOLD_OF_STATES: OnceLock<fn(&str)> = OnceLock::new();

/// From now on this is called with each state that is said by [`notify`]. Only the first call of
/// this does anything.
pub fn tell_of_states(to: fn(&str)) {
    let _ = TOLD_OF_STATES.set(to);
}

/// Says a state to who has asked for them; else nobody listens here, and who started this sees it
/// in what it answers.
pub fn notify(state: &str) -> io::Result<()> {
    if let Some(told) = TOLD_OF_STATES.get() {
        told(state);
    }
    Ok(())
}
