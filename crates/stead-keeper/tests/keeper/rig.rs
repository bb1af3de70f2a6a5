//! A keeper in a folder of its own, driven as an agent would.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stead_core::launch::{HostSide, Launch, launch};
use stead_core::machine::PhaseName;
use stead_core::plan::{LogLimits, Restart, Spec, Stop, StopHow, Umask, When};
use stead_core::signal::Signal;
use stead_core::template::{Places, Template};
use stead_core::units::Bytes;
use stead_proc::{AsHandle as _, LocalStream};
use stead_wire::frame::{Framed, decode_all};
use stead_wire::journal::{Event, Record, Stream};
use stead_wire::keeper::{Reply, Report, Request};
use stead_wire::log::Segment;

/// How long anything may take before a test gives up waiting for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One instance's folder, and its keeper when there is one.
pub(crate) struct Rig {
    pub(crate) folder: PathBuf,
    pub(crate) launch: Launch,
    pub(crate) flags: Vec<String>,
    keeper: Option<Child>,
    remove: bool,
}

impl Rig {
    /// A service in a folder below the system's temporary one.
    pub(crate) fn new(argv: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("stead-rig-{}-{number}", std::process::id()));
        // Where pids come round fast, one that failed long ago may have left it.
        let _ = fs::remove_dir_all(&folder);
        Self::at(&folder, argv)
    }

    /// A service in this folder.
    pub(crate) fn at(folder: &Path, argv: &[&str]) -> Self {
        fs::create_dir_all(folder.join("log")).unwrap();
        for stream in Stream::ALL {
            stead_proc::make_fifo(&folder.join(stream.as_str()), None).unwrap();
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let mut spec = Spec::of(argv.iter().map(|arg| Template::literal(arg)).collect());
        spec.restart = Restart {
            when: When::Always,
            backoff_min: Duration::from_millis(1),
            backoff_max: Duration::from_millis(5),
            reset_after: Duration::from_secs(60),
        };
        spec.stop =
            Stop { how: StopHow::Signal(Signal::Term), timeout: Duration::from_millis(300) };
        spec.umask = Umask::default();
        spec.log = LogLimits { keep: Bytes(4 << 30) };
        let place = folder.to_str().unwrap();
        let host = HostSide {
            places: Places {
                config: place,
                data: place,
                kit: place,
                ports: &BTreeMap::new(),
                release: place,
                tmp: place,
            },
            account: None,
            env: BTreeMap::from([("PATH".to_owned(), path)]),
            isolates: false,
            secrets: "",
        };
        let launch = launch(&"probe.0".parse().unwrap(), &spec, host);
        Self { folder: folder.to_owned(), launch, flags: Vec::new(), keeper: None, remove: true }
    }

    pub(crate) fn flag(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self
    }

    /// Starts a keeper, in the place of one that is gone.
    pub(crate) fn start(&mut self) {
        let spec = stead_wire::file::encode("stead-launch/1", &self.launch);
        fs::write(self.folder.join("spec.json"), spec).unwrap();
        self.start_as_it_is();
    }

    /// Starts a keeper and leaves `spec.json` alone.
    pub(crate) fn start_as_it_is(&mut self) {
        let mut command = Command::new(keeper());
        command.arg("--folder").arg(&self.folder).args(&self.flags);
        self.keeper = Some(command.stdin(Stdio::null()).spawn().unwrap());
    }

    pub(crate) fn keeper_pid(&self) -> u32 {
        self.keeper.as_ref().unwrap().id()
    }

    /// SIGKILLs the keeper and sees it dead.
    pub(crate) fn kill_keeper(&mut self) {
        let mut keeper = self.keeper.take().unwrap();
        keeper.kill().unwrap();
        keeper.wait().unwrap();
    }

    /// Sends SIGKILL and does not wait for what it does.
    pub(crate) fn signal_keeper_kill(&mut self) {
        self.keeper.as_mut().unwrap().kill().unwrap();
    }

    /// Sees a killed keeper dead.
    pub(crate) fn reap_keeper(&mut self) {
        self.keeper.take().unwrap().wait().unwrap();
    }

    /// Whether the keeper has ended by itself; it is gone then.
    pub(crate) fn keeper_ended(&mut self) -> bool {
        let ended = self.keeper.as_mut().is_none_or(|keeper| keeper.try_wait().unwrap().is_some());
        if ended {
            self.keeper = None;
        }
        ended
    }

    /// Does an agent's part: a keeper that is gone is followed by another one.
    pub(crate) fn start_if_ended(&mut self) {
        if self.keeper_ended() {
            self.start();
        }
    }

    /// A new connection, past its hello; `None` while no keeper listens.
    fn connect(&self) -> Option<(Line, Report)> {
        let stream = LocalStream::connect(&self.folder.join("keeper.sock")).ok()?;
        let mut line = Line { stream, unread: Vec::new() };
        match line.read()? {
            Reply::Report(report) => Some((line, *report)),
            Reply::Done | Reply::Refused { .. } | Reply::Sockets { .. } => None,
        }
    }

    /// What the keeper says now; `None` while none listens.
    pub(crate) fn report(&self) -> Option<Report> {
        self.connect().map(|(_, report)| report)
    }

    /// Waits until the keeper says something that fits.
    pub(crate) fn wait_until(&self, what: &str, fits: impl Fn(&Report) -> bool) -> Report {
        let mut last = None;
        let found = eventually(|| {
            last = self.report();
            last.clone().filter(&fits)
        });
        found.unwrap_or_else(|| panic!("not seen in time: {what}\n  last report: {last:?}"))
    }

    /// Waits until a run is up, past its exec; says the service's pid.
    pub(crate) fn wait_up(&self) -> u32 {
        self.wait_until("up", |r| r.phase == PhaseName::Up && r.pid.is_some()).pid.unwrap()
    }

    /// Asks the keeper for something; says how it was refused.
    pub(crate) fn ask(&self, request: &Request) -> Result<(), String> {
        let (mut line, _) = eventually(|| self.connect()).expect("a keeper listens");
        let mut bytes = serde_json::to_vec(request).unwrap();
        bytes.push(b'\n');
        line.stream.send(&bytes).unwrap();
        loop {
            match line.read() {
                Some(Reply::Done) | None => return Ok(()),
                Some(Reply::Refused { why }) => return Err(why),
                Some(Reply::Report(_) | Reply::Sockets { .. }) => (),
            }
        }
    }

    /// Ends instance and keeper.
    pub(crate) fn retire(&mut self) {
        self.ask(&Request::Retire).unwrap();
        eventually(|| self.keeper_ended().then_some(())).expect("a retired keeper ends");
    }

    /// Every event in the journal.
    pub(crate) fn events(&self) -> Vec<Event> {
        let bytes = fs::read(self.folder.join("events")).unwrap_or_default();
        let event = |framed| match framed {
            Framed::Whole(Record { event, .. }) => Some(event),
            Framed::Damaged { .. } | Framed::Torn { .. } => None,
        };
        decode_all(&bytes).into_iter().filter_map(event).collect()
    }

    /// The segments of a stream, oldest first, with what they hold.
    pub(crate) fn segments(&self, stream: Stream) -> Vec<(Segment, Vec<u8>)> {
        let entries = fs::read_dir(self.folder.join("log")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut found: Vec<Segment> =
            names.filter_map(|name| Segment::from_log_name(&name)).collect();
        found.retain(|segment| segment.stream == stream);
        found.sort();
        let read = |segment: Segment| fs::read(self.folder.join("log").join(segment.log_name()));
        found.into_iter().map(|segment| (segment, read(segment).unwrap())).collect()
    }

    /// Bytes stored of a stream, without reading them.
    pub(crate) fn stored_len(&self, stream: Stream) -> u64 {
        let entries = fs::read_dir(self.folder.join("log")).unwrap().map(Result::unwrap);
        let is_it = |name: &str| Segment::from_log_name(name).is_some_and(|s| s.stream == stream);
        let logs = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_it));
        logs.map(|entry| entry.metadata().map_or(0, |meta| meta.len())).sum()
    }

    /// Everything stored of a stream.
    pub(crate) fn output(&self, stream: Stream) -> Vec<u8> {
        self.segments(stream).into_iter().flat_map(|(_, bytes)| bytes).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if self.keeper.is_some() && !thread::panicking() && self.report().is_some() {
            self.retire();
        }
        if let Some(mut keeper) = self.keeper.take() {
            let service = self.report().and_then(|report| report.pid);
            let held = service.and_then(|pid| stead_proc::Process::open_any(pid).unwrap());
            let _ = keeper.kill();
            let _ = keeper.wait();
            if let Some(process) = held {
                let _ = process.signal(Signal::Kill);
            }
        }
        if thread::panicking() {
            eprintln!("kept for a look: {}", self.folder.display());
        } else if self.remove {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A connection to a keeper.
struct Line {
    stream: LocalStream,
    unread: Vec<u8>,
}

impl Line {
    /// The next thing that it says; `None` at its end.
    fn read(&mut self) -> Option<Reply> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk).ok()? {
                Some(0) => return None,
                Some(len) => self.unread.extend_from_slice(&chunk[..len]),
                None => {
                    let left = deadline.checked_duration_since(Instant::now())?;
                    stead_proc::wait(&[self.stream.as_handle()], Some(left)).unwrap();
                }
            }
        }
    }
}

/// Tries until there is something, for as long as [`PATIENCE`].
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(2)); // bounded poll
    }
}

/// The keeper as it ships, if whoever runs the tests has built it, else as it is debugged.
pub(crate) fn keeper() -> String {
    let debugged = env!("CARGO_BIN_EXE_stead-keeper");
    std::env::var("STEAD_KEEPER_BIN").unwrap_or_else(|_| debugged.to_owned())
}

/// The program that plays the service.
pub(crate) fn probe() -> String {
    if let Ok(path) = std::env::var("STEAD_PROBE_BIN") {
        return path;
    }
    let own = std::env::current_exe().unwrap();
    let beside = own.parent().and_then(Path::parent).unwrap().join("stead-probe");
    let beside = beside.with_extension(std::env::consts::EXE_EXTENSION);
    assert!(beside.exists(), "`{}` is missing; try `cargo build -p stead-probe`", beside.display());
    beside.to_str().unwrap().to_owned()
}

/// Whether the process that was seen to have this pid and start time lives. Pids come round fast
/// on a busy machine, so a test that looks at a pid alone looks at somebody else's process.
pub(crate) fn is_alive((pid, start_ticks): (u32, u64)) -> bool {
    stead_proc::start_ticks(pid).unwrap() == Some(start_ticks)
}

/// The pid of a living process with its start time.
pub(crate) fn born(pid: u32) -> (u32, u64) {
    (pid, stead_proc::start_ticks(pid).unwrap().expect("it lives"))
}
