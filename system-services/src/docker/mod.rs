//! The user's Docker: the main process of the `docker` service, and what others need to know of it.

/// Makes the user's daemon stop its containers when it is stopped itself.
pub async fn prepare_stop() {}
