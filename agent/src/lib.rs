//! The agent of a host: it joins once, keeps its identity and its project's state on disk, and follows the server's changes. What it knows
//! stays good while no server answers, and after a start without one.

pub mod catalog;
pub mod disk;
pub mod dns;
pub mod identity;
pub mod join;
pub mod metadata;
pub mod overlay;
pub mod session;

pub use catalog::Catalog;
pub use identity::Identity;
