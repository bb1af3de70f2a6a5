//! Starting a process that does nothing before it is told to.
//!
//! It is made suspended, in a job that ends with this process: a process that nobody knows of never
//! runs a program. Once it may run, it holds what the next keeper will need of it.

#![expect(unsafe_code, reason = "making a process has no safe form")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::{mem, ptr};

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::JobObjects::AssignProcessToJobObject;
use windows_sys::Win32::System::Threading::{
    CREATE_NO_WINDOW, CREATE_SUSPENDED, CREATE_UNICODE_ENVIRONMENT, CreateProcessW,
    DeleteProcThreadAttributeList, EXTENDED_STARTUPINFO_PRESENT, InitializeProcThreadAttributeList,
    LPPROC_THREAD_ATTRIBUTE_LIST, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, PROCESS_INFORMATION,
    ResumeThread, STARTF_USESTDHANDLES, STARTUPINFOEXW, TerminateProcess,
    UpdateProcThreadAttribute,
};

use super::cgroup::Cgroup;
use super::identity::{KILLED, Process};
use super::sys::{Event, check, duplicate_into, long, made, raw, short, wide};
use crate::spec::{ExecFailed, SpawnError, SpawnSpec};

/// What a main process may do with its own job: keep its name.
const JOB_OBJECT_QUERY: u32 = 4;

/// Programs find the system by these; a run without them would not get far.
const NEEDED: [&str; 3] = ["SystemDrive", "SystemRoot", "windir"];

/// A process that holds at its gate. Dropping this ends it.
#[derive(Debug)]
pub struct Held {
    process: Option<Process>,
    thread: OwnedHandle,
    job: Option<OwnedHandle>,
    ends_with_us: bool,
    stream_ends: Vec<u64>,
}

impl Held {
    fn process(&self) -> &Process {
        self.process.as_ref().expect("it is there until it is let go of")
    }

    pub fn pid(&self) -> u32 {
        self.process().pid()
    }

    pub fn start_ticks(&self) -> u64 {
        self.process().start_ticks()
    }

    /// What it holds of its streams, to be found there by another keeper.
    pub fn stream_ends(&self) -> Vec<u64> {
        self.stream_ends.clone()
    }

    /// Takes hold of the process.
    pub fn hold(&self) -> io::Result<Process> {
        let process = self.process();
        Process::of_handle(process.pid(), process.handle.try_clone()?)
    }

    /// Opens the gate.
    pub fn release(mut self) -> ExecProgress {
        let went = self.let_go();
        if went.is_ok() {
            self.process = None;
        }
        ExecProgress { known: Event::new(true).ok(), went: Mutex::new(Some(went)) }
    }

    fn let_go(&self) -> Result<(), ExecFailed> {
        let at = |step| move |source| ExecFailed { step, source };
        if let Some(job) = &self.job
            && !self.ends_with_us
        {
            let main = raw(&self.process().handle);
            let kept = duplicate_into(job.as_handle(), main, false, Some(JOB_OBJECT_QUERY));
            kept.map_err(at("give it its job"))?;
            Cgroup::outlive_us(raw(job)).map_err(at("let its job outlive its keeper"))?;
        }
        // SAFETY: the thread is the suspended one of that process.
        match unsafe { ResumeThread(raw(&self.thread)) } {
            u32::MAX => Err(at("let it run")(io::Error::last_os_error())),
            _ => Ok(()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            // SAFETY: it is ours and has done nothing yet.
            unsafe { TerminateProcess(raw(&process.handle), KILLED) };
        }
    }
}

/// Tells whether the program has begun, which is known at once here.
#[derive(Debug)]
pub struct ExecProgress {
    known: Option<Event>,
    went: Mutex<Option<Result<(), ExecFailed>>>,
}

impl ExecProgress {
    /// Once.
    pub fn poll(&self) -> Option<Result<(), ExecFailed>> {
        self.went.lock().unwrap_or_else(PoisonError::into_inner).take().or(Some(Ok(())))
    }
}

impl AsHandle for ExecProgress {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        match &self.known {
            Some(event) => event.0.as_handle(),
            // SAFETY: the handle that stands for this process is always open; it is never set,
            // and then the progress is found when something else happens.
            None => unsafe { BorrowedHandle::borrow_raw(ptr::without_provenance_mut(usize::MAX)) },
        }
    }
}

/// The jobs of what is to end with this process.
static ENDING_WITH_US: Mutex<Vec<Cgroup>> = Mutex::new(Vec::new());

/// Makes the process and holds it.
pub fn spawn(spec: &SpawnSpec<'_>) -> Result<Held, SpawnError> {
    if spec.account.is_some() {
        return Err(SpawnError::Unsupported("another account"));
    }
    if !spec.sockets.is_empty() {
        return Err(SpawnError::Unsupported("sockets that are open already"));
    }
    let own_job = match spec.ends_with_us {
        true => Some(Cgroup::ending_with_us().map_err(SpawnError::Fork)?),
        false => None,
    };
    let given = |job: BorrowedHandle<'_>| job.try_clone_to_owned().map_err(SpawnError::Fork);
    let job = match (&own_job, spec.cgroup) {
        (Some(job), _) => Some(given(job.as_handle())?),
        (None, job) => job.map(given).transpose()?,
    };
    let held = make(spec, job)?;
    ENDING_WITH_US.lock().unwrap_or_else(PoisonError::into_inner).extend(own_job);
    Ok(held)
}

/// Nothing can be called in another process here.
pub fn spawn_call(_spec: &SpawnSpec<'_>, _call: &dyn Fn()) -> Result<Held, SpawnError> {
    Err(SpawnError::Unsupported("anything but a program"))
}

fn make(spec: &SpawnSpec<'_>, job: Option<OwnedHandle>) -> Result<Held, SpawnError> {
    let first = spec.argv.first().ok_or(SpawnError::Empty)?;
    let path = variable(spec.env, "PATH").unwrap_or("");
    let directory = Path::new(spec.directory);
    let program = find_program(first, Some(directory), path)?;
    let program = with_extension(directory.join(program));
    if !program.is_file() {
        return Err(SpawnError::Fork(io::Error::new(
            io::ErrorKind::NotFound,
            format!("there is no file `{}`", program.display()),
        )));
    }
    let program = long(&program).map_err(SpawnError::Fork)?;
    let mut line = command_line(spec.argv).map_err(SpawnError::Fork)?;
    let directory = short(Path::new(spec.directory)).map_err(SpawnError::Fork)?;
    let env = environment(spec.env).map_err(SpawnError::Fork)?;
    let null = std::fs::File::open("NUL").map_err(SpawnError::Pipe)?;
    let stdin = spec.stdin.unwrap_or(null.as_handle());
    let streams = [stdin, spec.out, spec.err].map(Inherited::of);
    let [stdin, out, err] = streams;
    let streams = [
        stdin.map_err(SpawnError::Pipe)?,
        out.map_err(SpawnError::Pipe)?,
        err.map_err(SpawnError::Pipe)?,
    ];
    let handles = [raw(&streams[0].0), raw(&streams[1].0), raw(&streams[2].0)];
    let attributes = Attributes::inheriting(&handles).map_err(SpawnError::Fork)?;
    let mut startup: STARTUPINFOEXW = STARTUPINFOEXW::default();
    startup.StartupInfo.cb = size_of::<STARTUPINFOEXW>() as u32;
    startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    [
        startup.StartupInfo.hStdInput,
        startup.StartupInfo.hStdOutput,
        startup.StartupInfo.hStdError,
    ] = handles;
    startup.lpAttributeList = attributes.list();
    let console = if spec.ends_with_us { 0 } else { CREATE_NO_WINDOW };
    let flags =
        console | CREATE_SUSPENDED | CREATE_UNICODE_ENVIRONMENT | EXTENDED_STARTUPINFO_PRESENT;
    let mut made_it = PROCESS_INFORMATION::default();
    // SAFETY: all texts end with a zero, the environment with two, and all live through the call.
    let (process, thread) = unsafe {
        check(CreateProcessW(
            program.as_ptr(),
            line.as_mut_ptr(),
            ptr::null(),
            ptr::null(),
            1,
            flags,
            env.as_ptr().cast(),
            directory.as_ptr(),
            (&raw const startup.StartupInfo).cast(),
            &raw mut made_it,
        ))
        .map_err(SpawnError::Fork)?;
        let process = made(made_it.hProcess).map_err(SpawnError::Fork)?;
        (process, made(made_it.hThread).map_err(SpawnError::Fork)?)
    };
    if let Some(job) = &job {
        // SAFETY: both are open, and the process does nothing yet.
        let put = check(unsafe { AssignProcessToJobObject(raw(job), raw(&process)) });
        if let Err(error) = put {
            // SAFETY: it is ours and has done nothing yet.
            unsafe { TerminateProcess(raw(&process), KILLED) };
            return Err(SpawnError::Fork(error));
        }
    }
    let process = Process::of_handle(made_it.dwProcessId, process).map_err(SpawnError::Fork)?;
    let child = process.handle.try_clone().map_err(SpawnError::Fork)?;
    super::reaper::watch(process.pid(), child).map_err(SpawnError::Fork)?;
    let stream_ends = stream_ends(spec, &process, &handles).map_err(SpawnError::Pipe)?;
    Ok(Held { process: Some(process), thread, job, ends_with_us: spec.ends_with_us, stream_ends })
}

/// Gives the process what it is to hold besides; says the numbers of both ends of both streams.
fn stream_ends(
    spec: &SpawnSpec<'_>,
    process: &Process,
    handles: &[HANDLE; 3],
) -> io::Result<Vec<u64>> {
    let mut ends = Vec::new();
    for (held, written) in spec.holds.iter().zip(&handles[1..]) {
        let Some(held) = held else { return Ok(Vec::new()) };
        let read = duplicate_into(*held, raw(&process.handle), false, None)?;
        // What is inherited has the same number there.
        ends.extend([read.addr() as u64, written.addr() as u64]);
    }
    Ok(ends)
}

/// A duplicate that the next process may inherit.
struct Inherited(OwnedHandle);

impl Inherited {
    fn of(handle: BorrowedHandle<'_>) -> io::Result<Self> {
        let us: HANDLE = ptr::without_provenance_mut(usize::MAX);
        let copy = duplicate_into(handle, us, true, None)?;
        // SAFETY: it is new.
        Ok(Self(unsafe { made(copy)? }))
    }
}

/// Which handles a process inherits: these, whatever others are made at the same time.
struct Attributes {
    memory: Vec<usize>,
}

impl Attributes {
    fn inheriting(handles: &[HANDLE; 3]) -> io::Result<Self> {
        let mut len = 0;
        // SAFETY: without memory it only says how much it needs.
        unsafe { InitializeProcThreadAttributeList(ptr::null_mut(), 1, 0, &raw mut len) };
        let mut own = Self { memory: vec![0; len.div_ceil(size_of::<usize>())] };
        let list: LPPROC_THREAD_ATTRIBUTE_LIST = own.memory.as_mut_ptr().cast();
        // SAFETY: the memory is as long as was asked for, and the handles live as long as the list
        // is used.
        unsafe {
            check(InitializeProcThreadAttributeList(list, 1, 0, &raw mut len))?;
            check(UpdateProcThreadAttribute(
                list,
                0,
                PROC_THREAD_ATTRIBUTE_HANDLE_LIST as usize,
                handles.as_ptr().cast(),
                size_of_val(handles),
                ptr::null_mut(),
                ptr::null(),
            ))?;
        }
        Ok(own)
    }

    fn list(&self) -> LPPROC_THREAD_ATTRIBUTE_LIST {
        self.memory.as_ptr().cast_mut().cast()
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: it was initialized, or it has no entries.
        unsafe { DeleteProcThreadAttributeList(self.list()) };
    }
}

/// The file that is run for a program: a name without a separator is looked up in the directory
/// that it starts in, as shells do here, then in PATH.
pub fn find_program(
    program: &str,
    directory: Option<&Path>,
    path: &str,
) -> Result<PathBuf, SpawnError> {
    if program.contains(['/', '\\']) {
        return Ok(PathBuf::from(program));
    }
    let here = directory.map(|directory| with_extension(directory.join(program)));
    if let Some(here) = here.filter(|file| file.is_file()) {
        return Ok(here);
    }
    let folders = path.split(';').filter(|folder| !folder.is_empty());
    let mut candidates = folders.map(|folder| with_extension(Path::new(folder).join(program)));
    candidates
        .find(|file| file.is_file())
        .ok_or_else(|| SpawnError::NotInPath { program: program.to_owned(), path: path.to_owned() })
}

/// Programs may be named without what their files end with.
fn with_extension(file: PathBuf) -> PathBuf {
    if file.is_file() || file.extension().is_some_and(|it| it.eq_ignore_ascii_case("exe")) {
        return file;
    }
    let mut name = file.clone().into_os_string();
    name.push(".exe");
    let named = PathBuf::from(name);
    if named.is_file() { named } else { file }
}

fn variable<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = env.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// The arguments in one line, so that programs take it apart as they were
/// (the rules of `CommandLineToArgvW`).
fn command_line(argv: &[String]) -> io::Result<Vec<u16>> {
    let mut line = String::new();
    for (place, arg) in argv.iter().enumerate() {
        if place > 0 {
            line.push(' ');
        }
        if place > 0 && !arg.is_empty() && !arg.contains([' ', '\t', '"', '\n', '\u{b}']) {
            line.push_str(arg);
            continue;
        }
        line.push('"');
        let mut backslashes = 0;
        for c in arg.chars() {
            match c {
                '\\' => backslashes += 1,
                // Those before a quote count twice, and one more makes it part of the text.
                '"' => line.extend(std::iter::repeat_n('\\', mem::take(&mut backslashes) + 1)),
                _ => backslashes = 0,
            }
            line.push(c);
        }
        line.extend(std::iter::repeat_n('\\', backslashes));
        line.push('"');
    }
    wide(line)
}

/// All variables, in the order that the system wants, with those that programs cannot do without.
fn environment(env: &[(String, String)]) -> io::Result<Vec<u16>> {
    let mut sorted = BTreeMap::new();
    for name in NEEDED {
        if let Ok(value) = std::env::var(name) {
            sorted.insert(name.to_uppercase(), (name.to_owned(), value));
        }
    }
    for (name, value) in env {
        sorted.insert(name.to_uppercase(), (name.clone(), value.clone()));
    }
    let mut block = Vec::new();
    for (name, value) in sorted.values() {
        let text = format!("{name}={value}");
        if text.contains('\0') {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a variable holds a NUL"));
        }
        block.extend(OsStr::new(&text).encode_wide().chain([0]));
    }
    block.push(0);
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_through_a_command_line_as_they_were() {
        let line = |args: &[&str]| {
            let argv: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            let units = command_line(&argv).unwrap();
            String::from_utf16(&units[..units.len() - 1]).unwrap()
        };
        assert_eq!(line(&["a", "b c"]), r#""a" "b c""#);
        assert_eq!(line(&["a", ""]), r#""a" """#);
        assert_eq!(line(&["a", r"c:\x\"]), r#""a" c:\x\"#);
        assert_eq!(line(&["a", r"c:\x y\"]), r#""a" "c:\x y\\""#);
        assert_eq!(line(&["a", r#"say "hi""#]), r#""a" "say \"hi\"""#);
        assert_eq!(line(&["a", r#"\\" "#]), r#""a" "\\\\\" ""#);
    }
}
