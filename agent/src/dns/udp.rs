//! The loop over packets: what this host knows is answered on the spot, everything else in a task of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::Shared;
use super::desk::{Desk, Done};
use super::query::Transport;

/// Packets taken before other tasks have their turn.
const BATCH: usize = 64;
/// A query is a header, a name and OPT; what is longer is padding or cookies.
const LARGEST_QUERY: usize = 4096;

/// After a failure of the socket, which may last.
const PAUSE: Duration = Duration::from_millis(100);
/// Bytes of packets that the kernel keeps for us. Each counts with its buffer, some 800 bytes.
const QUEUE: usize = 1 << 20;

/// Makes room for bursts. Without the right to it the kernel's usual room has to do.
pub fn widen(socket: &UdpSocket) {
    sockopt::set_socket_recv_buffer_size_force(socket, QUEUE).ok();
}

/// Answers packets for ever.
pub async fn run(socket: Arc<UdpSocket>, shared: Arc<Shared>) {
    let mut worker = Worker {
        desk: Desk::new(Arc::clone(&shared), Transport::Udp),
        packet: vec![0; LARGEST_QUERY],
        answer: Vec::with_capacity(LARGEST_QUERY),
        waiting: JoinSet::new(),
        socket,
    };
    loop {
        let drained = match worker.socket.readable().await {
            Ok(()) => worker.drain(),
            Err(error) => Err(error),
        };
        if let Err(error) = drained {
            let what = format!("cannot receive packets: {error}");
            shared.stats.socket.tell(what);
            tokio::time::sleep(PAUSE).await;
        }
        while worker.waiting.try_join_next().is_some() {}
        tokio::task::yield_now().await;
    }
}

struct Worker {
    desk: Desk,
    socket: Arc<UdpSocket>,
    packet: Vec<u8>,
    answer: Vec<u8>,
    waiting: JoinSet<()>,
}

impl Worker {
    /// Answers what has come.
    fn drain(&mut self) -> io::Result<()> {
        self.desk.refresh();
        for _ in 0..BATCH {
            match self.socket.try_recv_from(&mut self.packet) {
                Ok((length, client)) => self.take(length, client),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(&mut self, length: usize, client: SocketAddr) {
        let packet = &self.packet[..length];
        match self.desk.take(packet, client.ip(), &mut self.answer) {
            Done::Answered => send(&self.socket, &self.answer, client),
            Done::Silent => {}
            Done::Later(later) => {
                let (socket, packet) = (Arc::clone(&self.socket), packet.to_vec());
                self.waiting.spawn(async move {
                    if let Some(answer) = later.answer(&packet).await {
                        send(&socket, &answer, client);
                    }
                });
            }
        }
    }
}

/// A full queue loses the answer, as the network would: the client asks again.
fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    drop(socket.try_send_to(answer, client));
}
