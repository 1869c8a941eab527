//! The agent of a host: it joins once, keeps its identity and its project's state on disk, and follows the server's changes. What it knows
//! stays good while no server answers, and after a start without one.

pub mod catalog;
pub mod containers;
pub mod disk;
pub mod dns;
pub mod facts;
mod gate;
pub mod identity;
pub mod join;
pub mod leave;
pub mod metadata;
pub mod moved;
pub mod overlay;
pub mod reach;
pub mod renew;
pub mod report;
pub mod run;
pub mod session;
pub mod status;
pub mod view;

pub use catalog::Catalog;
pub use identity::Identity;
