//! Connections: messages with their length before them, several after one another, answered as they become ready (RFC 7766).

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Shared;
use super::desk::{Desk, Done};
use super::query::Transport;
use crate::gate::{Gate, Place};

/// Connections at the same time, in all and from each address.
const CONNECTIONS: (usize, usize) = (1024, 128);
/// For how long a connection may be silent, and for how long it may take nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// Answers that wait for the client of one connection; then nothing more is read from it.
const WAITING: usize = 16;

/// Takes connections for ever.
pub async fn run(listener: TcpListener, shared: Arc<Shared>) {
    let gate = Gate::new(CONNECTIONS.0, CONNECTIONS.1);
    let mut open = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while open.try_join_next().is_some() {}
        match accepted {
            Ok((stream, client)) => match gate.enter(client.ip()) {
                Some(place) => {
                    let client = (client.ip(), place);
                    open.spawn(connection(stream, client, Arc::clone(&shared)));
                }
                // Too many: this one is closed at once.
                None => shared.stats.overload.up(),
            },
            Err(error) => {
                let what = format!("cannot take connections: {error}");
                shared.stats.socket.tell(what);
                // No file descriptor is free, most likely: one may be soon.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, (client, place): (IpAddr, Place), shared: Arc<Shared>) {
    // Without it answers may wait for a packet's acknowledgement; a failure costs only that.
    drop(stream.set_nodelay(true));
    let (reads, writes) = stream.into_split();
    let (answers, ready) = mpsc::channel(WAITING);
    let mut waiting = JoinSet::new();
    let desk = Desk::new(shared, Transport::Tcp);
    waiting.spawn(write(writes, ready));
    let reader = Reader {
        reads,
        desk,
        client,
        answers,
    };
    // The end of a connection, by its client or by time, is no trouble.
    drop(reader.run(&mut waiting).await);
    while waiting.join_next().await.is_some() {}
    drop(place);
}

struct Reader {
    reads: OwnedReadHalf,
    desk: Desk,
    client: IpAddr,
    answers: mpsc::Sender<Vec<u8>>,
}

impl Reader {
    async fn run(mut self, waiting: &mut JoinSet<()>) -> io::Result<()> {
        loop {
            let packet = timeout(PATIENCE, self.frame()).await??;
            while waiting.try_join_next().is_some() {}
            self.desk.refresh();
            let mut answer = Vec::new();
            let done = self.desk.take(&packet, self.client, &mut answer);
            // Room for the answer first: a client that does not read is not read from.
            let room = self.answers.clone().reserve_owned().await;
            let room = room.map_err(io::Error::other)?;
            match done {
                Done::Answered => drop(room.send(answer)),
                Done::Silent => {}
                Done::Later(later) => {
                    waiting.spawn(async move {
                        if let Some(answer) = later.answer(&packet).await {
                            drop(room.send(answer));
                        }
                    });
                }
            }
        }
    }

    async fn frame(&mut self) -> io::Result<Vec<u8>> {
        let length = self.reads.read_u16().await?;
        let mut packet = vec![0; length.into()];
        self.reads.read_exact(&mut packet).await?;
        Ok(packet)
    }
}

async fn write(mut writes: OwnedWriteHalf, mut ready: mpsc::Receiver<Vec<u8>>) {
    while let Some(answer) = ready.recv().await {
        let Ok(length) = u16::try_from(answer.len()) else {
            continue;
        };
        let framed = [&length.to_be_bytes(), &answer[..]].concat();
        if !matches!(
            timeout(PATIENCE, writes.write_all(&framed)).await,
            Ok(Ok(()))
        ) {
            return;
        }
    }
}
