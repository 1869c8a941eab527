//! ICMP echo (RFC 792) to many at once, by a raw socket: the kernel of every host answers it, nothing must listen there.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, ipproto, recv, sendto,
    socket_with,
};

/// Longest wait for the answers to one asking.
const PATIENCE: Duration = Duration::from_millis(700);
/// Types of an echo's request and answer.
const REQUEST: u8 = 8;
const ANSWER: u8 = 0;
/// Bytes of an echo's header.
const HEADER: usize = 8;
/// Longest IPv4 packet.
const LONGEST: usize = 65_535;

/// Who has answered, and the least time it took.
pub type Answers = BTreeMap<Ipv4Addr, Duration>;

/// Asks each of `targets` `times` times, with `bytes` after the header and never in fragments, from the address `own`.
///
/// # Errors
/// When there is no such socket: without the right to it, or without the address.
pub async fn ask(
    own: Option<Ipv4Addr>,
    targets: &[Ipv4Addr],
    bytes: usize,
    times: u16,
) -> io::Result<Answers> {
    if targets.is_empty() {
        return Ok(Answers::new());
    }
    let asker = Asker {
        socket: open(own)?,
        targets: targets.to_vec(),
        bytes,
        mark: rand::random(),
    };
    // A thread that waits for two seconds at most: a raw socket of our own is nothing that the runtime could wait for.
    let asked = tokio::task::spawn_blocking(move || asker.ask(times)).await;
    asked.map_err(io::Error::other)?
}

fn open(own: Option<Ipv4Addr>) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let icmp = Some(ipproto::ICMP);
    let socket = socket_with(AddressFamily::INET, SocketType::RAW, flags, icmp)?;
    // Not in fragments, whatever was learned of the way before.
    sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::PROBE)?;
    if let Some(own) = own {
        bind(&socket, &SocketAddrV4::new(own, 0))?;
    }
    Ok(socket)
}

struct Asker {
    socket: OwnedFd,
    targets: Vec<Ipv4Addr>,
    bytes: usize,
    mark: u16,
}

impl Asker {
    fn ask(&self, times: u16) -> io::Result<Answers> {
        let mut answers = Answers::new();
        let mut buffer = vec![0; LONGEST];
        for number in 0..times {
            let packet = request(self.mark, number, self.bytes);
            let begun = Instant::now();
            for target in &self.targets {
                // What cannot be sent is as good as not answered.
                let to = SocketAddrV4::new(*target, 0);
                sendto(&self.socket, &packet, SendFlags::empty(), &to).ok();
            }
            let mut waiting = self.targets.len();
            while waiting > 0
                && let Some(packet) = self.receive(&mut buffer, begun + PATIENCE)?
            {
                let from = answer(packet, self.mark, number, self.bytes);
                if let Some(from) = from.filter(|from| self.targets.contains(from)) {
                    waiting -= 1;
                    let least = answers.entry(from).or_insert(Duration::MAX);
                    *least = begun.elapsed().min(*least);
                }
            }
        }
        Ok(answers)
    }

    /// The next packet of any kind; `None`: none came in time.
    fn receive<'b>(&self, buffer: &'b mut [u8], end: Instant) -> io::Result<Option<&'b [u8]>> {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or_default(),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut waits = [PollFd::new(&self.socket, PollFlags::IN)];
        if poll(&mut waits, Some(&left))? == 0 {
            return Ok(None);
        }
        match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
            Ok((_, length)) => Ok(Some(&buffer[..length.min(buffer.len())])),
            // An ICMP error for a packet before, or nothing after all: what is read is no answer.
            Err(_) => Ok(Some(&[])),
        }
    }
}

/// An echo request: `mark` and `number` come back in the answer.
fn request(mark: u16, number: u16, bytes: usize) -> Vec<u8> {
    let mut packet = vec![0; HEADER + bytes];
    packet[0] = REQUEST;
    packet[4..6].copy_from_slice(&mark.to_be_bytes());
    packet[6..8].copy_from_slice(&number.to_be_bytes());
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Who answers, if the packet, with its IPv4 header, is the answer to that request.
fn answer(packet: &[u8], mark: u16, number: u16, bytes: usize) -> Option<Ipv4Addr> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let echo = packet.get(header..)?;
    let [kind, _, _, _, m0, m1, n0, n1, ..] = *echo else {
        return None;
    };
    let is_it = kind == ANSWER
        && u16::from_be_bytes([m0, m1]) == mark
        && u16::from_be_bytes([n0, n1]) == number
        && echo.len() == HEADER + bytes;
    let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    is_it.then(|| from.into())
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_checksum_of_a_whole_packet_is_zero() {
        for bytes in [0, 1, 16, 1472] {
            assert_eq!(checksum(&request(7, 8, bytes)), 0, "{bytes}");
        }
    }

    #[test]
    fn strange_packets_are_no_answers() {
        let mut packet = vec![0x45; 20];
        packet.extend(request(7, 8, 4));
        packet[20] = ANSWER;
        packet[12..16].copy_from_slice(&[10, 0, 0, 1]);
        assert_eq!(answer(&packet, 7, 8, 4), Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(answer(&packet, 7, 9, 4), None);
        assert_eq!(answer(&packet, 7, 8, 5), None);
        for end in 0..packet.len() {
            assert_eq!(answer(&packet[..end], 7, 8, 4), None, "{end}");
        }
        packet[20] = REQUEST;
        assert_eq!(answer(&packet, 7, 8, 4), None);
    }

    #[tokio::test]
    async fn who_is_there_answers() {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "this test needs root");
            eprintln!("skipped: needs root");
            return;
        }
        let one = Ipv4Addr::new(127, 0, 0, 1);
        let two = Ipv4Addr::new(127, 0, 0, 2);
        // RFC 5737: nobody's; from loopback nothing leaves this machine.
        let nobody = Ipv4Addr::new(192, 0, 2, 9);
        let answers = ask(Some(one), &[one, two, nobody], 16, 2).await.unwrap();
        assert_eq!(answers.keys().collect::<Vec<_>>(), [&one, &two]);
        assert!(
            answers
                .values()
                .all(|time| *time < Duration::from_millis(500))
        );
        // Larger than the link lets through in one piece.
        let large = ask(Some(one), &[two], 65_500, 1).await.unwrap();
        assert_eq!(large.len(), 1, "loopback takes 65,536 bytes");
        let none = ask(Some(nobody), &[one], 16, 1).await;
        assert_eq!(
            none.unwrap_err().kind(),
            std::io::ErrorKind::AddrNotAvailable
        );
    }
}
