//! Where a packet is judged, however it came: the zone, then what is remembered, then a task that asks others.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::Shared;
use super::answer::{Answerer, Outcome};
use super::query::{Query, Transport, Unfit};
use super::reply;
use super::wire::Rcode;
use super::zone::Zone;
use crate::gate::Place;

/// What became of a packet.
pub enum Done {
    /// The answer is written.
    Answered,
    /// There is none.
    Silent,
    /// It takes a while.
    Later(Later),
}

/// Judges packets, one after the other.
pub struct Desk {
    shared: Arc<Shared>,
    zones: watch::Receiver<Arc<Zone>>,
    /// The zone in use: no lock is taken while it stays the same.
    zone: Arc<Zone>,
    answerer: Answerer,
    transport: Transport,
}

impl Desk {
    /// A new one.
    pub fn new(shared: Arc<Shared>, transport: Transport) -> Self {
        let mut zones = shared.zones.clone();
        let zone = Arc::clone(&zones.borrow_and_update());
        Self {
            shared,
            zones,
            zone,
            answerer: Answerer::new(),
            transport,
        }
    }

    /// Takes the newest zone.
    pub fn refresh(&mut self) {
        // An error means that no newer one will come.
        if self.zones.has_changed().unwrap_or(false) {
            self.zone = Arc::clone(&self.zones.borrow_and_update());
        }
    }

    /// Judges `packet`, with an answer in `out`.
    pub fn take(&mut self, packet: &[u8], client: IpAddr, out: &mut Vec<u8>) -> Done {
        let (shared, on) = (&self.shared, self.transport);
        let query = match Query::read(packet) {
            Ok(query) => query,
            Err(unfit) => {
                shared.stats.refused.up();
                return unread(unfit, packet, out);
            }
        };
        let found = self.answerer.answer(&self.zone, &query, (client, on), out);
        match found {
            Outcome::Reply => {
                shared.stats.own.up();
                // Docker's resolver, from the host's network, or another program here: only its packets come to us, and over TCP it would ask somebody else.
                if on == Transport::Udp && reply::is_cut(out) && self.is_host(client) {
                    reply::end_there(out);
                }
                return Done::Answered;
            }
            Outcome::Refusal => {
                shared.stats.refused.up();
                return Done::Answered;
            }
            Outcome::Foreign => {}
        }
        let now = Instant::now();
        if let Some(kept) = shared.forwarder.remembered(&query, now) {
            shared.stats.cached.up();
            kept.message.write(out, &query, on, now - kept.came);
            return Done::Answered;
        }
        let Some(place) = shared.forwarder.admit(client) else {
            shared.stats.overload.up();
            reply::decline(out, &query, Rcode::ServFail);
            return Done::Answered;
        };
        Done::Later(Later {
            shared: Arc::clone(shared),
            transport: on,
            _place: place,
        })
    }
}

impl Desk {
    /// Whether this host itself asks, and none of its containers. Asked for answers that do not fit only.
    fn is_host(&self, client: IpAddr) -> bool {
        !self.zone.is_held(client) && UdpSocket::bind((client, 0)).is_ok()
    }
}

fn unread(unfit: Unfit, packet: &[u8], out: &mut Vec<u8>) -> Done {
    match unfit {
        Unfit::Ignore => Done::Silent,
        Unfit::Reply(rcode) => {
            reply::refuse(out, packet, rcode);
            Done::Answered
        }
    }
}

/// A query that others must be asked for.
pub struct Later {
    shared: Arc<Shared>,
    transport: Transport,
    /// Bounds how many there are.
    _place: Place,
}

impl Later {
    /// The answer to `packet`.
    pub async fn answer(self, packet: &[u8]) -> Option<Vec<u8>> {
        // It was read before, without trouble: reading it again is cheaper than a second form that can be kept.
        let query = Query::read(packet).ok()?;
        let mut out = Vec::new();
        match self.shared.forwarder.ask(&query).await {
            Some((message, came)) => {
                self.shared.stats.forwarded.up();
                message.write(&mut out, &query, self.transport, came.elapsed());
            }
            None => {
                self.shared.stats.failed.up();
                reply::decline(&mut out, &query, Rcode::ServFail);
            }
        }
        Some(out)
    }
}
