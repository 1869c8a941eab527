//! Large answers, EDNS, connections.

use std::net::Ipv4Addr;

use api::agent::ContainerFact;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;

use crate::world::{
    Server, addresses, catalog, container, in_compose, put, query, read_frame, with_edns,
    write_frame,
};

/// A container's.
const ASKER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A service with 200 members: 3200 bytes of addresses.
async fn crowd() -> Server {
    let mut known = catalog();
    let asker = ContainerFact {
        address: Some(ASKER),
        ..container("asker", 2, 1)
    };
    put(&mut known, asker);
    for last in 1..=200 {
        put(
            &mut known,
            in_compose(container("c", 1, last), "web", "shop"),
        );
    }
    Server::start(known, &[]).await
}

#[tokio::test]
async fn what_does_not_fit_is_cut_and_whole_over_tcp() {
    let server = crowd().await;
    let plain = query("web.shop", RecordType::A);
    for (message, most) in [
        (plain.clone(), 512),
        (with_edns(plain.clone(), 0), 512),
        (with_edns(plain.clone(), 1000), 1000),
        (with_edns(plain.clone(), 65_535), 1232),
    ] {
        let packet = message.to_vec().unwrap();
        let packet = server.exchange_from(ASKER, &packet).await.unwrap();
        assert!(
            (most - 16..=most).contains(&packet.len()),
            "{}",
            packet.len()
        );
        let answer = Message::from_vec(&packet).unwrap();
        assert!(answer.metadata.truncation && answer.answers.len() > 20);
        assert_eq!(answer.edns.is_some(), message.edns.is_some());
    }
    let whole = server.send_tcp(&plain).await;
    assert!(!whole.metadata.truncation);
    assert_eq!(addresses(&whole).len(), 200);
    let whole = server.send_tcp(&with_edns(plain, 1232)).await;
    assert_eq!((addresses(&whole).len(), whole.edns.is_some()), (200, true));
}

/// Docker 27 and newer asks from the host, and over TCP somebody else.
#[tokio::test]
async fn the_host_itself_gets_what_fits() {
    let server = crowd().await;
    let plain = query("web.shop", RecordType::A);
    for (message, most) in [(plain.clone(), 512), (with_edns(plain, 1232), 1232)] {
        let packet = message.to_vec().unwrap();
        let answer = server.exchange(&packet).await.unwrap();
        assert!((most - 16..=most).contains(&answer.len()));
        let answer = Message::from_vec(&answer).unwrap();
        assert!(!answer.metadata.truncation && answer.answers.len() > 20);
    }
}

#[tokio::test]
async fn one_connection_takes_many_questions() {
    let server = crowd().await;
    let mut stream = server.connect().await;
    for id in 0..100 {
        let mut message = query("web.shop", RecordType::A);
        message.metadata.id = id;
        write_frame(&mut stream, &message.to_vec().unwrap()).await;
    }
    for id in 0..100 {
        let answer = read_frame(&mut stream).await.unwrap();
        assert_eq!(Message::from_vec(&answer).unwrap().metadata.id, id);
    }
}

#[tokio::test]
async fn a_version_of_edns_that_nobody_knows_is_refused() {
    let server = crowd().await;
    let mut message = with_edns(query("web.shop", RecordType::A), 1232);
    message.edns.as_mut().unwrap().set_version(1);
    let answer = server.send(&message).await;
    // 16, which is also that of a bad signature.
    assert_eq!(
        u16::from(answer.metadata.response_code),
        u16::from(ResponseCode::BADVERS)
    );
    assert_eq!(answer.edns.unwrap().version(), 0);
}
