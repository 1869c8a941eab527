//! The main process of the `docker` service: the user's dockerd.
