//! How this host reaches the others: asks each of them through the project's network and beside it, with small packets and with the
//! largest, and compares its clock with the server's. Measures and tells; judging is the business of who reads it.

mod echo;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use api::Id;
use api::access::Pong;
use api::host::{HostState, PeerReach, Reach};
use client::Client;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::Catalog;
use crate::identity::Own;
use crate::overlay::{State, gateway};
use echo::Answers;

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(30);
/// What has hardly changed is told again after this long.
const AGAIN: Duration = Duration::from_secs(600);
/// Times that each host is asked.
const TIMES: u16 = 3;
/// Hosts that are asked in one round; in larger projects each round asks others.
const ROUND: usize = Reach::MOST;
/// Bytes of an IPv4 header and of an ICMP echo's.
const HEADERS: u32 = 20 + 8;
/// Bytes of a small packet.
const SMALL: usize = 16;
/// A clock that differs by this much more or less is news, milliseconds.
const SKEW_NEWS: u64 = 500;
/// Times there and back that differ by less are not news, microseconds.
const RTT_NEWS: u32 = 1_000;

/// What is looked at.
pub struct Looker {
    /// This host.
    pub own: Own,
    /// The others.
    pub catalog: watch::Receiver<Arc<Catalog>>,
    /// The network.
    pub network: watch::Receiver<State>,
    /// The server whose clock counts.
    pub server: watch::Receiver<Option<Arc<Client>>>,
    /// What is found.
    pub found: watch::Sender<Reach>,
}

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    host: Id,
    /// In the project's network.
    inside: Ipv4Addr,
    /// Its own address.
    outside: Option<Ipv4Addr>,
}

/// What one look has found of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Found {
    rtt: Option<Duration>,
    large: Option<bool>,
    outside: Option<bool>,
}

impl Looker {
    /// Looks again and again, for ever.
    pub async fn run(self) {
        let mut all: BTreeMap<Id, PeerReach> = BTreeMap::new();
        let mut turn = 0;
        loop {
            tokio::time::sleep(PERIOD.mul_f64(rand::random_range(0.9..1.1))).await;
            let catalog = self.catalog.borrow().clone();
            let targets = targets(&catalog, &self.own.host);
            all.retain(|host, _| targets.iter().any(|target| target.host == *host));
            let asked = part(&targets, turn);
            turn += 1;
            let found = self.look(&catalog, &asked).await;
            let now = Timestamp::now();
            for (target, found) in asked.iter().zip(found.into_iter().flatten()) {
                let before = all.remove(&target.host);
                let peer = peer(target, before.as_ref(), found, now);
                all.insert(target.host.clone(), peer);
            }
            let reach = Reach {
                at: Some(now),
                clock_skew_ms: self.skew().await,
                peers: worst_first(all.values().cloned().collect()),
            };
            self.found.send_if_modified(|old| {
                let is_news = is_news(old, &reach);
                if is_news {
                    *old = reach;
                }
                is_news
            });
        }
    }

    /// Asks the hosts; `None`: there is nothing to ask from.
    async fn look(&self, catalog: &Catalog, targets: &[Target]) -> Option<Vec<Found>> {
        let own = catalog.hosts.get(&self.own.host)?.block.map(gateway)?;
        let mtu = mtu(catalog, self.network.borrow().mtu);
        let inside: Vec<Ipv4Addr> = targets.iter().map(|target| target.inside).collect();
        let outside: Vec<Ipv4Addr> = targets.iter().filter_map(|one| one.outside).collect();
        // Not there as long as the network is not: the next look will find it.
        let near = echo::ask(Some(own), &inside, SMALL, TIMES).await.ok()?;
        let reached: Vec<Ipv4Addr> = near.keys().copied().collect();
        let large = match mtu {
            None => None,
            Some(mtu) => {
                let bytes = usize::try_from(mtu.saturating_sub(HEADERS)).unwrap_or_default();
                echo::ask(Some(own), &reached, bytes, TIMES).await.ok()
            }
        };
        let far = echo::ask(None, &outside, SMALL, 1).await.ok();
        let answered = |all: &Option<Answers>, at: Ipv4Addr| {
            all.as_ref().map(|answers| answers.contains_key(&at))
        };
        let of = |target: &Target| {
            let rtt = near.get(&target.inside).copied();
            Found {
                rtt,
                large: rtt.and_then(|_| answered(&large, target.inside)),
                outside: target.outside.and_then(|at| answered(&far, at)),
            }
        };
        Some(targets.iter().map(of).collect())
    }

    /// How far this clock is ahead of the server's, milliseconds.
    async fn skew(&self) -> Option<i64> {
        let server = self.server.borrow().clone()?;
        let (asked, begun) = (Timestamp::now(), std::time::Instant::now());
        let pong: Pong = server.get("/v1/ping").await.ok()?;
        let took = begun.elapsed();
        // The answer was made somewhere between: when that was long the clock cannot be told.
        let middle = asked + took / 2;
        let skew = middle.as_millisecond() - pong.time.as_millisecond();
        (took < Duration::from_secs(1)).then_some(skew)
    }
}

/// The other hosts with a block. Those that the server does not hear of are asked, too: they may well run.
fn targets(catalog: &Catalog, own: &Id) -> Vec<Target> {
    catalog
        .hosts
        .values()
        .filter(|host| host.id != *own && host.state != HostState::Joining)
        .filter_map(|host| {
            let outside = match host.address {
                Some(IpAddr::V4(address)) => Some(address),
                _ => None,
            };
            Some(Target {
                host: host.id.clone(),
                inside: gateway(host.block?),
                outside,
            })
        })
        .collect()
}

/// Those whose turn it is.
fn part(targets: &[Target], turn: usize) -> Vec<Target> {
    let parts = targets.len().div_ceil(ROUND).max(1);
    let of_turn = targets.chunks(ROUND).nth(turn % parts);
    of_turn.unwrap_or_default().to_vec()
}

/// Largest packet of the network; `None`: the link is not known.
fn mtu(catalog: &Catalog, link: u32) -> Option<u32> {
    let spec = &catalog.networks.values().next()?.spec;
    let is_ipv6 = |host: &api::agent::HostFact| host.address.is_some_and(|at| at.is_ipv6());
    let over_ipv6 = catalog.hosts.values().any(is_ipv6);
    let room = link.checked_sub(spec.encapsulation.overhead(over_ipv6))?;
    let mtu = spec.mtu.map_or(room, |mtu| mtu.min(room));
    (mtu > HEADERS).then_some(mtu)
}

fn peer(target: &Target, before: Option<&PeerReach>, found: Found, now: Timestamp) -> PeerReach {
    let reachable = found.rtt.is_some();
    let since = before.filter(|before| before.reachable == reachable);
    PeerReach {
        host: target.host.clone(),
        reachable,
        rtt_us: found
            .rtt
            .map(|rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)),
        mtu_ok: found.large,
        outside: found.outside,
        since: since.map_or(now, |before| before.since),
    }
}

/// Those that are not well, then the slowest; no more than are told of.
fn worst_first(mut peers: Vec<PeerReach>) -> Vec<PeerReach> {
    let badness = |peer: &PeerReach| {
        let rank = match (peer.reachable, peer.mtu_ok) {
            (false, _) => 0,
            (true, Some(false)) => 1,
            _ => 2,
        };
        (rank, u32::MAX - peer.rtt_us.unwrap_or_default())
    };
    peers.sort_by_key(badness);
    peers.truncate(Reach::MOST);
    peers.sort_by(|one, other| one.host.cmp(&other.host));
    peers
}

/// Whether it differs enough to be told.
fn is_news(old: &Reach, new: &Reach) -> bool {
    let age = old.at.zip(new.at).map(|(old, new)| new.duration_since(old));
    let is_old = age.is_none_or(|age| age.unsigned_abs() >= AGAIN);
    let skew = match (old.clock_skew_ms, new.clock_skew_ms) {
        (Some(old), Some(new)) => old.abs_diff(new) > SKEW_NEWS,
        (old, new) => old.is_some() != new.is_some(),
    };
    let is_other = |(old, new): (&PeerReach, &PeerReach)| {
        let (slow, quick) = (old.rtt_us.max(new.rtt_us), old.rtt_us.min(new.rtt_us));
        let (slow, quick) = (slow.unwrap_or_default(), quick.unwrap_or_default());
        old.host != new.host
            || (old.reachable, old.mtu_ok, old.outside) != (new.reachable, new.mtu_ok, new.outside)
            || (slow > quick.saturating_mul(2) && slow - quick > RTT_NEWS)
    };
    is_old
        || skew
        || old.peers.len() != new.peers.len()
        || old.peers.iter().zip(&new.peers).any(is_other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(bits: u64) -> Target {
        Target {
            host: Id::from_bits("h", bits),
            inside: Ipv4Addr::from(u32::try_from(bits).unwrap()),
            outside: None,
        }
    }

    fn found(rtt: Option<u64>) -> Found {
        Found {
            rtt: rtt.map(Duration::from_micros),
            large: rtt.map(|_| true),
            outside: Some(true),
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn everybody_has_a_turn() {
        let all: Vec<Target> = (0..150).map(target).collect();
        let lengths: Vec<usize> = (0..4).map(|turn| part(&all, turn).len()).collect();
        assert_eq!(lengths, [64, 64, 22, 64]);
        assert!(part(&[], 3).is_empty());
    }

    #[test]
    fn since_counts_from_the_change() {
        let one = target(1);
        let first = peer(&one, None, found(Some(700)), at(10));
        let second = peer(&one, Some(&first), found(Some(800)), at(40));
        assert_eq!((second.since, second.rtt_us), (at(10), Some(800)));
        let third = peer(&one, Some(&second), found(None), at(70));
        assert_eq!((third.since, third.reachable), (at(70), false));
    }

    #[test]
    fn the_worst_are_told_of() {
        let all = (0..100).map(|bits| {
            let rtt = Some(bits).filter(|bits| bits % 10 != 0);
            peer(&target(bits), None, found(rtt), at(0))
        });
        let told = worst_first(all.collect());
        assert_eq!(told.len(), Reach::MOST);
        let away = told.iter().filter(|peer| !peer.reachable).count();
        assert_eq!(away, 10);
        let slowest = told.iter().any(|peer| peer.rtt_us == Some(99));
        let quickest = told.iter().any(|peer| peer.rtt_us == Some(1));
        assert!(slowest && !quickest);
    }

    #[test]
    fn noise_is_not_told() {
        let reach = |rtt: Option<u64>, skew: i64, seconds: u64| Reach {
            at: Some(at(seconds)),
            clock_skew_ms: Some(skew),
            peers: vec![peer(&target(1), None, found(rtt), at(0))],
        };
        let old = reach(Some(400), 10, 0);
        assert!(is_news(&Reach::default(), &old));
        assert!(!is_news(&old, &reach(Some(1_300), 100, 30)));
        assert!(is_news(&old, &reach(Some(1_900), 10, 30)));
        assert!(is_news(&old, &reach(None, 10, 30)));
        assert!(is_news(&old, &reach(Some(400), 900, 30)));
        assert!(is_news(&old, &reach(Some(400), 10, 600)));
        let mut alone = old.clone();
        alone.peers.clear();
        assert!(is_news(&old, &alone));
    }
}
