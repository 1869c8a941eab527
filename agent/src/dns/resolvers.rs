//! Whom the host itself asks: `/etc/resolv.conf`, read again when it has changed. It looks at the file at most once a second, and only when
//! somebody asks, so an idle host does nothing.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::zone::SERVICE_ADDRESS;

/// The file is looked at again after this.
const INTERVAL: Duration = Duration::from_secs(1);
/// glibc takes three (resolv.conf(5), MAXNS); a few more do no harm.
const MOST: usize = 6;
/// Larger files are not read to their end.
const LARGEST: usize = 64 * 1024;
/// systemd-resolved's stubs: behind them are the resolvers of the other file.
const STUBS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54)),
];

/// Docker's choice where the host names no resolver (moby, `resolvconf.go`).
const DOCKERS_OWN: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];

/// Where the resolvers are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The usual one.
    pub main: PathBuf,
    /// systemd-resolved's, for when the usual one names only its stub.
    pub behind_stub: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            main: "/etc/resolv.conf".into(),
            behind_stub: "/run/systemd/resolve/resolv.conf".into(),
        }
    }
}

/// What shows that a file is another one than before.
type Mark = Option<(SystemTime, u64, u64)>;

/// The resolvers as last read.
#[derive(Debug)]
pub struct Resolvers {
    files: Files,
    own: SocketAddr,
    marks: [Mark; 2],
    looked: Option<Instant>,
    servers: Vec<SocketAddr>,
}

impl Resolvers {
    /// Those of `files`, without `own`, which would be asking oneself.
    #[must_use]
    pub fn new(files: Files, own: SocketAddr) -> Self {
        Self {
            files,
            own,
            marks: [None; 2],
            looked: None,
            servers: Vec::new(),
        }
    }

    /// Whom to ask, in order. True: they are others than the last time.
    pub fn current(&mut self, now: Instant) -> (&[SocketAddr], bool) {
        let is_due = self.looked.is_none_or(|then| now >= then + INTERVAL);
        let is_new = is_due && self.look(now);
        (&self.servers, is_new)
    }

    fn look(&mut self, now: Instant) -> bool {
        let marks = [mark(&self.files.main), mark(&self.files.behind_stub)];
        let is_first = self.looked.replace(now).is_none();
        if marks == self.marks && !is_first {
            return false;
        }
        self.marks = marks;
        let mut found = read(&self.files.main);
        if found.iter().all(|server| STUBS.contains(&server.ip())) {
            let behind = read(&self.files.behind_stub);
            found = if behind.is_empty() { found } else { behind };
        }
        found.retain(|server| *server != self.own && server.ip() != IpAddr::V4(SERVICE_ADDRESS));
        let is_new = found != self.servers;
        self.servers = found;
        is_new
    }
}

/// Resolvers at port 53 that Docker's own asks for a container that starts now. Where the usual file names only systemd-resolved's stub, some versions ask
/// that one for containers that start on a network of their user's, and those of the other file for all that were on Docker's own network first.
#[must_use]
pub fn asked_by_docker(files: &Files) -> Vec<Ipv4Addr> {
    let mut servers = read(&files.main);
    if servers.iter().all(|server| STUBS.contains(&server.ip())) {
        servers.extend(read(&files.behind_stub));
    }
    if servers.is_empty() {
        return DOCKERS_OWN.into();
    }
    let mut asked = Vec::new();
    for server in servers {
        if let IpAddr::V4(address) = server.ip()
            && server.port() == 53
            && address != SERVICE_ADDRESS
            && !asked.contains(&address)
        {
            asked.push(address);
        }
    }
    asked
}

fn mark(path: &Path) -> Mark {
    use std::os::unix::fs::MetadataExt;
    let seen = fs::metadata(path).ok()?;
    Some((seen.modified().ok()?, seen.len(), seen.ino()))
}

fn read(path: &Path) -> Vec<SocketAddr> {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[..text.len().min(LARGEST)]).into_owned();
    let mut servers = Vec::new();
    for server in text.lines().filter_map(server) {
        if !servers.contains(&server) && servers.len() < MOST {
            servers.push(server);
        }
    }
    servers
}

/// A line `nameserver ADDRESS`; with `ADDRESS:PORT`, which other programs do not know, another port than 53.
fn server(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    let text = words.next().filter(|word| *word == "nameserver");
    let text = text.and_then(|_| words.next())?;
    if let Ok(server) = text.parse() {
        return Some(server);
    }
    let (address, link) = text
        .split_once('%')
        .map_or((text, None), |(a, l)| (a, Some(l)));
    match (address.parse().ok()?, link) {
        (IpAddr::V6(address), Some(link)) => {
            let index = fs::read_to_string(format!("/sys/class/net/{link}/ifindex")).ok()?;
            let scope = index.trim().parse().ok()?;
            Some(SocketAddrV6::new(address, 53, 0, scope).into())
        }
        (address, _) => Some((address, 53).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_asks_the_stub_or_those_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files {
            main: folder.path().join("main"),
            behind_stub: folder.path().join("behind"),
        };
        let asked = |text: &str| {
            fs::write(&files.main, text).unwrap();
            let asked = asked_by_docker(&files);
            asked.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(asked("search x\n"), ["8.8.8.8", "8.8.4.4"]);
        fs::write(&files.behind_stub, "nameserver 10.0.0.1\n").unwrap();
        assert_eq!(asked("nameserver 127.0.0.53\n"), ["127.0.0.53", "10.0.0.1"]);
        let text = "nameserver 127.0.0.1\nnameserver ::1\nnameserver 169.254.169.250\nnameserver 9.9.9.9\nnameserver 127.0.0.1\nnameserver 9.9.9.9:54\n";
        assert_eq!(asked(text), ["127.0.0.1", "9.9.9.9"]);
        assert!(asked("nameserver 2001:db8::53\n").is_empty());
    }

    #[test]
    fn only_servers_are_taken_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files {
            main: folder.path().join("main"),
            behind_stub: folder.path().join("behind"),
        };
        let text = "# a comment\nsearch example.com\nnameserver 169.254.169.250\nnameserver 127.0.0.53\n nameserver\t9.9.9.9 # quad\nnameserver ::1\nnameserver 127.0.0.1:5300\nnameserver x\nnameserver\nnameserver 9.9.9.9\n";
        fs::write(&files.main, text).unwrap();
        let mut resolvers = Resolvers::new(files.clone(), "[::1]:53".parse().unwrap());
        let now = Instant::now();
        let read = |text: &str| -> Vec<SocketAddr> {
            text.split(' ').map(|one| one.parse().unwrap()).collect()
        };
        let (servers, is_new) = resolvers.current(now);
        assert_eq!(
            (servers, is_new),
            (&read("127.0.0.53:53 9.9.9.9:53 127.0.0.1:5300")[..], true)
        );
        fs::write(&files.main, "nameserver 127.0.0.53\n").unwrap();
        assert!(!resolvers.current(now).1);
        let (servers, is_new) = resolvers.current(now + INTERVAL);
        assert_eq!((servers, is_new), (&read("127.0.0.53:53")[..], true));
        fs::write(&files.behind_stub, "nameserver 10.0.0.1\n").unwrap();
        let (servers, is_new) = resolvers.current(now + 2 * INTERVAL);
        assert_eq!((servers, is_new), (&read("10.0.0.1:53")[..], true));
        fs::remove_file(&files.main).unwrap();
        fs::remove_file(&files.behind_stub).unwrap();
        let (servers, is_new) = resolvers.current(now + 3 * INTERVAL);
        assert_eq!((servers.len(), is_new), (0, true));
    }
}
