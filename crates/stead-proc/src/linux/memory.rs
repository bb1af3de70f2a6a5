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

/// Gives back to the system what a burst of work has left unused.
pub fn trim_memory() {
    #[expect(unsafe_code, reason = "malloc_trim has no safe form")]
    // SAFETY: malloc_trim only touches free memory of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}
