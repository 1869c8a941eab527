//! Names of the project.

use api::Id;
use api::container::ContainerState;
use api::host::HostState;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::world::{Server, addresses, catalog, container, in_compose, put, query, zone_of};

#[tokio::test]
async fn containers_have_names_across_hosts() {
    let mut known = catalog();
    put(&mut known, container("web", 1, 2));
    put(&mut known, container("db", 1, 3));
    put(&mut known, container("Web", 2, 2));
    let server = Server::start(known, &[]).await;
    for name in ["web.rancher.internal", "web", "WEB.Rancher.INTERNAL"] {
        let answer = server.ask(name, RecordType::A).await;
        assert_eq!(addresses(&answer), ["10.42.1.2", "10.42.2.2"], "{name}");
        assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
        assert!(answer.answers.iter().all(|record| record.ttl == 1));
    }
    let short = server.ask("000000000103", RecordType::A).await;
    assert_eq!(addresses(&short), ["10.42.1.3"]);
    let metadata = ["rancher-metadata", "rancher-metadata.rancher.internal"];
    for name in metadata {
        let answer = server.ask(name, RecordType::A).await;
        assert_eq!(addresses(&answer), ["169.254.169.250"]);
    }
    // Both come first now and then.
    let mut first = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let answer = server.ask("web", RecordType::A).await;
        first.insert(answer.answers[0].data.to_string());
    }
    assert_eq!(first.len(), 2, "{first:?}");
}

#[tokio::test]
async fn the_case_of_the_question_comes_back() {
    let mut known = catalog();
    put(&mut known, container("web", 1, 2));
    let server = Server::start(known, &[]).await;
    let mut packet = query("web.rancher.internal", RecordType::A)
        .to_vec()
        .unwrap();
    packet[13..16].copy_from_slice(b"wEb");
    packet[17..24].copy_from_slice(b"RaNcHeR");
    let answer = server.exchange(&packet).await.unwrap();
    assert_eq!(answer[12..packet.len()], packet[12..]);
    assert_eq!(answer[7], 1, "one answer");
}

#[tokio::test]
async fn what_does_not_exist_is_said_with_authority() {
    let mut known = catalog();
    put(
        &mut known,
        in_compose(container("shop-web-1", 1, 2), "web", "shop"),
    );
    let server = Server::start(known, &[]).await;
    let none = |name, kind, rcode, zone| {
        let server = &server;
        async move {
            let answer = server.ask(name, kind).await;
            assert_eq!(answer.metadata.response_code, rcode, "{answer}");
            assert_eq!(answer.answers, [], "{answer}");
            assert_eq!(zone_of(&answer).as_deref(), Some(zone), "{answer}");
        }
    };
    use RecordType as T;
    let (nothing, no_name) = (ResponseCode::NoError, ResponseCode::NXDomain);
    let zone = "rancher.internal.";
    none("x.rancher.internal", T::A, no_name, zone).await;
    none("a.b.c.rancher.internal", T::TXT, no_name, zone).await;
    none("shop-web-1.rancher.internal", T::AAAA, nothing, zone).await;
    none("shop-web-1.rancher.internal", T::MX, nothing, zone).await;
    none("rancher.internal", T::A, nothing, zone).await;
    // Longer names exist.
    none("shop.rancher.internal", T::A, nothing, zone).await;
    none("shop-web-1", T::AAAA, nothing, "shop-web-1.").await;
    none(
        "9.9.42.10.in-addr.arpa",
        T::PTR,
        no_name,
        "42.10.in-addr.arpa.",
    )
    .await;
    none("42.10.in-addr.arpa", T::PTR, nothing, "42.10.in-addr.arpa.").await;
    let any = server.ask("shop-web-1", T::ANY).await;
    assert_eq!(any.metadata.response_code, ResponseCode::NotImp);
    let head = server.ask("rancher.internal", T::SOA).await;
    assert!(head.answers[0].data.to_string().contains(" 7 "), "{head}");
    let servers = server.ask("rancher.internal", T::NS).await;
    let expected = "rancher-metadata.rancher.internal.";
    assert_eq!(servers.answers[0].data.to_string(), expected);
}

#[tokio::test]
async fn addresses_have_names() {
    let mut known = catalog();
    put(&mut known, container("web", 1, 2));
    let server = Server::start(known, &[]).await;
    for (address, name) in [
        ("2.1.42.10", "web.rancher.internal."),
        ("250.169.254.169", "rancher-metadata.rancher.internal."),
    ] {
        let question = format!("{address}.in-addr.arpa");
        let answer = server.ask(&question, RecordType::PTR).await;
        assert_eq!(answer.answers[0].data.to_string(), name);
    }
}

#[tokio::test]
async fn services_of_compose_have_names() {
    let mut known = catalog();
    put(
        &mut known,
        in_compose(container("shop-web-1", 1, 2), "web", "shop"),
    );
    put(
        &mut known,
        in_compose(container("shop-web-2", 2, 2), "web", "shop"),
    );
    put(
        &mut known,
        in_compose(container("blog-web-1", 2, 3), "web", "blog"),
    );
    // The client itself: tests ask from there.
    let mut asking = in_compose(container("client", 1, 9), "client", "blog");
    asking.address = Some([127, 0, 0, 1].into());
    put(&mut known, asking);
    let server = Server::start(known, &[]).await;
    for name in ["web.shop", "web.shop.rancher.internal"] {
        let answer = server.ask(name, RecordType::A).await;
        assert_eq!(addresses(&answer), ["10.42.1.2", "10.42.2.2"], "{name}");
    }
    // A bare name means the service of the asking container's own project.
    let answer = server.ask("web", RecordType::A).await;
    assert_eq!(addresses(&answer), ["10.42.2.3"]);
}

#[tokio::test]
async fn only_what_runs_has_a_name_and_changes_show_at_once() {
    let mut known = catalog();
    put(&mut known, container("web", 1, 2));
    let server = Server::start(known, &[]).await;
    server.until("web", &["10.42.1.2"]).await;
    server.change(|known| put(known, container("web", 2, 2)));
    let shown = server.until("web", &["10.42.1.2", "10.42.2.2"]).await;
    // The aim is a millisecond; a busy machine takes longer.
    assert!(shown.as_millis() < 500, "{shown:?}");
    for state in [
        ContainerState::Stopped,
        ContainerState::Restarting,
        ContainerState::Created,
    ] {
        let mut stopped = container("web", 1, 2);
        stopped.state = state;
        server.change(|known| put(known, stopped));
        server.until("web", &["10.42.2.2"]).await;
        server.change(|known| put(known, container("web", 1, 2)));
        server.until("web", &["10.42.1.2", "10.42.2.2"]).await;
    }
    // Who may be dead is named only when nobody else has the name.
    let host = Id::from_bits("h", 2);
    let mut lost = catalog().hosts.get(&host).unwrap().clone();
    lost.state = HostState::Disconnected;
    server.change(|known| known.hosts.insert(host, lost));
    server.until("web", &["10.42.1.2"]).await;
    server.change(|known| known.containers.remove(&container("", 1, 2).id));
    server.until("web", &["10.42.2.2"]).await;
    server.change(|known| known.containers = agent::catalog::Facts::default());
    server.until("web.rancher.internal", &[]).await;
}

#[tokio::test]
async fn who_is_in_its_hosts_network_has_the_hosts_address() {
    let mut known = catalog();
    let host = Id::from_bits("h", 2);
    let mut there = known.hosts.get(&host).unwrap().clone();
    there.address = Some([192, 0, 2, 9].into());
    known.hosts.insert(host, there);
    let mut one = container("gateway", 2, 4);
    one.address = None;
    let server = Server::start(known, &[]).await;
    server.change(|known| put(known, one.clone()));
    server.until("gateway.rancher.internal", &[]).await;
    one.host_network = true;
    server.change(|known| put(known, one));
    server.until("gateway", &["192.0.2.9"]).await;
}
