//! Keeping a small process small.

/// Makes all threads share one heap: each further one would cost pages that a process with a few
/// allocations never needs.
pub fn lean_memory() {
    #[expect(unsafe_code, reason = "mallopt has no safe form")]
    // SAFETY: mallopt only sets a number of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
