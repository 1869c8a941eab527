//! One question to one resolver: by UDP from a port of its own, by TCP when the answer did not fit.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::message::Message;
use super::query::Query;
use super::reply::push_opt;
use super::wire::{self, Rcode, flag};

/// For how long one resolver is waited for.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Why a resolver gave nothing useful.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It is silent.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// It cannot be reached.
    #[error("it cannot be reached")]
    Unreachable(#[source] io::Error),
}

/// Asks `server` what the client asked.
///
/// # Errors
/// When there is no answer. An answer may still be that the resolver has failed.
pub async fn ask(server: SocketAddr, query: &Query<'_>) -> Result<Message, Fault> {
    let message = ask_with(server, query, flag_of(query), With::Edns).await?;
    let old = [Rcode::FormErr, Rcode::NotImp, Rcode::BadVers].map(|rcode| rcode as u16);
    if old.contains(&message.rcode()) {
        // Perhaps it is older than EDNS (RFC 6891, 6.2.2).
        return ask_with(server, query, flag_of(query), With::Nothing).await;
    }
    Ok(message)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum With {
    Edns,
    Nothing,
}

fn flag_of(query: &Query<'_>) -> u16 {
    query.flags & (flag::RECURSION_DESIRED | flag::UNCHECKED | flag::AUTHENTIC)
}

async fn ask_with(
    server: SocketAddr,
    query: &Query<'_>,
    flags: u16,
    with: With,
) -> Result<Message, Fault> {
    // Nobody must be able to guess it: a forged answer needs this and the port.
    let id: u16 = rand::random();
    let mut packet = Vec::with_capacity(wire::PLAIN_UDP);
    for word in [id, flags, 1, 0, 0, 0] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet.extend_from_slice(query.question);
    if with == With::Edns {
        let wants_dnssec = query.edns.is_some_and(|edns| edns.wants_dnssec);
        push_opt(
            &mut packet,
            0,
            if wants_dnssec { flag::DNSSEC_OK } else { 0 },
        );
    }
    let is_answer = |message: &Message| message.answers(id, query.question);
    let short = timeout(PATIENCE, by_udp(server, &packet, is_answer));
    let short = short.await.map_err(|_| Fault::Silent)?;
    let short = short.map_err(Fault::Unreachable)?;
    if !short.is_truncated() {
        return Ok(short);
    }
    let long = timeout(PATIENCE, by_tcp(server, &packet)).await;
    match long {
        Ok(Ok(long)) if is_answer(&long) => Ok(long),
        // A part is better than nothing, and says that it is one.
        _ => Ok(short),
    }
}

async fn by_udp(
    server: SocketAddr,
    packet: &[u8],
    is_answer: impl Fn(&Message) -> bool,
) -> io::Result<Message> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    crate::overlay::asks_others(&socket);
    // Connected: strangers' packets are not taken, and a closed port is known at once.
    socket.connect(server).await?;
    socket.send(packet).await?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match Message::read(&buffer[..length]) {
            Ok(message) if is_answer(&message) => return Ok(message),
            // Forged, late or damaged: the right one may still come.
            _ => {}
        }
    }
}

async fn by_tcp(server: SocketAddr, packet: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(packet.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), packet].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    Message::read(&answer).map_err(io::Error::other)
}
