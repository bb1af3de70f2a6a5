//! What has no second twin yet.

pub use crate::imp::account::{AccountError, account, is_root, own_uid};
pub use crate::imp::cgroup::{Ceilings, Cgroup, CgroupHome, Hits, Keepable, host_ends, keepable};
pub use crate::imp::crash::crash;
pub use crate::imp::detach::{
    open_files, open_files_ceiling, open_files_max, raise_open_files, reap, spawn_bare,
    spawn_detached,
};
pub use crate::imp::folder::{FolderLock, make_fifo, open_fifo, own};
pub use crate::imp::handed::{handed_descriptors, notify};
pub use crate::imp::identity::{Process, boot_id, host_name, is_own_child, start_ms, start_ticks};
pub use crate::imp::kernel_log::kernel_lines;
pub use crate::imp::local::{LocalListener, LocalStream};
pub use crate::imp::memory::{lean_memory, memory_total, trim_code, trim_memory, trim_stack};
pub use crate::imp::place::{
    capability_bounds, may_execute, may_take_port, mode_lets_read, mode_lets_write,
};
pub use crate::imp::poll::{Fires, Signals, Wakeup, Watched, boot_ms, random, wait};
pub use crate::imp::ready::{News, Readiness, Ready};
pub use crate::imp::reaper::{Ended, any_child, become_subreaper, outlive_services, reap_all};
pub use crate::imp::sandbox::{Sandbox, SandboxError};
pub use crate::imp::sockets::{
    NamedSocket, NotifySocket, SOCKETS_MAX, carried_sockets, open_listener, receive_with, session,
};
pub use crate::imp::spawn::{
    ExecFailed, ExecProgress, Held, SpawnError, SpawnSpec, find_program, spawn, spawn_call,
};
pub use crate::imp::stream::{Moved, Pipe};
pub use crate::imp::tcp::{Done, TcpListening, TcpSocket};
pub use crate::imp::tcp_owner::{Listener, holds_connection, listener_everywhere};
pub use crate::imp::tree::{ENTERED, Tree, kill_descendants, kill_tree, members, newest_marked};
pub use crate::imp::tube::Tube;
pub use crate::imp::upgrade::{become_program, carried_state, exec_with_state};
pub use crate::imp::usage::{Usage, usage};
