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
use api::{Id, Token};
use ipnet::Ipv4Net;

use super::check;
use crate::mirror::Mirror;
use crate::objects::{self, Draft, now};
use crate::rules::free_name;
use crate::secret::{self, JoinToken};
use crate::server::Server;
use crate::store::{Transaction, Write};
use crate::{events, pki};

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
    // Never closed.
    let _turn = server.door.acquire().await.ok();
    for _ in 0..ATTEMPTS {
        let token = token(&server.mirror, &shown)?;
        match attempt(server, request, token, from).await {
            // Another host took the name, the block or a use of the token.
            Err(problem) if matches!(problem.reason, Reason::Changed | Reason::Exists) => {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            outcome => return outcome,
        }
    }
    Err(Problem::new(Reason::Unavailable, "too many hosts join in this moment").advise("try again"))
}

/// The token, if it may be used.
fn token(mirror: &Mirror, shown: &JoinToken) -> Result<Token, Problem> {
    let refuse = |title: String, advice: &str| {
        Err(Problem::new(Reason::Forbidden, title)
            .at("token")
            .advise(advice))
    };
    let another = "make a new one: `ros tokens create`";
    let known = objects::anywhere::<TokenKind>(mirror, &shown.id)
        .filter(|known| secret::matches(&shown.secret, &known.status.secret_hash));
    let Some(known) = known else {
        return refuse(
            "the join token is not known: it was revoked, or is another cluster's".into(),
            another,
        );
    };
    if let Some(end) = known.spec.expires.filter(|end| *end <= now()) {
        return refuse(format!("the join token has expired, on {end}"), another);
    }
    if known
        .spec
        .uses
        .is_some_and(|uses| known.status.used >= uses)
    {
        return refuse(
            format!(
                "the join token was for {} hosts, which have joined",
                known.status.used
            ),
            another,
        );
    }
    Ok(known)
}

async fn attempt(
    server: &Server,
    request: &JoinRequest,
    mut token: Token,
    from: IpAddr,
) -> Result<JoinAnswer, Problem> {
    let project = token.meta.project.clone();
    let project = project.ok_or_else(|| objects::missing::<TokenKind>(token.meta.id.as_str()))?;
    let name = free_name(&server.mirror, &project, &request.name).ok_or_else(|| {
        let title = format!(
            "`{}` has no letter or digit that a name could be made of",
            request.name
        );
        Problem::new(Reason::Invalid, title)
            .at("name")
            .advise("give one: `ros agent join --name`")
    })?;
    let block = free_block(&server.mirror, &project)?;
    let id = Id::from_bits(HostKind::PREFIX, rand::random());
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
    let mut beside = Transaction {
        expect: vec![(block_key.clone(), 0)],
        writes: vec![
            Write::put(block_key, id.to_string()),
            events::write(Some(&project), event(&id, &name, &token, from)),
        ],
    };
    token.status.used += 1;
    let used = objects::changed::<TokenKind>(&token)?;
    beside.expect.extend(used.expect);
    beside.writes.extend(used.writes);
    let host = server.objects.create::<HostKind>(id, draft, beside).await?;
    server.mirror.reach(host.meta.revision).await;
    let project_name = objects::find::<ProjectKind>(&server.mirror, None, &project)
        .map(|project| project.meta.name)
        .unwrap_or_default();
    Ok(JoinAnswer {
        host: host.meta.id,
        name: host.meta.name,
        project,
        project_name,
        certificate,
        ca: server.authority.certificate().to_owned(),
    })
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

/// The first block of the project's network that nobody has.
fn free_block(mirror: &Mirror, project: &Id) -> Result<Ipv4Net, Problem> {
    let networks = objects::all::<NetworkKind>(mirror, Some(project));
    let network = networks.first().ok_or_else(|| {
        Problem::new(Reason::Unavailable, "the project has no network")
            .advise("make one: `ros networks create`")
    })?;
    let taken = |block: &Ipv4Net| mirror.get(&objects::block_key(project, block)).is_some();
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
