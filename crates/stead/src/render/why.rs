//! Why an instance is in the phase it is in.

use jiff::tz::TimeZone;
use stead_wire::api::Why;

use crate::render::event;
use crate::render::log::LogView;
use crate::render::status::phase_tone;
use crate::screen::{Paint, Tone, show_controls};

/// The sentence, the last exit, the last events, the last output. `terminal` as in [`LogView`].
pub(crate) fn text(why: &Why, zone: &TimeZone, paint: Paint, terminal: bool) -> String {
    let instance = &why.instance;
    let phase = paint.paint(phase_tone(&instance.phase), &show_controls(&instance.phase));
    let name = paint.paint(Tone::Strong, &show_controls(&instance.name));
    let mut text = format!("{name} is {phase}: {}\n", show_controls(&why.because));
    if let Some(exit) = &instance.last_exit {
        let reason = show_controls(&exit.reason);
        text.push_str(&format!("  {}  {reason}\n", paint.paint(Tone::Dim, "last exit")));
    }
    for note in instance.notes.iter().filter(|note| **note != why.because) {
        let label = paint.paint(Tone::Dim, "note     ");
        text.push_str(&format!("  {label}  {}\n", show_controls(note)));
    }
    if !why.events.is_empty() {
        text.push_str(&paint.paint(Tone::Dim, "\nlast events\n"));
        for line in &why.events {
            text.push_str(&format!("  {}\n", event::line(line, zone, paint)));
        }
    }
    if !why.last_output.is_empty() {
        text.push_str(&paint.paint(Tone::Dim, "\nlast output\n"));
        let mut view = LogView::new(&[], paint, terminal);
        for line in &why.last_output {
            for shown in view.show(line).lines() {
                text.push_str(&format!("  {shown}\n"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn why_tells_the_sentence_the_events_and_the_output() {
        let text = text(&samples::why(), &TimeZone::UTC, Paint(false), true);
        insta::assert_snapshot!("why", text);
    }
}
