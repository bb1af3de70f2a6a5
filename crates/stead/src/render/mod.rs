//! What facts look like to people: pure functions from facts to text.

pub(crate) mod check;
pub(crate) mod diff;
pub(crate) mod event;
pub(crate) mod history;
pub(crate) mod log;
pub(crate) mod plan;
pub(crate) mod quantity;
pub(crate) mod status;
pub(crate) mod table;
pub(crate) mod why;
