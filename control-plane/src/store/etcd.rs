//! The store in etcd v3, for several servers. All keys lie below one prefix of etcd's, so that it may serve others, too.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, EventType, GetOptions, KeyValue, KvClient,
    PutOptions, Txn, TxnOp, TxnOpResponse, WatchClient, WatchOptions, WatchResponse,
};
use tokio::sync::mpsc;

use super::{
    Batch, Change, Entry, Error, LeaseId, Revision, Snapshot, Store, Transaction, Watch, Write,
    append, check, number, stored,
};

/// Longest wait for an answer: an election of etcd's takes about a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon a broken connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Key of the store's id, below the prefix.
const ID: &str = "id";
/// gRPC statuses.
const NOT_FOUND: i32 = 5;
const UNAVAILABLE: i32 = 14;
/// Attempts to reach a member that lives.
const ATTEMPTS: usize = 5;

/// The store in etcd.
#[derive(Clone)]
pub struct Etcd {
    client: Client,
    /// Both take messages of any size: the whole state comes in one, and so does what a watch has missed.
    keys: KvClient,
    watches: WatchClient,
    prefix: String,
}

/// Certificates for etcd, PEM.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// Of the CA that has signed etcd's certificate.
    pub ca: Vec<u8>,
    /// Ours.
    pub certificate: Vec<u8>,
    /// Its key.
    pub key: Vec<u8>,
}

fn failed(error: etcd_client::Error) -> Error {
    match &error {
        etcd_client::Error::LeaseKeepAliveError(_) => Error::NoLease,
        etcd_client::Error::GRpcStatus(status)
            if status.code() as i32 == NOT_FOUND && status.message().contains("lease") =>
        {
            Error::NoLease
        }
        _ => Error::Unavailable(error.into()),
    }
}

async fn timely<T>(asked: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, Error> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(failed),
        Err(late) => Err(Error::Unavailable(late.into())),
    }
}

/// Asks again while the member that was asked cannot even be connected to: the next attempt goes to another one. What may have been
/// heard is never repeated.
async fn asked<T, F: Future<Output = Result<T, etcd_client::Error>>>(
    ask: impl Fn() -> F,
) -> Result<T, Error> {
    let mut attempt = 1;
    loop {
        let answer = tokio::time::timeout(PATIENCE, ask()).await;
        match answer {
            Ok(Err(error)) if attempt < ATTEMPTS && is_unheard(&error) => attempt += 1,
            Ok(answer) => return answer.map_err(failed),
            Err(late) => return Err(Error::Unavailable(late.into())),
        }
    }
}

fn is_unheard(error: &etcd_client::Error) -> bool {
    let etcd_client::Error::GRpcStatus(status) = error else {
        return false;
    };
    let chain = format!("{status:?}");
    status.code() as i32 == UNAVAILABLE && chain.contains("ConnectError")
}

impl Etcd {
    /// Connects; any of `endpoints` (`https://host:2379`) will do.
    ///
    /// # Errors
    /// When none of them answers.
    pub async fn connect(
        endpoints: &[String],
        prefix: &str,
        certificates: Option<Certificates>,
    ) -> Result<Self, Error> {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(KEEP_ALIVE)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        if let Some(pem) = certificates {
            let tls = etcd_client::TlsOptions::new()
                .ca_certificate(etcd_client::Certificate::from_pem(pem.ca))
                .identity(etcd_client::Identity::from_pem(pem.certificate, pem.key));
            options = options.with_tls(tls);
        }
        let client = timely(Client::connect(endpoints, Some(options))).await?;
        Ok(Self {
            keys: client.kv_client().max_decoding_message_size(usize::MAX),
            watches: client.watch_client().max_decoding_message_size(usize::MAX),
            client,
            prefix: prefix.to_owned(),
        })
    }

    fn txn(
        &self,
        txn: Txn,
    ) -> impl Future<Output = Result<etcd_client::TxnResponse, etcd_client::Error>> + use<> {
        let mut keys = self.keys.clone();
        async move { keys.txn(txn).await }
    }

    /// The last one: of all that etcd holds.
    async fn revision(&self) -> Result<Revision, Error> {
        let key = self.key(ID);
        let get = || {
            let (mut keys, key) = (self.keys.clone(), key.clone());
            let options = GetOptions::new().with_count_only();
            async move { keys.get(key, Some(options)).await }
        };
        let answer = asked(get).await?;
        let revision = answer.header().map(|header| number(header.revision()));
        Ok(revision.unwrap_or(0))
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn entry(&self, found: &KeyValue) -> Entry {
        let key = String::from_utf8_lossy(found.key());
        Entry {
            key: key.strip_prefix(&self.prefix).unwrap_or(&key).to_owned(),
            value: found.value().to_vec(),
            revision: number(found.mod_revision()),
        }
    }

    fn operation(&self, write: &Write) -> TxnOp {
        match write {
            Write::Put { key, value, lease } => {
                let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
                TxnOp::put(self.key(key), value.clone(), options)
            }
            Write::Delete { key } => TxnOp::delete(self.key(key), None),
        }
    }

    /// The key whose expectation failed, by what the transaction has read instead of writing.
    fn culprit(&self, expect: &[(String, Revision)], read: &[TxnOpResponse]) -> String {
        let found = read.iter().map(|response| match response {
            TxnOpResponse::Get(get) => get.kvs().first().map_or(0, |kv| number(kv.mod_revision())),
            _ => 0,
        });
        expect
            .iter()
            .zip(found)
            .find(|((_, expected), found)| expected != found)
            .map_or_else(String::new, |((key, _), _)| key.clone())
    }

    fn batches(&self, response: &WatchResponse) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        for event in response.events() {
            let Some(found) = event.kv() else { continue };
            let entry = self.entry(found);
            let revision = entry.revision;
            let change = match event.event_type() {
                EventType::Put => Change::Put(entry),
                EventType::Delete => Change::Delete {
                    key: entry.key,
                    revision,
                },
            };
            append(&mut batches, revision, change);
        }
        batches
    }
}

#[async_trait]
impl Store for Etcd {
    async fn id(&self) -> Result<String, Error> {
        let key = self.key(ID);
        let fresh = format!("{:032x}", rand::random::<u128>());
        let make = Txn::new()
            .when([Compare::mod_revision(key.clone(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key.clone(), fresh.clone(), None)])
            .or_else([TxnOp::get(key, None)]);
        let answer = asked(|| self.txn(make.clone())).await?;
        // A snapshot that was restored is another cluster of etcd's: its revisions stand for other changes.
        let cluster = answer.header().map_or(0, |header| header.cluster_id());
        if answer.succeeded() {
            return Ok(format!("{fresh}{cluster:016x}"));
        }
        let found = answer
            .op_responses()
            .into_iter()
            .find_map(|response| match response {
                TxnOpResponse::Get(get) => Some(self.entry(get.kvs().first()?).value),
                _ => None,
            });
        let id = found.unwrap_or_default();
        Ok(format!("{}{cluster:016x}", String::from_utf8_lossy(&id)))
    }

    async fn snapshot(&self, prefix: &str) -> Result<Snapshot, Error> {
        let options = GetOptions::new().with_prefix();
        let key = self.key(prefix);
        let get = || {
            let (mut keys, key, options) = (self.keys.clone(), key.clone(), options.clone());
            async move { keys.get(key, Some(options)).await }
        };
        let answer = asked(get).await?;
        Ok(Snapshot {
            revision: answer
                .header()
                .map_or(0, |header| number(header.revision())),
            entries: answer.kvs().iter().map(|found| self.entry(found)).collect(),
        })
    }

    async fn commit(&self, transaction: Transaction) -> Result<Revision, Error> {
        check(&transaction)?;
        let Transaction { expect, writes } = transaction;
        let compares: Vec<Compare> = expect
            .iter()
            .map(|(key, revision)| {
                Compare::mod_revision(self.key(key), CompareOp::Equal, stored(*revision))
            })
            .collect();
        let reads: Vec<TxnOp> = expect
            .iter()
            .map(|(key, _)| TxnOp::get(self.key(key), Some(GetOptions::new().with_keys_only())))
            .collect();
        let writes: Vec<TxnOp> = writes.iter().map(|write| self.operation(write)).collect();
        let txn = Txn::new().when(compares).and_then(writes).or_else(reads);
        let answer = asked(|| self.txn(txn.clone())).await?;
        if !answer.succeeded() {
            let key = self.culprit(&expect, &answer.op_responses());
            return Err(Error::Conflict { key });
        }
        Ok(answer
            .header()
            .map_or(0, |header| number(header.revision())))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, Error> {
        // etcd would wait for what has not happened.
        let last = self.revision().await?;
        if after > last {
            return Err(Error::Ahead { from: after, last });
        }
        let options = WatchOptions::new()
            .with_prefix()
            .with_start_revision(stored(after + 1));
        let mut stream =
            timely(self.watches.clone().watch(self.key(prefix), Some(options))).await?;
        let (sender, watch) = mpsc::channel(64);
        let store = self.clone();
        tokio::spawn(async move {
            loop {
                let next = tokio::select! {
                    () = sender.closed() => return,
                    next = stream.message() => next,
                };
                let outcome = match next {
                    Ok(Some(response)) if response.compact_revision() > 0 => {
                        Err(Error::Compacted { from: after })
                    }
                    Ok(Some(response)) if response.canceled() => {
                        Err(Error::Unavailable(response.cancel_reason().into()))
                    }
                    Ok(Some(response)) => Ok(store.batches(&response)),
                    Ok(None) => Err(Error::Unavailable("the watch has ended".into())),
                    Err(error) => Err(failed(error)),
                };
                if !pass_on(outcome, &sender).await {
                    return;
                }
            }
        });
        Ok(watch)
    }

    async fn grant(&self, ttl: u32) -> Result<LeaseId, Error> {
        let grant = || {
            let mut client = self.client.clone();
            async move { client.lease_grant(ttl.into(), None).await }
        };
        let answer = asked(grant).await?;
        Ok(LeaseId(answer.id()))
    }

    async fn keep(&self, lease: LeaseId) -> Result<(), Error> {
        let mut client = self.client.clone();
        let kept = async move {
            let (mut keeper, mut answers) = client.lease_keep_alive(lease.0).await?;
            keeper.keep_alive().await?;
            answers.message().await
        };
        let answer = timely(kept).await?;
        let lives = answer.is_some_and(|answer| answer.ttl() > 0);
        lives.then_some(()).ok_or(Error::NoLease)
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        match timely(self.client.clone().lease_revoke(lease.0)).await {
            Ok(_) | Err(Error::NoLease) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let last = stored(revision.saturating_sub(1));
        timely(self.client.clone().compact(last, None))
            .await
            .map(drop)
    }
}

/// False: nothing more is to come, or nobody listens.
async fn pass_on(
    outcome: Result<Vec<Batch>, Error>,
    watch: &mpsc::Sender<Result<Batch, Error>>,
) -> bool {
    match outcome {
        Ok(batches) => {
            for batch in batches {
                if watch.send(Ok(batch)).await.is_err() {
                    return false;
                }
            }
            true
        }
        Err(error) => {
            watch.send(Err(error)).await.ok();
            false
        }
    }
}
