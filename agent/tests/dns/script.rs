//! A resolver that does what a real one does only when it is broken or evil.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// The resolver; it answers UDP only.
pub struct Scripted {
    pub address: SocketAddr,
    asked: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Scripted {
    /// Sends what `script` says, each packet after its time.
    pub async fn start(
        script: impl Fn(&Message) -> Vec<(Duration, Vec<u8>)> + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
                count.fetch_add(1, Ordering::SeqCst);
                let query = Message::from_vec(&buffer[..length]).unwrap();
                for (wait, packet) in script(&query) {
                    tokio::time::sleep(wait).await;
                    socket.send_to(&packet, client).await.unwrap();
                }
            }
        });
        Self {
            address,
            asked,
            task,
        }
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Closes its socket.
    pub async fn stop(&mut self) {
        self.task.abort();
        (&mut self.task).await.unwrap_err();
    }
}

/// 192.0.2.1, whatever the question.
pub fn answer_to(query: &Message) -> Message {
    let mut answer = query.clone();
    answer.metadata.message_type = MessageType::Response;
    let owner = query.queries[0].name().clone();
    let address = RData::A(A::new(192, 0, 2, 1));
    answer.add_answer(Record::from_rdata(owner, 300, address));
    answer
}
