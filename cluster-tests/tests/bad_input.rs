//! What is wrong with who joins, and that it harms nobody else: each a clear refusal.

use std::time::Duration;

use api::access::{TokenKind, TokenSpec};
use api::container::ContainerKind;
use api::event::EventKind;
use api::host::HostKind;
use api::network::{Encapsulation, NetworkKind};
use api::project::ProjectKind;
use cluster_tests::cluster::{AGENT, Cluster, start_agent};
use cluster_tests::container::{answers, idle, web};
use cluster_tests::node::{End, Node};
use cluster_tests::root::Root;
use cluster_tests::stage::on_stage;
use cluster_tests::{HarnessError, Result};
use jiff::Timestamp;
use qemu_tests::judge::{Judge, contains, ensure, equal, say};
use qemu_tests::tool::said;
use qemu_tests::wait::{Look, Patience, until};

const HOSTS: [(&str, Root); 2] = [("a", Root::Docker20), ("b", Root::Docker26)];
/// What lies between the hosts.
const LAN: &str = "10.77.0.0/16";
/// Where an agent keeps who it is.
const FOLDER: &str = "/var/lib/rancher/agent";

#[test]
fn wrong_things_are_refused_in_words_and_harm_nobody() -> Result<()> {
    on_stage("bad-input", |stage| {
        let mut cluster = Cluster::start(stage, &HOSTS, Encapsulation::Vxlan)?;
        cluster.add_host(stage, "stranger", Root::Docker26)?;
        let stranger = cluster.hosts.pop().ok_or_else(|| HarnessError::Missing {
            what: "the third host".into(),
            remedy: "add it".into(),
        })?;
        stranger.wait_for_docker()?;
        let mut judge = Judge::of(stage.name());
        judge_tokens(&mut judge, &cluster, &stranger);
        judge_names(&mut judge, &cluster);
        judge_networks(&mut judge, &cluster, &stranger);
        judge_identities(&mut judge, &cluster, &stranger);
        judge.check("nobody else was harmed", || {
            cluster.wait_connected()?;
            let [a, b] = &cluster.hosts[..] else {
                return Ok(());
            };
            answers(a, "box", "http://twice/", "twice")?;
            // The host that has left and is back.
            web(b, "back", &[])?;
            answers(a, "box", "http://back/", "back")
        });
        judge.verdict(&cluster.last_words())
    })
}

/// Joins with a token and gives what is said when that fails, as it must.
fn refusal(cluster: &Cluster, node: &Node, server: &str, token: &str) -> Result<String> {
    let words = ["ros", "agent", "join", "--no-start", server, token];
    let output = node.tool(&words).output()?;
    let text = said(&output);
    ensure(!output.status.success(), || {
        format!("it has joined: {text}")
    })?;
    let kept = node.sh(&format!("ls {FOLDER}/identity.json 2>/dev/null; true"))?;
    ensure(kept.is_empty(), || format!("{kept} is there"))?;
    let hosts = cluster.api.all::<HostKind>()?;
    ensure(hosts.len() == HOSTS.len(), || {
        format!("{} hosts", hosts.len())
    })?;
    Ok(text)
}

fn judge_tokens(judge: &mut Judge, cluster: &Cluster, stranger: &Node) {
    let server = &cluster.lines.server;
    let good = &cluster.lines.token;
    let refused = |token: &str, expected: &str| {
        let text = refusal(cluster, stranger, server, token)?;
        contains(&text.to_lowercase(), expected)
    };
    let parts: Vec<&str> = good.split('.').collect();
    let other_secret = format!(
        "{}.{}.{}.{}",
        parts[0],
        parts[1],
        "A".repeat(parts[2].len()),
        parts[3]
    );
    let other_ca = format!(
        "{}.{}.{}.{}",
        parts[0],
        parts[1],
        parts[2],
        "A".repeat(parts[3].len())
    );
    judge.check("a word that is no token", || refused("nonsense", "token"));
    judge.check("a token that was cut off", || {
        refused(&good[..good.len() - 5], "token")
    });
    judge.check("a wrong secret", || refused(&other_secret, "token"));
    judge.check("another cluster's CA", || {
        refused(&other_ca, "not the server that the token is of")
    });
    judge.check("an expired token", || {
        let spec = TokenSpec {
            expires: Some(Timestamp::now() + Duration::from_secs(1)),
            ..TokenSpec::default()
        };
        let token = new_token(cluster, "short", spec)?;
        std::thread::sleep(Duration::from_millis(1500));
        refused(&token, "token")
    });
    judge.check("a revoked token", || {
        let token = new_token(cluster, "revoked", TokenSpec::default())?;
        cluster.api.delete::<TokenKind>("revoked")?;
        refused(&token, "token")
    });
    judge.check("a server that is not there", || {
        let text = refusal(cluster, stranger, "https://10.77.0.99:6440", good)?;
        contains(&text, "cannot reach")
    });
}

fn new_token(cluster: &Cluster, name: &str, spec: TokenSpec) -> Result<String> {
    let made = cluster.api.create::<TokenKind>(name, spec)?;
    made.status.token.ok_or_else(|| HarnessError::Missing {
        what: "the token in the answer".into(),
        remedy: "look at the API".into(),
    })
}

fn judge_names(judge: &mut Judge, cluster: &Cluster) {
    let [a, b] = &cluster.hosts[..] else { return };
    judge.check(
        "containers with strange names are named as well as can be",
        || {
            idle(a, "box")?;
            web(b, "strange", &[])?;
            web(b, "We_ird.1--x_", &[])?;
            web(b, &"l".repeat(100), &[])?;
            answers(a, "box", "http://strange/", "strange")?;
            answers(a, "box", "http://we-ird-1--x/", "We_ird.1--x_")
        },
    );
    judge.check("two containers of one name: both hosts go on", || {
        web(a, "twice", &[])?;
        web(b, "twice", &[])?;
        answers(a, "box", "http://twice/", "twice")
    });
    judge.check(
        "an address that is another's is said to be a problem, and given to nobody twice",
        || {
            let label = "io.rancher.container.requested_ip=10.77.0.1";
            let args = [
                "--label",
                "io.rancher.container.network=true",
                "--label",
                label,
            ];
            web(b, "greedy", &args)?;
            until("the problem to be told", Patience::seconds(20), || {
                let all = cluster.api.all::<ContainerKind>()?;
                let greedy = all.into_iter().find(|one| one.meta.name == "greedy");
                let status = greedy.map(|one| one.status).unwrap_or_default();
                let is_told = status
                    .problems
                    .iter()
                    .any(|said| said.contains("10.77.0.1"));
                let is_in = status
                    .address
                    .is_some_and(|address| address.octets()[..2] == [10, 42]);
                Ok(if is_told && is_in {
                    Look::Seen(())
                } else {
                    Look::NotYet(format!("{status:?}"))
                })
            })
        },
    );
}

fn judge_networks(judge: &mut Judge, cluster: &Cluster, stranger: &Node) {
    judge.check(
        "a subnet that is the hosts' own: said, and their network goes on",
        || {
            cluster
                .api
                .create::<ProjectKind>("clash", Default::default())?;
            let clash = cluster.api.in_project("clash");
            clash.edit::<NetworkKind>("ros", |network| {
                network.subnet = LAN.parse().unwrap_or(network.subnet);
            })?;
            let token = clash.create::<TokenKind>("for-one", TokenSpec::default())?;
            let token = token.status.token.unwrap_or_default();
            stranger.run(&[
                "ros",
                "agent",
                "join",
                "--no-start",
                &cluster.lines.server,
                &token,
            ])?;
            start_agent(stranger)?;
            until("the problem to be told", Patience::seconds(20), || {
                let hosts = clash.all::<HostKind>()?;
                let problems = hosts.iter().flat_map(|host| &host.status.problems);
                let said: Vec<&String> = problems
                    .filter(|said| said.contains("10.77.0.0/"))
                    .collect();
                Ok(if said.is_empty() {
                    Look::NotYet(format!("{hosts:?}"))
                } else {
                    say(&format!("  {said:?}"));
                    Look::Seen(())
                })
            })?;
            stranger.run(&[
                "ping",
                "-c",
                "1",
                "-W",
                "2",
                &cluster.server.address.to_string(),
            ])?;
            let links = stranger.sh("ip -o link | grep ros- || true")?;
            ensure(links.is_empty(), || links)?;
            leave(stranger)
        },
    );
    judge.check(
        "a subnet cannot be changed while hosts have blocks of it",
        || {
            let outcome = cluster.api.edit::<NetworkKind>("ros", |network| {
                if let Ok(subnet) = "10.99.0.0/16".parse() {
                    network.subnet = subnet;
                }
            });
            match outcome {
                Err(error) => contains(&error.chain(), "block"),
                Ok(()) => ensure(false, || "it was changed".into()),
            }
        },
    );
}

fn judge_identities(judge: &mut Judge, cluster: &Cluster, stranger: &Node) {
    let [a, b] = &cluster.hosts[..] else { return };
    judge.check(
        "a second host of one name gets another, or is refused in words",
        || {
            stranger.sh("busybox hostname a")?;
            let words = [
                "ros",
                "agent",
                "join",
                "--no-start",
                &cluster.lines.server,
                &cluster.lines.token,
            ];
            let output = stranger.tool(&words).output()?;
            let text = said(&output);
            let hosts = cluster.api.all::<HostKind>()?;
            let named_a = hosts.iter().filter(|host| host.meta.name == "a").count();
            ensure(named_a == 1, || format!("{named_a} hosts are named a"))?;
            if output.status.success() {
                ensure(hosts.len() == HOSTS.len() + 1, || text.clone())?;
                return leave(stranger);
            }
            contains(&text, "name")
        },
    );
    judge.check(
        "a cloned disk: the copy is refused and told, and so are the people",
        || {
            copy_identity(a, stranger)?;
            start_agent(stranger)?;
            until("the copy to be told", Patience::seconds(20), || {
                let log = stranger.log(AGENT);
                Ok(
                    if log.contains("another machine is connected with the identity") {
                        Look::Seen(())
                    } else {
                        Look::NotYet(log)
                    },
                )
            })?;
            let events = cluster.api.all::<EventKind>()?;
            let told = events
                .iter()
                .filter(|event| event.spec.what == "host.identity-conflict");
            equal(told.count(), 1)?;
            // The host itself goes on, whatever the copy does.
            web(b, "unharmed", &[])?;
            answers(a, "box", "http://unharmed/", "unharmed")?;
            stranger.end(AGENT, End::Killed)?;
            stranger.sh(&format!("rm -rf {FOLDER}"))?;
            cluster.wait_connected()
        },
    );
    judge.check("the certificate of a removed host opens nothing", || {
        copy_identity(b, stranger)?;
        // A thief starts it after the host was removed.
        let before = cluster.api.all::<HostKind>()?.len();
        leave(b)?;
        start_agent(stranger)?;
        let ended = until(
            "the thief's agent to see that it is removed",
            Patience::seconds(20),
            || {
                Ok(if stranger.runs(AGENT) {
                    Look::NotYet(stranger.log(AGENT))
                } else {
                    Look::Seen(())
                })
            },
        );
        stranger.end(AGENT, End::Killed)?;
        ended?;
        let after = cluster.api.all::<HostKind>()?.len();
        ensure(after + 1 == before, || {
            format!("{before} hosts, then {after}")
        })?;
        // Back, so that the others can be judged with it.
        cluster.join(b)?;
        cluster.wait_connected()
    });
}

/// The host leaves, and its agent ends by itself.
fn leave(node: &Node) -> Result<()> {
    node.run(&["ros", "agent", "leave"])?;
    until("the agent to end", Patience::seconds(20), || {
        Ok(if node.runs(AGENT) {
            Look::NotYet(node.log(AGENT))
        } else {
            Look::Seen(())
        })
    })
}

fn copy_identity(from: &Node, to: &Node) -> Result<()> {
    let output = from
        .tool(&["tar", "-C", FOLDER, "-c", "identity.json"])
        .output()?;
    to.sh(&format!("mkdir -p -m 700 {FOLDER}"))?;
    to.run_with(&["tar", "-C", FOLDER, "-x"], &output.stdout)
        .map(drop)
}
