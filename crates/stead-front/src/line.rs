//! The line of clients that wait, and who of them may try now.
//!
//! Pure. If all tried at once whenever time has passed, a few thousand who wait would keep a core
//! busy with being refused. So a few try for all, and each that is joined lets others follow.

use std::collections::VecDeque;

/// How many try for all.
const SCOUTS_N: usize = 8;

/// How many follow each one that was joined: a whole line gets in within a few rounds.
const FOLLOWERS_N: usize = 2;

/// Keys of clients, those that waited longest first.
#[derive(Debug, Default)]
pub(crate) struct Line {
    keys: VecDeque<usize>,
    may_try_n: usize,
}

impl Line {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(crate) fn push(&mut self, key: usize) {
        self.keys.push_back(key);
    }

    /// It is time to try again.
    pub(crate) fn send_scouts(&mut self) {
        self.may_try_n = self.may_try_n.max(SCOUTS_N);
    }

    /// Somebody who waited was joined.
    pub(crate) fn joined(&mut self) {
        self.may_try_n += FOLLOWERS_N;
    }

    /// Who tries next.
    pub(crate) fn pop(&mut self) -> Option<usize> {
        if self.may_try_n == 0 {
            return None;
        }
        let key = self.keys.pop_front();
        self.may_try_n = if key.is_some() { self.may_try_n - 1 } else { 0 };
        key
    }

    /// Takes out all of whom this is true.
    pub(crate) fn take_out(&mut self, mut leaves: impl FnMut(usize) -> bool) -> Vec<usize> {
        let left = self.keys.iter().copied().filter(|key| leaves(*key)).collect();
        self.keys.retain(|key| !leaves(*key));
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(len: usize) -> Line {
        let mut line = Line::default();
        (0..len).for_each(|key| line.push(key));
        line
    }

    #[test]
    fn nobody_tries_before_it_is_time_and_then_only_scouts_do() {
        let mut line = line(100);
        assert_eq!(line.pop(), None);
        line.send_scouts();
        line.send_scouts();
        let tried: Vec<usize> = std::iter::from_fn(|| line.pop()).collect();
        assert_eq!(tried, (0..SCOUTS_N).collect::<Vec<_>>());
    }

    #[test]
    fn once_one_is_joined_all_follow() {
        let mut line = line(5000);
        line.send_scouts();
        let mut joined_n = 0;
        while let Some(key) = line.pop() {
            assert_eq!(key, joined_n);
            joined_n += 1;
            line.joined();
        }
        assert_eq!(joined_n, 5000);
        line.push(7);
        assert_eq!(line.pop(), None, "leave that nobody used is void");
    }

    #[test]
    fn those_who_leave_are_in_the_line_no_more() {
        let mut line = line(5);
        assert_eq!(line.take_out(|key| key % 2 == 0), [0, 2, 4]);
        line.send_scouts();
        assert_eq!([line.pop(), line.pop(), line.pop()], [Some(1), Some(3), None]);
        assert!(line.is_empty());
    }
}
