//! Keeping a small process small.

/// From this size on, memory is asked of the system by itself and given back when it is free.
const OWN_PAGES_FROM: i32 = 8 << 10;

/// Makes all threads share one heap, since each further one would cost pages that a process with a
/// few allocations never needs, and keeps what is large and short-lived out of it.
pub fn lean_memory() {
    #[expect(unsafe_code, reason = "mallopt has no safe form")]
    // SAFETY: mallopt only sets numbers of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES_FROM);
        libc::mallopt(libc::M_TRIM_THRESHOLD, OWN_PAGES_FROM);
        libc::mallopt(libc::M_TOP_PAD, 0);
    }
}

const PAGE_LEN: usize = 4096;
/// How far below its present depth a burst of work may have used a stack.
const STACK_LEN_USED: usize = 64 << 10;

/// More than the frame of a system call's wrapper takes.
const CALL_LEN_MAX: usize = 1024;

/// Gives back to the system what a burst of work has left unused: free memory of the allocator, and
/// the part of this thread's stack that lies below its present depth.
pub fn trim_memory() {
    // First, since looking for the stack takes memory.
    trim_stack();
    #[expect(unsafe_code, reason = "malloc_trim has no safe form")]
    // SAFETY: malloc_trim only touches free memory of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives back the part of this thread's stack that lies below its present depth.
#[inline(never)]
pub fn trim_stack() {
    let local = 0_u8;
    let depth = std::ptr::from_ref(&local).addr();
    let top = (depth - CALL_LEN_MAX) & !(PAGE_LEN - 1);
    let Some(bottom) = stack_bottom() else { return };
    let from = bottom.next_multiple_of(PAGE_LEN).max(top - STACK_LEN_USED);
    if from < top {
        #[expect(unsafe_code, reason = "madvise has no safe form")]
        // SAFETY: the range is part of this thread's stack and lies far enough below this frame for
        // the frame of the call itself, so it holds nothing but frames that have returned.
        unsafe {
            libc::madvise(from as *mut _, top - from, libc::MADV_DONTNEED);
        }
    }
}

/// The lowest address of this thread's stack.
fn stack_bottom() -> Option<usize> {
    let mut bottom = std::ptr::null_mut();
    let mut len = 0;
    #[expect(unsafe_code, reason = "thread attributes have no safe form")]
    // SAFETY: the attributes are filled in by the first call, read by the second and destroyed by
    // the third; this thread lives through all of them.
    let known = unsafe {
        let mut attributes = std::mem::zeroed();
        if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) != 0 {
            return None;
        }
        let got = libc::pthread_attr_getstack(&raw const attributes, &raw mut bottom, &raw mut len);
        libc::pthread_attr_destroy(&raw mut attributes);
        got == 0
    };
    known.then_some(bottom.addr())
}

/// Lets go of this program's own code and constants: what it still needs comes back page by page
/// from the file, what only its start needed does not.
pub fn trim_code() {
    let Ok(own) = std::fs::read_link("/proc/self/exe") else { return };
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let own = own.to_string_lossy();
    // Up to the code and with it: nothing there is ever written, so the file holds all of it. What
    // comes after was written at the start, even where it is read-only now.
    let mappings = maps.lines().filter(|line| line.ends_with(&*own)).take(CODE_MAPPINGS_MAX);
    for line in mappings {
        if let Some((from, to)) = address_range(line).filter(|_| line.contains(" r-")) {
            #[expect(unsafe_code, reason = "madvise has no safe form")]
            // SAFETY: the range is one mapping of this program's own file that was never written,
            // and which the kernel reads from the file again when it is next used.
            unsafe {
                libc::madvise(from as *mut _, to - from, libc::MADV_DONTNEED);
            }
        }
        if line.contains(" r-xp ") {
            break;
        }
    }
}

/// A linker puts constants before code, in one mapping or two.
const CODE_MAPPINGS_MAX: usize = 3;

fn address_range(line: &str) -> Option<(usize, usize)> {
    let (from, to) = line.split(' ').next()?.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    Some((number(from)?, number(to)?))
}

/// The memory of this host, in bytes; 0 where nobody says.
pub fn memory_total() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let find =
        |line: &str| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok();
    text.lines().find_map(find).unwrap_or(0_u64).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_goes_on_after_it_has_let_go_of_all_it_can() {
        lean_memory();
        let before: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
        trim_memory();
        trim_code();
        std::thread::spawn(trim_stack).join().expect("a thread may trim its own stack");
        assert_eq!(before.concat().len(), 38_890);
    }

    #[test]
    fn an_address_range_is_read_from_a_line_of_maps() {
        let line = "00400000-0040b000 r-xp 00000000 fe:00 1 /bin/x";
        assert_eq!(address_range(line), Some((0x40_0000, 0x40_b000)));
        assert_eq!(address_range("what"), None);
    }
}
