//! Docker Swarm on the same hosts: its overlay network, to which plain containers are attached. Owns that network.

use qemu_tests::Result;

use crate::node::Node;

/// Its name.
pub const NETWORK: &str = "swarm";

/// Makes a swarm of the hosts, the first of them its manager, with a network for plain containers.
///
/// # Errors
/// When Docker refuses.
pub fn make(hosts: &[Node]) -> Result<()> {
    let [manager, workers @ ..] = hosts else {
        return Ok(());
    };
    let address = manager.address.to_string();
    manager.docker(&["swarm", "init", "--advertise-addr", &address])?;
    let token = manager.docker(&["swarm", "join-token", "-q", "worker"])?;
    for node in workers {
        let own = node.address.to_string();
        let at = format!("{address}:2377");
        node.docker(&[
            "swarm",
            "join",
            "--advertise-addr",
            &own,
            "--token",
            &token,
            &at,
        ])?;
    }
    // Its VXLAN has the usual port, which is ours, too.
    manager
        .docker(&[
            "network",
            "create",
            "-d",
            "overlay",
            "--attachable",
            NETWORK,
        ])
        .map(drop)
}
