//! Why an instance is in the phase it is in.

use std::time::Duration;

use jiff::tz::TimeZone;
use stead_wire::api::{EndedRun, Why};

use crate::render::event;
use crate::render::log::LogView;
use crate::render::quantity;
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
    for denial in &why.denials {
        let label = paint.paint(Tone::Bad, "denied   ");
        text.push_str(&format!("  {label}  {}\n", show_controls(denial)));
    }
    if !why.last_runs.is_empty() {
        text.push_str(&paint.paint(Tone::Dim, "\nlast runs\n"));
        for ended in &why.last_runs {
            text.push_str(&format!("  {}\n", ended_run(ended, zone, paint)));
        }
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

/// When a run ended, how long it took and what came of it.
fn ended_run(ended: &EndedRun, zone: &TimeZone, paint: Paint) -> String {
    let EndedRun { run, exit } = ended;
    let at = exit.at.map_or_else(String::new, |at| quantity::moment(at, zone));
    let took = exit.life_ms.map(|ms| quantity::duration(Duration::from_millis(ms)));
    let took = took.map_or_else(String::new, |took| format!(" after {took}"));
    let tone = if exit.is_success() { Tone::Good } else { Tone::Bad };
    let reason = paint.paint(tone, &show_controls(&exit.reason));
    format!("{}  run {run} ended{took}: {reason}", paint.paint(Tone::Dim, &at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use stead_wire::journal::Exit;

    #[test]
    fn why_tells_the_sentence_the_events_and_the_output() {
        let text = text(&samples::why(), &TimeZone::UTC, Paint(false), true);
        insta::assert_snapshot!("why", text);
    }

    #[test]
    fn why_tells_what_its_runs_were_denied() {
        let mut why = samples::why();
        why.denials = vec!["AppArmor denied it `open` of `/srv/x` (profile `orders`)".into()];
        let text = text(&why, &TimeZone::UTC, Paint(false), true);
        insta::assert_snapshot!("why_denied", text);
    }

    #[test]
    fn why_tells_the_last_runs_of_one_that_has_its_times() {
        let mut why = samples::why();
        let at = why.events[0].at;
        let ended = |run, code, life_ms| EndedRun {
            run,
            exit: Exit { at: Some(at), life_ms: Some(life_ms), ..samples::exit(code) },
        };
        why.instance = samples::scheduled();
        why.last_runs = vec![ended(3, 0, 64_000), ended(4, 1, 2_500)];
        why.because = "it failed, and runs next at 2026-08-22T14:30:00Z".into();
        let text = text(&why, &TimeZone::UTC, Paint(false), true);
        insta::assert_snapshot!("why_scheduled", text);
    }
}
