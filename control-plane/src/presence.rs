//! What this server says of itself and of the hosts that it hears. All of it lies under one lease, so that it ends with the server, however
//! that ends. Owns the keys that carry this server's name below `/alive/` and `/servers/`: nobody else writes them.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use api::Id;
use tokio::time::Instant;

use crate::server::Server;
use crate::store::{Error, LeaseId, Store, Write};

/// Folder of the keys that say which hosts are heard of: `/alive/<project>/<host>/<server>`.
pub const ALIVE: &str = "/alive/";
/// Folder of the keys that say where servers are reached: `/servers/<server>`.
pub const SERVERS: &str = "/servers/";

/// Seconds after which the hosts of a server that has died are not heard of any more.
const TTL: u32 = 10;
/// How often the server says that it lives.
const KEEP: Duration = Duration::from_secs(3);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(1);
/// Hosts that come and go within this time share a write.
const TOGETHER: Duration = Duration::from_millis(20);

/// The host that a key below [`ALIVE`] is about.
#[must_use]
pub fn heard_host(key: &str) -> Option<Id> {
    key.strip_prefix(ALIVE)?.split('/').nth(1)?.parse().ok()
}

/// The instance of a host's agent that another server hears, if one does.
#[must_use]
pub fn elsewhere(server: &Server, project: &Id, host: &Id) -> Option<String> {
    let folder = format!("{ALIVE}{project}/{host}/");
    let own = format!("{folder}{}", server.name);
    let heard = server.mirror.list(&folder, None, usize::MAX);
    let other = heard.into_iter().find(|entry| entry.key != own)?;
    String::from_utf8(other.value.clone()).ok()
}

/// `https://name:port`, as agents are told.
#[must_use]
pub fn url(name: &str, port: u16) -> String {
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("https://[{address}]:{port}"),
        _ => format!("https://{name}:{port}"),
    }
}

/// Says it until it is dropped, whatever the store does meanwhile. `urls` is where this server is reached.
pub async fn run(server: &Server, urls: &[String]) {
    let mut presence = Presence {
        server,
        urls,
        lease: None,
        kept: Instant::now(),
        said: BTreeMap::new(),
    };
    loop {
        let pause = match presence.round().await {
            Ok(()) => KEEP,
            Err(_) => AGAIN,
        };
        server.hub.cut_off(presence.is_lost());
        if tokio::time::timeout(pause, server.hub.changed())
            .await
            .is_ok()
        {
            tokio::time::sleep(TOGETHER).await;
        }
    }
}

/// Takes it all back.
pub async fn end(server: &Server) {
    // What cannot be taken back ends with the lease.
    if let Some(lease) = server.lease() {
        server.objects.store().revoke(lease).await.ok();
    }
}

struct Presence<'a> {
    server: &'a Server,
    urls: &'a [String],
    lease: Option<LeaseId>,
    /// When the lease was last known to live.
    kept: Instant,
    /// What the store holds under the lease; `None`: not known, a write has failed.
    said: BTreeMap<String, Option<Vec<u8>>>,
}

impl Presence<'_> {
    async fn round(&mut self) -> Result<(), Error> {
        let lease = self.live_lease().await?;
        self.settle();
        let wanted = self.wanted();
        let writes = differences(&self.said, &wanted, lease);
        // Until it is known to be done.
        for write in &writes {
            self.said.insert(write.key().to_owned(), None);
        }
        let store = &**self.server.objects.store();
        let writing = store.write_all(writes);
        match keeping(store, lease, &mut self.kept, writing).await {
            Ok(_) => {
                self.said = wanted
                    .into_iter()
                    .map(|(key, value)| (key, Some(value)))
                    .collect();
                Ok(())
            }
            Err(error) => {
                if matches!(error, Error::NoLease) {
                    self.lease = None;
                }
                Err(error)
            }
        }
    }

    /// Two machines with one identity that came to two servers in the same moment: one of them is sent away, and refused when it is back.
    fn settle(&self) {
        for (project, host, instance) in self.server.hub.heard() {
            let other = elsewhere(self.server, &project, &host);
            if other.is_some_and(|other| other < instance) {
                self.server.hub.send_away(&host, &instance);
            }
        }
    }

    /// The lease, kept when it is time; a new one when it was lost, and with it what was said.
    async fn live_lease(&mut self) -> Result<LeaseId, Error> {
        let store = self.server.objects.store();
        let asked = Instant::now();
        if let Some(lease) = self.lease {
            if self.kept.elapsed() < KEEP {
                return Ok(lease);
            }
            match store.keep(lease).await {
                Ok(()) => {
                    self.kept = asked;
                    return Ok(lease);
                }
                Err(Error::NoLease) => self.lease = None,
                Err(error) => return Err(error),
            }
        }
        let lease = store.grant(TTL).await?;
        (self.lease, self.kept) = (Some(lease), asked);
        self.server.set_lease(lease);
        self.said.clear();
        Ok(lease)
    }

    fn wanted(&self) -> BTreeMap<String, Vec<u8>> {
        let name = &self.server.name;
        let heard = self.server.hub.heard().into_iter();
        let mut wanted: BTreeMap<String, Vec<u8>> = heard
            .map(|(project, host, instance)| {
                (
                    format!("{ALIVE}{project}/{host}/{name}"),
                    instance.into_bytes(),
                )
            })
            .collect();
        // A list of texts, which serde_json takes.
        let urls = serde_json::to_vec(self.urls).unwrap_or_default();
        wanted.insert(format!("{SERVERS}{name}"), urls);
        wanted
    }

    /// The store has not answered for so long that others count this server's hosts as lost.
    fn is_lost(&self) -> bool {
        self.kept.elapsed() > Duration::from_secs(TTL.into())
    }
}

/// Does the work, and keeps the lease meanwhile: when a thousand hosts come at once it may take longer than the lease lasts.
async fn keeping<T>(
    store: &dyn Store,
    lease: LeaseId,
    kept: &mut Instant,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let keep = async {
        loop {
            tokio::time::sleep(KEEP).await;
            let asked = Instant::now();
            if let Err(error) = store.keep(lease).await {
                return error;
            }
            *kept = asked;
        }
    };
    tokio::select! {
        done = work => done,
        error = keep => Err(error),
    }
}

fn differences(
    said: &BTreeMap<String, Option<Vec<u8>>>,
    wanted: &BTreeMap<String, Vec<u8>>,
    lease: LeaseId,
) -> Vec<Write> {
    let gone = said
        .keys()
        .filter(|key| !wanted.contains_key(*key))
        .map(|key| Write::delete(key.clone()));
    let put = wanted
        .iter()
        .filter(|(key, value)| said.get(*key).and_then(Option::as_ref) != Some(value))
        .map(|(key, value)| Write::Put {
            key: key.clone(),
            value: value.clone(),
            lease: Some(lease),
        });
    gone.chain(put).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Sqlite;

    #[test]
    fn what_failed_is_said_again() {
        let wanted = BTreeMap::from([
            ("/a".to_owned(), b"1".to_vec()),
            ("/b".to_owned(), b"2".to_vec()),
        ]);
        let said = BTreeMap::from([
            ("/a".to_owned(), Some(b"1".to_vec())),
            ("/b".to_owned(), None),
            ("/c".to_owned(), None),
        ]);
        let keys: Vec<String> = differences(&said, &wanted, LeaseId(1))
            .iter()
            .map(|write| write.key().to_owned())
            .collect();
        assert_eq!(keys, ["/c", "/b"]);
    }

    #[tokio::test]
    async fn the_lease_is_kept_while_much_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("s")).unwrap();
        let lease = store
            .grant(1 + u32::try_from(KEEP.as_secs()).unwrap())
            .await
            .unwrap();
        let begun = Instant::now();
        let mut kept = begun;
        let slow = async {
            tokio::time::sleep(KEEP + Duration::from_secs(2)).await;
            store.keep(lease).await
        };
        keeping(&store, lease, &mut kept, slow).await.unwrap();
        assert!(kept >= begun + KEEP);
        // A lost one ends it.
        store.revoke(lease).await.unwrap();
        let never = std::future::pending::<Result<(), Error>>();
        let ended = keeping(&store, lease, &mut kept, never).await;
        assert!(matches!(ended, Err(Error::NoLease)), "{ended:?}");
    }

    #[test]
    fn keys_and_addresses() {
        assert_eq!(
            heard_host("/alive/p-aaaaaaaaaaaa/h-aaaaaaaaaaab/s"),
            "h-aaaaaaaaaaab".parse().ok()
        );
        assert_eq!(heard_host("/servers/s"), None);
        assert_eq!(url("a.example", 1), "https://a.example:1");
        assert_eq!(url("fd00::1", 1), "https://[fd00::1]:1");
    }
}
