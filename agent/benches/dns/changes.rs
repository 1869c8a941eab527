//! What a change costs: from a new catalog to the new answer, and processor time when changes come all the time.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent::Catalog;
use agent::dns::{Sockets, serve};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::servers::{self, cpu_of};

/// Single changes that are timed.
const CHANGES: u32 = 50;
/// Changes a second, then.
const STEADY: u32 = 100;
/// For how long.
const LASTS: Duration = Duration::from_secs(3);

/// Measures, and tells.
pub fn measure() -> serde_json::Value {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (change, told) = watch::channel(Arc::new(servers::catalog()));
    let address = runtime.block_on(async {
        let udp = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = udp.local_addr().unwrap();
        tokio::spawn(serve(Sockets { udp, tcp }, told, CancellationToken::new()));
        address
    });
    let client = Client::new(address);
    let mut took: Vec<f64> = (0..CHANGES)
        .map(|number| {
            // Longer than changes are gathered for.
            std::thread::sleep(Duration::from_millis(60));
            let begun = Instant::now();
            move_first(&change, number);
            client.wait(number);
            begun.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    took.sort_by(f64::total_cmp);
    let (p50, most) = (took[took.len() / 2], took[took.len() - 1]);
    let (begun, cpu) = (Instant::now(), cpu_of(std::process::id()));
    let mut number = 0;
    while begun.elapsed() < LASTS {
        move_first(&change, number);
        number += 1;
        std::thread::sleep(Duration::from_secs(1) / STEADY);
    }
    let used = (cpu_of(std::process::id()) - cpu).as_secs_f64() / begun.elapsed().as_secs_f64();
    println!(
        "one change among {} names shows after {p50:.2} ms, {most:.2} ms at most; {STEADY} changes a second take {:.1} % of a processor",
        crate::NAMES,
        used * 100.0
    );
    serde_json::json!({"shown_p50_ms": p50, "shown_max_ms": most, "steady_changes": STEADY, "steady_cpu": used})
}

/// Gives the first container another address.
fn move_first(change: &watch::Sender<Arc<Catalog>>, number: u32) {
    let mut catalog = Catalog::clone(&change.borrow());
    let mut one = catalog
        .containers
        .values()
        .find(|one| one.name == "c0")
        .unwrap()
        .clone();
    one.address = Some(address_of(number));
    catalog.containers.insert(one.id.clone(), one);
    change.send_replace(Arc::new(catalog));
}

fn address_of(number: u32) -> std::net::Ipv4Addr {
    (0x0A2A_F000 + number).into()
}

struct Client(UdpSocket);

impl Client {
    fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        let patience = Some(Duration::from_secs(1));
        socket.set_read_timeout(patience).unwrap();
        Self(socket)
    }

    /// Asks until the answer is the new one.
    fn wait(&self, number: u32) {
        let mut packet = [0; 512];
        loop {
            self.0
                .send(b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x02c0\0\0\x01\0\x01")
                .unwrap();
            let length = self.0.recv(&mut packet).unwrap_or(0);
            if packet[..length].ends_with(&address_of(number).octets()) {
                return;
            }
        }
    }
}
