//! The supervisors under measurement, each with its best documented configuration for keeping
//! one small program up.

mod floor;
mod oxmgr;
mod peer;
mod pm2;
mod runit;
mod running;
mod s6;
mod stead;
mod supervisord;

pub(super) use floor::Floor;
pub(super) use peer::{Bed, Peer, RUNS, STABLE_AFTER};
pub(super) use running::Running;
pub(super) use stead::Stead;

pub(super) use self::oxmgr::Oxmgr;
pub(super) use self::pm2::Pm2;
pub(super) use self::runit::{Runit, RunitBare};
pub(super) use self::s6::S6;
pub(super) use self::supervisord::Supervisord;
