//! A cluster: a server on a machine of its own, and hosts that have joined it by the lines that the server prints. Owns the network between
//! them and all of its machines.

use std::time::Duration;

use api::host::{Host, HostKind, HostState};
use api::network::{Encapsulation, NetworkKind};
use client::Trust;
use qemu_tests::wait::{Look, Patience, until};
use qemu_tests::{HarnessError, Result};

use crate::net::Net;
use crate::node::{Node, Plan, tail};
use crate::remote::Api;
use crate::root::Root;
use crate::stage::Stage;
use crate::{image, program};

/// Name of the daemon of the server.
pub const SERVER: &str = "server";
/// Name of the daemon of an agent.
pub const AGENT: &str = "agent";
/// Name of the network that a new project has.
pub const NETWORK: &str = "ros";
const SOON: Patience = Patience::seconds(30).every(Duration::from_millis(50));

/// A cluster.
pub struct Cluster {
    /// What lies between the machines.
    pub net: Net,
    /// The machine of the server.
    pub server: Node,
    /// The hosts, in the order asked for.
    pub hosts: Vec<Node>,
    /// The administrator's way to the API.
    pub api: Api,
    /// What the server has printed for those who join and those who look.
    pub lines: Lines,
}

/// The lines that a new cluster's server prints, as one would paste them.
#[derive(Debug, Clone)]
pub struct Lines {
    /// `https://host:port`
    pub server: String,
    /// The administrator's key.
    pub key: String,
    /// `sha256:` and digits.
    pub ca_hash: String,
    /// A token to join with.
    pub token: String,
}

impl Cluster {
    /// A server and hosts whose containers and images are there, all joined and connected, with this encapsulation.
    ///
    /// # Errors
    /// When something does not come up.
    pub fn start(stage: &Stage, hosts: &[(&str, Root)], how: Encapsulation) -> Result<Self> {
        let mut cluster = Self::alone(stage)?;
        cluster.set_encapsulation(how)?;
        for (name, root) in hosts {
            cluster.add_host(stage, name, *root)?;
        }
        for node in &cluster.hosts {
            cluster.make_ready(node)?;
            cluster.join(node)?;
        }
        cluster.wait_connected()?;
        cluster.wait_for_network()?;
        Ok(cluster)
    }

    /// A server without hosts.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn alone(stage: &Stage) -> Result<Self> {
        let mut net = Net::new(stage)?;
        let plan = Plan {
            ros: Some(program::ros(stage)?),
            ..Plan::new("server", Root::Docker26)
        };
        let mut server = Node::start(stage, &plan)?;
        net.join(&mut server)?;
        let lines = start_server(&server)?;
        let hash = digits(&lines.ca_hash)?;
        let api = Api::new(
            net.outside().space(),
            &lines.server,
            Trust::Hash(hash),
            &lines.key,
        );
        Ok(Self {
            net,
            server,
            hosts: Vec::new(),
            api,
            lines,
        })
    }

    /// A machine with Docker that has not joined; its Docker is still starting.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn add_host(&mut self, stage: &Stage, name: &str, root: Root) -> Result<()> {
        let plan = Plan {
            ros: Some(program::ros(stage)?),
            ..Plan::new(name, root)
        };
        let mut node = Node::start(stage, &plan)?;
        self.net.join(&mut node)?;
        node.start_docker()?;
        self.hosts.push(node);
        Ok(())
    }

    /// Waits for a machine's Docker and gives it the image of the tests' containers.
    ///
    /// # Errors
    /// When Docker does not answer.
    pub fn make_ready(&self, node: &Node) -> Result<()> {
        node.wait_for_docker()?;
        image::load(node)
    }

    /// How packets are to travel from host to host.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn set_encapsulation(&self, how: Encapsulation) -> Result<()> {
        self.api
            .edit::<NetworkKind>(NETWORK, |network| network.encapsulation = how)
    }

    /// Changes how packets travel, and waits until all hosts' containers' packets do: until there are no links of the encapsulation before.
    ///
    /// # Errors
    /// When a host does not follow in time.
    pub fn change_encapsulation(&self, how: Encapsulation) -> Result<()> {
        self.set_encapsulation(how)?;
        for node in &self.hosts {
            until(&format!("{} to use {how:?}", node.name), SOON, || {
                let links = node.sh("ip -o -d link show type vxlan | grep ' ros-' || true")?;
                let is_done = links.is_empty() != (how == Encapsulation::Vxlan);
                Ok(if is_done {
                    Look::Seen(())
                } else {
                    Look::NotYet(links)
                })
            })?;
        }
        self.wait_connected()
    }

    /// Takes a machine into the cluster with the server's token and starts its agent.
    ///
    /// # Errors
    /// When it is not taken in.
    pub fn join(&self, node: &Node) -> Result<()> {
        let Lines { server, token, .. } = &self.lines;
        node.run(&["ros", "agent", "join", "--no-start", server, token])?;
        start_agent(node)
    }

    /// Lets the server's machine work with the cluster, as its administrator.
    ///
    /// # Errors
    /// When the lines that the server has printed do not work.
    pub fn add_context(&self) -> Result<()> {
        let Lines {
            server,
            key,
            ca_hash,
            ..
        } = &self.lines;
        let context = ["ros", "context", "add", "home", server];
        let trust = ["--key", key, "--ca-hash", ca_hash];
        self.server.run(&[&context[..], &trust].concat()).map(drop)
    }

    /// Starts the server, which has ended.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start_server(&self) -> Result<()> {
        spawn_server(&self.server)?;
        until("the server's API", SOON, || {
            Ok(match self.api.all::<HostKind>() {
                Ok(_) => Look::Seen(()),
                Err(error) => Look::NotYet(error.chain()),
            })
        })
    }

    /// The hosts as the API has them.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn api_hosts(&self) -> Result<Vec<Host>> {
        self.api.all::<HostKind>()
    }

    /// Waits until all machines are hosts that are heard of, have a block and no problem.
    ///
    /// # Errors
    /// When one is not in time; with what hinders it.
    pub fn wait_connected(&self) -> Result<()> {
        let names: Vec<&str> = self.hosts.iter().map(|node| node.name.as_str()).collect();
        let waited = until("all hosts to be connected", SOON, || {
            let hosts = self.api_hosts()?;
            let well = hosts.iter().filter(|host| is_well(host));
            let well: Vec<&str> = well.map(|host| host.meta.name.as_str()).collect();
            if names.iter().all(|name| well.contains(name)) {
                return Ok(Look::Seen(()));
            }
            let seen = hosts.iter().map(|host| {
                let status = &host.status;
                format!(
                    "{} {:?} {:?} {:?}",
                    host.meta.name, status.state, status.block, status.problems
                )
            });
            Ok(Look::NotYet(seen.collect::<Vec<_>>().join(", ")))
        });
        waited.map_err(|error| HarnessError::Verdict {
            detail: format!("{}\n{}", error.chain(), self.last_words()),
        })
    }

    /// Waits until each host's Docker has the cluster's network.
    ///
    /// # Errors
    /// When one has not in time; with what its agent says.
    pub fn wait_for_network(&self) -> Result<()> {
        let list = ["docker", "network", "ls", "--format", "{{.Name}}"];
        for node in &self.hosts {
            let waited = until(&format!("network {NETWORK} on {}", node.name), SOON, || {
                let names = node.run(&list)?;
                let is_there = names.lines().any(|name| name == NETWORK);
                Ok(if is_there {
                    Look::Seen(())
                } else {
                    Look::NotYet(names)
                })
            });
            waited.map_err(|error| HarnessError::Verdict {
                detail: format!("{}\n{}", error.chain(), self.last_words()),
            })?;
        }
        Ok(())
    }

    /// The host of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn host(&self, name: &str) -> Result<&Node> {
        let found = self.hosts.iter().find(|node| node.name == name);
        found.ok_or_else(|| HarnessError::Missing {
            what: format!("host {name}"),
            remedy: "name one that the scenario has started".into(),
        })
    }

    /// What the server and the agents have said last.
    #[must_use]
    pub fn last_words(&self) -> String {
        let mut text = format!("-- server\n{}", tail(&self.server.log(SERVER), 15));
        for node in &self.hosts {
            text += &format!(
                "\n-- agent of {}\n{}",
                node.name,
                tail(&node.log(AGENT), 15)
            );
        }
        text
    }
}

fn is_well(host: &Host) -> bool {
    host.status.state == HostState::Connected
        && host.status.block.is_some()
        && host.status.problems.is_empty()
        && !host.status.facts.docker.is_empty()
}

/// Starts the agent of a machine that has joined.
///
/// # Errors
/// When it cannot be started.
pub fn start_agent(node: &Node) -> Result<()> {
    node.spawn(AGENT, &["ros", "agent", "run"])
}

fn spawn_server(node: &Node) -> Result<()> {
    let address = node.address.to_string();
    node.spawn(SERVER, &["ros", "server", "--name", &address])
}

/// Starts a new cluster's server and reads what it prints.
fn start_server(node: &Node) -> Result<Lines> {
    spawn_server(node)?;
    until("the lines that a new cluster's server prints", SOON, || {
        let text = node.log(SERVER);
        if !node.runs(SERVER) {
            return Err(HarnessError::Ended {
                what: "the server's first lines".into(),
                status: text,
            });
        }
        Ok(read_lines(&text)
            .filter(|_| text.contains("Listening"))
            .map_or_else(|| Look::NotYet(text.clone()), Look::Seen))
    })
}

/// `ros context add NAME SERVER --key KEY --ca-hash HASH` and `ros agent join SERVER TOKEN`.
fn read_lines(text: &str) -> Option<Lines> {
    let words_after = |command: &str| -> Option<Vec<&str>> {
        let line = text.lines().find(|line| line.contains(command))?;
        Some(line.split(command).nth(1)?.split_whitespace().collect())
    };
    let context = words_after("ros context add ")?;
    let join = words_after("ros agent join ")?;
    let option = |name: &str| {
        let at = context.iter().position(|word| *word == name)?;
        Some((*context.get(at + 1)?).to_owned())
    };
    Some(Lines {
        server: (*context.get(1)?).to_owned(),
        key: option("--key")?,
        ca_hash: option("--ca-hash")?,
        token: (*join.get(1)?).to_owned(),
    })
}

fn digits(hash: &str) -> Result<[u8; 32]> {
    let wrong = || HarnessError::Form {
        what: "the CA's hash",
        detail: hash.to_owned(),
    };
    let digits = hash.strip_prefix("sha256:").ok_or_else(wrong)?;
    let bytes: Option<Vec<u8>> = (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok())
        .collect();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_read_as_they_are_printed() {
        let text = "A new cluster.\n  ros context add home https://10.0.0.5:6440 --key roskey.k --ca-hash sha256:00\n\
            On each host:\n  sudo ros agent join https://10.0.0.5:6440 rosjoin.t\n";
        let lines = read_lines(text).unwrap();
        assert_eq!(
            (
                lines.server.as_str(),
                lines.key.as_str(),
                lines.ca_hash.as_str(),
                lines.token.as_str()
            ),
            (
                "https://10.0.0.5:6440",
                "roskey.k",
                "sha256:00",
                "rosjoin.t"
            )
        );
        assert!(read_lines("Listening on [::]:6440.").is_none());
    }
}
