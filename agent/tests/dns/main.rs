//! The resolver of a host, asked over real sockets; what is not its own comes from a real dnsmasq.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod forwarded;
mod hostile;
mod limits;
mod names;
mod script;
mod world;
