//! The service manager (`ros-sysinit`).
