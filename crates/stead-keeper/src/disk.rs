//! The thread that writes: journal and output, nothing else.
//!
//! A write to a file system that is frozen or gone waits where no signal reaches it. So the thread
//! that decides never writes; it hands records over and waits for them a short while at most, and
//! when this thread is stuck, it empties the pipes itself, so that the service can write on.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use stead_proc::{AsHandle, Moved, Pipe, StreamEnds, Wakeup, boot_ms};
use stead_wire::journal::Stream;
use stead_wire::keeper::LogCounts;

use crate::faults::{CrashPoint, Faults};
use crate::journal_file::JournalFile;
use crate::log_chain::LogChain;
use crate::retention::Retention;

/// A write that takes longer than this counts as stuck. A busy disk can make one wait for a second.
pub(crate) const STUCK_AFTER: Duration = Duration::from_secs(2);
/// Records that wait for a disk; past it the oldest are lost, and the newest, which hold the
/// memory, are not.
const RECORDS_WAITING_MAX: usize = 256;
/// After an error the disk is tried again this often.
const RETRY_EVERY: Duration = Duration::from_millis(200);
/// A little rest after a small batch makes the next one larger: a service that writes line by line
/// would otherwise wake its keeper for each.
const REST: Duration = Duration::from_millis(1);
/// How often a start looks whether its record is written before it sleeps.
const LOOKS_BEFORE_SLEEP: u32 = 100;
/// A disk thread that had nothing to do for so long gives its stack back.
const TRIM_AFTER: Duration = Duration::from_millis(500);
/// A batch below this share of the pipe is small.
const SMALL_BATCH: usize = 8;
const STACK_LEN: usize = 64 << 10;

/// The deciding thread's side.
#[derive(Debug)]
pub(crate) struct Disk {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// This thread's own hold on the pipes, for when the other one is stuck.
    pipes: [Pipe; 2],
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    written: Condvar,
    wakeup: Wakeup,
    /// Tells the deciding thread that something is worth reporting.
    news: Wakeup,
    /// Since when the thread has been in one piece of work, in milliseconds since boot; 0 at rest.
    busy_since_ms: AtomicU64,
    keep: AtomicU64,
    stored: AtomicU64,
    dropped: AtomicU64,
    /// Dropped by the deciding thread and not yet in an index, by stream.
    dropped_outside: [AtomicU64; 2],
    trouble: Mutex<Option<String>>,
    /// It has worked since the deciding thread last looked.
    active: AtomicBool,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<Vec<u8>>,
    /// Records handed over, and of those the ones that are on disk or lost.
    accepted: u64,
    settled: u64,
    /// Lost since the thread last took a look at the queue.
    lost: usize,
    /// What is not in its place on disk yet, by its path from the folder on.
    files: BTreeMap<PathBuf, Placed>,
}

/// What is put in the place of what was there, as a whole.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Placed {
    File(Vec<u8>),
    /// A link that leads there.
    Link(String),
}

impl Disk {
    /// Starts the thread for an instance's folder. What runs already may hold its streams.
    pub(crate) fn start<'a>(
        folder: &Path,
        journal: JournalFile,
        keep: u64,
        faults: Faults,
        held: impl Fn(Stream) -> Option<StreamEnds<'a>>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            written: Condvar::new(),
            wakeup: Wakeup::new()?,
            news: Wakeup::new()?,
            busy_since_ms: AtomicU64::new(0),
            keep: AtomicU64::new(keep),
            stored: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            dropped_outside: [AtomicU64::new(0), AtomicU64::new(0)],
            trouble: Mutex::new(None),
            active: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let (retention, open) = Retention::scan(&folder.join("log"), keep)?;
        let newest = |stream| open.iter().find(|s| s.stream == stream).map(|s| s.number);
        let pipe = |stream: Stream| Pipe::open(&folder.join(stream.as_str()), held(stream));
        let pipes = [pipe(Stream::Out)?, pipe(Stream::Err)?];
        let chain = |stream, pipe: &Pipe| -> io::Result<_> {
            Ok(LogChain::new(stream, folder, pipe.again()?, newest(stream)))
        };
        let worker = Worker {
            shared: Arc::clone(&shared),
            folder: folder.to_owned(),
            journal,
            chains: [chain(Stream::Out, &pipes[0])?, chain(Stream::Err, &pipes[1])?],
            retention,
            faults,
        };
        let builder = thread::Builder::new().name("disk".into()).stack_size(STACK_LEN);
        let thread = builder.spawn(move || worker.work())?;
        Ok(Self { shared, thread: Some(thread), pipes })
    }

    /// Hands a record over; says its number for [`Self::wait_for`]. It may stay in memory until
    /// [`Self::flush`]: two records in one write leave the next run the CPU.
    pub(crate) fn append(&self, record: Vec<u8>) -> u64 {
        let mut queue = lock(&self.shared.queue);
        if queue.records.len() >= RECORDS_WAITING_MAX {
            queue.records.pop_front();
            queue.lost += 1;
            queue.settled += 1;
        }
        queue.records.push_back(record);
        queue.accepted += 1;
        queue.accepted
    }

    /// Has every record written that was handed over.
    pub(crate) fn flush(&self) {
        if !lock(&self.shared.queue).records.is_empty() {
            self.shared.wakeup.wake();
        }
    }

    /// Puts these bytes in the place of a whole file of the folder, as soon as the disk takes them,
    /// and before any record that is handed over later.
    pub(crate) fn replace(&self, file: &'static str, bytes: Vec<u8>) {
        self.place(file.into(), Placed::File(bytes));
    }

    /// Turns a link, as [`Self::replace`] does a file.
    pub(crate) fn turn(&self, link: PathBuf, to: String) {
        self.place(link, Placed::Link(to));
    }

    fn place(&self, path: PathBuf, placed: Placed) {
        lock(&self.shared.queue).files.insert(path, placed);
        self.shared.wakeup.wake();
    }

    /// Waits until that record is on disk, for so long at most; `false` when it is not.
    pub(crate) fn wait_for(&self, number: u64, wait_max: Duration) -> bool {
        self.flush();
        // The other thread is done in less time than it takes to fall asleep and be woken.
        for _ in 0..LOOKS_BEFORE_SLEEP {
            if lock(&self.shared.queue).settled >= number {
                return true;
            }
            thread::yield_now();
        }
        let deadline = Instant::now() + wait_max;
        let mut queue = lock(&self.shared.queue);
        while queue.settled < number {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.written.wait_timeout(queue, left);
            (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// The pipes that runs write to: what they say, and what goes wrong.
    pub(crate) fn pipes(&self) -> &[Pipe; 2] {
        &self.pipes
    }

    pub(crate) fn set_keep(&self, keep: u64) {
        if self.shared.keep.swap(keep, Ordering::Relaxed) != keep {
            self.shared.wakeup.wake();
        }
    }

    /// Readable when [`Self::counts`] is worth reporting.
    pub(crate) fn news(&self) -> &Wakeup {
        &self.shared.news
    }

    pub(crate) fn counts(&self) -> LogCounts {
        let stuck = self.is_stuck().then(|| "the disk does not answer".to_owned());
        LogCounts {
            stored_bytes: self.shared.stored.load(Ordering::Relaxed),
            dropped_bytes: self.shared.dropped.load(Ordering::Relaxed),
            stalled: stuck.or_else(|| lock(&self.shared.trouble).clone()),
        }
    }

    /// Whether the thread has been in one write for too long.
    pub(crate) fn is_stuck(&self) -> bool {
        let since = self.shared.busy_since_ms.load(Ordering::Relaxed);
        let stuck_ms = u64::try_from(STUCK_AFTER.as_millis()).unwrap_or(u64::MAX);
        since != 0 && boot_ms().saturating_sub(since) > stuck_ms
    }

    /// Whether the thread has worked since the last look: then it may be stuck soon, and whoever
    /// looks must look again. A thread that begins to work after a rest gives news.
    pub(crate) fn was_active(&self) -> bool {
        let at_work = self.shared.busy_since_ms.load(Ordering::Relaxed) != 0;
        self.shared.active.swap(at_work, Ordering::Relaxed) || at_work
    }

    /// Takes output out of pipes that are filling up, in place of a thread that is stuck.
    pub(crate) fn make_room(&self) {
        for (pipe, outside) in self.pipes.iter().zip(&self.shared.dropped_outside) {
            let dropped = drop_when_full(pipe);
            self.shared.dropped.fetch_add(dropped, Ordering::Relaxed);
            outside.fetch_add(dropped, Ordering::Relaxed);
        }
    }

    /// Writes what is left and ends the thread; `false` when the disk did not let it.
    pub(crate) fn finish(&mut self, wait_max: Duration) -> bool {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.wakeup.wake();
        let deadline = Instant::now() + wait_max;
        while self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            if Instant::now() >= deadline {
                self.shared.stop.store(false, Ordering::Relaxed);
                return false;
            }
            thread::sleep(REST);
        }
        self.thread.take().is_none_or(|thread| thread.join().is_ok())
    }
}

impl Shared {
    /// From now on until the next piece of work, this one may get stuck.
    fn begin_work(&self) {
        self.busy_since_ms.store(boot_ms(), Ordering::Relaxed);
        if !self.active.swap(true, Ordering::Relaxed) {
            self.news.wake();
        }
    }
}

/// A thread that panicked while it held the lock leaves numbers behind that are still true.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writing thread's side.
#[derive(Debug)]
struct Worker {
    shared: Arc<Shared>,
    folder: PathBuf,
    journal: JournalFile,
    chains: [LogChain; 2],
    retention: Retention,
    faults: Faults,
}

impl Worker {
    fn work(mut self) {
        loop {
            let stop = self.shared.stop.load(Ordering::Relaxed);
            // What cannot be deleted now is deleted with the next segment that closes.
            let _ = self.retention.set_keep(self.shared.keep.load(Ordering::Relaxed));
            let journal = self.write_files().and_then(|()| self.write_records());
            let output = self.store_output();
            self.shared.busy_since_ms.store(0, Ordering::Relaxed);
            let trouble = journal.err().or(output.as_ref().err().cloned());
            let troubled = trouble.is_some();
            self.tell(trouble);
            let moved = output.unwrap_or(0);
            let left = !lock(&self.shared.queue).records.is_empty();
            if stop && moved == 0 && (!left || troubled) {
                return;
            }
            if troubled {
                self.make_room();
                self.rest(Some(RETRY_EVERY), false);
            } else if moved == 0 {
                self.rest_for_long();
            } else if moved < self.chains[0].pipe().capacity() / SMALL_BATCH && !stop {
                self.rest(Some(REST), false);
            }
        }
    }

    /// Waits for whatever comes next. Most services are silent for longer than they speak, so a
    /// while without work is taken for a long one, and the stack given back.
    fn rest_for_long(&self) {
        if !self.rest(Some(TRIM_AFTER), true) {
            stead_proc::trim_stack();
            self.rest(None, true);
        }
    }

    /// Waits for a record, a request or, if told to, output; `false` when nothing came.
    fn rest(&self, wait_max: Option<Duration>, for_output: bool) -> bool {
        let wakeup = self.shared.wakeup.as_handle();
        let [out, err] = [self.chains[0].pipe().as_handle(), self.chains[1].pipe().as_handle()];
        let all = [wakeup, out, err];
        let watched = if for_output { &all[..] } else { &all[..1] };
        // Without poll there is only the timeout; the work goes on, slower.
        let ready = stead_proc::wait(watched, wait_max);
        if ready.is_err() {
            thread::sleep(REST);
        }
        self.shared.wakeup.clear();
        ready.is_ok_and(|ready| ready.contains(&true))
    }

    fn write_files(&self) -> Result<(), String> {
        loop {
            let first = lock(&self.shared.queue)
                .files
                .first_key_value()
                .map(|(path, placed)| (path.clone(), placed.clone()));
            let Some((path, placed)) = first else { return Ok(()) };
            self.shared.begin_work();
            let place = self.folder.join(&path);
            let put = match &placed {
                Placed::File(bytes) => replace_file(&place, bytes),
                Placed::Link(to) => stead_proc::replace_link(&place, to).map(|has_turned| {
                    if has_turned {
                        self.faults.reach(CrashPoint::LinkTurned, &self.folder);
                    }
                }),
            };
            put.map_err(|error| format!("`{}` cannot be kept: {error}", path.display()))?;
            let mut queue = lock(&self.shared.queue);
            // A newer one may have come meanwhile.
            if queue.files.get(&path) == Some(&placed) {
                queue.files.remove(&path);
            }
        }
    }

    fn write_records(&mut self) -> Result<(), String> {
        let (records, count) = {
            let mut queue = lock(&self.shared.queue);
            queue.lost = 0;
            (queue.records.iter().flatten().copied().collect::<Vec<u8>>(), queue.records.len())
        };
        if count == 0 {
            return Ok(());
        }
        self.shared.begin_work();
        let appended = self.journal.append(&records);
        if let Err(error) = appended {
            return Err(format!("the journal cannot be written: {error}"));
        }
        let mut queue = lock(&self.shared.queue);
        // Records may have been lost from the front meanwhile; those were written as well.
        let written = count.saturating_sub(queue.lost);
        queue.records.drain(..written);
        queue.settled += written as u64;
        self.shared.written.notify_all();
        Ok(())
    }

    /// Stores one batch of each stream; says how many bytes that were.
    fn store_output(&mut self) -> Result<usize, String> {
        let mut sum = 0;
        for chain in &mut self.chains {
            let outside = &self.shared.dropped_outside[chain.stream() as usize];
            chain.note_dropped(outside.swap(0, Ordering::Relaxed));
            if chain.pipe().waiting() == 0 {
                continue;
            }
            self.shared.begin_work();
            match chain.store(&mut self.retention, &self.faults, &self.folder) {
                Ok(Moved::Nothing) => (),
                Ok(Moved::Bytes(len)) => {
                    sum += len;
                    self.shared.stored.fetch_add(len as u64, Ordering::Relaxed);
                }
                Err(error) => return Err(format!("output cannot be stored: {error}")),
            }
        }
        Ok(sum)
    }

    /// Takes lines out of pipes that are filling up, since the disk does not take them.
    fn make_room(&mut self) {
        for chain in &mut self.chains {
            let dropped = drop_when_full(chain.pipe());
            chain.note_dropped(dropped);
            self.shared.dropped.fetch_add(dropped, Ordering::Relaxed);
        }
    }

    fn tell(&self, trouble: Option<String>) {
        let mut known = lock(&self.shared.trouble);
        if *known != trouble {
            *known = trouble;
            self.shared.news.wake();
        }
    }
}

/// Whoever reads the file sees the old bytes or the new ones, whenever they look.
fn replace_file(place: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = place.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&temporary, place)
}

/// Takes the older half of a pipe's lines out of it when it is more than half full; says how many
/// bytes that were.
fn drop_when_full(pipe: &Pipe) -> u64 {
    let half = pipe.capacity() / 2;
    let waiting = pipe.waiting();
    if waiting <= half {
        return 0;
    }
    // A pipe that cannot be read now can be read at the next round.
    pipe.discard_lines(waiting - half / 2).map_or(0, |len| len as u64)
}
