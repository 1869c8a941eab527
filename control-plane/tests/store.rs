//! The promises of the store, kept by every backend; then what a crash may do to them: nothing.
// Test code: a failed unwrap is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

mod etcd_cluster;
mod store_cases;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use control_plane::store::{Etcd, Sqlite, Store, Transaction, Write};

#[tokio::test]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("store")).unwrap();
    store_cases::all(&store).await;
}

#[tokio::test]
async fn the_file_is_for_its_owner_and_one_server() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = Sqlite::open(&path).unwrap();
    store
        .commit(Transaction {
            writes: vec![Write::put("/a", "1")],
            ..Transaction::default()
        })
        .await
        .unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let second = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--nocapture"])
        .env("STORE", &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("is used by another server"), "{said}");
}

#[tokio::test]
async fn a_damaged_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    std::fs::write(&path, "no database").unwrap();
    let error = Sqlite::open(&path).unwrap_err();
    assert!(error.to_string().contains("is damaged"), "{error}");
}

/// Not a test of its own: the process that is killed. Says each number that the store has taken.
#[tokio::test]
async fn writer() {
    let Some(path) = std::env::var_os("STORE") else {
        return;
    };
    let store = Sqlite::open(Path::new(&path)).unwrap_or_else(|error| panic!("{error}"));
    let entries = store.snapshot("/one").await.unwrap().entries;
    let first = entries.first().map_or(0, |entry| number(&entry.value) + 1);
    for number in first.. {
        let text = number.to_string();
        let writes = vec![Write::put("/one", text.clone()), Write::put("/two", text)];
        store
            .commit(Transaction {
                writes,
                ..Transaction::default()
            })
            .await
            .unwrap();
        println!("taken {number}");
    }
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_killed_server_loses_nothing_it_has_answered() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut answered = None;
    for round in 0..8 {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer", "--nocapture"])
            .env("STORE", &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
        tokio::time::sleep(Duration::from_millis(150 + 37 * round)).await;
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        let last = output
            .lines()
            .filter_map(|line| line.strip_prefix("taken ")?.parse::<u64>().ok())
            .next_back();
        answered = answered.max(last);
        let store = Sqlite::open(&path).unwrap();
        let entries = store.snapshot("/").await.unwrap().entries;
        let values: Vec<u64> = entries.iter().map(|entry| number(&entry.value)).collect();
        if let Some(answered) = answered {
            assert!(values[0] >= answered, "{values:?} after {answered}");
            assert_eq!(values[0], values[1], "half a transaction");
            assert_eq!(entries[0].revision, values[0] + 1);
        }
    }
    assert!(answered.is_some_and(|last| last > 20), "{answered:?}");
}

#[tokio::test]
async fn etcd() {
    let Some(cluster) = etcd_cluster::Cluster::start(1) else {
        return;
    };
    let store = Etcd::connect(&cluster.endpoints(), "/test", None)
        .await
        .unwrap();
    store_cases::all(&store).await;
}

#[tokio::test]
async fn etcd_goes_on_when_a_member_is_lost() {
    let Some(mut cluster) = etcd_cluster::Cluster::start(3) else {
        return;
    };
    let store = Etcd::connect(&cluster.endpoints(), "/test", None)
        .await
        .unwrap();
    let put = |value: u32| {
        let writes = vec![Write::put("/a", value.to_string())];
        Transaction {
            writes,
            ..Transaction::default()
        }
    };
    let id = store.id().await.unwrap();
    let first = store.commit(put(0)).await.unwrap();
    let mut last = first;
    let mut watch = store.watch("/", first).await.unwrap();
    cluster.kill(0);
    let mut done = 0;
    let begun = std::time::Instant::now();
    let mut value = 0;
    while done < 50 {
        value += 1;
        // The connection to the dead member and an election cost some answers; none may lie.
        match store.commit(put(value)).await {
            Ok(revision) => {
                assert!(revision > last);
                (last, done) = (revision, done + 1);
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "only {done} of {value}"
        );
    }
    assert_eq!(store.id().await.unwrap(), id);
    // The watch tells all of it, or that it broke: then it goes on from where it was.
    let mut told = 0;
    while told < last {
        match tokio::time::timeout(Duration::from_secs(2), watch.recv()).await {
            Ok(Some(Ok(batch))) => told = batch.revision,
            _ => {
                assert!(
                    begun.elapsed() < Duration::from_secs(60),
                    "told {told} of {last}"
                );
                if let Ok(again) = store.watch("/", told.max(first)).await {
                    watch = again;
                }
            }
        }
    }
}
