//! Names of others, from the host's resolvers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::script::{Scripted, answer_to};
use crate::world::{Dnsmasq, Server, addresses, catalog, query, with_edns, zone_of};

/// A large record, so that the answer does not fit into a packet.
fn large() -> String {
    let texts: String = (0..12)
        .map(|n| format!(",\"{n}{}\"", "x".repeat(200)))
        .collect();
    format!("--txt-record=large.example.test{texts}")
}

#[tokio::test]
async fn others_names_come_from_the_hosts_resolvers() {
    let options = [
        "--host-record=www.example.test,192.0.2.1,300",
        "--local=/test/",
        "--host-record=printer,192.0.2.7",
    ];
    let Some(upstream) = Dnsmasq::start(&options) else {
        return;
    };
    let server = Server::start(catalog(), &[upstream.address]).await;
    let answer = server.ask("www.example.test", RecordType::A).await;
    assert_eq!(addresses(&answer), ["192.0.2.1"]);
    assert!(answer.metadata.recursion_available);
    // A short name that the project does not have.
    let answer = server.ask("printer", RecordType::A).await;
    assert_eq!(addresses(&answer), ["192.0.2.7"]);
    let answer = server.ask("nobody.example.test", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
    let again = server.ask("WWW.example.test", RecordType::A).await;
    assert_eq!(addresses(&again), ["192.0.2.1"]);
    let (forwarded, cached) = (server.stats.forwarded.get(), server.stats.cached.get());
    assert_eq!((forwarded, cached), (3, 1));
}

#[tokio::test]
async fn that_there_is_nothing_is_remembered_too() {
    let options = [
        "--auth-server=ns.example.test,127.0.0.1",
        "--auth-zone=example.test",
        "--auth-ttl=60",
        "--host-record=www.example.test,192.0.2.1",
    ];
    let Some(upstream) = Dnsmasq::start(&options) else {
        return;
    };
    let server = Server::start(catalog(), &[upstream.address]).await;
    for _ in 0..3 {
        let answer = server.ask("nobody.example.test", RecordType::A).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(zone_of(&answer).as_deref(), Some("example.test."));
        let answer = server.ask("www.example.test", RecordType::MX).await;
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
        assert_eq!(answer.answers, []);
    }
    let (forwarded, cached) = (server.stats.forwarded.get(), server.stats.cached.get());
    assert_eq!((forwarded, cached), (2, 4));
}

#[tokio::test]
async fn large_answers_are_fetched_by_tcp() {
    let Some(upstream) = Dnsmasq::start(&["--local=/test/", "--local-ttl=60", &large()]) else {
        return;
    };
    let server = Server::start(catalog(), &[upstream.address]).await;
    let question = query("large.example.test", RecordType::TXT);
    for question in [question.clone(), with_edns(question.clone(), 1232)] {
        let short = server.send(&question).await;
        assert!(short.metadata.truncation, "{short}");
        assert_eq!(short.edns.is_some(), question.edns.is_some());
        let whole = server.send_tcp(&question).await;
        assert!(!whole.metadata.truncation && whole.answers.len() == 1);
        assert!(whole.answers[0].data.to_string().len() > 2400, "{whole}");
    }
    assert_eq!(server.stats.forwarded.get(), 1);
}

#[tokio::test]
async fn a_silent_resolver_is_passed_over() {
    let Some(upstream) = Dnsmasq::start(&["--address=/test/192.0.2.1", "--local-ttl=60"]) else {
        return;
    };
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let servers = [silent.local_addr().unwrap(), upstream.address];
    let server = Server::start(catalog(), &servers).await;
    for (name, least, most) in [("a.test", 1900, 8000), ("b.test", 0, 1900)] {
        let begun = Instant::now();
        let answer = server.ask(name, RecordType::A).await;
        assert_eq!(addresses(&answer), ["192.0.2.1"]);
        let took = begun.elapsed().as_millis();
        assert!((least..most).contains(&took), "{name}: {took} ms");
    }
    // What nobody listens on is known at once.
    drop(silent);
    server.resolvers(&[servers[0], upstream.address]);
    let begun = Instant::now();
    assert_eq!(
        addresses(&server.ask("c.test", RecordType::A).await),
        ["192.0.2.1"]
    );
    assert!(
        begun.elapsed() < Duration::from_millis(200),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn other_resolvers_are_asked_when_the_file_changes() {
    let one = Dnsmasq::start(&["--address=/test/192.0.2.1", "--local-ttl=60"]);
    let two = Dnsmasq::start(&["--address=/test/192.0.2.2", "--local-ttl=60"]);
    let (Some(one), Some(two)) = (one, two) else {
        return;
    };
    let server = Server::start(catalog(), &[]).await;
    let answer = server.ask("a.test", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert!(server.stats.nobody_to_ask.is_there());
    server.resolvers(&[one.address]);
    server.until("a.test", &["192.0.2.1"]).await;
    assert!(!server.stats.nobody_to_ask.is_there());
    // What the old one has said is not said any more, either: a question that must be asked shows that the file has changed.
    server.resolvers(&[two.address]);
    let mut number = 0;
    let begun = Instant::now();
    while addresses(&server.ask(&format!("b{number}.test"), RecordType::A).await) != ["192.0.2.2"] {
        number += 1;
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        addresses(&server.ask("a.test", RecordType::A).await),
        ["192.0.2.2"]
    );
}

#[tokio::test]
async fn it_never_asks_itself() {
    let server = Server::start(catalog(), &[]).await;
    server.resolvers(&[server.address, SocketAddr::from(([169, 254, 169, 250], 53))]);
    let answer = server.ask("a.test", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert!(server.stats.nobody_to_ask.is_there());
}

#[tokio::test]
async fn the_same_question_is_asked_once() {
    let upstream = Scripted::start(|query| {
        let answer = answer_to(query);
        vec![(Duration::from_millis(300), answer.to_vec().unwrap())]
    })
    .await;
    let server = Server::start(catalog(), &[upstream.address]).await;
    let clients = (0..200).map(|_| server.ask("a.test", RecordType::A));
    let answers = futures_util::future::join_all(clients).await;
    assert!(
        answers
            .iter()
            .all(|answer| addresses(answer) == ["192.0.2.1"])
    );
    assert_eq!(upstream.asked(), 1);
}

#[tokio::test]
async fn what_nobody_asked_is_not_believed() {
    let upstream = Scripted::start(|query| {
        let right = answer_to(query);
        let mut forged = right.clone();
        forged.answers[0].data = RData::A(A::new(6, 6, 6, 6));
        let mut other_id = forged.clone();
        other_id.metadata.id = other_id.metadata.id.wrapping_add(1);
        let mut other_name = forged.clone();
        other_name.queries = crate::world::query("evil.test", RecordType::A).queries;
        let broken = forged.to_vec().unwrap()[..30].to_vec();
        let soon = Duration::ZERO;
        let mut all = vec![
            (soon, broken),
            (soon, query.to_vec().unwrap()),
            (soon, vec![0; 3]),
        ];
        let packets = [other_id, other_name, right].map(|one| (soon, one.to_vec().unwrap()));
        all.extend(packets);
        all
    })
    .await;
    let server = Server::start(catalog(), &[upstream.address]).await;
    assert_eq!(
        addresses(&server.ask("a.test", RecordType::A).await),
        ["192.0.2.1"]
    );
}

/// A resolver whose answers hold for two seconds.
async fn short_lived() -> Scripted {
    Scripted::start(|query| {
        let mut answer = answer_to(query);
        answer.answers[0].ttl = 2;
        vec![(Duration::ZERO, answer.to_vec().unwrap())]
    })
    .await
}

#[tokio::test]
async fn answers_are_remembered_for_as_long_as_they_say() {
    let upstream = short_lived().await;
    let server = Server::start(catalog(), &[upstream.address]).await;
    for (wait, expected) in [(0, 1), (0, 1), (2100, 2)] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let answer = server.ask("a.test", RecordType::A).await;
        assert_eq!(addresses(&answer), ["192.0.2.1"]);
        assert_eq!(upstream.asked(), expected);
    }
}

#[tokio::test]
async fn an_old_answer_is_better_than_none() {
    let mut upstream = short_lived().await;
    let server = Server::start(catalog(), &[upstream.address]).await;
    assert_eq!(
        addresses(&server.ask("a.test", RecordType::A).await),
        ["192.0.2.1"]
    );
    upstream.stop().await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let answer = server.ask("a.test", RecordType::A).await;
    assert_eq!(
        (addresses(&answer), answer.answers[0].ttl),
        (vec!["192.0.2.1".into()], 0)
    );
    let answer = server.ask("b.test", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert!(server.stats.nobody_answers.is_there());
}

/// The resolver fails: the next one is asked. One without EDNS is asked without.
#[tokio::test]
async fn failures_are_passed_over() {
    let fails = Scripted::start(|query| {
        let mut answer = answer_to(query);
        answer.answers.clear();
        answer.metadata.response_code = ResponseCode::ServFail;
        vec![(Duration::ZERO, answer.to_vec().unwrap())]
    })
    .await;
    let old = Scripted::start(|query| {
        let mut answer = answer_to(query);
        if query.edns.is_some() {
            answer.answers.clear();
            answer.edns = None;
            answer.metadata.response_code = ResponseCode::FormErr;
        }
        vec![(Duration::ZERO, answer.to_vec().unwrap())]
    })
    .await;
    let server = Server::start(catalog(), &[fails.address, old.address]).await;
    assert_eq!(
        addresses(&server.ask("a.test", RecordType::A).await),
        ["192.0.2.1"]
    );
    assert_eq!((fails.asked(), old.asked()), (1, 2));
    server.resolvers(&[fails.address]);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let answer = server.ask("b.test", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
}

/// What DNSSEC needs goes both ways, and apart from what those get who do not ask for it.
#[tokio::test]
async fn signatures_pass() {
    use hickory_proto::rr::rdata::NULL;
    let signature = vec![7; 40];
    let given = signature.clone();
    let upstream = Scripted::start(move |query| {
        let mut answer = answer_to(query);
        if query
            .edns
            .as_ref()
            .is_some_and(|edns| edns.flags().dnssec_ok)
        {
            let data = RData::Unknown {
                code: RecordType::from(46),
                rdata: NULL::with(given.clone()),
            };
            let owner = query.queries[0].name().clone();
            answer.add_answer(Record::from_rdata(owner, 300, data));
        }
        vec![(Duration::ZERO, answer.to_vec().unwrap())]
    })
    .await;
    let server = Server::start(catalog(), &[upstream.address]).await;
    let mut signed = with_edns(query("a.test", RecordType::A), 1232);
    signed.edns.as_mut().unwrap().set_dnssec_ok(true);
    for _ in 0..2 {
        let packet = server.exchange(&signed.to_vec().unwrap()).await.unwrap();
        assert!(
            packet.windows(40).any(|part| part == signature),
            "{packet:?}"
        );
        // OPT says that it was understood.
        assert_eq!(
            packet[packet.len() - 11..],
            [0, 0, 41, 4, 208, 0, 0, 128, 0, 0, 0]
        );
        let plain: Message = server.ask("a.test", RecordType::A).await;
        assert_eq!((plain.answers.len(), plain.edns.is_none()), (1, true));
    }
    assert_eq!(upstream.asked(), 2);
}

/// A resolver that is slow for each question does not hold a client for ever.
#[tokio::test]
async fn nobody_waits_longer_than_clients_do() {
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    }
    let addresses: Vec<SocketAddr> = silent.iter().map(|one| one.local_addr().unwrap()).collect();
    let server = Server::start(catalog(), &addresses).await;
    let begun = Instant::now();
    let answer = server.ask("a.test", RecordType::A).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    let took = begun.elapsed().as_millis();
    assert!((3900..8000).contains(&took), "{took} ms");
    assert!(server.stats.nobody_answers.is_there());
}

#[tokio::test]
async fn too_many_of_one_client_are_told_so() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = Server::start(catalog(), &[silent.local_addr().unwrap()]).await;
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(server.address).await.unwrap();
    for number in 0..300 {
        let question = query(&format!("n{number}.test"), RecordType::A);
        client.send(&question.to_vec().unwrap()).await.unwrap();
        // Not more in flight than a socket's buffer holds.
        if number % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    // The first answer is for one of those that were too many: the others wait for the silent resolver.
    let mut buffer = [0; 512];
    let length = client.recv(&mut buffer).await.unwrap();
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert!((1..=44).contains(&server.stats.overload.get()));
    // Another client is served as before: its question waits with the silent resolver.
    let other = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    other.connect(server.address).await.unwrap();
    let question = query("other.test", RecordType::A).to_vec().unwrap();
    other.send(&question).await.unwrap();
    let waited = timeout(Duration::from_millis(500), other.recv(&mut buffer)).await;
    assert!(waited.is_err(), "{waited:?}");
    // Own names are not hindered.
    let own = server.ask("rancher-metadata", RecordType::A).await;
    assert_eq!(addresses(&own), ["169.254.169.250"]);
}
