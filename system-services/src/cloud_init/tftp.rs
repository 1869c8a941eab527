//! Fetches a file over TFTP, in octet mode (RFC 1350).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::fetch;
use super::source::LARGEST;

const PORT: u16 = 69;
/// Bytes of a block; a shorter one is the last.
const BLOCK: usize = 512;
/// For how long a packet is waited for before the last one is sent again.
const PATIENCE: Duration = Duration::from_secs(1);
/// Code of an error: there is no such file.
const NOT_FOUND: u16 = 1;

/// Why nothing was fetched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not `host[:port]/path`.
    #[error("`{0}` is not HOST[:PORT]/PATH")]
    Place(String),
    /// The host has no address.
    #[error("cannot find {0}")]
    Host(String, #[source] Box<ureq::Error>),
    /// The network refuses.
    #[error("cannot ask {0}")]
    Socket(SocketAddr, #[source] io::Error),
    /// Nobody answers.
    #[error("{0} does not answer")]
    Silent(SocketAddr),
    /// The server refuses.
    #[error("the server refuses with code {0}: {1}")]
    Refused(u16, String),
    /// More than 16 MiB.
    #[error("the file is larger than 16 MiB")]
    Large,
}

/// A packet from the server.
#[derive(Debug, PartialEq, Eq)]
enum Packet<'a> {
    Data(u16, &'a [u8]),
    Error(u16, String),
}

/// Fetches `place`, as `host[:port]/path`. `None`: the server has no such file.
///
/// # Errors
/// When nobody answers until `probe`, or the file is not there in full at `deadline`.
pub fn get(place: &str, (probe, deadline): (Instant, Instant)) -> Result<Option<Vec<u8>>, Error> {
    let (host, port, path) = parse(place).ok_or_else(|| Error::Place(place.to_owned()))?;
    // The network may come late, as that of the other sources.
    let addresses = loop {
        match fetch::addresses(&host, PATIENCE * 5) {
            Ok(addresses) => break addresses,
            Err(_) if Instant::now() < probe => std::thread::sleep(PATIENCE),
            Err(error) => return Err(Error::Host(host, Box::new(error))),
        }
    };
    let address = addresses
        .first()
        .ok_or_else(|| Error::Place(place.to_owned()))?;
    Transfer::begin(SocketAddr::new(*address, port), &path)?.run(probe, deadline)
}

fn parse(place: &str) -> Option<(String, u16, String)> {
    let place = place.trim_start_matches('/');
    let (authority, path) = place.split_once('/')?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = port.map_or(Some(PORT), |port| port.parse().ok())?;
    // A NUL would end the name in the request.
    let is_sound = !host.is_empty() && !path.is_empty() && !path.contains('\0');
    is_sound.then(|| (host.to_owned(), port, path.to_owned()))
}

/// Reads a packet; `None`: not one that a server sends.
fn read(packet: &[u8]) -> Option<Packet<'_>> {
    let number = |from: usize| {
        Some(u16::from_be_bytes([
            *packet.get(from)?,
            *packet.get(from + 1)?,
        ]))
    };
    match number(0)? {
        3 => Some(Packet::Data(number(2)?, packet.get(4..)?)),
        5 => {
            let text = packet.get(4..)?.split(|byte| *byte == 0).next()?;
            let text = String::from_utf8_lossy(text);
            let text = text.chars().filter(|c| !c.is_control()).take(200);
            Some(Packet::Error(number(2)?, text.collect()))
        }
        _ => None,
    }
}

struct Transfer {
    socket: UdpSocket,
    server: SocketAddr,
    /// The server answers from another port than it is asked at.
    has_answered: bool,
    /// What is sent again when nothing comes.
    last: Vec<u8>,
}

impl Transfer {
    fn begin(server: SocketAddr, path: &str) -> Result<Self, Error> {
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let failed = |error| Error::Socket(server, error);
        let socket = UdpSocket::bind((any, 0)).map_err(failed)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let last = [&1_u16.to_be_bytes(), path.as_bytes(), b"\0octet\0"].concat();
        Ok(Self {
            socket,
            server,
            has_answered: false,
            last,
        })
    }

    fn run(mut self, probe: Instant, deadline: Instant) -> Result<Option<Vec<u8>>, Error> {
        let (mut content, mut expected) = (Vec::new(), 1_u16);
        let mut buffer = [0; 4 + BLOCK];
        self.send()?;
        loop {
            let until = if self.has_answered { deadline } else { probe };
            let Some(length) = self.receive(&mut buffer)? else {
                if Instant::now() >= until {
                    return Err(Error::Silent(self.server));
                }
                self.send()?;
                continue;
            };
            match buffer.get(..length).and_then(read) {
                Some(Packet::Data(number, block)) if number == expected => {
                    content.extend_from_slice(block);
                    if content.len() as u64 > LARGEST {
                        return Err(Error::Large);
                    }
                    self.last = [4_u16.to_be_bytes(), number.to_be_bytes()].concat();
                    self.send()?;
                    expected = expected.wrapping_add(1);
                    if block.len() < BLOCK {
                        return Ok(Some(content));
                    }
                }
                // One that was sent twice: what follows it is asked for already.
                Some(Packet::Data(..)) | None => {}
                Some(Packet::Error(NOT_FOUND, _)) => return Ok(None),
                Some(Packet::Error(code, text)) => return Err(Error::Refused(code, text)),
            }
            if Instant::now() >= deadline {
                return Err(Error::Silent(self.server));
            }
        }
    }

    fn send(&self) -> Result<(), Error> {
        match self.socket.send_to(&self.last, self.server) {
            Ok(_) => Ok(()),
            // Of an earlier packet: nobody listens there yet; or there is no way there yet.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::NetworkUnreachable
                        | io::ErrorKind::HostUnreachable
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(Error::Socket(self.server, error)),
        }
    }

    /// The length of the next packet from the server; `None`: there is none.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        use io::ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
        match self.socket.recv_from(buffer) {
            Ok((length, from)) if self.has_answered && from == self.server => Ok(Some(length)),
            Ok((length, from)) if !self.has_answered && from.ip() == self.server.ip() => {
                (self.server, self.has_answered) = (from, true);
                Ok(Some(length))
            }
            // Somebody else's. An empty packet says nothing.
            Ok(_) => Ok(Some(0)),
            Err(error) if matches!(error.kind(), ConnectionRefused) => {
                std::thread::sleep(PATIENCE);
                Ok(None)
            }
            Err(error) if matches!(error.kind(), WouldBlock | TimedOut | Interrupted) => Ok(None),
            Err(error) => Err(Error::Socket(self.server, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server of one file that loses the first of every packet that it would send, and sends the second twice.
    fn server(content: Vec<u8>) -> u16 {
        let door = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = door.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut buffer = [0; 600];
            let mut asked = 0;
            loop {
                let (length, client) = door.recv_from(&mut buffer).unwrap();
                asked += 1;
                if asked == 1 {
                    continue;
                }
                let own = UdpSocket::bind("127.0.0.1:0").unwrap();
                if &buffer[..length] != b"\0\x01dir/config.yml\0octet\0" {
                    own.send_to(b"\0\x05\0\x01no such file\0", client).unwrap();
                    continue;
                }
                own.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                for (index, block) in content.chunks(BLOCK).chain([&[][..]]).enumerate() {
                    let number = u16::try_from(index + 1).unwrap().to_be_bytes();
                    let packet = [&[0, 3], &number[..], block].concat();
                    own.send_to(&packet, client).unwrap();
                    own.send_to(&packet, client).unwrap();
                    loop {
                        let length = own.recv(&mut buffer).unwrap();
                        if buffer[..length] == [&[0, 4], &number[..]].concat() {
                            break;
                        }
                    }
                    // The last block was short: nothing follows it.
                    if block.len() < BLOCK {
                        break;
                    }
                }
            }
        });
        port
    }

    fn times() -> (Instant, Instant) {
        let limit = Instant::now() + Duration::from_secs(10);
        (limit, limit)
    }

    #[test]
    fn a_file_comes_whole_over_a_bad_network() {
        for size in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK] {
            let content: Vec<u8> = (0..size).map(|number| (number % 251) as u8).collect();
            let port = server(content.clone());
            let place = format!("127.0.0.1:{port}/dir/config.yml");
            assert_eq!(get(&place, times()).unwrap(), Some(content), "{size}");
        }
    }

    #[test]
    fn what_is_not_there_is_said() {
        let port = server(Vec::new());
        let place = format!("//127.0.0.1:{port}/other");
        assert_eq!(get(&place, times()).unwrap(), None);
        let soon = Instant::now() + Duration::from_millis(100);
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let place = format!("{}/x", silent.local_addr().unwrap());
        let error = get(&place, (soon, soon)).unwrap_err();
        assert!(matches!(error, Error::Silent(_)), "{error}");
    }

    #[test]
    fn places() {
        let of = parse;
        let place = |host: &str, port, path: &str| Some((host.to_owned(), port, path.to_owned()));
        assert_eq!(of("h/a/b"), place("h", 69, "a/b"));
        assert_eq!(of("//h:1069/a"), place("h", 1069, "a"));
        assert_eq!(of("[fd00::1]:70/a"), place("fd00::1", 70, "a"));
        for bad in ["", "h", "h/", "/", ":69/a", "h:x/a", "[::1/a", "h/a\0b"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn packets_are_read_as_they_come() {
        assert_eq!(read(b"\0\x03\0\x02ab"), Some(Packet::Data(2, b"ab")));
        assert_eq!(read(b"\0\x03\0\x02"), Some(Packet::Data(2, b"")));
        assert_eq!(
            read(b"\0\x05\0\x02no\x1b[m\0rest"),
            Some(Packet::Error(2, "no[m".into()))
        );
        for rubbish in [
            &b""[..],
            b"\0",
            b"\0\x03",
            b"\0\x03\0",
            b"\0\x04\0\x01",
            b"\0\x05\0",
        ] {
            assert_eq!(read(rubbish), None, "{rubbish:?}");
        }
    }
}
