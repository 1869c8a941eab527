//! The kernel's own device events (NETLINK_KOBJECT_UEVENT), so that waiting for a disk needs no polling.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use std::os::fd::AsRawFd;

/// A subscription to device events. Only their arrival matters: whoever is woken looks at `/sys` again.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

impl Uevents {
    /// Subscribes to the group that the kernel itself sends to.
    pub fn subscribe() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            flags,
            SockProtocol::NetlinkKObjectUEvent,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 1))?;
        Ok(Self(fd))
    }

    /// Throws away what has arrived so far; true when there was anything. An overrun counts as an event.
    pub fn drain(&self) -> bool {
        let mut buffer = [0u8; 8192];
        let mut any = false;
        loop {
            match recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(_) | Err(nix::errno::Errno::ENOBUFS) => any = true,
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => return any,
            }
        }
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
