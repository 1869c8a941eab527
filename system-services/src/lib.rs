//! The service manager and the code of the system services that are written here.
