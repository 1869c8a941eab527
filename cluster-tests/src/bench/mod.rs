//! The comparison with Docker Swarm, on the same Dockers in the same run. Owns nothing that outlives it; the command is `src/bin/bench.rs`.

pub mod lookup;
pub mod lost;
pub mod propagation;
pub mod report;
pub mod swarm;
pub mod throughput;

pub use report::Report;
