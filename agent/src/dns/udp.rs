//! The loop over packets: what this host knows is answered on the spot, everything else in a task of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::Shared;
use super::desk::{Desk, Done};
use super::query::Transport;

/// Packets taken before other tasks have their turn.
const BATCH: usize = 64;
/// A query is a header, a name and OPT; what is longer is padding or cookies.
const LARGEST_QUERY: usize = 4096;

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
        match worker.socket.readable().await {
            Ok(()) => worker.drain(),
            Err(error) => shared
                .stats
                .socket
                .tell(format!("cannot receive packets: {error}")),
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
    fn drain(&mut self) {
        self.desk.refresh();
        for _ in 0..BATCH {
            // An error here is the end of what has come, or somebody's unreachable port: neither is ours to mend.
            let Ok((length, client)) = self.socket.try_recv_from(&mut self.packet) else {
                return;
            };
            self.take(length, client);
        }
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
