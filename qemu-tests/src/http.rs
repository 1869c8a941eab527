//! Just enough HTTP/1.0 for the tests: one GET to a published port, and a server for data sources.
//! Owns its listener thread until the server is dropped; not for anything outside tests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::error::{HarnessError, Result};
use crate::wait::{Look, Patience, until};

/// Fetches `path` from a port of this machine, again and again until something answers with status 200.
///
/// # Errors
/// Timeout with the last refusal.
pub fn get(port: u16, path: &str, patience: Patience) -> Result<String> {
    until(
        &format!("an HTTP answer on port {port}"),
        patience,
        || match get_once(port, path) {
            Ok(body) => Ok(Look::Seen(body)),
            Err(error) => Ok(Look::NotYet(error.to_string())),
        },
    )
}

fn get_once(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(
        &SocketAddr::from(([127, 0, 0, 1], port)),
        Duration::from_secs(5),
    )?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // At once: a server that closes with a part of it unread would reset the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| std::io::Error::other("empty answer"))?;
    let status = head.lines().next().unwrap_or_default();
    if status.contains(" 200") {
        Ok(body.to_owned())
    } else {
        Err(std::io::Error::other(status.to_owned()))
    }
}

/// Serves texts, on a free port of the loopback interface (a guest reaches it at 10.0.2.2).
pub struct TextServer {
    port: u16,
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
}

impl TextServer {
    /// Starts serving `text` on every path.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(text: &str) -> Result<Self> {
        let text = text.to_owned();
        Self::answering(move |_| Some(text.clone()))
    }

    /// Starts a server that gives to each request, headers included, what `page` says; nothing is 404.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn answering(page: impl Fn(&str) -> Option<String> + Send + 'static) -> Result<Self> {
        let failed = HarnessError::file("bind a port for the text server", "127.0.0.1");
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        let address = listener
            .local_addr()
            .map_err(HarnessError::file("read the bound port", "127.0.0.1"))?;
        let (stop, requests) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                counted.fetch_add(1, Ordering::Relaxed);
                // A client that hangs up early tries again itself.
                drop(stream.and_then(|stream| answer(stream, &page)));
            }
        });
        Ok(Self {
            port: address.port(),
            stop,
            requests,
        })
    }

    /// The port on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections came so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for TextServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the listener so that its thread sees the flag.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn answer(mut stream: TcpStream, page: &dyn Fn(&str) -> Option<String>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut head = Vec::new();
    let mut buffer = [0_u8; 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        head.extend_from_slice(buffer.get(..count).unwrap_or_default());
    }
    let page = page(&String::from_utf8_lossy(&head));
    let status = if page.is_some() {
        "200 OK"
    } else {
        "404 Not Found"
    };
    let body = page.unwrap_or_default();
    write!(
        stream,
        "HTTP/1.0 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_and_server_understand_each_other() {
        let server = TextServer::start("#cloud-config\n").unwrap();
        assert_eq!(
            get(server.port(), "/user-data", Patience::seconds(5)).unwrap(),
            "#cloud-config\n"
        );
        assert_eq!(server.requests(), 1);
    }

    #[test]
    fn a_closed_port_is_a_timeout_with_the_reason() {
        let port = TextServer::start("").unwrap().port();
        let patience = Patience {
            limit: Duration::from_millis(50),
            pause: Duration::from_millis(10),
        };
        // The server above is gone: only its wake-up connection may have been accepted.
        let error = get(port, "/", patience).unwrap_err();
        assert!(matches!(error, HarnessError::Timeout { .. }), "{error}");
    }
}
