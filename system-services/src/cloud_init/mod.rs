//! System service `cloud_init`.
