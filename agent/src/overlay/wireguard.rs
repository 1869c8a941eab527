//! WireGuard's link by generic netlink (kernel: Documentation/netlink/specs/wireguard.yaml). Sends and reads; decides nothing.

use std::fmt::Debug;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt;
use netlink_packet_core::{
    Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    ParseableParametrized,
};
use netlink_packet_generic::ctrl::nlas::GenlCtrlAttrs;
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use netlink_packet_wireguard::{WireguardAttribute, WireguardCmd, WireguardMessage};
use netlink_proto::sys::protocols::NETLINK_GENERIC;
use tokio::time::Instant;

use super::WIREGUARD;
use super::desired::Key;
use super::tunnel::{self, Change, Tunnel};

/// A kernel without it is asked again after this long: its module may have been put in place.
const AGAIN: Duration = Duration::from_secs(60);
/// The kernel answers at once, or something is wrong.
const PATIENCE: Duration = Duration::from_secs(5);
const ENOENT: i32 = 2;

/// Why WireGuard cannot be set or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket.
    #[error("no netlink socket")]
    Socket(#[source] std::io::Error),
    /// The connection has ended.
    #[error("netlink has ended without an answer")]
    Ended,
    /// The kernel refused.
    #[error("the kernel refused")]
    Refused(#[source] std::io::Error),
    /// The kernel does not answer.
    #[error("the kernel did not answer within {limit} s", limit = PATIENCE.as_secs())]
    Silent,
    /// It has none.
    #[error("the kernel has no WireGuard")]
    Missing,
}

/// The kernel's WireGuard.
#[derive(Debug, Default)]
pub struct Wireguard {
    /// Number of the netlink family, once known.
    family: Option<u16>,
    asked: Option<Instant>,
}

impl Wireguard {
    /// Whether the kernel has it. Asking loads its module.
    ///
    /// # Errors
    /// When netlink fails.
    pub async fn is_there(&mut self) -> Result<bool, Error> {
        let is_fresh = self.asked.is_some_and(|asked| asked.elapsed() < AGAIN);
        if self.family.is_none() && !is_fresh {
            self.asked = Some(Instant::now());
            self.family = family(WireguardMessage::family_name()).await?;
        }
        Ok(self.family.is_some())
    }

    /// What our link is set to.
    ///
    /// # Errors
    /// When the kernel refuses, or has no such link.
    pub async fn observe(&self) -> Result<Tunnel, Error> {
        let question = WireguardMessage {
            cmd: WireguardCmd::GetDevice,
            attributes: vec![WireguardAttribute::IfName(WIREGUARD.into())],
        };
        let answers = ask(question, self.family.ok_or(Error::Missing)?, NLM_F_DUMP).await?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let mut is = Tunnel::default();
        answers
            .iter()
            .for_each(|answer| tunnel::take(&mut is, answer, now));
        Ok(is)
    }

    /// Carries `change` out.
    ///
    /// # Errors
    /// When the kernel refuses. What came before is done then.
    pub async fn apply(&self, change: &Change, secret: &Key) -> Result<(), Error> {
        let family = self.family.ok_or(Error::Missing)?;
        for message in tunnel::messages(change, secret) {
            ask(message, family, NLM_F_ACK).await?;
        }
        Ok(())
    }
}

/// Number of the family; `None`: the kernel does not have it.
async fn family(name: &str) -> Result<Option<u16>, Error> {
    let question = GenlCtrl {
        cmd: GenlCtrlCmd::GetFamily,
        nlas: vec![GenlCtrlAttrs::FamilyName(name.into())],
    };
    // The controller's own number is known.
    let answers = match ask(question, 0, NLM_F_ACK).await {
        Err(Error::Refused(error)) if error.raw_os_error() == Some(ENOENT) => return Ok(None),
        other => other?,
    };
    let number = |attribute: &GenlCtrlAttrs| match attribute {
        GenlCtrlAttrs::FamilyId(number) => Some(*number),
        _ => None,
    };
    Ok(answers
        .iter()
        .flat_map(|answer| &answer.nlas)
        .find_map(number))
}

/// Asks, and gives all that is answered until the kernel is done.
async fn ask<F>(question: F, family: u16, flags: u16) -> Result<Vec<F>, Error>
where
    F: GenlFamily
        + Emitable
        + ParseableParametrized<[u8], GenlHeader>
        + Clone
        + Debug
        + Unpin
        + Send
        + 'static,
{
    let (connection, handle, _) =
        netlink_proto::new_connection::<GenlMessage<F>>(NETLINK_GENERIC).map_err(Error::Socket)?;
    let running = tokio::spawn(connection);
    let mut message = GenlMessage::from_payload(question);
    message.set_resolved_family_id(family);
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | flags;
    message.finalize();
    let to = netlink_proto::sys::SocketAddr::new(0, 0);
    let answers = async {
        let mut stream = handle.request(message, to).map_err(|_| Error::Ended)?;
        let mut answers = Vec::new();
        while let Some(next) = stream.next().await {
            match next.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer.into_parts().1),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(Error::Refused(error.to_io()));
                }
                _ => {}
            }
        }
        Ok(answers)
    };
    let answers = tokio::time::timeout(PATIENCE, answers).await;
    running.abort();
    answers.map_err(|_| Error::Silent)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_says_which_families_it_has() {
        // The controller itself (GENL_ID_CTRL).
        assert_eq!(family("nlctrl").await.unwrap(), Some(0x10));
        assert_eq!(family("nobody").await.unwrap(), None);
    }
}
