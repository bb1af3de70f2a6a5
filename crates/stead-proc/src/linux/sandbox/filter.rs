//! The system calls that are denied, as a program for the kernel.

use stead_core::sandbox::DENIED_SYSCALLS;

/// One instruction of the kernel's packet filter.
pub(super) type Instruction = libc::sock_filter;

/// The name that lets through making namespaces, by whichever call.
const NAMESPACES: &str = "unshare";

/// `clone` with one of these makes a namespace.
const CLONE_NAMESPACES: u32 = (libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS) as u32;

/// From here on are the calls of the x32 mode, under which each call has a second number.
#[cfg(target_arch = "x86_64")]
const X32_FIRST: u32 = 0x4000_0000;

#[cfg(target_arch = "x86_64")]
const OWN_ARCH: u32 = 0xC000_003E;
#[cfg(target_arch = "aarch64")]
const OWN_ARCH: u32 = 0xC000_00B7;

/// Where the kernel's `seccomp_data` holds what.
const AT_NUMBER: u32 = 0;
const AT_ARCH: u32 = 4;
const AT_FIRST_ARGUMENT: u32 = 16;

fn refuse(errno: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | (errno.unsigned_abs() & libc::SECCOMP_RET_DATA)
}

fn statement(code: u32, k: u32) -> Instruction {
    Instruction { code: u16::try_from(code).unwrap_or(0), jt: 0, jf: 0, k }
}

/// If it is so, the next instruction, else the one after `skip` more.
fn unless_skip(code: u32, k: u32, skip: u8) -> Instruction {
    let code = libc::BPF_JMP | code | libc::BPF_K;
    Instruction { code: u16::try_from(code).unwrap_or(0), jt: 0, jf: skip, k }
}

fn load(at: u32) -> Instruction {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at)
}

fn answer(verdict: u32) -> Instruction {
    statement(libc::BPF_RET | libc::BPF_K, verdict)
}

/// The program that denies what is denied, but for these names.
pub(super) fn program(let_through: &[String]) -> Vec<Instruction> {
    let is_let_through = |name: &str| let_through.iter().any(|it| it == name);
    // Another mode of the processor has other numbers: there is no list for it.
    let mut program = vec![
        load(AT_ARCH),
        Instruction { jt: 1, ..unless_skip(libc::BPF_JEQ, OWN_ARCH, 0) },
        answer(refuse(libc::EPERM)),
        load(AT_NUMBER),
    ];
    #[cfg(target_arch = "x86_64")]
    program.extend([unless_skip(libc::BPF_JGE, X32_FIRST, 1), answer(refuse(libc::ENOSYS))]);
    for name in DENIED_SYSCALLS {
        if let Some(number) = number(name).filter(|_| !is_let_through(name)) {
            program.extend([unless_skip(libc::BPF_JEQ, number, 1), answer(refuse(libc::EPERM))]);
        }
    }
    if !is_let_through(NAMESPACES) {
        // Its flags are behind a pointer, which a filter cannot follow: C libraries then use clone.
        program.extend([unless_skip(libc::BPF_JEQ, nr(libc::SYS_clone3), 1)]);
        program.push(answer(refuse(libc::ENOSYS)));
        program.extend([
            unless_skip(libc::BPF_JEQ, nr(libc::SYS_clone), 3),
            load(AT_FIRST_ARGUMENT),
            unless_skip(libc::BPF_JSET, CLONE_NAMESPACES, 1),
            answer(refuse(libc::EPERM)),
        ]);
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    program
}

fn nr(number: libc::c_long) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The number of a system call here; `None` if this processor has no such call.
fn number(name: &str) -> Option<u32> {
    let number = match name {
        "acct" => libc::SYS_acct,
        "add_key" => libc::SYS_add_key,
        "adjtimex" => libc::SYS_adjtimex,
        "bpf" => libc::SYS_bpf,
        "clock_adjtime" => libc::SYS_clock_adjtime,
        "clock_settime" => libc::SYS_clock_settime,
        "delete_module" => libc::SYS_delete_module,
        "fanotify_init" => libc::SYS_fanotify_init,
        "finit_module" => libc::SYS_finit_module,
        "fsconfig" => libc::SYS_fsconfig,
        "fsmount" => libc::SYS_fsmount,
        "fsopen" => libc::SYS_fsopen,
        "fspick" => libc::SYS_fspick,
        "init_module" => libc::SYS_init_module,
        #[cfg(target_arch = "x86_64")]
        "ioperm" => libc::SYS_ioperm,
        #[cfg(target_arch = "x86_64")]
        "iopl" => libc::SYS_iopl,
        "kcmp" => libc::SYS_kcmp,
        "kexec_file_load" => libc::SYS_kexec_file_load,
        "kexec_load" => libc::SYS_kexec_load,
        "keyctl" => libc::SYS_keyctl,
        #[cfg(target_arch = "x86_64")]
        "modify_ldt" => libc::SYS_modify_ldt,
        "mount" => libc::SYS_mount,
        "mount_setattr" => libc::SYS_mount_setattr,
        "move_mount" => libc::SYS_move_mount,
        "open_by_handle_at" => libc::SYS_open_by_handle_at,
        "open_tree" => libc::SYS_open_tree,
        "perf_event_open" => libc::SYS_perf_event_open,
        "pidfd_getfd" => libc::SYS_pidfd_getfd,
        "pivot_root" => libc::SYS_pivot_root,
        "process_vm_readv" => libc::SYS_process_vm_readv,
        "process_vm_writev" => libc::SYS_process_vm_writev,
        "ptrace" => libc::SYS_ptrace,
        "quotactl" => libc::SYS_quotactl,
        "reboot" => libc::SYS_reboot,
        "request_key" => libc::SYS_request_key,
        "setdomainname" => libc::SYS_setdomainname,
        "sethostname" => libc::SYS_sethostname,
        "setns" => libc::SYS_setns,
        "settimeofday" => libc::SYS_settimeofday,
        "swapoff" => libc::SYS_swapoff,
        "swapon" => libc::SYS_swapon,
        "syslog" => libc::SYS_syslog,
        "umount2" => libc::SYS_umount2,
        "unshare" => libc::SYS_unshare,
        "userfaultfd" => libc::SYS_userfaultfd,
        "vhangup" => libc::SYS_vhangup,
        _ => return None,
    };
    u32::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_denied_call_has_a_number_and_a_name_takes_it_off_the_list() {
        let x86 = cfg!(target_arch = "x86_64");
        for name in DENIED_SYSCALLS {
            let only_x86 = matches!(name, "ioperm" | "iopl" | "modify_ldt");
            assert_eq!(number(name).is_some(), x86 || !only_x86, "{name}");
        }
        let all = program(&[]).len();
        assert_eq!(program(&["ptrace".to_owned()]).len(), all - 2);
        assert!(program(&["unshare".to_owned()]).len() < all - 2);
        assert_eq!(program(&["read".to_owned()]).len(), all);
    }
}
