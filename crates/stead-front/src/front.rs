//! The main thread: it takes orders and signals, and moves no byte of a client.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use stead_core::units::Millis;
use stead_proc::{
    Fires, Signals, TcpListening, boot_ms, handed_descriptors, notify, open_files_max,
    raise_open_files, wait,
};
use stead_wire::front::{BACKENDS_MAX, Reply, Request, Set};

use crate::choice::{Policy, WAITING_MAX};
use crate::control::{Asker, Control};
use crate::disk::{self, Disk};
use crate::lane::{LISTENING_MAX, Lane};
use crate::options::Options;
use crate::say;
use crate::shared::{Shared, connections_max};

/// More lanes than this would wait for each other more than they work.
const LANES_MAX: usize = 16;

/// How many connections wait in the system unless something else is asked for.
const BACKLOG: i32 = 4096;

/// Connections that were cut are told of this often at most.
const CUT_TOLD_EVERY: Duration = Duration::from_secs(1);

/// When the disk takes longer than this to keep a set, the set is refused.
const STATE_WAIT: Duration = Duration::from_secs(2);

/// Why a front cannot begin or go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrontError {
    #[error("cannot use its control socket `{}`", path.display())]
    Control { path: PathBuf, source: io::Error },
    #[error("cannot use the sockets it was handed")]
    Handed(#[source] io::Error),
    #[error("a lane cannot go on")]
    Lane(#[source] io::Error),
    #[error("cannot listen on {0}")]
    Listen(std::net::SocketAddr, #[source] io::Error),
    #[error("it was handed no listening socket; try `--listen ADDR:PORT`")]
    NoSocket,
    #[error("its limit of open files, {0}, leaves none for connections; raise it")]
    Files(u64),
    #[error("cannot start")]
    Start(#[source] io::Error),
    #[error("cannot wait")]
    Wait(#[source] io::Error),
}

struct Front {
    shared: Arc<Shared>,
    signals: Signals,
    control: Control,
    disk: Option<Disk>,
    changing: Option<Changing>,
    /// Sets that wait until the one before is in force.
    waiting: Vec<(Asker, Set)>,
    /// By their numbers.
    lanes: Vec<(usize, JoinHandle<io::Result<()>>)>,
    /// Connections that were cut and told of, and when more of them may be.
    cut_told: (u64, Millis),
}

/// Tells of the end of a lane, however it comes about.
struct LaneEnd {
    shared: Arc<Shared>,
    index: usize,
}

impl Drop for LaneEnd {
    fn drop(&mut self) {
        self.shared.doors[self.index].has_ended.store(true, Ordering::SeqCst);
        self.shared.main.wake();
    }
}

/// A set on its way into force.
struct Changing {
    asker: Asker,
    stage: Stage,
}

enum Stage {
    /// Lanes are to follow it.
    Spreading {
        number: u64,
    },
    Writing {
        set: Set,
        until: Millis,
    },
}

/// Fronts until it is told to end and all connections have ended.
pub(crate) fn run(options: Options) -> Result<(), FrontError> {
    let signals = Signals::take_over().map_err(FrontError::Start)?;
    raise_open_files();
    let listening = listening(&options)?;
    let Options { control: path, state, wait, .. } = options;
    let control = Control::listen(&path);
    let control = control.map_err(|source| FrontError::Control { path, source })?;
    let lanes_n = thread::available_parallelism().map_or(1, |n| n.get().min(LANES_MAX));
    let files_max = open_files_max();
    let connections_max =
        connections_max(files_max, lanes_n).ok_or(FrontError::Files(files_max))?;
    let policy = Policy { wait, waiting_max: WAITING_MAX };
    let shared = Shared::new(policy, lanes_n, connections_max).map_err(FrontError::Start)?;
    let shared = Arc::new(shared);
    let disk = state.map(|path| begin_from(path, &shared)).transpose()?;
    let lanes = (0..lanes_n).map(|index| {
        let lane = Lane::new(Arc::clone(&shared), index, listening.clone())?;
        let end = LaneEnd { shared: Arc::clone(&shared), index };
        let work = move || {
            let _end = end;
            lane.run()
        };
        let thread = thread::Builder::new().name(format!("lane-{index}")).spawn(work)?;
        io::Result::Ok((index, thread))
    });
    let lanes = lanes.collect::<Result<_, _>>().map_err(FrontError::Start)?;
    // Theirs alone from now on: a socket is closed when the last of them lets go of it.
    drop(listening);
    tell("READY=1");
    let waiting = Vec::new();
    let cut_told = (0, Millis(boot_ms()));
    Front { shared, signals, control, disk, changing: None, waiting, lanes, cut_told }.run()
}

/// The sockets that connections come by.
fn listening(options: &Options) -> Result<Vec<Arc<TcpListening>>, FrontError> {
    let handed = handed_descriptors().map_err(FrontError::Handed)?;
    let mut sockets = Vec::new();
    for descriptor in handed {
        let socket = TcpListening::adopt(descriptor).map_err(FrontError::Handed)?;
        let wrong = || FrontError::Handed(io::Error::other("one takes no TCP connections"));
        let socket = socket.ok_or_else(wrong)?;
        if let Some(backlog) = options.backlog {
            socket.set_backlog(backlog).map_err(FrontError::Handed)?;
        }
        sockets.push(Arc::new(socket));
    }
    if sockets.len() > LISTENING_MAX {
        return Err(FrontError::Handed(io::Error::other(format!("more than {LISTENING_MAX}"))));
    }
    if sockets.is_empty() {
        let address = options.listen.ok_or(FrontError::NoSocket)?;
        let socket = TcpListening::bind(address, options.backlog.unwrap_or(BACKLOG));
        sockets.push(Arc::new(socket.map_err(|error| FrontError::Listen(address, error))?));
    }
    Ok(sockets)
}

/// Takes up the set of the front before.
fn begin_from(path: PathBuf, shared: &Arc<Shared>) -> Result<Disk, FrontError> {
    match disk::read(&path) {
        Ok(Some(set)) => match check(&set) {
            Ok(()) => drop(shared.set(&set)),
            Err(why) => say(&format!("`{}` is left aside: {why}", path.display())),
        },
        Ok(None) => (),
        Err(error) => say(&format!("`{}` is left aside: {error}", path.display())),
    }
    Disk::start(path, Arc::clone(shared)).map_err(FrontError::Start)
}

/// Whether a set can be obeyed.
fn check(set: &Set) -> Result<(), String> {
    if set.backends.len() > BACKENDS_MAX {
        return Err(format!("a set has at most {BACKENDS_MAX} backends"));
    }
    let mut seen = BTreeSet::new();
    for address in &set.backends {
        if address.port() == 0 || address.ip().is_unspecified() {
            return Err(format!("`{address}` is no address to connect to"));
        }
        if !seen.insert(address) {
            return Err(format!("`{address}` is in the set twice"));
        }
    }
    Ok(())
}

/// Says something to whoever keeps this front. That they cannot be told is said and no more.
fn tell(text: &str) {
    if let Err(error) = notify(text) {
        say(&format!("`{text}` could not be told: {error}"));
    }
}

impl Front {
    fn run(mut self) -> Result<(), FrontError> {
        while !self.lanes.is_empty() {
            self.wait().map_err(FrontError::Wait)?;
            if self.signals.take().contains(&Fires::End) {
                if self.shared.is_ending() {
                    return Ok(());
                }
                tell("STOPPING=1");
                self.control.close();
                self.shared.end();
            }
            self.shared.main.clear();
            self.control.accept();
            self.change();
            while let Some((asker, request)) = self.control.next_request() {
                self.obey(asker, request);
            }
            self.change();
            self.reap_lanes()?;
            self.tell_cut();
        }
        Ok(())
    }

    /// Tells of what cannot be without a loss: a service that does not answer what it was sent
    /// before it ends.
    fn tell_cut(&mut self) {
        let cut = self.shared.counts.cut.load(Ordering::Relaxed);
        let (told, next_at) = self.cut_told;
        if cut > told && Millis(boot_ms()) >= next_at {
            self.cut_told = (cut, Millis(boot_ms()) + CUT_TOLD_EVERY);
            let connections = if cut == 1 { "connection was" } else { "connections were" };
            let text = format!(
                "{cut} {connections} cut by runs that gave way and did not answer what they had \
                 been sent"
            );
            say(&text);
            tell(&format!("STATUS={text}"));
        }
    }

    fn wait(&self) -> io::Result<()> {
        let own = [self.signals.as_fd(), self.shared.main.as_fd()];
        let watched: Vec<_> = own.into_iter().chain(self.control.watched()).collect();
        let timeout = self.changing.as_ref().and_then(|changing| match &changing.stage {
            Stage::Spreading { .. } => None,
            Stage::Writing { until, .. } => Some(*until - Millis(boot_ms())),
        });
        let (told, next_at) = self.cut_told;
        let is_owed = self.shared.counts.cut.load(Ordering::Relaxed) > told;
        let tells = is_owed.then(|| next_at - Millis(boot_ms()));
        wait(&watched, timeout.into_iter().chain(tells).min()).map(drop)
    }

    fn obey(&mut self, asker: Asker, request: Request) {
        match request {
            Request::Report => {
                let report = Reply::Report(self.shared.report());
                self.control.reply(asker, &report);
            }
            Request::Set(set) => match check(&set) {
                Ok(()) => self.waiting.push((asker, set)),
                Err(why) => self.control.reply(asker, &Reply::Refused { why }),
            },
        }
    }

    /// Brings sets into force, one after the other, as far as that goes now.
    fn change(&mut self) {
        loop {
            let Some(Changing { asker, stage }) = self.changing.take() else {
                if self.waiting.is_empty() {
                    return;
                }
                let (asker, set) = self.waiting.remove(0);
                match self.begin(set) {
                    Ok(stage) => self.changing = Some(Changing { asker, stage }),
                    Err(why) => self.control.reply(asker, &Reply::Refused { why }),
                }
                continue;
            };
            match self.go_on(stage) {
                Ok(Some(stage)) => {
                    self.changing = Some(Changing { asker, stage });
                    return;
                }
                Ok(None) => self.control.reply(asker, &Reply::Done),
                Err(why) => self.control.reply(asker, &Reply::Refused { why }),
            }
        }
    }

    fn begin(&mut self, set: Set) -> Result<Stage, String> {
        let Some(disk) = &mut self.disk else {
            return Ok(Stage::Spreading { number: self.shared.set(&set) });
        };
        // The end of what was too slow is of no interest any more.
        drop(disk.written());
        if !disk.begin(set.clone()) {
            return Err("the disk still writes the set before".to_owned());
        }
        Ok(Stage::Writing { set, until: Millis(boot_ms()) + STATE_WAIT })
    }

    /// One step of a change; `None` once the set is in force.
    fn go_on(&mut self, stage: Stage) -> Result<Option<Stage>, String> {
        match stage {
            Stage::Spreading { number } if self.shared.all_follow(number) => Ok(None),
            Stage::Spreading { .. } => Ok(Some(stage)),
            Stage::Writing { set, until } => match self.disk.as_mut().and_then(Disk::written) {
                Some(Ok(())) => {
                    let number = self.shared.set(&set);
                    self.go_on(Stage::Spreading { number })
                }
                Some(Err(error)) => Err(format!("the set cannot be kept: {error}")),
                None if Millis(boot_ms()) >= until => {
                    Err("the disk does not take the set".to_owned())
                }
                None => Ok(Some(Stage::Writing { set, until })),
            },
        }
    }

    /// Takes note of lanes that have ended.
    fn reap_lanes(&mut self) -> Result<(), FrontError> {
        let has_ended = |index: usize| self.shared.doors[index].has_ended.load(Ordering::SeqCst);
        let ended = self.lanes.extract_if(.., |(index, _)| has_ended(*index));
        for (_, lane) in ended.collect::<Vec<_>>() {
            // It has nothing more to do than to end.
            match lane.join() {
                Ok(ended) => ended.map_err(FrontError::Lane)?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    }
}
