//! How a host becomes one of the cluster: a token for a certificate, a name and a block of the network, all in one transaction.

use std::net::IpAddr;

use api::access::TokenKind;
use api::agent::{JoinAnswer, JoinRequest, RenewAnswer, RenewRequest};
use api::event::EventSpec;
use api::host::{HostKind, HostState};
use api::network::{NetworkKind, NetworkSpec};
use api::problem::{Problem, Reason};
use api::project::ProjectKind;
use api::resource::Kind;
use api::{Host, Id, Network, Token};
use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};

use super::check;
use crate::mirror::Mirror;
use crate::objects::{self, Draft, now};
use crate::rules::{TOKEN_LIFETIME, free_name};
use crate::secret::{self, JoinToken};
use crate::server::Server;
use crate::store::{Transaction, Write};
use crate::{events, pki};

/// What to do without a token that is good.
const ANOTHER: &str = "make a new one: `ros tokens create`";
/// Attempts when others join by another server in the same moment.
const ATTEMPTS: usize = 20;

/// Takes a host in.
///
/// # Errors
/// Why not.
pub async fn join(
    server: &Server,
    request: &JoinRequest,
    from: IpAddr,
) -> Result<JoinAnswer, Problem> {
    let shown: JoinToken = request
        .token
        .parse()
        .map_err(|error| Problem::new(Reason::BadRequest, format!("{error}")).at("token"))?;
    if let Some(address) = request.address {
        check::address("address", address)?;
    }
    let key = pki::key_of(&request.csr).map_err(|error| refused_request(&error))?;
    // Who has no token keeps nobody waiting at the door.
    token(&server.mirror, &shown)?;
    // Never closed.
    let _turn = server.door.acquire().await.ok();
    for _ in 0..ATTEMPTS {
        let token = token(&server.mirror, &shown)?;
        let id = id_of(&token.meta.id, key);
        let outcome = match known(server, &token, &id) {
            Some(host) if host.status.state == HostState::Joining => {
                again(server, &host, &request.csr)
            }
            // Its key has joined and was heard of: this is a second machine with the same key.
            Some(_) => attempt(server, request, (token, fresh()), from).await,
            None => attempt(server, request, (token, id), from).await,
        };
        match outcome {
            // Another host took the name, the block or a use of the token.
            Err(problem) if matches!(problem.reason, Reason::Changed | Reason::Exists) => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            outcome => return outcome,
        }
    }
    Err(Problem::new(Reason::Unavailable, "too many hosts join in this moment").advise("try again"))
}

/// The id of a host that joins with a token and a key of its own. When the answer was lost the host asks again, and is the same one.
fn id_of(token: &Id, key: [u8; 32]) -> Id {
    let digest = Sha256::new().chain_update(token.as_str()).chain_update(key);
    let first = digest.finalize().into_iter().take(8);
    Id::from_bits(
        HostKind::PREFIX,
        first.fold(0, |bits, byte| (bits << 8) | u64::from(byte)),
    )
}

fn fresh() -> Id {
    Id::from_bits(HostKind::PREFIX, rand::random())
}

fn known(server: &Server, token: &Token, id: &Id) -> Option<Host> {
    objects::find::<HostKind>(&server.mirror, token.meta.project.as_ref(), id)
}

/// The answer to a host that has joined and has not heard so.
fn again(server: &Server, host: &Host, csr: &str) -> Result<JoinAnswer, Problem> {
    let id = &host.meta.id;
    let project = host.meta.project.clone();
    let project = project.ok_or_else(|| objects::missing::<HostKind>(id.as_str()))?;
    let certificate = server
        .authority
        .host(&project, id, csr, now())
        .map_err(|error| refused_request(&error))?;
    Ok(answer(server, host, project, certificate))
}

/// The token, if it is one and has not ended.
fn token(mirror: &Mirror, shown: &JoinToken) -> Result<Token, Problem> {
    let refuse = |title: String, advice: &str| {
        Err(Problem::new(Reason::Forbidden, title)
            .at("token")
            .advise(advice))
    };
    let known = objects::anywhere::<TokenKind>(mirror, &shown.id)
        .filter(|known| secret::matches(&shown.secret, &known.status.secret_hash));
    let Some(known) = known else {
        return refuse(
            "the join token is not known: it was revoked, or is another cluster's".into(),
            ANOTHER,
        );
    };
    let end = known
        .spec
        .expires
        .unwrap_or(known.meta.created + TOKEN_LIFETIME);
    if end <= now() {
        return refuse(format!("the join token has expired, on {end}"), ANOTHER);
    }
    Ok(known)
}

/// Refuses a token that as many hosts have joined with as may.
fn check_uses(token: &Token) -> Result<(), Problem> {
    let used = token.status.used;
    if token.spec.uses.is_none_or(|uses| used < uses) {
        return Ok(());
    }
    let hosts = if used == 1 {
        "host, which has"
    } else {
        "hosts, which have"
    };
    let title = format!("the join token was for {used} {hosts} joined");
    Err(Problem::new(Reason::Forbidden, title)
        .at("token")
        .advise(ANOTHER))
}

async fn attempt(
    server: &Server,
    request: &JoinRequest,
    (mut token, id): (Token, Id),
    from: IpAddr,
) -> Result<JoinAnswer, Problem> {
    check_uses(&token)?;
    let project = token.meta.project.clone();
    let project = project.ok_or_else(|| objects::missing::<TokenKind>(token.meta.id.as_str()))?;
    let network = network(&server.mirror, &project)?;
    let name = free_name(&server.mirror, &project, &request.name).ok_or_else(|| {
        let title = format!(
            "`{}` has no letter or digit that a name could be made of",
            request.name
        );
        Problem::new(Reason::Invalid, title)
            .at("name")
            .advise("give one: `ros agent join --name`")
    })?;
    let block = free_block(&server.mirror, &network)?;
    let certificate = server
        .authority
        .host(&project, &id, &request.csr, now())
        .map_err(|error| refused_request(&error))?;
    let mut draft: Draft<HostKind> = Draft::named(Some(project.clone()), name.clone());
    draft.labels.clone_from(&request.labels);
    draft.spec.address = request.address;
    draft.status.state = HostState::Joining;
    draft.status.since = Some(now());
    draft.status.address = Some(request.address.unwrap_or(from));
    draft.status.block = Some(block);
    draft.status.facts = request.facts.clone();
    check::tidy_facts(&mut draft.status.facts);
    let block_key = objects::block_key(&project, &block);
    let place = objects::key::<HostKind>(Some(&project), &id);
    let mut beside = Transaction {
        expect: vec![(block_key.clone(), 0), (place, 0)],
        writes: vec![
            Write::put(block_key, id.to_string()),
            events::write(Some(&project), event(&id, &name, &token, from)),
        ],
    };
    token.status.used += 1;
    for part in [
        objects::changed::<TokenKind>(&token)?,
        // Written as it is, so that nobody moves or removes the network, or the project with it, who has not seen this host.
        objects::changed::<NetworkKind>(&network)?,
    ] {
        beside.expect.extend(part.expect);
        beside.writes.extend(part.writes);
    }
    let host = server.objects.create::<HostKind>(id, draft, beside).await?;
    server.mirror.reach(host.meta.revision).await;
    Ok(answer(server, &host, project, certificate))
}

fn answer(server: &Server, host: &Host, project: Id, certificate: String) -> JoinAnswer {
    let known = objects::find::<ProjectKind>(&server.mirror, None, &project);
    JoinAnswer {
        host: host.meta.id.clone(),
        name: host.meta.name.clone(),
        project,
        project_name: known.map(|known| known.meta.name).unwrap_or_default(),
        certificate,
        ca: server.authority.certificate().to_owned(),
    }
}

fn refused_request(error: &pki::Error) -> Problem {
    Problem::new(Reason::Invalid, error.to_string()).at("csr")
}

fn event(host: &Id, name: &str, token: &Token, from: IpAddr) -> EventSpec {
    EventSpec {
        what: "host.join".into(),
        object: Some(host.clone()),
        object_name: name.to_owned(),
        by: Some(token.meta.id.clone()),
        by_name: token.meta.name.clone(),
        from: from.to_string(),
        message: String::new(),
    }
}

/// The project's network.
fn network(mirror: &Mirror, project: &Id) -> Result<Network, Problem> {
    let networks = objects::all::<NetworkKind>(mirror, Some(project));
    networks.into_iter().next().ok_or_else(|| {
        Problem::new(Reason::Unavailable, "the project has no network")
            .advise("make one: `ros networks create`")
    })
}

/// The first block of a network that nobody has.
fn free_block(mirror: &Mirror, network: &Network) -> Result<Ipv4Net, Problem> {
    let project = network.meta.project.as_ref();
    let taken = |block: &Ipv4Net| {
        let key = project.map(|project| objects::block_key(project, block));
        key.is_some_and(|key| mirror.get(&key).is_some())
    };
    blocks(&network.spec)
        .find(|block| !taken(block))
        .ok_or_else(|| {
            let title = format!(
                "network {} has no block left for another host",
                network.meta.name
            );
            Problem::new(Reason::Unavailable, title)
                .advise("remove hosts that are gone, or use a larger subnet")
        })
}

fn blocks(spec: &NetworkSpec) -> impl Iterator<Item = Ipv4Net> {
    // The rules keep the prefix lengths in order.
    spec.subnet.subnets(spec.block_prefix).into_iter().flatten()
}

/// A new certificate for a host that has one.
///
/// # Errors
/// When the request is not valid.
pub fn renew(
    server: &Server,
    project: &Id,
    host: &Id,
    request: &RenewRequest,
) -> Result<RenewAnswer, Problem> {
    let certificate = server
        .authority
        .host(project, host, &request.csr, now())
        .map_err(|error| refused_request(&error))?;
    Ok(RenewAnswer {
        certificate,
        ca: server.authority.certificate().to_owned(),
    })
}
