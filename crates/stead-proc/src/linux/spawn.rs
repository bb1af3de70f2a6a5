//! Starting a process that does nothing before it is told to.
//!
//! The child is made at once and holds at a gate: a pipe it reads from. The caller writes down who
//! it is and then opens the gate. If the caller dies in between, the pipe ends and so does the
//! child: a process that nobody knows of never runs a program.

use std::ffi::{CString, c_char};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::pipe::{PipeFlags, pipe_with};

use super::identity::{self, Process};
use super::sandbox::{RawSandbox, Sandbox};
use crate::spec::{ExecFailed, SpawnError, SpawnSpec};

/// A process that holds at its gate. Dropping this ends it.
#[derive(Debug)]
pub struct Held {
    pid: u32,
    start_ticks: u64,
    gate: OwnedFd,
    progress: OwnedFd,
}

impl Held {
    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// What it holds of its streams, to be found there by another keeper: nothing that has a path.
    pub fn stream_ends(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Takes hold of the process. It is our child, so nobody else can have its pid.
    pub fn hold(&self) -> io::Result<Process> {
        Process::of_child(self.pid, self.start_ticks)
    }

    /// Opens the gate.
    pub fn release(self) -> ExecProgress {
        // A child that was killed meanwhile has closed its end; its end is seen by other means.
        let _ = rustix::io::write(&self.gate, b"g");
        ExecProgress(self.progress)
    }
}

/// Tells whether the program has begun. Readable once it is known.
#[derive(Debug)]
pub struct ExecProgress(OwnedFd);

impl ExecProgress {
    /// `None` while it is not known.
    pub fn poll(&self) -> Option<Result<(), ExecFailed>> {
        let mut report = [0; 8];
        match rustix::io::read(&self.0, &mut report) {
            // The end closed by exec, or by a kill, whose exit tells.
            Ok(0) => Some(Ok(())),
            Ok(_) => {
                let step = i32::from_ne_bytes([report[0], report[1], report[2], report[3]]);
                let errno = i32::from_ne_bytes([report[4], report[5], report[6], report[7]]);
                let known = usize::try_from(step).ok().and_then(|step| STEPS.get(step));
                let step = known.copied().unwrap_or("start");
                Some(Err(ExecFailed { step, source: io::Error::from_raw_os_error(errno) }))
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => None,
            Err(error) => {
                Some(Err(ExecFailed { step: "watch the new process", source: error.into() }))
            }
        }
    }
}

impl AsFd for ExecProgress {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What a child does between gate and program, by number, as its report names it.
const STEPS: [&str; 14] = [
    "begin a session",
    "connect its streams",
    "set its groups",
    "set its group",
    "set its user",
    "enter its directory",
    "give up new privileges",
    "run its program",
    "hand over its sockets",
    "enter its own `/tmp`",
    "give up capabilities",
    "keep its capabilities",
    "enter its sandbox",
    "set its limit of open files",
];

/// Everything the child needs, made before the fork: after it, memory may not be allocated.
struct Prepared<'a> {
    /// What is called instead of running the program.
    call: Option<&'a dyn Fn()>,
    argv: Vec<CString>,
    env: Vec<CString>,
    program: CString,
    directory: CString,
    groups: Vec<libc::gid_t>,
    account: Option<(libc::uid_t, libc::gid_t)>,
    umask: libc::mode_t,
    new_privileges: bool,
    files: Option<u64>,
    ends_with_us: bool,
    sandbox: Option<RawSandbox>,
    null: OwnedFd,
    stdin: Option<RawFd>,
    out: RawFd,
    err: RawFd,
    gate: RawFd,
    report: RawFd,
    /// Each with a number past all that the child puts its sockets at.
    sockets: Vec<OwnedFd>,
    /// Where in the environment the pid belongs, with room for all its digits and a zero.
    listen_pid: Option<*mut c_char>,
    /// The keeper's ends of both pipes: a child that held its own gate open would wait for ever.
    not_ours: [RawFd; 2],
}

/// Makes the process and holds it.
pub fn spawn(spec: &SpawnSpec<'_>) -> Result<Held, SpawnError> {
    make(spec, None)
}

/// As [`spawn`], but calls this in the place of the program, and the process ends after it. Its
/// progress is known once it has ended. Only for who has one thread: what is called may allocate.
pub fn spawn_call(spec: &SpawnSpec<'_>, call: &dyn Fn()) -> Result<Held, SpawnError> {
    let threads = std::fs::read_dir("/proc/self/task").map_err(SpawnError::Fork)?;
    if threads.count() != 1 {
        return Err(SpawnError::Threads);
    }
    make(spec, Some(call))
}

fn make(spec: &SpawnSpec<'_>, call: Option<&dyn Fn()>) -> Result<Held, SpawnError> {
    let pipe = |flags| pipe_with(flags).map_err(|error| SpawnError::Pipe(error.into()));
    let (gate_read, gate) = pipe(PipeFlags::CLOEXEC)?;
    let (progress, report) = pipe(PipeFlags::CLOEXEC)?;
    let (gate_read, report) = (above(spec, gate_read)?, above(spec, report)?);
    for end in [&progress, &gate_read] {
        rustix::io::ioctl_fionbio(end, true).map_err(|error| SpawnError::Pipe(error.into()))?;
    }
    let mut prepared = prepare(spec, call, gate_read.as_raw_fd(), report.as_raw_fd())?;
    prepared.not_ours = [gate.as_raw_fd(), progress.as_raw_fd()];
    let argv = pointers(&prepared.argv);
    let mut env = pointers(&prepared.env);
    let mut listen_pid = LISTEN_PID.to_vec();
    listen_pid.resize(LISTEN_PID.len() + PID_LEN_MAX + 1, 0);
    let is_it = |text: &CString| text.as_bytes().starts_with(LISTEN_PID);
    if let Some(at) = prepared.env.iter().position(is_it) {
        let text = listen_pid.as_mut_ptr();
        env[at] = text.cast_const().cast();
        prepared.listen_pid = Some(text.wrapping_add(LISTEN_PID.len()).cast());
    }
    #[expect(unsafe_code, reason = "making a process has no safe form")]
    // SAFETY: the child calls only async-signal-safe functions on memory made before, then execs
    // or exits; it never returns into Rust code that could allocate or unlock, unless this process
    // has one thread, which holds no lock here.
    let pid = unsafe {
        match clone_process(spec.cgroup) {
            -1 => return Err(SpawnError::Fork(io::Error::last_os_error())),
            0 => run_child(&prepared, &argv, &env),
            pid => pid,
        }
    };
    let pid = u32::try_from(pid).map_err(|_| SpawnError::Lost)?;
    // It is our child and not reaped yet, so this is no other process's start time.
    let start_ticks = identity::start_ticks(pid).map_err(SpawnError::Fork)?;
    let start_ticks = start_ticks.ok_or(SpawnError::Lost)?;
    Ok(Held { pid, start_ticks, gate, progress })
}

/// Forks; the child begins in the cgroup, since moving it there afterwards would wait for an RCU
/// grace period, milliseconds long.
///
/// # Safety
/// As for `fork`: the child may only make raw calls.
#[expect(unsafe_code, reason = "making a process has no safe form")]
unsafe fn clone_process(cgroup: Option<BorrowedFd<'_>>) -> libc::c_long {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    // SAFETY: all zeroes is a valid clone_args, and the kernel is told its size.
    unsafe {
        let Some(cgroup) = cgroup else { return libc::fork().into() };
        let mut args: libc::clone_args = std::mem::zeroed();
        args.flags = CLONE_INTO_CGROUP;
        args.exit_signal = libc::SIGCHLD as u64;
        args.cgroup = u64::try_from(cgroup.as_raw_fd()).unwrap_or(u64::MAX);
        libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>())
    }
}

/// The descriptor, or one for the same with a number that no socket of the child is put at.
fn above(spec: &SpawnSpec<'_>, fd: OwnedFd) -> Result<OwnedFd, SpawnError> {
    let first = SOCKETS_FROM + RawFd::try_from(spec.sockets.len()).unwrap_or(RawFd::MAX);
    if fd.as_raw_fd() >= first {
        return Ok(fd);
    }
    rustix::io::fcntl_dupfd_cloexec(&fd, first).map_err(|error| SpawnError::Pipe(error.into()))
}

/// Where sockets are put: right after the three streams.
const SOCKETS_FROM: RawFd = 3;

/// No socket of a child is put at this number or above.
const SOCKETS_ABOVE: RawFd = SOCKETS_FROM + super::sockets::SOCKETS_MAX as RawFd;

/// The most digits that a pid has.
const PID_LEN_MAX: usize = 10;

/// The variable that says whom the sockets are for. Its place is made as long as any pid, since the
/// child may not allocate.
const LISTEN_PID: &[u8] = b"LISTEN_PID=";

fn prepare<'a>(
    spec: &SpawnSpec<'_>,
    call: Option<&'a dyn Fn()>,
    gate: RawFd,
    report: RawFd,
) -> Result<Prepared<'a>, SpawnError> {
    let first = spec.argv.first().ok_or(SpawnError::Empty)?;
    let path = spec.env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, path)| path);
    let program = match call {
        Some(_) => PathBuf::new(),
        None => find_program(first, None, path)?,
    };
    let pairs = spec.env.iter().map(|(name, value)| CString::new(format!("{name}={value}")));
    Ok(Prepared {
        call,
        argv: spec.argv.iter().map(|text| CString::new(text.as_str())).collect::<Result<_, _>>()?,
        env: pairs.collect::<Result<_, _>>()?,
        program: CString::new(program.into_os_string().into_encoded_bytes())?,
        directory: CString::new(spec.directory)?,
        groups: spec.account.map_or_else(Vec::new, |account| account.groups.clone()),
        account: spec.account.map(|account| (account.uid, account.gid)),
        umask: libc::mode_t::from(spec.umask),
        new_privileges: spec.new_privileges,
        files: spec.files,
        ends_with_us: spec.ends_with_us,
        sandbox: spec.sandbox.map(Sandbox::raw),
        stdin: spec.stdin.map(|stdin| stdin.as_raw_fd()),
        null: open_null().map_err(SpawnError::Pipe)?,
        out: spec.out.as_raw_fd(),
        err: spec.err.as_raw_fd(),
        gate,
        report,
        sockets: spec
            .sockets
            .iter()
            .map(|socket| {
                let copy = rustix::io::fcntl_dupfd_cloexec(socket, SOCKETS_ABOVE);
                copy.map_err(|error| SpawnError::Pipe(error.into()))
            })
            .collect::<Result<_, _>>()?,
        listen_pid: None,
        not_ours: [-1; 2],
    })
}

fn open_null() -> io::Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())?)
}

/// The file that is run for a program: a name without `/` is looked up in PATH, whatever directory
/// it starts in.
pub fn find_program(
    program: &str,
    _directory: Option<&Path>,
    path: &str,
) -> Result<PathBuf, SpawnError> {
    if program.contains('/') {
        return Ok(PathBuf::from(program));
    }
    let places = path.split(':').filter(|folder| !folder.is_empty());
    let mut candidates = places.map(|folder| Path::new(folder).join(program));
    let runnable = |file: &PathBuf| {
        rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file()
    };
    candidates
        .find(runnable)
        .ok_or_else(|| SpawnError::NotInPath { program: program.to_owned(), path: path.to_owned() })
}

fn pointers(texts: &[CString]) -> Vec<*const c_char> {
    texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}

/// The child's whole life before its program.
///
/// # Safety
/// Only between fork and exec. Calls nothing that is not async-signal-safe.
#[expect(unsafe_code, reason = "between fork and exec only raw calls are allowed")]
unsafe fn run_child(child: &Prepared<'_>, argv: &[*const c_char], env: &[*const c_char]) -> ! {
    // SAFETY: raw calls on descriptors and memory that were made before the fork.
    unsafe {
        for fd in child.not_ours {
            libc::close(fd);
        }
        if libc::setsid() < 0 {
            fail(child.report, 0);
        }
        connect_streams(child);
        reset_signals();
        wait_at_gate(child.gate);
        if !child.new_privileges && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            fail(child.report, 6);
        }
        if let Some(sandbox) = child.sandbox {
            if !sandbox.enter_mounts() {
                fail(child.report, 9);
            }
            // Who may gain privileges may not put a filter on once it has none.
            if child.new_privileges && !sandbox.restrict() {
                fail(child.report, 12);
            }
            if !sandbox.drop_bounds(child.new_privileges) {
                fail(child.report, 10);
            }
        }
        if let Some(files) = child.files {
            let limit = libc::rlimit { rlim_cur: files, rlim_max: files };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &limit) != 0 {
                fail(child.report, 13);
            }
        }
        become_account(child);
        if let Some(sandbox) = child.sandbox
            && !sandbox.set_capabilities()
        {
            fail(child.report, 11);
        }
        // After the account, whose change takes it back.
        if child.ends_with_us {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        }
        if libc::chdir(child.directory.as_ptr()) != 0 {
            fail(child.report, 5);
        }
        libc::umask(child.umask);
        // Everything of the keeper is close-on-exec already; this holds for what a library opened.
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        hand_over_sockets(child);
        if let Some(sandbox) = child.sandbox
            && !child.new_privileges
            && !sandbox.restrict()
        {
            fail(child.report, 12);
        }
        if let Some(call) = child.call {
            let called = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
            libc::_exit(i32::from(called.is_err()));
        }
        libc::execve(child.program.as_ptr(), argv.as_ptr(), env.as_ptr());
        fail(child.report, 7)
    }
}

/// # Safety
/// As [`run_child`].
#[expect(unsafe_code, reason = "between fork and exec only raw calls are allowed")]
unsafe fn connect_streams(child: &Prepared<'_>) {
    // SAFETY: as run_child.
    unsafe {
        let stdin = child.stdin.unwrap_or(child.null.as_raw_fd());
        for (from, to) in [(stdin, 0), (child.out, 1), (child.err, 2)] {
            if libc::dup2(from, to) < 0 {
                fail(child.report, 1);
            }
        }
        // Killed before its keeper and before other programs when memory runs out.
        let adj =
            libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if adj >= 0 {
            libc::write(
                adj,
                SERVICE_OOM_SCORE_ADJ.as_ptr().cast(),
                SERVICE_OOM_SCORE_ADJ.count_bytes(),
            );
            libc::close(adj);
        }
    }
}

/// Zero for root, whose keepers go below it; a service of an unprivileged keeper, which may not go
/// below, goes above instead, since the kernel refuses to lower what was raised.
const SERVICE_OOM_SCORE_ADJ: &std::ffi::CStr = c"100";

/// # Safety
/// As [`run_child`].
#[expect(unsafe_code, reason = "between fork and exec only raw calls are allowed")]
unsafe fn reset_signals() {
    // SAFETY: as run_child; the set is made by sigemptyset before it is read.
    unsafe {
        // The only ones that are ignored; exec itself gives handled ones their default back.
        for signal in [libc::SIGHUP, libc::SIGPIPE] {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// # Safety
/// As [`run_child`].
#[expect(unsafe_code, reason = "between fork and exec only raw calls are allowed")]
unsafe fn wait_at_gate(gate: RawFd) {
    let mut byte = [0_u8];
    let mut looks = 0;
    // SAFETY: as run_child.
    unsafe {
        loop {
            match libc::read(gate, byte.as_mut_ptr().cast(), 1) {
                1 => return,
                -1 => match *libc::__errno_location() {
                    libc::EINTR => (),
                    // The journal is written in less time than it takes to wake a sleeper.
                    libc::EAGAIN if looks < LOOKS_BEFORE_SLEEP => {
                        looks += 1;
                        libc::sched_yield();
                    }
                    libc::EAGAIN => {
                        let mut wait = libc::pollfd { fd: gate, events: libc::POLLIN, revents: 0 };
                        libc::poll(&raw mut wait, 1, -1);
                    }
                    _ => libc::_exit(0),
                },
                // The keeper is gone or does not want this run any more.
                _ => libc::_exit(0),
            }
        }
    }
}

/// How often a child looks at its gate before it sleeps there.
const LOOKS_BEFORE_SLEEP: u32 = 100;

/// # Safety
/// As [`run_child`].
#[expect(unsafe_code, reason = "between fork and exec only raw calls are allowed")]
unsafe fn become_account(child: &Prepared<'_>) {
    let Some((uid, gid)) = child.account else { return };
    // SAFETY: as run_child.
    unsafe {
        // The C library's own forms would look for the threads that stayed behind in the keeper.
        let groups = child.groups.as_ptr();
        if libc::syscall(libc::SYS_setgroups, child.groups.len(), groups) != 0 {
            fail(child.report, 2);
        }
        if libc::syscall(libc::SYS_setresgid, gid, gid, gid) != 0 {
            fail(child.report, 3);
        }
        if libc::syscall(libc::SYS_setresuid, uid, uid, uid) != 0 {
            fail(child.report, 4);
        }
    }
}

/// Puts the sockets where the child's program looks for them, and says whom they are for.
///
/// # Safety
/// As [`run_child`].
#[expect(unsafe_code, reason = "between fork and exec only raw calls are allowed")]
unsafe fn hand_over_sockets(child: &Prepared<'_>) {
    // SAFETY: as run_child; the place for the pid has room for all its digits and a zero after
    // them, in memory that is the child's own since the fork.
    unsafe {
        for (at, socket) in child.sockets.iter().enumerate() {
            // The number is small: sockets are few.
            if libc::dup2(socket.as_raw_fd(), SOCKETS_FROM + at as RawFd) < 0 {
                fail(child.report, 8);
            }
        }
        let Some(place) = child.listen_pid else { return };
        let mut rest = libc::getpid();
        let mut digits = [0 as c_char; PID_LEN_MAX];
        let mut len = 0;
        while rest > 0 && len < PID_LEN_MAX {
            digits[len] = b'0' as c_char + (rest % 10) as c_char;
            rest /= 10;
            len += 1;
        }
        for at in 0..len {
            *place.add(at) = digits[len - 1 - at];
        }
        *place.add(len) = 0;
    }
}

/// Reports the step that failed, with errno, and ends.
///
/// # Safety
/// As [`run_child`].
#[expect(unsafe_code, reason = "between fork and exec only raw calls are allowed")]
unsafe fn fail(report: RawFd, step: i32) -> ! {
    // SAFETY: as run_child.
    unsafe {
        let words = [step, *libc::__errno_location()];
        libc::write(report, words.as_ptr().cast(), size_of_val(&words));
        libc::_exit(127)
    }
}
