//! One question to a Docker daemon: does it answer? (Docker API: `GET /_ping`.)

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// A daemon that is starting takes the connection and answers late.
const PATIENCE: Duration = Duration::from_secs(2);

/// True when the daemon at `socket` says that it is there.
pub fn answers(socket: &str) -> bool {
    ask(socket).unwrap_or(false)
}

fn ask(socket: &str) -> std::io::Result<bool> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")?;
    let mut status = [0_u8; 12];
    stream.read_exact(&mut status)?;
    Ok(status.starts_with(b"HTTP/1.") && status.ends_with(b" 200"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn served(answer: &'static [u8]) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let server =
            std::thread::spawn(move || listener.accept().unwrap().0.write_all(answer).unwrap());
        let answered = answers(path.to_str().unwrap());
        server.join().unwrap();
        answered
    }

    #[test]
    fn only_a_good_answer_counts() {
        assert!(served(b"HTTP/1.0 200 OK\r\n\r\nOK"));
        assert!(!served(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"));
        assert!(!served(b""));
        assert!(!answers("/nonexistent/socket"));
    }
}
