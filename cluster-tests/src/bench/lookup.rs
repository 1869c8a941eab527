//! Asks a container's resolver from inside the container's network, without a program between: the answer's moment is known to a millisecond.
//! Owns its socket only.

use std::fs::File;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use nix::sched::{CloneFlags, setns};
use qemu_tests::{HarnessError, Result};

use crate::node::Node;

/// Docker's resolver, in every container of a network that people make.
const RESOLVER: &str = "127.0.0.11:53";
/// Pause between two questions, and longest wait for one answer.
const PAUSE: Duration = Duration::from_millis(3);
const ANSWER: Duration = Duration::from_millis(150);
const LONGEST: Duration = Duration::from_secs(30);

/// The file that stands for a container's network namespace, as this machine sees it.
///
/// # Errors
/// When it does not run.
pub fn network_of(node: &Node, container: &str) -> Result<PathBuf> {
    let process = node.docker(&["inspect", "-f", "{{.State.Pid}}", container])?;
    let root = format!("/proc/{}/root", node.space().holder());
    Ok(Path::new(&root).join("proc").join(process).join("ns/net"))
}

/// Asks until the name has an address; gives the moment.
///
/// # Errors
/// When it has none in time.
pub fn until_answered(network: &Path, name: &str) -> Result<Timestamp> {
    let file = File::open(network).map_err(HarnessError::file("open namespace", network))?;
    let ask = || -> std::io::Result<Option<Timestamp>> {
        setns(&file, CloneFlags::CLONE_NEWNET)?;
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(RESOLVER)?;
        socket.set_read_timeout(Some(ANSWER))?;
        let (start, mut number) = (Instant::now(), 0u16);
        while start.elapsed() < LONGEST {
            number = number.wrapping_add(1);
            socket.send(&question(number, name))?;
            let mut answer = [0; 512];
            if let Ok(length) = socket.recv(&mut answer)
                && has_address(&answer[..length], number)
            {
                return Ok(Some(Timestamp::now()));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(None)
    };
    // A thread of its own: it stays in that namespace until it ends.
    let outcome = std::thread::scope(|scope| scope.spawn(ask).join());
    let answered = outcome
        .unwrap_or_else(|_| Err(std::io::Error::other("the thread has panicked")))
        .map_err(HarnessError::file("ask in namespace", network))?;
    answered.ok_or_else(|| HarnessError::Timeout {
        what: format!("an address of {name}"),
        waited: LONGEST,
        last: "no address".into(),
    })
}

/// RFC 1035, 4.1: header with recursion desired, one question for an address.
fn question(number: u16, name: &str) -> Vec<u8> {
    let mut bytes = number.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or_default());
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

/// It answers this question, without an error, with at least one record.
fn has_address(answer: &[u8], number: u16) -> bool {
    answer.len() > 12
        && answer[..2] == number.to_be_bytes()
        && answer[3] & 0x0f == 0
        && answer[6..8] != [0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_have_the_form_of_the_standard() {
        assert_eq!(
            question(0x0102, "ab.c"),
            [
                1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 2, b'a', b'b', 1, b'c', 0, 0, 1, 0, 1
            ]
        );
        let answer = |code: u8, count: u8| [1, 2, 0x81, code, 0, 1, 0, count, 0, 0, 0, 0, 0];
        assert!(has_address(&answer(0x80, 1), 0x0102));
        assert!(!has_address(&answer(0x83, 1), 0x0102));
        assert!(!has_address(&answer(0x80, 0), 0x0102));
        assert!(!has_address(&answer(0x80, 1), 0x0103));
    }
}
