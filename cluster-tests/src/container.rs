//! Containers as scenarios use them: web servers that say their name, and what is seen from inside. Owns nothing; they go with their host.

use std::time::Duration;

use jiff::Timestamp;
use qemu_tests::tool::said;
use qemu_tests::wait::{Look, Patience, until};
use qemu_tests::{HarnessError, Result};

use crate::cluster::NETWORK;
use crate::image;
use crate::node::Node;

/// What a web server runs: it answers with its name, and `/cgi-bin/who` with who asks.
const WEB: &str = "echo $0 > /www/index.html; exec httpd -f -h /www";
/// Longest wait until a change is seen everywhere, as promised to users; what the test's own programs need comes on top.
pub const AT_ONCE: Duration = Duration::from_secs(1);

/// Seconds until a wait for a name ends.
const LONGEST: u64 = 8;

/// Runs a web server called `name` in the cluster's network; `args` are more arguments of `docker run`.
///
/// # Errors
/// When Docker does not start it.
pub fn web(node: &Node, name: &str, args: &[&str]) -> Result<()> {
    run(
        node,
        name,
        &[&["--network", NETWORK], args].concat(),
        &["sh", "-c", WEB, name],
    )
}

/// Runs a container that does nothing in the cluster's network: to look from.
///
/// # Errors
/// When Docker does not start it.
pub fn idle(node: &Node, name: &str) -> Result<()> {
    run(node, name, &["--network", NETWORK], &[])
}

/// Runs a container with these arguments of `docker run` and this program.
///
/// # Errors
/// When Docker does not start it.
pub fn run(node: &Node, name: &str, args: &[&str], program: &[&str]) -> Result<()> {
    let all = [
        &["run", "-d", "--name", name],
        args,
        &[image::NAME],
        program,
    ]
    .concat();
    node.docker(&all).map(drop)
}

/// Its address in the cluster's network, as Docker says it.
///
/// # Errors
/// When Docker has no such container, or it is not in the network.
pub fn address(node: &Node, name: &str) -> Result<String> {
    address_in(node, name, NETWORK)
}

/// Its address in a network, as Docker says it.
///
/// # Errors
/// When Docker has no such container, or it is not in the network.
pub fn address_in(node: &Node, name: &str, network: &str) -> Result<String> {
    let field = format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}");
    node.docker(&["inspect", "-f", &field, name])
}

/// When Docker has started it.
///
/// # Errors
/// When Docker has no such container.
pub fn started(node: &Node, name: &str) -> Result<Timestamp> {
    let text = node.docker(&["inspect", "-f", "{{.State.StartedAt}}", name])?;
    text.parse().map_err(|_| HarnessError::Form {
        what: "a container's start",
        detail: text,
    })
}

/// What a container gets from a URL, in at most two seconds.
///
/// # Errors
/// When it gets nothing.
pub fn fetch(node: &Node, from: &str, url: &str) -> Result<String> {
    node.in_container(from, &["wget", "-q", "-T", "2", "-O", "-", url])
}

/// Waits until a container gets `expected` from a URL.
///
/// # Errors
/// When it does not in time.
pub fn answers(node: &Node, from: &str, url: &str, expected: &str) -> Result<()> {
    within(Patience::seconds(15), node, from, url, expected)
}

fn within(patience: Patience, node: &Node, from: &str, url: &str, expected: &str) -> Result<()> {
    let what = format!("{url} as {from} on {} sees it", node.name);
    until(&what, patience, || {
        let words = [
            "docker", "exec", from, "wget", "-q", "-T", "2", "-O", "-", url,
        ];
        let output = node.tool(&words).output()?;
        let text = said(&output);
        Ok(if output.status.success() && text.trim() == expected {
            Look::Seen(())
        } else {
            Look::NotYet(text)
        })
    })
}

/// Waits in the container until a name resolves, or until it does not. Gives the moment, to a few hundredths of a second.
///
/// # Errors
/// When that does not come.
pub fn name_becomes(node: &Node, from: &str, name: &str, how: Name) -> Result<Timestamp> {
    let sign = match how {
        Name::Known => "!",
        Name::Unknown => "",
    };
    // Each look is a program of its own: nothing is remembered from the one before.
    let script = format!(
        "read up rest < /proc/uptime; end=$((${{up%.*}} + {LONGEST})); \
        while {sign} nslookup -type=a {name} > /tmp/said 2>&1; do read up rest < /proc/uptime; [ ${{up%.*}} -lt $end ] || exit 9; sleep 0.02; done"
    );
    let output = node
        .tool(&["docker", "exec", from, "sh", "-c", &script])
        .output()?;
    let seen = Timestamp::now();
    if output.status.success() {
        return Ok(seen);
    }
    let last = node
        .in_container(from, &["cat", "/tmp/said"])
        .unwrap_or_default();
    Err(HarnessError::Timeout {
        what: format!("the name {name} to be {how:?} to {from} on {}", node.name),
        waited: Duration::from_secs(LONGEST),
        last: format!("{}{last}", said(&output)),
    })
}

/// Whether a name resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// It does.
    Known,
    /// It does not.
    Unknown,
}

/// Passes when a container reaches an address.
///
/// # Errors
/// With what ping says.
pub fn pings(node: &Node, from: &str, address: &str) -> Result<()> {
    // The first may wait for neighbours' addresses.
    node.in_container(from, &["ping", "-c", "2", "-W", "2", address])
        .map(drop)
}
