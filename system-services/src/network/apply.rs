//! Carries out the steps of a plan through rtnetlink(7). Idempotent; an error is logged and the next step tried, for one bad link must not
//! keep the others down.

mod links;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::route::{RouteMessage, RouteProtocol};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use tokio::time::Instant;

use super::cidr::Cidr;
use super::observe::MARK;
use super::plan::{LinkId, Reach, Step};
use crate::log::{Chain, Log};

const LOG: Log = Log::of("netconf");
/// Longest time for a user's command: a hanging hook must not keep the machine off the network.
const HOOK_LIMIT: Duration = Duration::from_secs(30);
/// Before a step that failed is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("{step} failed{}", advice(source))]
    Netlink {
        /// The step.
        step: String,
        /// What the kernel said.
        #[source]
        source: rtnetlink::Error,
    },
    /// A command cannot be split into words.
    #[error("`{0}` is not a command: a quote is not closed")]
    Words(String),
    /// A command cannot be run.
    #[error("cannot run `{0}`")]
    Start(String, #[source] std::io::Error),
    /// A command failed.
    #[error("`{0}` failed ({1})")]
    Failed(String, std::process::ExitStatus),
    /// A command took too long.
    #[error("`{0}` did not end within {limit} s and was stopped", limit = HOOK_LIMIT.as_secs())]
    Hung(String),
}

fn advice(error: &rtnetlink::Error) -> &'static str {
    let rtnetlink::Error::NetlinkError(message) = error else {
        return "";
    };
    match message.raw_code().unsigned_abs() {
        // ENETUNREACH
        101 => " (the gateway is in none of the link's networks)",
        // ENETDOWN
        100 => " (the link is down)",
        // ENODEV
        19 => " (the link has gone)",
        // EOPNOTSUPP
        95 => " (the kernel has no such kind of link, or its module is missing)",
        // ELOOP
        40 => " (it would be a member of itself)",
        // EINVAL
        22 => " (the kernel does not accept the value)",
        // EPERM
        1 => " (CAP_NET_ADMIN is missing)",
        _ => "",
    }
}

/// Steps that failed. They are tried again after a pause and not at the next event: some raise events themselves, without end.
#[derive(Debug, Default)]
pub struct Refused {
    steps: BTreeMap<String, Refusal>,
}

#[derive(Debug)]
struct Refusal {
    again: Instant,
    error: String,
}

impl Refused {
    /// True when `step` failed the last time.
    #[must_use]
    pub fn holds(&self, step: &Step) -> bool {
        self.steps.contains_key(&step.to_string())
    }
}

/// Carries out `steps` in order, logging each, and each failure once. Returns when to try the refused ones again.
pub async fn apply(handle: &Handle, steps: &[Step], refused: &mut Refused) -> Option<Instant> {
    let mut before = std::mem::take(&mut refused.steps);
    for step in steps {
        let text = step.to_string();
        let last = before.remove(&text);
        if let Some(refusal) = &last
            && Instant::now() < refusal.again
        {
            refused.steps.extend(last.map(|refusal| (text, refusal)));
            continue;
        }
        if last.is_none() {
            LOG.info(&text);
        }
        let Err(error) = carry_out(handle, step).await else {
            continue;
        };
        let shown = Chain(&error).to_string();
        if last.is_none_or(|refusal| refusal.error != shown) {
            LOG.error(&shown);
        }
        if !matches!(step, Step::Run { .. }) {
            let again = Instant::now() + PAUSE;
            let refusal = Refusal {
                again,
                error: shown,
            };
            refused.steps.insert(text, refusal);
        }
    }
    refused.steps.values().map(|refusal| refusal.again).min()
}

async fn carry_out(handle: &Handle, step: &Step) -> Result<(), Error> {
    let result = match step {
        Step::Run { command, .. } => return run(command).await,
        Step::Make { name, what } => links::make(handle, name, what).await,
        Step::Remove { link, .. } => links::remove(handle, link).await,
        Step::Tune { link, option } => links::tune(handle, link, option).await,
        Step::Join {
            link,
            master,
            of,
            mark,
        } => links::join(handle, (link, master), *of, *mark).await,
        Step::Leave { link, mark } => links::leave(handle, link, *mark).await,
        Step::Mtu { link, mtu } => {
            set(
                handle,
                LinkUnspec::new_with_index(link.index).mtu(*mtu).build(),
            )
            .await
        }
        Step::Up { link } => set(handle, LinkUnspec::new_with_index(link.index).up().build()).await,
        Step::AddAddress { link, cidr } => add_address(handle, link, *cidr).await,
        Step::RemoveAddress { link, cidr, .. } => remove_address(handle, link, *cidr).await,
        Step::AddRoute {
            link,
            gateway,
            metric,
            reach,
        } => {
            let route = default_route(link, *gateway, *metric, *reach);
            tolerate(handle.route().add(route).execute().await, EEXIST)
        }
        Step::RemoveRoute {
            link,
            gateway,
            metric,
        } => {
            let mut route = default_route(link, *gateway, *metric, Reach::Network);
            route.header.protocol = RouteProtocol::Unspec;
            tolerate(handle.route().del(route).execute().await, ESRCH)
        }
    };
    result.map_err(|source| Error::Netlink {
        step: step.to_string(),
        source,
    })
}

/// Somebody was quicker: the address or route is there.
const EEXIST: u32 = 17;
/// Somebody was quicker: the link has gone.
const ENODEV: u32 = 19;
/// Somebody was quicker: the route has gone.
const ESRCH: u32 = 3;
/// Somebody was quicker: the address has gone.
const EADDRNOTAVAIL: u32 = 99;

fn tolerate(result: Result<(), rtnetlink::Error>, errno: u32) -> Result<(), rtnetlink::Error> {
    match result {
        Err(rtnetlink::Error::NetlinkError(message))
            if message.raw_code().unsigned_abs() == errno =>
        {
            Ok(())
        }
        other => other,
    }
}

async fn set(handle: &Handle, message: LinkMessage) -> Result<(), rtnetlink::Error> {
    handle.link().set(message).execute().await
}

async fn add_address(handle: &Handle, link: &LinkId, cidr: Cidr) -> Result<(), rtnetlink::Error> {
    // One that is there, from a lease, becomes ours and lasts.
    let mut request = handle
        .address()
        .add(link.index, cidr.address, cidr.prefix)
        .replace();
    let mark = AddressAttribute::Protocol(AddressProtocol::Other(MARK));
    request.message_mut().attributes.push(mark);
    tolerate(request.execute().await, EEXIST)
}

async fn remove_address(
    handle: &Handle,
    link: &LinkId,
    cidr: Cidr,
) -> Result<(), rtnetlink::Error> {
    let mut message = AddressMessage::default();
    message.header.index = link.index;
    message.header.prefix_len = cidr.prefix;
    message.header.family = match cidr.address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    message
        .attributes
        .push(AddressAttribute::Local(cidr.address));
    tolerate(handle.address().del(message).execute().await, EADDRNOTAVAIL)
}

fn default_route(link: &LinkId, gateway: IpAddr, metric: u32, reach: Reach) -> RouteMessage {
    match gateway {
        IpAddr::V4(gateway) => {
            let route = RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .gateway(gateway)
                .output_interface(link.index)
                .priority(metric)
                .protocol(RouteProtocol::Other(MARK));
            match reach {
                Reach::Network => route.build(),
                Reach::OnLink => route.onlink().build(),
            }
        }
        IpAddr::V6(gateway) => {
            let route = RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .gateway(gateway)
                .output_interface(link.index)
                .priority(metric)
                .protocol(RouteProtocol::Other(MARK));
            match reach {
                Reach::Network => route.build(),
                Reach::OnLink => route.onlink().build(),
            }
        }
    }
}

/// Runs a user's command, split into words as a shell does, without a shell. Its output goes to our log.
///
/// # Errors
/// When it cannot be run, fails or hangs.
pub async fn run(command: &str) -> Result<(), Error> {
    let words = shell_words::split(command).map_err(|_| Error::Words(command.to_owned()))?;
    let Some((program, arguments)) = words.split_first() else {
        return Ok(());
    };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Error::Start(command.to_owned(), error))?;
    match tokio::time::timeout(HOOK_LIMIT, child.wait()).await {
        Err(_) => Err(Error::Hung(command.to_owned())),
        Ok(Err(error)) => Err(Error::Start(command.to_owned(), error)),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(Error::Failed(command.to_owned(), status)),
    }
}
