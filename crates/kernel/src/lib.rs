//! Safe wrappers over the kernel interfaces that PID 1 and the system services use.
