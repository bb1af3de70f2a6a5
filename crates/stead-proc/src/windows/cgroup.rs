//! The job of each run: all its processes, and what they are held to together.
//!
//! A job has a name by which another keeper finds it, as long as somebody has it open: each main
//! process does. Until a run is let go of, its job ends with its keeper.

#![expect(unsafe_code, reason = "jobs have no safe form")]

use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::path::Path;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, HANDLE};
use windows_sys::Win32::System::JobObjects::{
    CreateJobObjectW, JOB_OBJECT_CPU_RATE_CONTROL_ENABLE, JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP,
    JOB_OBJECT_LIMIT_ACTIVE_PROCESS, JOB_OBJECT_LIMIT_JOB_MEMORY,
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOBOBJECT_BASIC_ACCOUNTING_INFORMATION,
    JOBOBJECT_CPU_RATE_CONTROL_INFORMATION, JOBOBJECT_CPU_RATE_CONTROL_INFORMATION_0,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JOBOBJECTINFOCLASS, JobObjectBasicAccountingInformation,
    JobObjectBasicProcessIdList, JobObjectCpuRateControlInformation,
    JobObjectExtendedLimitInformation, QueryInformationJobObject, SetInformationJobObject,
    TerminateJobObject,
};

pub use super::ends::host_ends;
use super::folder::one_path;
use super::identity::KILLED;
use super::sys::{check, made, raw, wide};
use crate::ceilings::{Ceilings, Hits, Keepable};

/// How long what is left of an earlier run may take to end.
const LEFT_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// More processes in one job than this are not told apart.
const PROCESSES_MAX: usize = 4096;

/// A job's share of the CPUs is told in hundredths of a percent of all of them.
const CPU_RATE_FULL: u64 = 10_000;

/// Where the jobs of one owner's runs are.
#[derive(Debug)]
pub struct CgroupHome {
    prefix: String,
}

/// The job of one run.
#[derive(Debug)]
pub struct Cgroup {
    job: OwnedHandle,
}

impl CgroupHome {
    /// By the owner's folder, wherever it is called from.
    pub fn make(owner: &Path) -> io::Result<Self> {
        let owner = one_path(owner)?;
        Ok(Self { prefix: format!("Global\\stead-{:016x}", hash(&owner)) })
    }

    /// Whatever its jobs can be asked to keep.
    pub fn keepable(&self) -> Keepable {
        keepable()
    }

    /// Whether a run is held to something already.
    pub fn is_limited(&self) -> bool {
        false
    }

    /// An empty job for a run, which ends with this process until [`Cgroup::outlive_us`].
    pub fn begin(&self, slot: u64) -> io::Result<Cgroup> {
        let job = self.run(slot)?;
        let deadline = Instant::now() + LEFT_WITHIN;
        while !job.is_empty() {
            if Instant::now() > deadline {
                let why = "processes of an earlier run cannot be ended";
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            job.kill()?;
            thread::sleep(LOOK_EVERY);
        }
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        job.set(JobObjectExtendedLimitInformation, &limits)?;
        Ok(job)
    }

    /// The job that is there, or an empty one.
    pub fn run(&self, slot: u64) -> io::Result<Cgroup> {
        let name = wide(format!("{}-{slot}", self.prefix))?;
        // SAFETY: the name ends with a zero.
        Ok(Cgroup { job: unsafe { made(CreateJobObjectW(ptr::null(), name.as_ptr()))? } })
    }

    /// Jobs go with their last process.
    pub fn remove(&self) {}
}

/// FNV-1a, which is the same in every version of stead.
fn hash(path: &Path) -> u64 {
    let bytes = path.as_os_str().encode_wide().flat_map(u16::to_le_bytes);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What jobs can be asked to keep.
pub fn keepable() -> Keepable {
    Keepable { memory: true, cpu: true, processes: true, io_weight: false }
}

impl Cgroup {
    /// A job for a process that is to end with this one.
    pub(super) fn ending_with_us() -> io::Result<Self> {
        // SAFETY: a job without a name.
        let job = Self { job: unsafe { made(CreateJobObjectW(ptr::null(), ptr::null()))? } };
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        job.set(JobObjectExtendedLimitInformation, &limits)?;
        Ok(job)
    }

    /// Lets what is in it live on when nobody has it open any more.
    pub(super) fn outlive_us(job: HANDLE) -> io::Result<()> {
        let mut limits: JOBOBJECT_EXTENDED_LIMIT_INFORMATION =
            query(job, JobObjectExtendedLimitInformation)?;
        limits.BasicLimitInformation.LimitFlags &= !JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        set(job, JobObjectExtendedLimitInformation, &limits)
    }

    /// Holds its processes to these; what had a ceiling and is to have none is freed. A job's
    /// memory is what is committed: past it, asking for more fails, and nothing is killed.
    pub fn hold_to(&self, ceilings: &Ceilings) -> io::Result<()> {
        let mut limits: JOBOBJECT_EXTENDED_LIMIT_INFORMATION =
            query(raw(&self.job), JobObjectExtendedLimitInformation)?;
        let flags = &mut limits.BasicLimitInformation.LimitFlags;
        *flags &= !(JOB_OBJECT_LIMIT_JOB_MEMORY | JOB_OBJECT_LIMIT_ACTIVE_PROCESS);
        if let Some(memory) = ceilings.memory {
            *flags |= JOB_OBJECT_LIMIT_JOB_MEMORY;
            limits.JobMemoryLimit = usize::try_from(memory).unwrap_or(usize::MAX);
        }
        if let Some(processes) = ceilings.processes {
            *flags |= JOB_OBJECT_LIMIT_ACTIVE_PROCESS;
            limits.BasicLimitInformation.ActiveProcessLimit = processes;
        }
        self.set(JobObjectExtendedLimitInformation, &limits)?;
        self.hold_to_cpu(ceilings.cpu)
    }

    fn hold_to_cpu(&self, milli: Option<u32>) -> io::Result<()> {
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let mut rate = JOBOBJECT_CPU_RATE_CONTROL_INFORMATION::default();
        if let Some(milli) = milli {
            let share = u64::from(milli) * CPU_RATE_FULL / 1000 / cores;
            let flags = JOB_OBJECT_CPU_RATE_CONTROL_ENABLE | JOB_OBJECT_CPU_RATE_CONTROL_HARD_CAP;
            rate.ControlFlags = flags;
            let share = share.clamp(1, CPU_RATE_FULL) as u32;
            rate.Anonymous = JOBOBJECT_CPU_RATE_CONTROL_INFORMATION_0 { CpuRate: share };
        }
        match self.set(JobObjectCpuRateControlInformation, &rate) {
            // Nothing to take away where nothing can be given.
            Err(_) if milli.is_none() => Ok(()),
            known => known,
        }
    }

    /// How often it came up against them; jobs do not count that.
    pub fn hits(&self) -> Hits {
        Hits::default()
    }

    /// Which job a process is in cannot be found out from outside.
    pub fn of_process(_pid: u32) -> Option<Self> {
        None
    }

    /// Everything alive in it.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        // As `JOBOBJECT_BASIC_PROCESS_ID_LIST` has it: two counts, then a pid in each word.
        let mut list = vec![0_usize; PROCESSES_MAX + 1];
        let len = u32::try_from(size_of_val(list.as_slice())).unwrap_or(u32::MAX);
        // SAFETY: the buffer has so many bytes.
        let went = check(unsafe {
            QueryInformationJobObject(
                raw(&self.job),
                JobObjectBasicProcessIdList,
                list.as_mut_ptr().cast(),
                len,
                ptr::null_mut(),
            )
        });
        match went {
            Err(error) if error.raw_os_error() != Some(ERROR_MORE_DATA as i32) => {
                return Err(error);
            }
            Ok(()) | Err(_) => (),
        }
        let listed = list[0] >> 32;
        Ok(list[1..].iter().take(listed).map(|pid| *pid as u32).collect())
    }

    /// Whether nothing in it is alive. One that cannot be looked at may hold something.
    pub fn is_empty(&self) -> bool {
        let counts: io::Result<JOBOBJECT_BASIC_ACCOUNTING_INFORMATION> =
            query(raw(&self.job), JobObjectBasicAccountingInformation);
        counts.is_ok_and(|counts| counts.ActiveProcesses == 0)
    }

    /// Ends everything in it.
    pub fn kill(&self) -> io::Result<()> {
        // SAFETY: the job is open.
        check(unsafe { TerminateJobObject(raw(&self.job), KILLED) })
    }

    fn set<T>(&self, class: JOBOBJECTINFOCLASS, value: &T) -> io::Result<()> {
        set(raw(&self.job), class, value)
    }
}

fn set<T>(job: HANDLE, class: JOBOBJECTINFOCLASS, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as u32;
    // SAFETY: the class says what the value is, and it has so many bytes.
    check(unsafe { SetInformationJobObject(job, class, ptr::from_ref(value).cast(), len) })
}

fn query<T: Default>(job: HANDLE, class: JOBOBJECTINFOCLASS) -> io::Result<T> {
    let mut value = T::default();
    let len = size_of::<T>() as u32;
    let into = ptr::from_mut(&mut value).cast();
    // SAFETY: the class says what the value is, and it has so many bytes.
    check(unsafe { QueryInformationJobObject(job, class, into, len, ptr::null_mut()) })?;
    Ok(value)
}

impl AsHandle for Cgroup {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.job.as_handle()
    }
}
