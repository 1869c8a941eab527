//! Loop devices: a file as a block device (loop(4), LOOP_CONFIGURE of Linux 5.8).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};

/// Why a file did not become a block device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no loop driver, or `/dev` is not mounted.
    #[error("cannot open /dev/loop-control (no loop driver, or no devtmpfs on /dev)")]
    Control(#[source] io::Error),
    /// No device could be had.
    #[error("cannot get a free loop device")]
    Free(#[source] io::Error),
    /// The device node could not be opened.
    #[error("cannot open {0}")]
    Device(String, #[source] io::Error),
    /// The backing file could not be opened.
    #[error("cannot open {0}")]
    Backing(String, #[source] io::Error),
    /// The kernel refused the file.
    #[error("cannot attach {file} to {device}")]
    Configure {
        /// The backing file.
        file: String,
        /// The loop device.
        device: String,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
}

// linux/loop.h
const LOOP_CLR_FD: libc::c_ulong = 0x4C01;
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

#[repr(C)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

/// A read-only loop device. It goes away by itself when its last user (this value, then a mount) is gone.
#[derive(Debug)]
pub struct Loop {
    device: File,
    path: PathBuf,
}

impl Loop {
    /// `/dev/loopN`.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes `file` a read-only block device.
pub fn attach_read_only(file: &Path) -> Result<Loop, Error> {
    let backing =
        File::open(file).map_err(|cause| Error::Backing(file.display().to_string(), cause))?;
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")
        .map_err(Error::Control)?;
    // Somebody else may take the free device between the two calls: try the next one then.
    for attempt in 0.. {
        let number = ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE, 0).map_err(Error::Free)?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = OpenOptions::new().read(true).write(true).open(&path);
        let device = device.map_err(|cause| Error::Device(path.display().to_string(), cause))?;
        match configure(&device, &backing) {
            Ok(()) => return Ok(Loop { device, path }),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && attempt < 16 => {}
            Err(cause) => {
                let device = path.display().to_string();
                return Err(Error::Configure {
                    file: file.display().to_string(),
                    device,
                    cause,
                });
            }
        }
    }
    Err(Error::Free(io::Error::from_raw_os_error(libc::EBUSY)))
}

/// Detaches a device that autoclear did not free; a mounted one goes when it is unmounted.
pub fn detach(device: &Path) -> io::Result<()> {
    let device = File::open(device)?;
    ioctl(device.as_raw_fd(), LOOP_CLR_FD, 0).map(|_| ())
}

impl Loop {
    /// Gives the device up; what has it mounted keeps it.
    pub fn release(self) {
        drop(self.device);
    }
}

fn configure(device: &File, backing: &File) -> io::Result<()> {
    // SAFETY: every field is an integer or an array of integers, for which all zero bytes are a value.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = u32::try_from(backing.as_raw_fd()).map_err(io::Error::other)?;
    config.info.flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR;
    // SAFETY: the kernel reads exactly one `struct loop_config`, whose layout `LoopConfig` repeats, and writes nothing.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn ioctl(fd: RawFd, request: libc::c_ulong, argument: libc::c_ulong) -> io::Result<i32> {
    // SAFETY: the requests used here take an integer and touch no memory.
    let result = unsafe { libc::ioctl(fd, request, argument) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(size_of::<LoopInfo64>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = attach_read_only(Path::new("/no/such/file")).unwrap_err();
        assert!(
            matches!(&error, Error::Backing(name, _) if name == "/no/such/file"),
            "{error}"
        );
    }
}
