//! Names of others, from the host's resolvers.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use crate::world::{Dnsmasq, Server, addresses, catalog};

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
    assert_eq!(
        (server.stats.forwarded.get(), server.stats.cached.get()),
        (3, 1)
    );
}
