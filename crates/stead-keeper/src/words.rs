//! What a run says of itself, by the protocol of `sd_notify`.

use stead_core::launch::KeeperReady;
use stead_core::machine::RunId;
use stead_core::units::Millis;
use stead_proc::{boot_ms, session};
use stead_wire::journal::Event;

use crate::keeper::Keeper;

/// The longest text that a run says it does which is kept.
const SAYS_LEN_MAX: usize = 256;

/// Messages taken before the keeper looks at anything else: a run that floods it harms only itself.
const WORDS_AT_ONCE: usize = 64;

/// One assignment of a message.
#[derive(Debug, Eq, PartialEq)]
enum Word<'a> {
    Ready,
    /// It does not do so well that it can go on.
    Fails,
    Says(&'a str),
    Well,
}

/// What of a message is understood; all else is for others.
fn words(message: &str) -> impl Iterator<Item = Word<'_>> {
    message.lines().filter_map(|line| match line.split_once('=')? {
        ("READY", "1") => Some(Word::Ready),
        ("STATUS", text) => Some(Word::Says(text)),
        ("WATCHDOG", "1") => Some(Word::Well),
        ("WATCHDOG", "trigger") => Some(Word::Fails),
        _ => None,
    })
}

impl Keeper {
    /// Takes what runs have said.
    pub(crate) fn look_at_words(&mut self) {
        for _ in 0..WORDS_AT_ONCE {
            let Some(socket) = self.sockets.notify() else { return };
            let Ok(Some((pid, message))) = socket.receive() else { return };
            let Some(run) = self.run_of(pid) else { continue };
            for word in words(&message) {
                self.take_word(run, &word);
            }
        }
    }

    /// The run that a process belongs to: its main process, or one of its session.
    fn run_of(&self, pid: u32) -> Option<RunId> {
        let is_main = |main: u32| self.runs.iter().find(|run| run.pid == main).map(|run| run.run);
        is_main(pid).or_else(|| is_main(session(pid)?))
    }

    fn take_word(&mut self, run: RunId, word: &Word<'_>) {
        let watchdog = self.making(run).launch.watchdog;
        match word {
            Word::Ready => self.says_ready(run),
            Word::Fails => self.is_unhealthy(run, "it says that it fails".to_owned()),
            Word::Says(text) => {
                let text: String = text.chars().take(SAYS_LEN_MAX).collect();
                self.told.changed |= self.told.says.as_ref() != Some(&text);
                self.told.says = Some(text);
            }
            Word::Well => {
                if let (Some(watchdog), Some(current)) = (watchdog, self.find_mut(run)) {
                    current.watchdog_at = Some(Millis(boot_ms()) + watchdog);
                }
            }
        }
    }

    /// It is ready if that is all that is asked; else the agent looks at the rest.
    fn says_ready(&mut self, run: RunId) {
        if self.making(run).launch.ready == KeeperReady::Notify {
            return self.is_ready(run);
        }
        if let Some(current) = self.find_mut(run)
            && !current.lane.ready
        {
            current.lane.ready = true;
            self.note(Event::Ready { run: run.0 });
        }
    }

    /// A run that has been silent for too long is restarted.
    pub(crate) fn look_at_watchdogs(&mut self, now: Millis) {
        let expired = self.runs.iter().filter(|run| run.watchdog_expired(now));
        let expired: Vec<RunId> = expired.map(|run| run.run).collect();
        for run in expired {
            let watchdog = self.making(run).launch.watchdog.unwrap_or_default();
            let silence = stead_core::units::show_duration(watchdog);
            self.is_unhealthy(run, format!("it has not said that it is well for {silence}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_line_for_each_word_and_other_words_are_for_others() {
        let message = "READY=1\nSTATUS=a=b\nMAINPID=7\nWATCHDOG=1\nnothing\nREADY=0\n";
        let found: Vec<_> = words(message).collect();
        assert_eq!(found, [Word::Ready, Word::Says("a=b"), Word::Well]);
        assert_eq!(words("WATCHDOG=trigger").collect::<Vec<_>>(), [Word::Fails]);
        assert_eq!(words("").count(), 0);
    }
}
