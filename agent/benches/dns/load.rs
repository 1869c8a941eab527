//! The load: one thread, one socket, every answer checked.

use std::collections::HashMap;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::NAMES;
use crate::servers::Server;

/// An answer that takes longer counts as lost.
const LOST: Duration = Duration::from_secs(1);

/// How fast queries are sent.
#[derive(Clone, Copy)]
pub enum Pace {
    /// So many are out; an answer lets the next one go.
    Window(usize),
    /// So many a second, whatever the answers do.
    Rate(u32),
}

pub struct Load<'a> {
    pub server: &'a Server,
    pub pace: Pace,
    pub lasts: Duration,
    pub seed: u32,
}

/// What came of a load: times in microseconds.
#[derive(Clone, Copy)]
pub struct Measured {
    pub rate: f64,
    pub p50: f64,
    pub p99: f64,
    pub cpu: f64,
    pub lost: usize,
}

impl Measured {
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({"p50_us": self.p50, "p99_us": self.p99})
    }

    pub fn median(all: Vec<Self>) -> Self {
        let middle = |of: fn(&Self) -> f64| {
            let mut values: Vec<f64> = all.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            rate: middle(|one| one.rate),
            p50: middle(|one| one.p50),
            p99: middle(|one| one.p99),
            cpu: middle(|one| one.cpu),
            lost: all.iter().map(|one| one.lost).sum(),
        }
    }
}

struct Run<'a> {
    load: &'a Load<'a>,
    socket: UdpSocket,
    id: u16,
    chance: u32,
    out: HashMap<u16, Instant>,
    took: Vec<u32>,
    lost: usize,
}

impl Load<'_> {
    pub fn run(&self) -> Measured {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.server.address).unwrap();
        // Nothing must be lost on this side.
        sockopt::set_socket_recv_buffer_size_force(&socket, 4 << 20).ok();
        let mut run = Run {
            load: self,
            socket,
            id: 0,
            chance: 0x9E37_79B9 ^ self.seed.wrapping_mul(0x85EB_CA6B) | 1,
            out: HashMap::new(),
            took: Vec::with_capacity(1 << 20),
            lost: 0,
        };
        let (begun, cpu) = (Instant::now(), self.server.cpu());
        match self.pace {
            Pace::Window(most) => run.in_window(most, begun),
            Pace::Rate(rate) => run.at_rate(rate, begun),
        }
        let (seconds, cpu) = (begun.elapsed().as_secs_f64(), self.server.cpu() - cpu);
        run.took.sort_unstable();
        let answers = run.took.len();
        assert!(answers > 0, "{} answers nothing", self.server.name);
        let at = |part: usize| f64::from(run.took[(answers - 1) * part / 100]) / 1000.0;
        Measured {
            rate: answers as f64 / seconds,
            p50: at(50),
            p99: at(99),
            cpu: cpu.as_secs_f64() * 1e6 / answers as f64,
            lost: run.lost,
        }
    }
}

impl Run<'_> {
    fn in_window(&mut self, most: usize, begun: Instant) {
        self.socket.set_read_timeout(Some(LOST)).unwrap();
        while begun.elapsed() < self.load.lasts {
            while self.out.len() < most {
                self.send();
            }
            if !self.receive() {
                self.lost += self.out.len();
                self.out.clear();
            }
        }
    }

    fn at_rate(&mut self, rate: u32, begun: Instant) {
        self.socket.set_nonblocking(true).unwrap();
        let each = Duration::from_secs(1) / rate;
        let mut next = begun;
        while begun.elapsed() < self.load.lasts {
            if Instant::now() >= next {
                self.send();
                next += each;
            }
            self.receive();
        }
        while !self.out.is_empty() && begun.elapsed() < self.load.lasts + LOST {
            self.receive();
        }
        self.lost += self.out.len();
    }

    fn send(&mut self) {
        self.id = self.id.wrapping_add(1);
        // Xorshift: any order will do that is the same for all servers.
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 17;
        self.chance ^= self.chance << 5;
        let name = format!("c{}", self.chance % NAMES);
        let mut packet = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        packet[..2].copy_from_slice(&self.id.to_be_bytes());
        for label in std::iter::once(&*name).chain(self.load.server.zone.split('.')) {
            packet.push(u8::try_from(label.len()).unwrap());
            packet.extend_from_slice(label.as_bytes());
        }
        packet.extend_from_slice(&[0, 0, 1, 0, 1]);
        self.out.insert(self.id, Instant::now());
        self.socket.send(&packet).unwrap();
    }

    /// False: there is none.
    fn receive(&mut self) -> bool {
        let mut packet = [0; 512];
        let Ok(length) = self.socket.recv(&mut packet) else {
            return false;
        };
        let packet = &packet[..length];
        let id = u16::from_be_bytes([packet[0], packet[1]]);
        let is_good = packet[3] & 15 == 0 && packet[7] == 1;
        assert!(is_good, "{}: {packet:x?}", self.load.server.name);
        if let Some(sent) = self.out.remove(&id) {
            self.took
                .push(u32::try_from(sent.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
        true
    }
}
