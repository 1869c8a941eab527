//! `/proc/sys` and the host name.
//!
//! Must not decide what is set.

use std::path::PathBuf;

/// Why a kernel setting was not changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name would lead out of `/proc/sys`.
    #[error(
        "{0} is not the name of a kernel setting; write it as in sysctl(8), such as net.ipv4.ip_forward"
    )]
    Name(String),
    /// The kernel has no such setting or refuses the value.
    #[error("cannot set {name} to {value}")]
    Write {
        /// The setting.
        name: String,
        /// The value given.
        value: String,
        /// What the kernel said.
        #[source]
        cause: std::io::Error,
    },
    /// sethostname(2) refused.
    #[error("cannot set the host name {0}")]
    HostName(String, #[source] rustix::io::Errno),
}

/// The file of a setting: dots become slashes and slashes dots, as sysctl(8) does it, so that `net/ipv4/conf/eth0.100/x` works too.
fn path_of(name: &str) -> Result<PathBuf, Error> {
    let first_separator = name.find(['.', '/']);
    let slashes = first_separator.and_then(|at| name.as_bytes().get(at)) == Some(&b'/');
    let relative: String = if slashes {
        name.to_owned()
    } else {
        name.chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect()
    };
    if relative.is_empty()
        || relative.starts_with('/')
        || relative
            .split('/')
            .any(|part| part.is_empty() || part == "..")
    {
        return Err(Error::Name(name.to_owned()));
    }
    Ok(PathBuf::from("/proc/sys").join(relative))
}

/// Sets one kernel setting, named as in sysctl(8).
pub fn set(name: &str, value: &str) -> Result<(), Error> {
    let path = path_of(name)?;
    std::fs::write(&path, value.as_bytes()).map_err(|cause| Error::Write {
        name: name.to_owned(),
        value: value.to_owned(),
        cause,
    })
}

/// Sets the host name of this UTS namespace.
pub fn set_host_name(name: &str) -> Result<(), Error> {
    rustix::system::sethostname(name.as_bytes())
        .map_err(|cause| Error::HostName(name.to_owned(), cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_map_as_sysctl_does() {
        let path = |name| path_of(name).unwrap().display().to_string();
        assert_eq!(path("net.ipv4.ip_forward"), "/proc/sys/net/ipv4/ip_forward");
        assert_eq!(
            path("net.ipv4.conf.eth0/100.rp_filter"),
            "/proc/sys/net/ipv4/conf/eth0.100/rp_filter"
        );
        assert_eq!(
            path("net/ipv4/conf/eth0.100/rp_filter"),
            "/proc/sys/net/ipv4/conf/eth0.100/rp_filter"
        );
    }

    #[test]
    fn names_cannot_leave_proc_sys() {
        for bad in ["", "/etc/passwd", "../../etc/passwd", "a//..//..//b", ".x"] {
            assert!(matches!(path_of(bad), Err(Error::Name(_))), "{bad}");
        }
    }
}
