//! The wire types of a cluster: resources with spec and status apart, lists and watches, errors, and what agents and servers say to
//! each other. Types and their pure rules only: no network, no disk, no clock.

pub mod access;
pub mod agent;
pub mod container;
pub mod event;
pub mod host;
pub mod id;
pub mod list;
pub mod name;
pub mod network;
pub mod problem;
pub mod project;
pub mod resource;
pub mod secret;

pub use access::{ApiKey, Role, Token, User};
pub use container::Container;
pub use event::Event;
pub use host::Host;
pub use id::Id;
pub use network::Network;
pub use problem::Problem;
pub use project::Project;
pub use resource::{Kind, Meta, Resource};

/// Version of this interface: the first part of every path.
pub const VERSION: &str = "v1";

/// Name in every server's certificate. Clients that know the CA expect it, whatever address they reach the server by.
pub const SERVER_NAME: &str = "server.ros.internal";
