//! Processes, their trees and their streams, behind one set of names.
//!
//! Each system's module gives the same functions and types; where one cannot keep a promise, the
//! doc of the item says so, and callers never ask which system they are on. Nothing in here knows
//! what a service or an instance is.

mod ceilings;
mod cut;
mod ended;
mod hand_over;
mod known;
mod news;
mod spec;

#[cfg(target_os = "linux")]
#[path = "linux/mod.rs"]
mod imp;
#[cfg(windows)]
#[path = "windows/mod.rs"]
mod imp;

pub use ceilings::{Ceilings, Hits, Keepable};
pub use cut::cut_file;
pub use ended::Ended;
pub use hand_over::HandOverError;
pub use imp::account::{AccountError, account, is_root, own_uid};
pub use imp::cgroup::{Cgroup, CgroupHome, host_ends, keepable};
pub use imp::crash::crash;
pub use imp::detach::{
    STANDARD_INPUT, leave_terminal, open_files, open_files_ceiling, open_files_max,
    raise_open_files, reap, spawn_bare, spawn_detached,
};
pub use imp::files::{
    MODE_OF, TAKES_ANY_NAME, append_file, create_closed_file, create_file, file_number,
    give_to_group, group_of, make_closed_folder, make_folder, make_folders, make_link,
    make_open_folder, open_closed_file, owner_of, read_link, set_file_mode, set_mode_durably,
    sync_folder, unnamed_file,
};
pub use imp::folder::{
    FolderLock, make_fifo, one_path, open_fifo, own, read_pointer, replace_link, set_mode,
    set_pointer,
};
pub use imp::hand_over::hand_over;
pub use imp::handed::notify;
pub use imp::handle::{AsHandle, Handle, OwnedHandle};
pub use imp::hear::hear;
pub use imp::identity::{
    Process, boot_id, host_name, is_own_child, program_of, start_ms, start_ticks,
};
pub use imp::kernel_log::kernel_lines;
pub use imp::local::{LocalListener, LocalStream};
pub use imp::mapped::MappedFile;
pub use imp::memory::{lean_memory, memory_total, trim_code, trim_memory, trim_stack};
pub use imp::place::{
    capability_bounds, may_execute, may_take_port, mode_lets_read, mode_lets_write, parent_pid,
};
pub use imp::poll::{Signals, Wakeup, Watched, boot_ms, random, wait};
pub use imp::reaper::{any_child, become_subreaper, outlive_services, reap_all};
pub use imp::sandbox::{Sandbox, SandboxError};
pub use imp::sockets::{
    NamedSocket, NotifySocket, SOCKETS_MAX, carried_sockets, open_listener, session,
};
pub use imp::spawn::{ExecProgress, Held, find_program, spawn, spawn_call};
pub use imp::stream::Pipe;
pub use imp::surroundings::{bare, base_environment, shell, state_folder, top_folder};
pub use imp::tcp_owner::{Listener, holds_connection, listener_everywhere};
pub use imp::tree::{kill_descendants, kill_tree, members, newest_marked};
pub use imp::upgrade::{become_program, carried_state, exec_with_state};
pub use imp::usage::usage;
pub use known::{ENTERED, Tree, Usage};
pub use news::{Fires, Moved, StreamEnds};
pub use spec::{ExecFailed, SpawnError, SpawnSpec};

/// What the front is made of, which has no twin yet.
#[cfg(target_os = "linux")]
pub use imp::{
    handed::handed_descriptors,
    ready::{News, Readiness, Ready},
    sockets::receive_with,
    tcp::{Done, TcpListening, TcpSocket},
    tube::Tube,
};

/// What sockets of tokio are made of.
#[cfg(target_os = "linux")]
pub use imp::local::near;
/// What sockets of tokio and looks at hosts are made of.
#[cfg(windows)]
pub use imp::{
    detach::tell_of_ends,
    ends::{tell_host_ends, tell_of_requests_to_end},
    files::close_folder,
    handed::tell_of_states,
    local::{new_pipe_name, pipe_name_at, tell_pipe_name},
    place::{Listed, processes},
    sys::Owners,
};
