//! The numbers of signals.

use rustix::process::Signal as Number;
use stead_core::signal::Signal;

/// The system's own signal.
pub(crate) fn number(signal: Signal) -> Number {
    match signal {
        Signal::Abrt => Number::ABORT,
        Signal::Alrm => Number::ALARM,
        Signal::Cont => Number::CONT,
        Signal::Hup => Number::HUP,
        Signal::Int => Number::INT,
        Signal::Kill => Number::KILL,
        Signal::Pipe => Number::PIPE,
        Signal::Quit => Number::QUIT,
        Signal::Stop => Number::STOP,
        Signal::Term => Number::TERM,
        Signal::Tstp => Number::TSTP,
        Signal::Usr1 => Number::USR1,
        Signal::Usr2 => Number::USR2,
        Signal::Winch => Number::WINCH,
    }
}

/// The name without `SIG` of a signal that ended a process.
pub(crate) fn name(raw: i32) -> String {
    const NAMES: [(i32, &str); 25] = [
        (libc::SIGHUP, "HUP"),
        (libc::SIGINT, "INT"),
        (libc::SIGQUIT, "QUIT"),
        (libc::SIGILL, "ILL"),
        (libc::SIGTRAP, "TRAP"),
        (libc::SIGABRT, "ABRT"),
        (libc::SIGBUS, "BUS"),
        (libc::SIGFPE, "FPE"),
        (libc::SIGKILL, "KILL"),
        (libc::SIGUSR1, "USR1"),
        (libc::SIGSEGV, "SEGV"),
        (libc::SIGUSR2, "USR2"),
        (libc::SIGPIPE, "PIPE"),
        (libc::SIGALRM, "ALRM"),
        (libc::SIGTERM, "TERM"),
        (libc::SIGSTKFLT, "STKFLT"),
        (libc::SIGXCPU, "XCPU"),
        (libc::SIGXFSZ, "XFSZ"),
        (libc::SIGVTALRM, "VTALRM"),
        (libc::SIGPROF, "PROF"),
        (libc::SIGIO, "IO"),
        (libc::SIGPWR, "PWR"),
        (libc::SIGSYS, "SYS"),
        (libc::SIGTSTP, "TSTP"),
        (libc::SIGTTIN, "TTIN"),
    ];
    let known = NAMES.iter().find(|(number, _)| *number == raw);
    known.map_or_else(|| raw.to_string(), |(_, name)| (*name).to_owned())
}
