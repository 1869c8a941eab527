//! The commands of a cluster as people meet them: the built program against a real `ros server` on loopback, each with a home of its own.

// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod access;
mod errors;
mod first;
mod from_os;
mod help;
mod objects;
mod setup;
