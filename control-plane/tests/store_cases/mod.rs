//! What every store promises. Each case has keys of its own, so that all may run on one store.

use std::time::Duration;

use control_plane::store::{Change, Error, MAX_VALUE, Revision, Store, Transaction, Watch, Write};

/// Runs every case.
pub async fn all(store: &dyn Store) {
    transactions_are_whole(store).await;
    expectations_hold(store).await;
    nothing_changes_nothing(store).await;
    a_watch_misses_nothing(store).await;
    a_watch_sees_its_prefix_only(store).await;
    concurrent_changes_are_all_counted(store).await;
    leases_end_with_their_keys(store).await;
    too_much_is_refused(store).await;
    a_large_state_is_read_and_watched(store).await;
    nobody_waits_for_what_may_never_be(store).await;
    what_is_forgotten_is_said(store).await;
}

async fn put(store: &dyn Store, key: &str, value: &str) -> Revision {
    commit(store, vec![], vec![Write::put(key, value)])
        .await
        .unwrap()
}

async fn commit(
    store: &dyn Store,
    expect: Vec<(&str, Revision)>,
    writes: Vec<Write>,
) -> Result<Revision, Error> {
    let expect = expect
        .into_iter()
        .map(|(key, revision)| (key.to_owned(), revision))
        .collect();
    store.commit(Transaction { expect, writes }).await
}

async fn values(store: &dyn Store, prefix: &str) -> Vec<(String, String)> {
    let snapshot = store.snapshot(prefix).await.unwrap();
    snapshot
        .entries
        .into_iter()
        .map(|entry| (entry.key, String::from_utf8(entry.value).unwrap()))
        .collect()
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

async fn transactions_are_whole(store: &dyn Store) {
    put(store, "/t/a", "1").await;
    let at = commit(
        store,
        vec![],
        vec![
            Write::put("/t/b", "2"),
            Write::delete("/t/a"),
            Write::put("/t/c", "3"),
        ],
    )
    .await
    .unwrap();
    assert_eq!(
        values(store, "/t/").await,
        [pair("/t/b", "2"), pair("/t/c", "3")]
    );
    let snapshot = store.snapshot("/t/").await.unwrap();
    assert_eq!(snapshot.revision, at);
    assert!(snapshot.entries.iter().all(|entry| entry.revision == at));
}

async fn expectations_hold(store: &dyn Store) {
    let first = commit(store, vec![("/e/a", 0)], vec![Write::put("/e/a", "1")])
        .await
        .unwrap();
    for wrong in [0, first + 1] {
        let refused = commit(
            store,
            vec![("/e/a", wrong)],
            vec![Write::put("/e/a", "2"), Write::put("/e/b", "2")],
        )
        .await;
        assert!(matches!(refused, Err(Error::Conflict { key }) if key == "/e/a"));
    }
    assert_eq!(values(store, "/e/").await, [pair("/e/a", "1")]);
    let second = commit(store, vec![("/e/a", first)], vec![Write::put("/e/a", "2")]).await;
    assert!(second.unwrap() > first);
}

async fn nothing_changes_nothing(store: &dyn Store) {
    let before = put(store, "/n/a", "1").await;
    assert_eq!(
        commit(store, vec![], vec![Write::delete("/n/none")])
            .await
            .unwrap(),
        before
    );
    assert_eq!(
        commit(store, vec![("/n/a", before)], vec![]).await.unwrap(),
        before
    );
}

/// The next changes, as `key=value` or `-key`, until there are `count`.
async fn seen(watch: &mut Watch, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut last = 0;
    while all.len() < count {
        let batch = tokio::time::timeout(Duration::from_secs(10), watch.recv())
            .await
            .unwrap_or_else(|_| panic!("only {all:?}"))
            .unwrap()
            .unwrap();
        assert!(batch.revision > last, "revisions grow");
        last = batch.revision;
        for change in batch.changes {
            all.push(match change {
                Change::Put(entry) => {
                    assert_eq!(entry.revision, batch.revision);
                    format!("{}={}", entry.key, String::from_utf8(entry.value).unwrap())
                }
                Change::Delete { key, revision } => {
                    assert_eq!(revision, batch.revision);
                    format!("-{key}")
                }
            });
        }
    }
    all
}

async fn a_watch_misses_nothing(store: &dyn Store) {
    let start = put(store, "/w/a", "0").await;
    let mut early = store.watch("/w/", start).await.unwrap();
    let middle = put(store, "/w/a", "1").await;
    commit(
        store,
        vec![],
        vec![Write::put("/w/b", "2"), Write::delete("/w/a")],
    )
    .await
    .unwrap();
    let expected = ["/w/a=1", "-/w/a", "/w/b=2"];
    let mut first = seen(&mut early, 3).await;
    first[1..].sort();
    assert_eq!(first, expected);
    // Resumed in the middle, and later changes come to it, too.
    let mut late = store.watch("/w/", middle).await.unwrap();
    let mut rest = seen(&mut late, 2).await;
    rest.sort();
    assert_eq!(rest, expected[1..]);
    put(store, "/w/c", "3").await;
    assert_eq!(seen(&mut late, 1).await, ["/w/c=3"]);
    assert_eq!(seen(&mut early, 1).await, ["/w/c=3"]);
}

async fn a_watch_sees_its_prefix_only(store: &dyn Store) {
    let start = put(store, "/p/x/1", "1").await;
    let mut watch = store.watch("/p/x/", start).await.unwrap();
    put(store, "/p/y/1", "no").await;
    put(store, "/p/x", "no").await;
    put(store, "/p/x/2", "yes").await;
    assert_eq!(seen(&mut watch, 1).await, ["/p/x/2=yes"]);
    assert_eq!(values(store, "/p/x/").await.len(), 2);
}

async fn concurrent_changes_are_all_counted(store: &dyn Store) {
    put(store, "/c/n", "0").await;
    let add = async || {
        for _ in 0..25 {
            loop {
                let entry = store.snapshot("/c/n").await.unwrap().entries.remove(0);
                let number: u32 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                let write = Write::put("/c/n", (number + 1).to_string());
                match commit(store, vec![("/c/n", entry.revision)], vec![write]).await {
                    Ok(_) => break,
                    Err(Error::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    tokio::join!(add(), add(), add(), add());
    assert_eq!(values(store, "/c/n").await, [pair("/c/n", "100")]);
}

async fn leases_end_with_their_keys(store: &dyn Store) {
    let (kept, short, revoked) = (
        store.grant(2).await.unwrap(),
        store.grant(1).await.unwrap(),
        store.grant(60).await.unwrap(),
    );
    let put = |key: &str, lease| Write::Put {
        key: key.to_owned(),
        value: b"x".to_vec(),
        lease: Some(lease),
    };
    let writes = vec![
        put("/l/kept", kept),
        put("/l/short", short),
        put("/l/revoked", revoked),
    ];
    let at = commit(store, vec![], writes).await.unwrap();
    let mut watch = store.watch("/l/", at).await.unwrap();
    store.revoke(revoked).await.unwrap();
    assert_eq!(seen(&mut watch, 1).await, ["-/l/revoked"]);
    let keep = async {
        loop {
            store.keep(kept).await.unwrap();
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    };
    tokio::select! {
        _ = keep => {}
        ended = seen(&mut watch, 1) => assert_eq!(ended, ["-/l/short"]),
    }
    assert_eq!(values(store, "/l/").await, [pair("/l/kept", "x")]);
    assert!(matches!(store.keep(short).await, Err(Error::NoLease)));
    let late = commit(store, vec![], vec![put("/l/late", short)]).await;
    assert!(matches!(late, Err(Error::NoLease)), "{late:?}");
    assert_eq!(seen(&mut watch, 1).await, ["-/l/kept"]);
}

async fn too_much_is_refused(store: &dyn Store) {
    let large = Write::put("/x/large", vec![0; MAX_VALUE + 1]);
    let refused = commit(store, vec![], vec![large]).await;
    assert!(
        matches!(refused, Err(Error::TooLarge { .. })),
        "{refused:?}"
    );
    let many = (0..200)
        .map(|n| Write::put(format!("/x/{n}"), ""))
        .collect();
    let refused = commit(store, vec![], many).await;
    assert!(
        matches!(refused, Err(Error::TooLarge { .. })),
        "{refused:?}"
    );
    assert_eq!(values(store, "/x/").await, []);
}

/// More than gRPC takes in one message unless told otherwise: 4 MiB.
async fn a_large_state_is_read_and_watched(store: &dyn Store) {
    let start = put(store, "/l/first", "").await;
    let keys: Vec<String> = (10..30).map(|n| format!("/l/{n}")).collect();
    for key in &keys {
        let large = Write::put(key.clone(), vec![b'x'; MAX_VALUE - 100]);
        commit(store, vec![], vec![large]).await.unwrap();
    }
    let snapshot = store.snapshot("/l/").await.unwrap();
    assert_eq!(snapshot.entries.len(), 21);
    // What was missed comes at once, however much it is.
    let mut watch = store.watch("/l/", start).await.unwrap();
    let told = seen(&mut watch, 20).await;
    let told: Vec<&str> = told
        .iter()
        .filter_map(|one| one.split('=').next())
        .collect();
    assert_eq!(told, keys);
    for part in keys.chunks(10) {
        let removals = part.iter().map(Write::delete).collect();
        commit(store, vec![], removals).await.unwrap();
    }
}

/// A revision that the store has not come to is another store's, or an older copy's that was put back.
async fn nobody_waits_for_what_may_never_be(store: &dyn Store) {
    let last = put(store, "/r/a", "1").await;
    let from = last + 1000;
    match store.watch("/r/", from).await {
        Err(Error::Ahead { from: told, .. }) => assert_eq!(told, from),
        other => panic!("{other:?}"),
    }
    let mut watch = store.watch("/r/", last).await.unwrap();
    put(store, "/r/a", "2").await;
    assert_eq!(seen(&mut watch, 1).await, ["/r/a=2"]);
}

async fn what_is_forgotten_is_said(store: &dyn Store) {
    let old = put(store, "/f/a", "1").await;
    let new = put(store, "/f/a", "2").await;
    store.compact(new + 1).await.unwrap();
    let refused = match store.watch("/f/", old.saturating_sub(1)).await {
        Err(error) => error,
        Ok(mut watch) => watch.recv().await.unwrap().unwrap_err(),
    };
    assert!(matches!(refused, Error::Compacted { .. }), "{refused:?}");
    let mut watch = store.watch("/f/", new).await.unwrap();
    put(store, "/f/a", "3").await;
    assert_eq!(seen(&mut watch, 1).await, ["/f/a=3"]);
}
