//! What is seen while a command waits: a live table on a terminal, else a line per change.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use stead_wire::api::Status;

use crate::failure::Failure;
use crate::render::status;
use crate::render::table::cut;
use crate::screen::{Picture, Screen, Tone, show_controls};

/// Shows one status after the other.
pub(crate) struct Progress<'a> {
    screen: &'a mut Screen,
    picture: Picture,
    /// The phase and run last told of each instance.
    told: BTreeMap<String, (String, u64)>,
    footer: String,
    /// Only these instances are shown; all, if empty.
    names: BTreeSet<String>,
    /// The picture was drawn at least once.
    drawn: bool,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(screen: &'a mut Screen) -> Self {
        let picture = Picture::default();
        let (told, footer, names) = (BTreeMap::new(), String::new(), BTreeSet::new());
        Self { screen, picture, told, footer, names, drawn: false }
    }

    /// Shows nothing but these instances.
    pub(crate) fn of(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.names = names.into_iter().collect();
        self
    }

    /// What stands under the live table from now on.
    pub(crate) fn set_footer(&mut self, footer: &str) {
        self.footer = footer.into();
    }

    /// A line beside the table.
    pub(crate) fn note(&mut self, text: &str) {
        self.screen.note(text);
        // The next table is drawn below it, not over it.
        self.picture = Picture::default();
    }

    pub(crate) fn show(&mut self, status: &Status) -> Result<(), Failure> {
        let mut status = status.clone();
        if !self.names.is_empty() {
            status.instances.retain(|instance| self.names.contains(&instance.name));
        }
        if self.screen.terminal { self.draw(&status) } else { self.tell(&status) }
    }

    /// Shows the status for the last time: as the table, wherever output goes.
    pub(crate) fn finish(&mut self, status: &Status) -> Result<(), Failure> {
        self.footer.clear();
        if self.drawn {
            return self.draw(status);
        }
        let (paint, width) = (self.screen.paint, self.screen.width());
        let lines = status::lines(status, Timestamp::now(), paint, width);
        self.screen.write(&format!("{}\n", lines.join("\n")))
    }

    /// Takes the live table away: what it showed is over.
    pub(crate) fn clear(&mut self) -> Result<(), Failure> {
        if !self.drawn {
            return Ok(());
        }
        let text = self.picture.redraw(&[]);
        self.screen.write(&text)
    }

    fn draw(&mut self, status: &Status) -> Result<(), Failure> {
        let (width, height) = self.screen.size();
        let paint = self.screen.paint;
        let now = Timestamp::now();
        let mut lines = status::lines_cut(status, now, paint, width);
        if !self.footer.is_empty() {
            lines.push(String::new());
            lines.push(paint.paint(Tone::Dim, &cut(&self.footer, width)));
        }
        fit(&mut lines, height.saturating_sub(1));
        let text = self.picture.redraw(&lines);
        self.drawn = true;
        self.screen.write(&text)
    }

    fn tell(&mut self, status: &Status) -> Result<(), Failure> {
        for instance in &status.instances {
            let is = (instance.phase.clone(), instance.run);
            if self.told.get(&instance.name) == Some(&is) {
                continue;
            }
            let paint = self.screen.paint_notes;
            let phase = paint.paint(status::phase_tone(&instance.phase), &instance.phase);
            let exit = instance.last_exit.as_ref().filter(|_| instance.pid.is_none());
            let more = match (instance.pid, exit) {
                (Some(pid), _) => format!(", run {}, pid {pid}", instance.run),
                (None, Some(exit)) => format!(": {}", exit.reason),
                (None, None) => String::new(),
            };
            let line = format!("{} {phase}{}", instance.name, show_controls(&more));
            self.screen.note(&line);
            self.told.insert(instance.name.clone(), is);
        }
        Ok(())
    }
}

/// Keeps a picture within so many lines, saying how many do not fit: a taller one could not be
/// drawn over.
fn fit(lines: &mut Vec<String>, height: usize) {
    if lines.len() > height && height > 0 {
        let hidden_n = lines.len() - height + 1;
        lines.truncate(height - 1);
        lines.push(format!("… {hidden_n} more lines; `stead status` shows all"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_never_outgrows_its_terminal() {
        let all: Vec<String> = (0..5).map(|n| n.to_string()).collect();
        for height in 1..8 {
            let mut lines = all.clone();
            fit(&mut lines, height);
            assert!(lines.len() <= height);
            assert_eq!(lines.len() == 5, height >= 5);
        }
        let mut lines = all;
        fit(&mut lines, 3);
        assert_eq!(lines, ["0", "1", "… 3 more lines; `stead status` shows all"]);
    }
}
