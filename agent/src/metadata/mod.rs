//! What containers may ask about themselves and their project, over HTTP: versions, paths and formats of Rancher 1.x's metadata service.
//!
//! The catalog is arranged when somebody asks, once for each change of it; objects are made from its facts when a path leads to them. Nothing
//! here is secret: whatever a project's container may know, all of them may.

mod format;
mod index;
mod node;
mod objects;
mod question;
mod serve;
mod shapes;
mod views;

pub use serve::serve;
