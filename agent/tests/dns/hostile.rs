//! Packets that no proper client sends, and too much of everything.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};

use crate::world::{
    Dnsmasq, Server, addresses, catalog, container, put, query, read_frame, write_frame,
};

async fn server() -> Server {
    let mut known = catalog();
    put(&mut known, container("web", 1, 2));
    Server::start(known, &[]).await
}

fn web() -> Vec<u8> {
    query("web", RecordType::A).to_vec().unwrap()
}

#[tokio::test]
async fn what_cannot_be_understood_is_told_so() {
    let server = server().await;
    let question = query("web", RecordType::A);
    let mut two = question.clone();
    two.add_query(two.queries[0].clone());
    let mut update = question.clone();
    update.metadata.op_code = OpCode::Update;
    let mut chaos = question.clone();
    chaos.queries[0].set_query_class(DNSClass::CH);
    let transfer = query("rancher.internal", RecordType::AXFR);
    let cases = [
        (two, ResponseCode::FormErr),
        (update, ResponseCode::NotImp),
        (chaos, ResponseCode::Refused),
        (transfer, ResponseCode::NotImp),
    ];
    for (message, expected) in cases {
        let answer = server.send(&message).await;
        assert_eq!(answer.metadata.response_code, expected, "{message}");
    }
    // A name that ends early, one that points at itself, a record that is longer than the packet.
    let cut = web()[..14].to_vec();
    let mut pointing = web();
    pointing[12..14].copy_from_slice(&[0xC0, 0x0C]);
    let mut short = web();
    short[11] = 1;
    for packet in [cut, pointing, short] {
        let answer = server.exchange(&packet).await.unwrap();
        assert_eq!((answer.len(), answer[3] & 15), (12, 1), "{packet:x?}");
    }
}

#[tokio::test]
async fn what_is_no_query_gets_no_answer() {
    let server = server().await;
    let mut response = web();
    response[2] |= 0x80;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for packet in [&[][..], &[0; 11], &response, &web()] {
        socket.send_to(packet, server.address).await.unwrap();
    }
    let mut buffer = [0; 512];
    let (length, _) = socket.recv_from(&mut buffer).await.unwrap();
    assert_eq!(buffer[..2], web_id(&buffer), "the answer to the last one");
    assert!(length > 12 && server.stats.refused.get() == 3);
}

fn web_id(answer: &[u8]) -> [u8; 2] {
    // Zeros are what the packets before it would be answered with.
    assert_ne!(answer[..2], [0, 0]);
    [answer[0], answer[1]]
}

#[tokio::test]
async fn two_hundred_clients_are_served_at_the_same_time() {
    let Some(upstream) = Dnsmasq::start(&["--address=/test/192.0.2.1", "--local-ttl=1"]) else {
        return;
    };
    let server = server().await;
    server.resolvers(&[upstream.address]);
    let client = async |number: usize| {
        for turn in 0..10 {
            let own = server.ask("web.rancher.internal", RecordType::A).await;
            assert_eq!(addresses(&own), ["10.42.1.2"]);
            let name = format!("n{}.test", (number + turn) % 40);
            let other = query(&name, RecordType::A);
            let other = if turn % 5 == 0 && number.is_multiple_of(4) {
                server.send_tcp(&other).await
            } else {
                server.send(&other).await
            };
            assert_eq!(addresses(&other), ["192.0.2.1"], "{other}");
        }
    };
    join_all((0..200).map(client)).await;
    let stats = &server.stats;
    assert_eq!(stats.own.get(), 2000);
    assert_eq!(stats.cached.get() + stats.forwarded.get(), 2000);
    assert_eq!(
        stats.failed.get() + stats.overload.get() + stats.refused.get(),
        0
    );
}

#[tokio::test]
async fn connections_are_bounded_in_number_and_time() {
    let server = server().await;
    let begun = Instant::now();
    let mut half = server.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut half, &[0, 40, 1])
        .await
        .unwrap();
    let mut others = Vec::new();
    for _ in 0..127 {
        let mut stream = server.connect().await;
        write_frame(&mut stream, &web()).await;
        assert!(read_frame(&mut stream).await.is_some());
        others.push(stream);
    }
    let mut one_more = server.connect().await;
    assert_eq!(read_frame(&mut one_more).await, None);
    // At once, and not for being silent.
    let took = begun.elapsed().as_secs();
    assert!(took < 8, "{took} s");
    // Whoever leaves makes room.
    drop(others.pop());
    let answer = loop {
        let mut stream = server.connect().await;
        write_frame(&mut stream, &web()).await;
        if let Some(answer) = read_frame(&mut stream).await {
            break answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "no room");
    };
    assert_eq!(
        addresses(&Message::from_vec(&answer).unwrap()),
        ["10.42.1.2"]
    );
    // Half a question holds its place for a while only.
    assert_eq!(read_frame(&mut half).await, None);
    let took = begun.elapsed().as_secs();
    assert!((9..13).contains(&took), "{took} s");
}

#[tokio::test]
async fn rubbish_on_a_connection_ends_nothing_else() {
    let server = server().await;
    let mut stream = server.connect().await;
    write_frame(&mut stream, &[]).await;
    write_frame(&mut stream, &[0xFF; 300]).await;
    write_frame(&mut stream, &web()).await;
    let answer = read_frame(&mut stream).await.unwrap();
    assert_eq!(
        addresses(&Message::from_vec(&answer).unwrap()),
        ["10.42.1.2"]
    );
}
